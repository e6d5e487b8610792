"""State, random numbers and modes of flax.nnx modules: step by step, and by keys and switches at run time."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx

from jax2onnx import check, to_onnx
from jax2onnx.errors import InputSpecError
from jax2onnx.testing import Runner, operators


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


def read(module, name):
    for step in name.split("."):
        module = getattr(module, step)
    return np.asarray(module[...])


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


@pytest.mark.parametrize("make", [counter, normalised, decoder])
def test_a_check_compares_the_state_too(make):
    module, options, spec, _, names = make()
    model = to_onnx(module, [spec], state="io", **options)
    before = {name: read(module, name) for name in names}
    report = check(model, module, [spec], state="io", kinds=("ordinary", "large"), **options)
    assert {o.name for o in report.outputs} == {"output", *(f"{n}.next" for n in names)}
    for name, value in before.items():
        np.testing.assert_array_equal(read(module, name), value)


SWITCH = {"deterministic": "bool[]"}
ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


class Switched(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))
        self.attention = nnx.MultiHeadAttention(2, 4, dropout_rate=0.25, rngs=nnx.Rngs(2))
        self.eval()

    def __call__(self, x, *, deterministic):
        x = self.dropout(self.linear(x), deterministic=deterministic)
        return self.attention(x, deterministic=deterministic, decode=False)


@pytest.mark.parametrize("rows", ["B", 7])
@pytest.mark.parametrize("value", [True, False])
def test_dropout_that_is_switched_at_run_time(rows, value):
    net = Switched()
    model = to_onnx(net, [(rows, 3)], input_params=SWITCH)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["x", "deterministic"]
    assert operators(model)["If"] == 1
    assert {"linear.kernel", "linear.bias"} <= {t.name for t in model.graph.initializer}
    (found,) = Runner(model).run([ROWS, np.asarray(value)])
    np.testing.assert_allclose(found, nnx.clone(net)(ROWS, deterministic=value), rtol=1e-5, atol=1e-6)
    other = np.asarray(nnx.clone(net)(ROWS, deterministic=not value))
    assert np.abs(found - other).max() > 0.01


def test_counts_of_random_numbers_are_state():
    net = Switched()
    step = to_onnx(net, [(7, 3)], input_params=SWITCH, state="io")
    runner = Runner(step)
    counts = [n for n in runner.input_names if n.endswith("count")]
    assert runner.output_names == ["output", *(f"{n}.next" for n in counts)]
    assert len(counts) >= 1
    state = [np.zeros((), np.uint32)] * len(counts)
    for value in (False, True, False, False):
        found, *state = runner.run([ROWS, np.asarray(value), *state])
        np.testing.assert_allclose(found, net(ROWS, deterministic=value), rtol=1e-5, atol=1e-6)
    assert [int(s) for s in state] == [3] * len(counts)


def test_a_parameter_that_the_module_does_not_take():
    with pytest.raises(InputSpecError, match=r"input_params: .*'training'.*takes x, deterministic"):
        to_onnx(Switched(), [(7, 3)], input_params={"training": "bool[]"})


X = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)


class Dropping(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(30, 20, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x, key):
        return self.dropout(self.linear(x), rngs=key)


def words(key):
    return np.asarray(jax.random.key_data(key)) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else np.asarray(key)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
@pytest.mark.parametrize("holds", [False, True])
def test_training_dropout_of_a_module_by_a_key(make, holds):
    net = Dropping()
    fn = (lambda x, key: net(x, key)) if holds else net  # noqa: PLW0108
    key = make(3)
    model = to_onnx(fn, [X.shape, jax.ShapeDtypeStruct(key.shape, key.dtype)], training=True)
    assert [i.name for i in model.graph.input] == ["x", "key"]
    for seed in (3, 4):
        (found,) = Runner(model).run([X, words(make(seed))])
        expected = np.asarray(nnx.clone(net)(X, make(seed)))
        np.testing.assert_array_equal(found == 0, expected == 0)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_elements_that_are_kept_are_equal_bit_for_bit():
    dropout = nnx.Dropout(0.25, rngs=nnx.Rngs(0))
    model = to_onnx(lambda x, key: dropout(x, rngs=key), [X.shape, jax.random.key(0)], training=True)
    key = jax.random.key(11)
    (found,) = Runner(model).run([X, words(key)])
    np.testing.assert_array_equal(found.view(np.uint32), np.asarray(dropout(X, rngs=key)).view(np.uint32))
