"""Models quantised by qwix: they stay quantised, and their numbers are those of JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import qwix
from flax import linen as nn
from flax import nnx

from jax2onnx import save_onnx, to_onnx
from jax2onnx.testing import PluginSuite, Runner, operators
from jax2onnx_qwix.examples import MLP, RULES, ConvNet, Decoder, quantised

RNG = np.random.default_rng(0)


class TestPlugin(PluginSuite):
    plugin = "qwix"


def weights(model):
    """Return the bytes of the quantised weights of a model, and of all else that it holds."""
    sizes = [0, 0]
    for leaf in jax.tree.leaves(nnx.state(model)):
        bits = 4 if "int4" in str(leaf.dtype) else 8 * leaf.dtype.itemsize
        sizes[leaf.dtype.itemsize > 1] += leaf.size * bits // 8
    return sizes


def loaded(path, tmp_path):
    """Return the graph that onnxruntime makes of a model when it loads it, and the model's session."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = onnxruntime.InferenceSession(path, options)
    return onnx.load(options.optimized_model_filepath), session


class Wide(nnx.Module):
    """A model of which the weights are nearly all, as they are in practice."""

    def __init__(self, rngs):
        self.up = nnx.Linear(256, 512, rngs=rngs)
        self.down = nnx.Linear(512, 256, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.relu(self.up(x)))


@pytest.mark.parametrize("rule", ["int8", "int4", "int4_tiles", "nf4", "w8a8"])
def test_files_and_sessions_hold_what_is_quantised(rule, tmp_path):
    model = quantised(Wide, RULES[rule], jnp.ones((1, 256)))
    path = tmp_path / "model.onnx"
    save_onnx(model, [("B", 256)], path)
    few, rest = weights(model)
    assert path.stat().st_size <= 1.1 * (few + rest) + 4096
    graph, session = loaded(path, tmp_path)
    floats = [i for i in graph.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(i.dims)) for i in floats) <= (2 * 256 * 512) / 8
    x = RNG.random((7, 256)).astype(np.float32)
    expected = np.asarray(model(jnp.asarray(x)))
    (got,) = session.run(None, {"x": x})
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


CASES = {
    "int8": (MLP, "int8", {"FusedMatMul": 2, "DequantizeLinear": 2}),
    "int4 in tiles": (MLP, "int4_tiles", {"MatMulNBits": 2}),
    "nf4": (MLP, "nf4", {"MatMulBnb4": 2, "Gather": 0}),
    "w8a8": (MLP, "w8a8", {"MatMulInteger": 2}),
    "w4a8": (MLP, "w4a8", {"MatMulInteger": 2}),
    "images": (ConvNet, "w8a8", {"ConvInteger": 2, "MatMulInteger": 1}),
    "a decoder": (Decoder, "int4", {"MatMulNBits": 9}),
    "a decoder of nf4": (Decoder, "nf4", {"MatMulBnb4": 9}),
}
GIVEN = {MLP: ("B", 64), ConvNet: ("B", 12, 12, 3), Decoder: "int32[B,5]"}


@pytest.mark.parametrize("name", CASES)
def test_operators_of_onnxruntime_and_of_onnx(name):
    module, rule, expected = CASES[name]
    spec = GIVEN[module]
    one = jnp.zeros((1, 5), jnp.int32) if module is Decoder else jnp.ones((1, *spec[1:]))
    model = quantised(module, RULES[rule], one)
    counts = operators(to_onnx(model, [spec]))
    assert {name: counts[name] for name in expected} == expected
    counts = operators(to_onnx(model, [spec], target="onnx"))
    products = "MatMulInteger" in expected
    found = counts["Gather"] - _lookups(module) if rule == "nf4" else counts["DequantizeLinear"]
    assert found == (0 if products else counts["MatMul"] + counts["Gemm"] - _unquantised(module))


def _unquantised(module):
    """Return how many products have no weights: those of the scores and of the values, where there is attention."""
    return 2 if module is Decoder else 0


def _lookups(module):
    """Return how many tables of rows are looked up: embeddings."""
    return 1 if module is Decoder else 0


class LinenMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(32)(nn.relu(nn.Dense(64)(x)))


def linen():
    model = LinenMLP()
    x = jnp.asarray(RNG.normal(size=(4, 32)), jnp.float32)
    return model, model.init(jax.random.key(0), x), x


def test_modules_of_linen():
    model, variables, x = linen()
    rule = qwix.QuantizationRule(weight_qtype=jnp.int4, tile_size=16)
    lean = qwix.quantize_model(model, qwix.PtqProvider([rule]))
    abstract = jax.eval_shape(lean.init, jax.random.key(0), x)["params"]
    params = qwix.quantize_params(variables["params"], abstract)
    fn = functools.partial(lean.apply, {"params": params})
    exported = to_onnx(fn, [("B", 32)])
    assert operators(exported)["MatMulNBits"] == 2
    (got,) = Runner(exported).run([np.asarray(x)])
    np.testing.assert_allclose(got, fn(x), rtol=1e-5, atol=1e-5)


def fake_quant(scale, zero_point=None, axis=None):
    """Return what qwix's ``OdmlConversionProvider`` writes for an array of a known range."""
    shape = [1, 1]
    if axis is not None:
        shape[axis] = scale.size

    def body(x, **attributes):
        del attributes
        zero = 0 if zero_point is None else zero_point
        return (jnp.round(x / scale.reshape(shape) + zero).astype(jnp.int8).astype(x.dtype) - zero) * scale.reshape(
            shape
        )

    attributes = {"scale": scale.ravel(), "dtype": "i8", "narrow_range": False}
    if axis is not None:
        attributes["quantization_dimension"] = axis
    if zero_point is not None:
        attributes["zero_point"] = np.asarray([zero_point])
    return lambda x: jax.lax.composite(body, "quant.fake_quant")(x, **attributes)


PAIR = {"QuantizeLinear": 1, "DequantizeLinear": 1}
HURT = np.array([[0.25, -0.25, 0.75, np.nan], [np.inf, -np.inf, 0.0, -0.0], [63.5, -64, -64.25, 1e30]], np.float32)


@pytest.mark.parametrize(
    ("fn", "pair"),
    [
        (fake_quant(np.float32(0.5)), True),
        (fake_quant(np.array([0.5, 0.1, 2, 0.3], np.float32), axis=1), True),
        (fake_quant(np.array([0.5, 0.1, 2], np.float32), axis=0), True),
        (fake_quant(np.float32(0.5), zero_point=0), True),
        (fake_quant(np.float32(0.5), zero_point=3), False),
    ],
    ids=["one scale", "columns", "rows", "zero point of 0", "zero point"],
)
def test_fake_quantisation_is_a_pair_where_it_has_the_same_numbers(fn, pair):
    model = to_onnx(fn, [(3, 4)])
    counts = operators(model)
    assert {name: counts[name] for name in PAIR} == (PAIR if pair else dict.fromkeys(PAIR, 0))
    for x in (HURT, RNG.normal(size=(3, 4)).astype(np.float32) * 30):
        (got,) = Runner(model).run([x])
        np.testing.assert_array_equal(got, fn(jnp.asarray(x)))


def test_models_of_the_conversion_provider():
    model, variables, x = linen()
    rules = [qwix.QuantizationRule(weight_qtype=jnp.int8)]
    marked = qwix.quantize_model(model, qwix.OdmlConversionProvider(rules, variables["params"], {}))
    fn = functools.partial(marked.apply, variables)
    exported = to_onnx(fn, [("B", 32)])
    counts = operators(exported)
    assert counts["FusedMatMul"] == 2
    assert not counts["QuantizeLinear"]
    (got,) = Runner(exported).run([np.asarray(x)])
    np.testing.assert_allclose(got, fn(x), rtol=1e-5, atol=1e-5)
