"""Opening equinox modules: names, inference form, functions, state, and the user's object as it was."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.errors import UnsupportedCaseError


class Net(eqx.Module):
    layers: list
    dropout: eqx.nn.Dropout
    scale: np.ndarray
    power: int = eqx.field(static=True)

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.layers = [eqx.nn.Linear(4, 5, key=first), jax.nn.relu, eqx.nn.Linear(5, 3, key=second)]
        self.dropout = eqx.nn.Dropout(0.5)
        self.scale = np.full(3, 2.0)
        self.power = 2

    def __call__(self, x, *, key=None):
        for layer in self.layers:
            x = layer(x)
        return self.dropout(x, key=key) ** self.power * self.scale

    def encode(self, tokens):
        return self.layers[0](tokens)


class Step(eqx.Module):
    """A batch through a linear layer and batch normalisation."""

    linear: eqx.nn.Linear
    norm: eqx.nn.BatchNorm

    def __init__(self, key):
        self.linear = eqx.nn.Linear(4, 3, key=key)
        self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="ema", momentum=0.5)

    def __call__(self, xs, state):
        def one(x, state):
            return self.norm(self.linear(x), state)

        return jax.vmap(one, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(xs, state)


PARAMETERS = {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"}


@pytest.fixture(scope="module")
def net():
    return Net(jax.random.key(0))


@pytest.fixture(scope="module")
def evaluated(net):
    return eqx.nn.inference_mode(net)


@pytest.fixture(scope="module")
def step():
    return eqx.nn.make_with_state(Step)(jax.random.key(0))


def names(values):
    return [v.name for v in values]


def run(model, **feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip(names(session.get_outputs()), session.run(None, feeds), strict=True))


def test_arrays_are_named_by_path(evaluated):
    model = to_onnx(evaluated, [(4,)])
    assert {t.name for t in model.graph.initializer} >= PARAMETERS | {"scale"}
    assert names(model.graph.input) == ["x"]
    assert model.graph.name == "Net"


def test_one_warning_names_the_layers_and_the_module_stays_as_it_was(net):
    with pytest.warns(UserWarning, match=r"inference selves .*: dropout \(Dropout\)\. Call") as raised:
        model = to_onnx(net, [(4,)])
    assert len(raised) == 1
    assert not net.dropout.inference
    x = np.ones(4, np.float32)
    np.testing.assert_allclose(run(model, x=x)["output"], eqx.nn.inference_mode(net)(x), rtol=1e-5)


def test_dropout_of_nothing_is_worth_no_warning():
    check(to_onnx(eqx.nn.Dropout(0.0), [(4,)]), eqx.nn.Dropout(0.0), [(4,)])


@pytest.mark.parametrize("of", ["method", "partial", "vmap", "jit", "jax.vmap"])
def test_other_ways_to_say_what_is_exported(evaluated, of):
    target = {
        "method": evaluated.encode,
        "partial": functools.partial(evaluated, key=None),
        "vmap": eqx.filter_vmap(evaluated),
        "jit": eqx.filter_jit(evaluated),
        "jax.vmap": jax.vmap(evaluated),
    }[of]
    inputs = [("B", 4)] if "vmap" in of else [(4,)]
    model = to_onnx(target, inputs)
    onnx.checker.check_model(model, full_check=True)
    check(model, target, inputs)
    assert names(model.graph.input) == ["tokens" if of == "method" else "x"]
    if of != "jax.vmap":
        assert {t.name for t in model.graph.initializer} >= {"layers.0.weight", "layers.0.bias"}


@pytest.mark.parametrize("batched", [False, True])
def test_submodules_as_functions_on_a_copy(evaluated, batched):
    target = eqx.filter_vmap(evaluated) if batched else evaluated
    inputs = [("B", 4)] if batched else [(4,)]
    model = to_onnx(target, inputs, functions="modules")
    onnx.checker.check_model(model, full_check=True)
    check(model, target, inputs)
    assert {f.name for f in model.functions} == ({"Net"} if batched else set()) | {"Dropout", "Linear", "Linear_1"}
    assert type(evaluated.layers[0]) is eqx.nn.Linear


def test_state_is_a_pytree_of_inputs_and_outputs(step):
    module, state = step
    module = eqx.nn.inference_mode(module)
    model = to_onnx(module, [(5, 4), state])
    check(model, module, [(5, 4), state])
    leaves = len(jax.tree.leaves(state))
    assert len(model.graph.input) == len(model.graph.output) == 1 + leaves


def test_state_of_a_partial_follows_jax_as_inputs_and_outputs(step):
    module, state = step
    model = to_onnx(functools.partial(module, state=state), [(6, 4)], state="io", training=True)
    own = [n for n in names(model.graph.input) if n != "xs"]
    assert all(n.startswith("state.") for n in own)
    assert set(names(model.graph.output)) == {"output", *(f"{n}.next" for n in own)}
    held = {n: np.asarray(a) for n, a in zip(own, jax.tree.leaves(state), strict=True)}
    for i in range(3):
        xs = np.random.default_rng(i).normal(size=(6, 4)).astype("float32")
        expected, state = module(jnp.asarray(xs), state)
        found = run(model, xs=xs, **held)
        held = {n: found[f"{n}.next"] for n in own}
        np.testing.assert_allclose(found["output"], expected, rtol=2e-4, atol=1e-5)
        for array, leaf in zip(held.values(), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(array, leaf, rtol=1e-5, atol=1e-6)


def test_state_that_is_not_returned_is_refused(step):
    module, state = step

    class Forgetful(eqx.Module):
        inner: Step

        def __call__(self, xs, state):
            return self.inner(xs, state)[0]

    with pytest.raises(UnsupportedCaseError, match="does not return its eqx"):
        to_onnx(functools.partial(Forgetful(module), state=state), [(5, 4)], state="io", training=True)


@pytest.mark.parametrize("form", ["lambda", "vmap", "jit"])
def test_closures_over_modules(form):
    mlp = eqx.nn.MLP(4, 2, 8, depth=1, key=jax.random.key(0))
    fn, name = {
        "lambda": (lambda x: jax.vmap(lambda row: mlp(row) * 2)(x) + 1, "mlp"),
        "vmap": (jax.vmap(mlp), "fun"),
        "jit": (jax.jit(lambda x: jax.vmap(mlp)(x) + 1), "mlp"),
    }[form]
    model = to_onnx(fn, [("B", 4)])
    assert {f"{name}.layers.{i}.weight" for i in range(2)} <= {t.name for t in model.graph.initializer}
    check(model, fn, [("B", 4)])
    assert not isinstance(mlp.layers[0].weight, jax.core.Tracer)
