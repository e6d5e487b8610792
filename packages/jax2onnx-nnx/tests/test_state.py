"""State as inputs and outputs: what a call changes, step by step, equals what JAX does."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax2onnx import check, to_onnx
from jax2onnx.checking.runtime import Runner
from jax2onnx.errors import CheckError


class Counter(nnx.Module):
    def __init__(self):
        self.count = nnx.Variable(jnp.zeros((), jnp.int32))
        self.total = nnx.Variable(jnp.zeros(3))
        self.weight = nnx.Param(jnp.arange(3.0))

    def __call__(self, x):
        self.count[...] += 1
        self.total[...] += x.sum(0) * self.weight[...]
        return self.total[...] / self.count[...]


class Normalised(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.5, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.linear(x))


class Decoder(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=True, rngs=rngs)

    def __call__(self, x):
        return self.attention(x)


def counter():
    return Counter(), {}, "float32[B,3]", (7, 3), {"count", "total"}


def normalised():
    return Normalised(nnx.Rngs(0)), {"training": True}, "float32[B,4]", (7, 4), {"norm.mean", "norm.var"}


def decoder():
    module = Decoder(nnx.Rngs(0))
    module.eval()
    module.attention.init_cache((2, 5, 8))
    names = {f"attention.{n}" for n in ("cache_index", "cached_key", "cached_value")}
    return module, {}, (2, 1, 8), (2, 1, 8), names


@pytest.mark.parametrize("make", [counter, normalised, decoder])
def test_steps_equal_those_of_jax(make):
    module, options, spec, shape, names = make()
    model = to_onnx(module, [spec], state="io", **options)
    runner = Runner(model)
    assert set(runner.input_names[1:]) == names
    assert runner.output_names == ["output", *(f"{n}.next" for n in runner.input_names[1:])]
    state = [read(module, name) for name in runner.input_names[1:]]
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.normal(size=shape).astype(np.float32)
        output, *state = runner.run([x, *state])
        np.testing.assert_allclose(output, module(jnp.asarray(x)), rtol=2e-5, atol=1e-6)
        for name, value in zip(runner.input_names[1:], state, strict=True):
            np.testing.assert_allclose(value, read(module, name), rtol=2e-5, atol=1e-6)


def test_without_asking_the_state_stays_as_it_is():
    module, _, spec, shape, _ = counter()
    runner = Runner(to_onnx(module, [spec]))
    assert runner.output_names == ["output"]
    x = np.ones(shape, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(runner.run([x])[0], 7 * np.arange(3, dtype=np.float32))
    assert int(module.count[...]) == 0


@pytest.mark.parametrize("make", [counter, normalised, decoder])
def test_a_check_compares_the_state_too(make):
    module, options, spec, _, names = make()
    model = to_onnx(module, [spec], state="io", **options)
    before = {name: read(module, name) for name in names}
    report = check(model, module, [spec], state="io", kinds=("ordinary", "large"), **options)
    assert {o.name for o in report.outputs} == {"output", *(f"{n}.next" for n in names)}
    for name, value in before.items():
        np.testing.assert_array_equal(read(module, name), value)


def test_a_check_steps_from_the_state_of_now_and_sees_a_wrong_one():
    module, _, spec, shape, _ = counter()
    model = to_onnx(module, [spec], state="io")
    module(jnp.ones(shape))
    check(model, module, [spec], state="io", kinds=("ordinary",))

    class Wrong(Counter):
        def __call__(self, x):
            result = super().__call__(x)
            self.total[...] += 1
            return result

    with pytest.raises(CheckError, match=r"total\.next"):
        check(to_onnx(Wrong(), [spec], state="io"), module, [spec], state="io")
    with pytest.raises(CheckError, match="state='io' if it was exported so"):
        check(model, module, [spec])


def test_state_and_parameters_that_have_the_name_of_an_input():
    class Named(nnx.Module):
        def __init__(self):
            self.x = nnx.Variable(jnp.zeros(3))
            self.y = nnx.Variable(jnp.arange(3.0))
            self.output = nnx.Param(jnp.ones(3))

        def __call__(self, x, y):
            self.x[...] += x
            return self.x[...] * self.output[...] + self.y[...] * y

    model = to_onnx(Named(), [(3,), (3,)], state="io")
    assert [i.name for i in model.graph.input] == ["x", "y", "state.x"]
    assert [o.name for o in model.graph.output] == ["output", "state.x.next"]
    assert {t.name for t in model.graph.initializer} == {"params.output", "params.y"}
    check(model, Named(), [(3,), (3,)], state="io")


def read(module, name):
    for step in name.split("."):
        module = getattr(module, step)
    return np.asarray(module[...])
