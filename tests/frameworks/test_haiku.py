"""Functions that haiku transformed convert as plain callables; their parameters are weights, or inputs."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


def mlp(x):
    return hk.nets.MLP([8, 3])(x)


def conv_net(x):
    x = jax.nn.relu(hk.Conv2D(4, 3, stride=2)(x))
    x = hk.MaxPool((2, 2, 1), (2, 2, 1), "SAME")(x)
    return hk.Linear(5)(hk.Flatten()(x))


def lstm(xs):
    core = hk.LSTM(4)
    outs, _ = hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[0]), time_major=False)
    return outs


def transformed(fn, *shape):
    pair = hk.without_apply_rng(hk.transform(fn))
    return pair.apply, pair.init(jax.random.key(0), jnp.ones(shape))


def exported(fn, inputs):
    model = to_onnx(fn, inputs)
    onnx.checker.check_model(model, full_check=True)
    check(model, fn, inputs)
    return model


@pytest.mark.parametrize(
    ("fn", "shape"), [(mlp, (4,)), (conv_net, (8, 8, 3)), (lstm, (5, 3))], ids=lambda p: getattr(p, "__name__", "")
)
def test_parameters_held_by_a_partial(fn, shape):
    apply, params = transformed(fn, 1, *shape)
    model = exported(functools.partial(apply, params), [("B", *shape)])
    held = {t.name: int(np.prod(t.dims)) for t in model.graph.initializer}
    for module, arrays in params.items():
        for name, array in arrays.items():
            assert held[f"{module}.{name}"] == array.size


def test_what_the_mlp_is_made_of():
    apply, params = transformed(mlp, 1, 4)
    model = exported(functools.partial(apply, params), [("B", 4)])
    assert operators(model) == {"Gemm": 2, "Relu": 1}


def test_parameters_as_inputs():
    apply, params = transformed(mlp, 1, 4)
    model = exported(apply, [params, ("B", 4)])
    assert model.graph.input[0].name == "params.mlp/~/linear_0.b"
    assert not model.graph.initializer


def test_state_is_a_pytree():
    pair = hk.transform_with_state(
        lambda x: hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(hk.Linear(3)(x), is_training=True)
    )
    params, state = pair.init(jax.random.key(0), jnp.ones((6, 4)))

    def step(state, x):
        return pair.apply(params, state, None, x)

    inputs = [state, (6, 4)]
    model = to_onnx(step, inputs)
    check(model, step, inputs)
    assert len(model.graph.input) == 1 + len(jax.tree.leaves(state))
    assert len(model.graph.output) == 1 + len(jax.tree.leaves(state))


def test_nodes_know_their_modules():
    apply, params = transformed(lstm, 2, 5, 3)
    model = to_onnx(functools.partial(apply, params), [("B", 5, 3)])
    nodes = list(model.graph.node)
    for node in nodes:
        nodes += [inner for attribute in node.attribute for inner in attribute.g.node]
    told = {entry.value for node in nodes for entry in node.metadata_props if entry.key == "namespace"}
    assert told >= {"lstm", "lstm/linear"}

    apply, params = transformed(mlp, 1, 4)
    model = to_onnx(functools.partial(apply, params), [("B", 4)])
    told = [entry.value for node in model.graph.node for entry in node.metadata_props if entry.key == "namespace"]
    assert told == ["mlp/linear_0", "mlp", "mlp/linear_1"]
