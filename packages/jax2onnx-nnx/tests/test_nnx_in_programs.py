# ruff: noqa: PLW0108 - lambdas over modules are what is tested
"""flax.nnx modules in what core does: closures, pytrees, images channels-first, several threads."""

import functools
import threading
import warnings
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx

from jax2onnx import check, to_onnx
from jax2onnx.testing import Runner, operators


class Net(nnx.Module):
    def __init__(self, seed=0):
        self.first = nnx.Linear(3, 4, rngs=nnx.Rngs(seed))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(seed + 1))
        self.count = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        self.count[...] += 1
        return self.dropout(self.first(x))

    def encode(self, x):
        return self.first(x)


NET = Net(7)
PAIR = {"left": Net(8), "right": Net(9)}


def through_a_global(x):
    return NET(x)


def pair(x):
    return PAIR["left"](x) + PAIR["right"](x)


def forms():
    model = Net()
    return {
        "lambda": (lambda x: model(x), ["model"]),
        "jit inside": (lambda x: jax.jit(model.encode)(x), ["model"]),
        "vmap": (jax.vmap(model.encode), ["fun"]),
        "partial of a function": (functools.partial(lambda scale, x: model(x) * scale, 2.0), ["model"]),
        "global": (through_a_global, ["NET"]),
        "container": (pair, ["PAIR.left", "PAIR.right"]),
    }


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
@pytest.mark.parametrize("form", forms())
def test_weights_are_named_and_the_form_is_that_of_inference(form):
    fn, names = forms()[form]
    model = to_onnx(fn, [(5, 3)])
    assert {f"{name}.first.kernel" for name in names} <= {t.name for t in model.graph.initializer}
    assert set(operators(model)) <= {"Gemm", "MatMul", "Add", "Mul"}
    check(model, fn, [(5, 3)], kinds=("ordinary",))


def test_one_warning_names_the_layer_and_the_module_stays_as_it_is():
    net = Net()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_onnx(lambda x: net(x), [(2, 3)])
    (warning,) = caught
    assert "net.dropout (Dropout)" in str(warning.message)
    assert not net.dropout.deterministic
    assert int(net.count[...]) == 0
    assert not isinstance(net.first.kernel[...], jax.core.Tracer)


def test_training_and_state_are_those_of_the_module():
    net = Net()
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    trained = to_onnx(lambda x: net(x), [(4, 3)], training=True)
    np.testing.assert_allclose(Runner(trained).run([x])[0], nnx.clone(net)(x), rtol=1e-5, atol=1e-6)
    step = to_onnx(lambda x: net(x), [(4, 3)], training=True, state="io")
    assert {i.name for i in step.graph.input} == {"x", "net.count", "net.dropout.rngs.count"}


def test_a_module_within_the_jit_of_nnx_is_left_and_says_so():
    net = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match="net keeps its mode.*reached through a Jit"):
        to_onnx(nnx.jit(lambda x: net(x) * 2), [("B", 3)])


@pytest.mark.parametrize("of", ["module", "method"])
def test_a_module_that_is_jitted_is_the_module(of):
    net = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    fn = jax.jit(net if of == "module" else net.__call__)
    model = to_onnx(fn, [("B", 3)])
    assert {t.name for t in model.graph.initializer} == {"kernel", "bias"}
    check(model, fn, [("B", 3)])


@flax.struct.dataclass
class Struct:
    left: Any
    right: Any
    axis: int = flax.struct.field(pytree_node=False, default=0)


def test_a_struct_of_flax_in_and_out():
    def swapped(pair):
        return pair.replace(left=pair.right * 2, right=pair.left)

    model = to_onnx(swapped, [Struct(("B", 3), "int32[]")])
    assert [v.name for v in model.graph.input] == ["pair.left", "pair.right"]
    assert [v.name for v in model.graph.output] == ["left", "right"]
    check(model, swapped, [Struct(("B", 3), "int32[]")])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_static_field_of_a_struct_of_flax_is_no_input(axis):
    def total(pair):
        return pair.left.sum(pair.axis) + pair.right

    spec = [Struct((4, 4), (4,), axis)]
    model = to_onnx(total, spec)
    assert [v.name for v in model.graph.input] == ["pair.left", "pair.right"]
    check(model, total, spec)


class Images(nnx.Module):
    def __init__(self, rank):
        self.first = nnx.Conv(3, 8, (3,) * rank, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=nnx.Rngs(1))
        self.second = nnx.Conv(8, 4, (2,) * rank, strides=2, rngs=nnx.Rngs(2))

    def __call__(self, image):
        x = nnx.relu(self.norm(self.first(image)))
        window = (2,) * (image.ndim - 2)
        return {"features": self.second(nnx.max_pool(x, window, window)), "mean": x.mean(tuple(range(1, x.ndim)))}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_convolutional_net_needs_no_transpose(rank):
    net, spec = Images(rank), [("B", *range(8, 8 + rank), 3)]
    images = {"inputs_as_nchw": ["image"], "outputs_as_nchw": ["features"]}
    model = to_onnx(net, spec, **images)
    onnx.checker.check_model(model, full_check=True)
    assert "Transpose" not in operators(model)
    check(model, net, spec, **images, kinds=("ordinary",), sizes=(2,))
    x = np.random.default_rng(0).normal(size=(2, *range(8, 8 + rank), 3)).astype(np.float32)
    features, mean = Runner(model).run([np.moveaxis(x, -1, 1)])
    expected, expected_mean = Runner(to_onnx(net, spec)).run([x])
    np.testing.assert_allclose(np.moveaxis(features, 1, -1), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-5, atol=1e-6)


class Block(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs)
        self.out = nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x):
        return x + nnx.gelu(self.out(self.attention(self.norm(x))))


def test_threads_export_one_module_and_nnx_stays_as_it_is():
    before = dict(vars(nnx))
    block, models = Block(), []

    def export():
        models.extend(to_onnx(block, [("B", 5, 8)]).SerializeToString() for _ in range(2))

    threads = [threading.Thread(target=export) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(models) == 6
    assert len(set(models)) == 1
    assert all(vars(nnx)[name] is value for name, value in before.items())
