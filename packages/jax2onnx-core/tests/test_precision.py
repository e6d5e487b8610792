"""Half precision on request: what computes in it, what stays float32, how weights are stored."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

from jax2onnx import check, diagnose, save_onnx, show, to_onnx
from jax2onnx.checking.runtime import Runner
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.testing import operators

FLOAT, FLOAT16, BFLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
RNG = np.random.default_rng(0)
WEIGHTS = jnp.asarray(RNG.normal(size=(3, 16, 16)), jnp.float32)
HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.up = nnx.Linear(16, 32, rngs=rngs)
        self.down = nnx.Linear(32, 16, rngs=rngs)

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


@pytest.fixture(scope="module")
def block():
    return Block(nnx.Rngs(0))


def dtypes(model):
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def stored(model):
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def rounded(module, dtype):
    """Return a module whose weights of two dims are rounded to half."""
    graph, state = nnx.split(module)
    near = jax.tree.map(lambda a: a.astype(dtype).astype(a.dtype) if a.ndim > 1 else a, state)
    return nnx.merge(graph, near)


def run(model, *arrays):
    names = [value.name for value in model.graph.input]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    results = session.run(None, dict(zip(names, arrays, strict=True)))
    return results[0] if len(results) == 1 else results


@pytest.mark.parametrize("precision", HALVES)
def test_a_runtime_without_kernels_gets_the_program_of_rounded_weights(block, precision):
    model = to_onnx(block, [("B", 16)], precision=precision)
    plain = to_onnx(block, [("B", 16)])
    near = rounded(block, HALVES[precision])
    for size in (1, 7):
        x = RNG.normal(size=(size, 16)).astype(np.float32)
        np.testing.assert_allclose(run(model, x), near(x), rtol=1e-5, atol=1e-5)
    assert {"Cast"} == {n.op_type for n in model.graph.node} - {n.op_type for n in plain.graph.node}
    assert stored(model) < 0.6 * stored(plain)


def test_a_runtime_with_kernels_computes_products_in_half(block):
    model = to_onnx(block, [("B", 16)], precision="float16", target="onnx")
    held = dtypes(model)
    assert {name for name, dtype in held.items() if dtype == FLOAT16} >= {"up.kernel", "up.bias", "down.kernel"}
    assert held["norm.scale"] == held["norm.bias"] == FLOAT
    assert model.graph.input[0].type.tensor_type.elem_type == FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == FLOAT
    # In and out of the norm, the input of the block, and the output.
    assert [n.op_type for n in model.graph.node].count("Cast") == 3
    x = RNG.normal(size=(7, 16)).astype(np.float32)

    def by_hand(x):
        half = [block.up.kernel[...], block.up.bias[...], block.down.kernel[...], block.down.bias[...]]
        up, up_bias, down, down_bias = (w.astype(jnp.float16) for w in half)
        h = block.norm(x).astype(jnp.float16)
        h = jax.nn.gelu(h @ up + up_bias) @ down + down_bias
        return (x.astype(jnp.float16) + h).astype(jnp.float32)

    np.testing.assert_allclose(run(model, x), by_hand(x), atol=5e-3)


def in_float32(model):
    """Return the names of the products that read float32."""
    model = onnx.shape_inference.infer_shapes(model)
    types = dtypes(model) | {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    products = [node for node in model.graph.node if node.op_type in {"Gemm", "MatMul"}]
    return [node.op_type for node in products if types[node.input[1]] == FLOAT]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ([], 0),
        (["up"], 1),
        (["up.kernel"], 1),
        (["*.bias"], 2),
        (["jax.nn.gelu"], 0),
        (["flax.nnx.Linear"], 2),
        (["test_precision.py:*"], 2),
        (["result"], 0),
        (["*"], 2),
    ],
)
def test_keep(block, keep, left):
    model = to_onnx(block, [("B", 16)], precision="float16", target="onnx", keep=keep, output_names=["result"])
    assert len(in_float32(model)) == left


def test_keep_that_names_nothing(block):
    with pytest.raises(InputSpecError, match=r"keep: nothing in the program is called 'dwn'; did you mean 'down'\?"):
        to_onnx(block, [("B", 16)], precision="float16", keep=["dwn"])


@pytest.mark.parametrize("target", ["onnx", "onnxruntime-cpu"])
def test_weights_that_half_cannot_hold_stay(target):
    weights = {"large": np.full((16, 16), 1e5, np.float32), "tiny": np.full((16, 16), 1e-9, np.float32)}

    class Model(nnx.Module):
        def __init__(self):
            self.large, self.tiny = (nnx.Param(jnp.asarray(w)) for w in weights.values())

        def __call__(self, x):
            return x @ self.large[...], x @ self.tiny[...]

    with pytest.warns(UserWarning, match="(large|tiny) has numbers that float16 cannot hold"):
        model = to_onnx(Model(), [("B", 16)], precision="float16", target=target)
    assert set(dtypes(model).values()) == {FLOAT}
    x = RNG.normal(size=(2, 16)).astype(np.float32)
    for actual, weight in zip(run(model, x), weights.values(), strict=True):
        np.testing.assert_allclose(actual, x @ weight, rtol=1e-4, atol=1e-4 * weight[0, 0])


def softmax(x):
    return jax.nn.softmax(jnp.where(x > 0, x, -1e9) @ jnp.eye(16))


def loop(x):
    def step(carry, w):
        carry = jnp.tanh(carry @ w)
        return carry, carry.sum()

    return jax.lax.scan(step, x, WEIGHTS)


def branches(x):
    return jax.lax.cond(x.sum() > 0, lambda w: x @ w, lambda w: x - w[:1], WEIGHTS[0])


def summed(x):
    return (x @ jnp.eye(16)).mean(), jnp.log(jnp.exp(x @ jnp.eye(16)).sum())


def several(x, i, w):
    table = jnp.asarray(np.arange(320, dtype=np.float32).reshape(20, 16) / 64)
    return (x + table[i]) @ w, (x @ w).astype(jnp.int32), x.astype(jnp.float16) @ w.astype(jnp.float16)


PROGRAMS = {
    "softmax": (softmax, [("B", 16)]),
    "loop": (loop, [("B", 16)]),
    "branches": (branches, [("B", 16)]),
    "sums": (summed, [("B", 16)]),
    "several": (several, [("B", 16), "int32[B]", (16, 8)]),
    "convolution": (
        lambda x: jax.lax.conv_general_dilated(x, jnp.ones((8, 4, 3, 3)), (1, 1), "SAME").max((2, 3)),
        [("B", 4, 8, 8)],
    ),
}


def drawn(spec, size):
    if isinstance(spec, str):
        return RNG.integers(0, 20, size, np.int32)
    return RNG.normal(size=[size if dim == "B" else dim for dim in spec]).astype(np.float32)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    function, inputs = PROGRAMS[name]
    models = [to_onnx(function, inputs, precision="float16", target=target) for target in ("onnx", "onnxruntime-cpu")]
    for size in (1, 7):
        arrays = [drawn(spec, size) for spec in inputs]
        expected = jax.tree.leaves(jax.jit(function)(*arrays))
        for model in models:
            for actual, wanted in zip(jax.tree.leaves(run(model, *arrays)), expected, strict=True):
                assert actual.dtype == wanted.dtype
                allowed = 1 if wanted.dtype == np.int32 else 0.05
                np.testing.assert_allclose(np.float32(actual), np.float32(wanted), atol=allowed, rtol=0.02)


def test_nan_and_empty(block):
    for target in ("onnx", "onnxruntime-cpu"):
        model = to_onnx(block, [("B", 16)], precision="float16", target=target)
        assert run(model, np.zeros((0, 16), np.float32)).shape == (0, 16)
        x = np.zeros((2, 16), np.float32)
        x[1, 3] = np.nan
        assert np.isnan(run(model, x)).any(1).tolist() == [False, True]


def test_infinite_constants_and_large_numbers_stay(block):
    text = show(softmax, [("B", 16)], precision="float16", target="onnx")
    assert "-1000000000.0" in text
    assert "float32[B,16] = jax.nn.softmax" in text


@pytest.mark.parametrize("target", ["onnx", "onnxruntime-cpu"])
def test_functions_of_modules(block, target):
    model = to_onnx(block, [("B", 16)], precision="float16", target=target, functions="modules")
    assert FLOAT16 in dtypes(model).values()
    x = RNG.normal(size=(2, 16)).astype(np.float32)
    np.testing.assert_allclose(run(model, x), block(x), rtol=0.02, atol=0.02)


def test_weights_of_one_width_share_a_cast():
    layers = [nnx.Linear(32, 32, use_bias=False, rngs=nnx.Rngs(n)) for n in range(6)]

    def chain(x):
        for layer in layers:
            x = jnp.sin(layer(x))
        return x

    model = to_onnx(chain, [("B", 32)], precision="bfloat16")
    assert [n.op_type for n in model.graph.node][:2] == ["Cast", "Split"]
    assert list(dtypes(model).values()).count(BFLOAT16) == 1
    assert len(model.graph.node) == 2 + 12


def test_the_largest_weights_have_a_cast_each_while_others_fit():
    large = [RNG.normal(size=(256, 256)).astype(np.float16).astype(np.float32) / 16 for _ in range(2)]
    small = [RNG.normal(size=(4, 256)).astype(np.float16).astype(np.float32) for _ in range(16)]

    def fn(x):
        for w in large:
            x = jnp.tanh(x @ w)
        for w in small:
            x = jnp.tanh(jnp.concatenate([x[:4] + w, x[4:]]))
        return x

    specs = ["float32[5,256]"]
    plain, model = to_onnx(fn, specs), to_onnx(fn, specs, precision="float16")
    found = operators(model)
    assert (found["Cast"], found["Split"] - operators(plain)["Split"]) == (3, 1)
    assert found.total() <= 1.1 * operators(plain).total()
    assert sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer) == 3
    check(model, fn, specs, rtol=1e-3, atol=1e-3)


def test_the_caller_keeps_its_weights(block, tmp_path):
    before = np.array(block.up.kernel[...])
    save_onnx(block, [("B", 16)], tmp_path / "half.onnx", precision="float16")
    to_onnx(block, [("B", 16)], precision="float16", target="onnx")
    np.testing.assert_array_equal(block.up.kernel[...], before)


def in_half(module, dtype):
    graph, state = nnx.split(module)
    made = nnx.merge(graph, jax.tree.map(lambda a: a.astype(dtype), state))
    for part in (made.norm, made.up, made.down):
        part.dtype = dtype
    return made


@pytest.mark.parametrize("precision", HALVES)
def test_a_program_in_half_is_computed_in_float32_on_request(block, precision):
    dtype = HALVES[precision]
    half = in_half(block, dtype)
    model = to_onnx(half, [f"{precision}[B,16]"], precision="float32")
    default = to_onnx(half, [f"{precision}[B,16]"])
    casts = [[node.op_type for node in one.graph.node].count("Cast") for one in (model, default)]
    assert casts[0] <= 4 < casts[1]
    assert stored(model) < 1.3 * stored(default)
    x = RNG.normal(size=(7, 16)).astype(dtype)
    runner = Runner(model)
    (result,) = runner.run([x])
    assert result.dtype == dtype
    full = nnx.merge(*nnx.split(half))
    for part in (full.norm, full.up, full.down):
        part.dtype = jnp.float32
    expected = np.asarray(full(x.astype(np.float32)))
    np.testing.assert_allclose(np.float32(result), expected, rtol=float(jnp.finfo(dtype).eps), atol=1e-5)


def halves(x):
    total, steps = jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), c.sum()), x, WEIGHTS.astype(jnp.float16))
    bits = jax.lax.bitcast_convert_type(x * 2, jnp.uint16)
    chosen = jax.lax.cond(x[0, 0] > 0, lambda a: a * 3, lambda a: a - 1, x + 1)
    return total, steps, bits, chosen, (x * 1.5).astype(jnp.int32), jax.nn.softmax(x + 1)


def test_loops_bits_and_branches_of_half():
    model = to_onnx(halves, ["float16[B,16]"], precision="float32")
    x = np.float16(RNG.integers(-4, 4, (7, 16)))
    for actual, wanted in zip(run(model, x), halves(jnp.asarray(x)), strict=True):
        assert actual.dtype == wanted.dtype
        np.testing.assert_allclose(np.float32(actual), np.float32(wanted), atol=0.02, rtol=0.005)


def test_a_disagreement_tells_of_half_precision(block):
    half = "float16"
    model = to_onnx(block, [("B", 16)], precision=half)
    options = {"sizes": [2], "kinds": ["ordinary"]}
    with pytest.raises(CheckError, match=f"if precision='{half}' made it, pass rtol= and atol="):
        check(model, block, [("B", 16)], **options)
    with pytest.raises(CheckError) as caught:
        check(model, block, [("B", 16)], **options, atol=1e-9)
    assert "precision=" not in str(caught.value)
    assert f"exported with precision='{half}', pass that" in str(diagnose(model, block, [("B", 16)], **options))
    asked = str(diagnose(model, block, [("B", 16)], precision=half, **options))
    assert f"precision='{half}' rounds so; pass rtol= and atol=" in asked
