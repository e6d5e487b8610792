"""Opening flax.linen modules: names, methods, functions, state, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import linen as nn

from jax2onnx import check, to_onnx
from jax2onnx.errors import InputSpecError, TraceError, UnsupportedCaseError


class Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, *, deterministic=True, scale=None):
        y = nn.Dense(self.features)(x)
        y = nn.Dropout(0.5, deterministic=deterministic)(y)
        return {"sum": x + y, "scale": scale, "kind": "residual"}


class Net(nn.Module):
    def setup(self):
        self.embed = nn.Dense(4)
        self.blocks = [Block(4) for _ in range(2)]

    @nn.compact
    def __call__(self, x, *, train=False):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)["sum"]
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return nn.Dense(3, name="head")(x)

    def encode(self, tokens):
        return self.blocks[0](self.embed(tokens))["sum"]


class Attention(nn.Module):
    """One step of self-attention over a cache."""

    @nn.compact
    def __call__(self, x):
        attend = nn.MultiHeadDotProductAttention(2, decode=True)
        return attend(x)


INPUTS = [("B", 4)]


@pytest.fixture(scope="module")
def net():
    module = Net()
    return module, jax.jit(module.init)(jax.random.key(0), jnp.ones((1, 4)))


def names(values):
    return [v.name for v in values]


def run(model, **feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip(names(session.get_outputs()), session.run(None, feeds), strict=True))


def test_variables_are_named_by_path_without_the_collection(net):
    module, variables = net
    model = to_onnx((module, variables), INPUTS)
    held = {t.name for t in model.graph.initializer}
    assert {"blocks_0.Dense_0.kernel", "BatchNorm_0.mean", "BatchNorm_0.scale", "head.bias"} <= held
    assert names(model.graph.input) == ["x"]
    assert model.graph.name == "Net"


def test_variables_of_one_path_in_two_collections_keep_the_collection():
    class Both(nn.Module):
        @nn.compact
        def __call__(self, x):
            weight = self.param("weight", nn.initializers.ones, (3,))
            offset = self.variable("constants", "weight", lambda: jnp.arange(3.0))
            return x * weight + offset.value

    module = Both()
    variables = {"params": {"weight": jnp.full(3, 2.0)}, "constants": {"weight": jnp.arange(3.0)}}
    model = to_onnx((module, variables), [(3,)])
    assert {t.name for t in model.graph.initializer} == {"params.weight", "constants.weight"}
    check(model, (module, variables), [(3,)])


def test_metadata_of_boxed_parameters_is_no_part_of_their_name():
    module = nn.Dense(2, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, "model")))
    variables = module.init(jax.random.key(0), jnp.ones((1, 3)))
    assert {t.name for t in to_onnx((module, variables), [("B", 3)]).graph.initializer} == {"kernel", "bias"}


@pytest.mark.parametrize("of", ["bound", "method", "submodule", "partial", "partial of a method", "by name"])
def test_other_ways_to_say_what_is_exported(net, of):
    module, variables = net
    bound = module.bind(variables)
    target = {
        "bound": bound,
        "method": bound.encode,
        "submodule": bound.embed,
        "partial": functools.partial(module.apply, variables, train=False),
        "partial of a method": functools.partial(bound.encode),
        "by name": functools.partial(module.apply, variables, method="encode"),
    }[of]
    model = to_onnx(target, INPUTS)
    check(model, target, INPUTS)
    argument = {"method": "tokens", "partial of a method": "tokens", "by name": "tokens", "submodule": "inputs"}.get(
        of, "x"
    )
    assert names(model.graph.input) == [argument]
    x = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    np.testing.assert_allclose(run(model, **{argument: x})["output"], target(x), rtol=1e-4, atol=1e-5)


def test_submodules_as_functions_show_the_tree(net):
    model = to_onnx(net, INPUTS, functions="modules")
    onnx.checker.check_model(model, full_check=True)
    check(model, net, INPUTS)
    calls = {f.name: [n.op_type for n in f.node if n.domain == "jax2onnx"] for f in model.functions}
    assert calls["Block"] == ["Dense", "Dropout"]
    assert [n.op_type for n in model.graph.node] == ["Dense", "Block", "Block", "BatchNorm", "Dense_1"]


def test_functions_with_random_keys_are_refused(net):
    module, variables = net
    target = functools.partial(module.apply, variables, rngs={"dropout": jax.random.key(0)})
    with pytest.raises(UnsupportedCaseError, match="rngs"):
        to_onnx(target, INPUTS, functions="modules")


def test_a_module_without_variables_says_what_is_missing():
    with pytest.raises(InputSpecError, match=r"pass \(module, variables\)"):
        to_onnx(Net(), INPUTS)


def test_an_update_of_immutable_variables_names_the_remedies(net):
    module, variables = net
    with pytest.raises(TraceError, match="batch_stats") as raised:
        to_onnx(functools.partial(module.apply, variables, train=True), INPUTS)
    assert "state='io'" in str(raised.value)
    assert "mutable=" in str(raised.value)


def test_training_says_that_modes_are_arguments(net):
    with pytest.warns(UserWarning, match="training=True decides nothing"):
        to_onnx(net, INPUTS, training=True)


def test_mutable_collections_are_results_where_apply_returns_them(net):
    module, variables = net
    target = functools.partial(module.apply, variables, train=True, mutable=["batch_stats"])
    model = to_onnx(target, INPUTS)
    check(model, target, INPUTS)
    assert len(model.graph.output) == 3


@pytest.mark.parametrize("functions", ["marked", "modules"])
def test_statistics_as_state_follow_jax(net, functions):
    module, variables = net
    model = to_onnx(functools.partial(module.apply, variables, train=True), INPUTS, state="io", functions=functions)
    state = {"BatchNorm_0.mean", "BatchNorm_0.var"}
    assert set(names(model.graph.input)) == {"x", *state}
    assert set(names(model.graph.output)) == {"output", *(f"{n}.next" for n in state)}
    held = {f"BatchNorm_0.{k}": np.asarray(v) for k, v in variables["batch_stats"]["BatchNorm_0"].items()}
    for step in range(3):
        x = np.random.default_rng(step).normal(size=(5, 4)).astype("float32")
        expected, updates = module.apply(variables, x, train=True, mutable=["batch_stats"])
        variables = {**variables, **updates}
        found = run(model, x=x, **held)
        held = {n: found[f"{n}.next"] for n in state}
        np.testing.assert_allclose(found["output"], expected, rtol=2e-4, atol=1e-5)
        for name, array in updates["batch_stats"]["BatchNorm_0"].items():
            np.testing.assert_allclose(held[f"BatchNorm_0.{name}"], array, rtol=1e-5, atol=1e-6)


def test_a_decode_cache_is_fed_back_token_by_token():
    module = Attention()
    steps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 6)), jnp.float32)
    variables = jax.jit(module.init)(jax.random.key(0), steps)
    model = to_onnx((module, variables), [(1, 1, 6)], state="io")
    prefix = "MultiHeadDotProductAttention_0."
    cache = variables["cache"]["MultiHeadDotProductAttention_0"]
    held = {prefix + name: np.asarray(array) for name, array in cache.items()}
    assert set(names(model.graph.input)) == {"x", *held}
    for i in range(4):
        token = steps[:, i : i + 1]
        expected, updates = module.apply(variables, token, mutable=["cache"])
        variables = {**variables, **updates}
        found = run(model, x=np.asarray(token), **held)
        held = {name: found[f"{name}.next"] for name in held}
        np.testing.assert_allclose(found["output"], expected, rtol=2e-5, atol=1e-6)
