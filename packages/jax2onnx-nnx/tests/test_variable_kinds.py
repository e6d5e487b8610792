"""Variables that hold a reference, or are a type of JAX's own: the same models as of plain ones."""
# ruff: noqa: PLW0108 - lambdas over layers are what is tested

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from releases import installed

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

if installed(jax, "<0.10"):
    pytest.skip("flax's variables of other kinds need functions that this jax lacks", allow_module_level=True)

KINDS = {"hijax": {"hijax": True}, "ref": {"ref": True}, "both": {"hijax": True, "ref": True}}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.again = self.first
        self.count = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        self.count[...] += 1
        local = nnx.Variable(jnp.zeros(3))
        local[...] = self.norm(self.again(nnx.relu(self.first(x))))[0]
        return x * local[...] * self.count[...]


def net():
    return Net(nnx.Rngs(0))


@pytest.fixture(params=KINDS)
def model(request):
    with nnx.var_defaults(**KINDS[request.param]):
        made = net()
    made.eval()
    return made


def test_a_module(model):
    exported = to_onnx(model, [("B", 3)])
    check(exported, model, [("B", 3)])
    plain = net()
    plain.eval()
    assert operators(exported) == operators(to_onnx(plain, [("B", 3)]))
    assert sorted(w.name for w in exported.graph.initializer) == sorted(
        w.name for w in to_onnx(plain, [("B", 3)]).graph.initializer
    )


def test_the_users_module_is_not_changed(model):
    kinds = [
        type(v) for v in jax.tree_util.tree_leaves(nnx.state(model), is_leaf=lambda v: isinstance(v, nnx.Variable))
    ]
    to_onnx(model, [(2, 3)])
    assert float(np.asarray(model.count[...])) == 0
    after = jax.tree_util.tree_leaves(nnx.state(model), is_leaf=lambda v: isinstance(v, nnx.Variable))
    assert [type(v) for v in after] == kinds


def test_state_is_an_input_and_an_output(model):
    exported = to_onnx(model, [(2, 3)], state="io")
    assert [value.name for value in exported.graph.output] == ["output", "count.next"]
    check(exported, model, [(2, 3)], state="io")


def test_closures_and_variables(model):
    linear = model.first
    check(to_onnx(lambda x: linear(x), [(2, 3)]), linear, [(2, 3)])
    bias = linear.bias
    exported = to_onnx(lambda x: x + bias[...], [(2, 3)])
    assert [w.name for w in exported.graph.initializer] == ["bias"]


@pytest.mark.skipif(
    installed(jax, "<0.11"),
    reason="lower_jaxpr of an older jax takes no such constants",
)
def test_jit_around_types_of_jax():
    with nnx.var_defaults(hijax=True):
        linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))

    @nnx.jit
    def function(x):
        return linear(x)

    with pytest.warns(UserWarning, match="weights are constants"):
        exported = to_onnx(function, [("B", 3)])
    check(exported, function, [("B", 3)])
