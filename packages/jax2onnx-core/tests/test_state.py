"""State as inputs and outputs: what a call changes, step by step, equals what JAX does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_framework import Layer, Linear, Noise

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError
from jax2onnx.testing import Runner

pytestmark = pytest.mark.usefixtures("toy")


class Counter(Layer):
    def __init__(self):
        self.count_ = jnp.zeros((), jnp.int32)
        self.total_ = jnp.zeros(3)
        self.weight = jnp.arange(3.0)

    def __call__(self, x):
        self.count_ += 1
        self.total_ += x.sum(0) * self.weight
        return self.total_ / self.count_


class Normalised(Layer):
    """Its state is in a layer below, and it changes a part of that only."""

    def __init__(self):
        self.linear = Linear(4, 3)
        self.noise = Noise()
        self.counter = Counter()

    def __call__(self, x):
        return self.counter(self.noise(self.linear(x)))


class Decoder(Layer):
    """Its state is written at an index that is state too."""

    def __init__(self):
        self.index_ = jnp.zeros((), jnp.int32)
        self.cache_ = jnp.zeros((2, 5, 8))

    def __call__(self, x):
        self.cache_ = jax.lax.dynamic_update_slice_in_dim(self.cache_, x, self.index_, axis=1)
        self.index_ += 1
        return self.cache_.sum(1, keepdims=True)


def counter():
    return Counter(), {}, "float32[B,3]", (7, 3), {"count_", "total_"}


def normalised():
    names = {"noise.count_", "counter.count_", "counter.total_"}
    return Normalised(), {"training": True}, "float32[B,4]", (7, 4), names


def decoder():
    return Decoder(), {}, (2, 1, 8), (2, 1, 8), {"cache_", "index_"}


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
    assert int(module.count_) == 0


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
            self.total_ += 1
            return result

    with pytest.raises(CheckError, match=r"total_\.next"):
        check(to_onnx(Wrong(), [spec], state="io"), module, [spec], state="io")
    with pytest.raises(CheckError, match="state='io' if the model was exported with it"):
        check(model, module, [spec])


def test_state_and_parameters_that_have_the_name_of_an_input():
    class Named(Layer):
        def __init__(self):
            self.x_ = jnp.zeros(3)
            self.y_ = jnp.arange(3.0)
            self.output = jnp.ones(3)

        def __call__(self, x_, y_):
            self.x_ += x_
            return self.x_ * self.output + self.y_ * y_

    model = to_onnx(Named(), [(3,), (3,)], state="io")
    assert [i.name for i in model.graph.input] == ["x_", "y_", "state.x_"]
    assert [o.name for o in model.graph.output] == ["output", "state.x_.next"]
    assert {t.name for t in model.graph.initializer} == {"params.output", "params.y_"}
    check(model, Named(), [(3,), (3,)], state="io")


def read(layer, name):
    for step in name.split("."):
        layer = getattr(layer, step)
    return np.asarray(layer)
