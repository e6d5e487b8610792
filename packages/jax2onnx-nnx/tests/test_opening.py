"""Opening modules: named parameters, inference form, one warning, and the user's object as it was."""

import functools
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


class MLP(nnx.Module):
    """The quick start's model."""

    def __init__(self, din: int, dmid: int, dout: int, *, rngs: nnx.Rngs, rate: float = 0.1) -> None:
        self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
        self.dropout = nnx.Dropout(rate=rate, rngs=rngs)
        self.bn = nnx.BatchNorm(dmid, rngs=rngs)
        self.linear2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x):
        return self.linear2(nnx.gelu(self.dropout(self.bn(self.linear1(x)))))

    def encode(self, x, scale=1.0):
        return self.linear1(x) * scale


def mlp(**options):
    return MLP(30, 20, 10, rngs=nnx.Rngs(0), **options)


def evaluated() -> MLP:
    model = mlp()
    model.eval()
    return model


def initializers(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {i.name: tuple(i.dims) for i in model.graph.initializer}


def inference(model: onnx.ModelProto, *inputs) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], inputs, strict=True)))[0]


def test_quick_start_in_the_words_of_onnx() -> None:
    with pytest.warns(UserWarning, match="evaluation mode"):
        model = to_onnx(mlp(), [("B", 30)], opset=23)
    counts = operators(model)
    assert counts.pop("Gemm", 0) * 2 + counts.pop("MatMul", 0) + counts.pop("Add", 0) == 4
    assert counts == {"BatchNormalization": 1, "Gelu": 1}
    assert initializers(model) == {
        "linear1.kernel": (30, 20),
        "linear1.bias": (20,),
        "bn.scale": (20,),
        "bn.bias": (20,),
        "bn.mean": (20,),
        "bn.var": (20,),
        "linear2.kernel": (20, 10),
        "linear2.bias": (10,),
    }
    check(model, evaluated(), [("B", 30)])


def test_one_warning_names_the_layers_and_the_remedies() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_onnx(mlp(), [("B", 30)])
    (warning,) = caught
    assert warning.category is UserWarning
    assert warning.filename == __file__
    for said in ("bn (BatchNorm)", "dropout (Dropout)", "model.eval()", "training=True"):
        assert said in str(warning.message)
    assert "linear" not in str(warning.message)


def test_evaluation_mode_and_dropout_of_nothing_are_silent() -> None:
    model = mlp(rate=0.0)
    model.bn.use_running_average = True
    to_onnx(model, [("B", 30)])
    to_onnx(evaluated(), [("B", 30)])


def test_a_warning_of_many_layers_counts_them() -> None:
    class Deep(nnx.Module):
        def __init__(self) -> None:
            self.layers = nnx.List([nnx.Dropout(0.5, rngs=nnx.Rngs(i)) for i in range(20)])

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    with pytest.warns(UserWarning, match=r"layers\.0 \(Dropout\), .* and 8 more"):
        to_onnx(Deep(), [("B", 3)])


def test_the_module_stays_as_it_was() -> None:
    model = mlp()
    leaves = jax.tree.leaves(nnx.state(model, nnx.Not(nnx.RngKey)))
    with pytest.warns(UserWarning, match="evaluation mode"):
        to_onnx(model, [("B", 30)])
    to_onnx(model.bn, [(3, 20)], training=True)
    assert not model.dropout.deterministic
    assert not model.bn.use_running_average
    assert all(a is b for a, b in zip(leaves, jax.tree.leaves(nnx.state(model, nnx.Not(nnx.RngKey))), strict=True))
    assert int(model.dropout.rngs.count[...]) == 0
    model(jnp.ones((2, 30)))


def test_training_drops_what_the_module_would_drop() -> None:
    layer = nnx.Dropout(0.5, rngs=nnx.Rngs(3))
    x = np.random.default_rng(0).standard_normal((4, 30)).astype(np.float32)
    model = to_onnx(layer, [(4, 30)], training=True)
    np.testing.assert_array_equal(inference(model, x), nnx.clone(layer)(x))
    assert int(layer.rngs.count[...]) == 0


def test_training_uses_the_statistics_of_the_batch() -> None:
    layer = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(3, 2, (6, 4)).astype(np.float32)
    model = to_onnx(layer, [("B", 4)], training=True)
    assert initializers(model).keys().isdisjoint({"mean", "var"})
    expected = nnx.clone(layer)(x)
    np.testing.assert_allclose(inference(model, x), expected, rtol=1e-5, atol=1e-5)
    layer.eval()
    np.testing.assert_allclose(inference(to_onnx(layer, [("B", 4)]), x), layer(x), rtol=1e-5, atol=1e-5)
    assert np.abs(np.asarray(layer(x)) - np.asarray(expected)).max() > 1


def test_bound_method() -> None:
    model = evaluated()
    exported = to_onnx(model.encode, [("B", 30)])
    assert initializers(exported).keys() >= {"linear1.kernel", "linear1.bias"}
    assert [i.name for i in exported.graph.input] == ["x"]
    check(exported, model.encode, [("B", 30)])


def test_partial_over_a_method_and_over_modules() -> None:
    model = evaluated()
    doubled = functools.partial(model.encode, scale=2.0)
    check(to_onnx(doubled, [("B", 30)]), doubled, [("B", 30)])

    def both(first, second, x):
        return second(first.encode(x))

    pair = functools.partial(both, model, nnx.Linear(20, 5, rngs=nnx.Rngs(1)))
    exported = to_onnx(pair, [("B", 30)])
    assert {n for n in initializers(exported) if n.endswith("kernel")} == {"0.linear1.kernel", "1.kernel"}
    check(exported, pair, [("B", 30)])


def test_jitted_methods_and_functions() -> None:
    class Jitted(nnx.Module):
        def __init__(self) -> None:
            self.linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))

        @nnx.jit
        def __call__(self, x):
            return self.linear(x)

        @nnx.jit
        def method(self, x):
            return self.linear(x) + 1

    model = Jitted()
    for fn in (model, model.method, functools.partial(nnx.jit(lambda m, x: m.linear(x) * 2), model)):
        exported = to_onnx(fn, [("B", 3)])
        assert "linear.kernel" in initializers(exported)
        check(exported, fn, [("B", 3)])
    model(jnp.ones((1, 3)))


def test_shared_and_nested_modules_are_named_once() -> None:
    class Tied(nnx.Module):
        def __init__(self) -> None:
            self.layers = nnx.List([nnx.Linear(3, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 3, rngs=nnx.Rngs(1))])
            self.again = self.layers[0]

        def __call__(self, x):
            return self.again(self.layers[1](self.layers[0](x)))

    model = Tied()
    exported = to_onnx(model, [("B", 3)])
    kernels = {n for n in initializers(exported) if n.endswith("kernel")}
    assert kernels in ({"layers.0.kernel", "layers.1.kernel"}, {"again.kernel", "layers.1.kernel"})
    check(exported, model, [("B", 3)])


class Counting(nnx.Module):
    def __init__(self) -> None:
        self.count = nnx.Variable(jnp.float32(0))

    def __call__(self, x):
        self.count[...] += 1
        return x * self.count[...]


class Noting(nnx.Module):
    factor = 1

    def __call__(self, x):
        self.factor += 1
        return x * self.factor


@pytest.mark.parametrize("shared", [Counting, Noting])
def test_what_modules_share_stays_shared(shared) -> None:
    class Twice(nnx.Module):
        def __init__(self) -> None:
            self.one = shared()
            self.other = self.one

        def __call__(self, x):
            return self.other(self.one(x))

    model = Twice()
    x = np.float32([1, -2, 0])
    expected = nnx.clone(model)(x)
    np.testing.assert_array_equal(inference(to_onnx(model, [(3,)]), x), expected)
    assert expected[0] != shared()(shared()(x))[0]


class Bare(nnx.Module, pytree=False):
    def __init__(self) -> None:
        self.linear = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.linear(x)


class Holding(nnx.Module):
    def __init__(self, further: list[nnx.Module]) -> None:
        self.listed = nnx.List([nnx.Linear(2, 2, rngs=nnx.Rngs(0)), *further])
        self.named = nnx.Dict(first=nnx.Linear(2, 2, rngs=nnx.Rngs(1)))
        self.plain = nnx.data({"second": [nnx.Linear(2, 2, rngs=nnx.Rngs(2))]})
        self.array = nnx.data(jnp.ones(2))
        self.table = nnx.Param({"a": jnp.ones(2)})

    def __call__(self, x):
        for layer in (*self.listed, self.named["first"], *self.plain["second"]):
            x = layer(x)
        return x + self.array + self.table["a"]


@pytest.mark.parametrize("further", [[], [Bare()]])
def test_names_are_paths_in_whatever_holds_modules(further) -> None:
    model = Holding(further)
    exported = to_onnx(model, [("B", 2)])
    check(exported, model, [("B", 2)])
    paths = ["listed.0", "named.first", "plain.second.0", *("listed.1.linear" for _ in further)]
    wanted = {f"{path}.{name}" for path in paths for name in ("kernel", "bias")}
    assert wanted | {"array", "table.a"} <= initializers(exported).keys()


@pytest.mark.parametrize("cell", [nnx.LSTMCell, nnx.GRUCell, nnx.SimpleCell])
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_modules(cell, reverse) -> None:
    model = nnx.RNN(cell(3, 4, rngs=nnx.Rngs(0)), reverse=reverse, keep_order=True)
    check(to_onnx(model, [("B", 5, 3)]), model, [("B", 5, 3)])


def test_a_decoding_cache_is_touched_on_a_copy() -> None:
    attention = nnx.MultiHeadAttention(num_heads=2, in_features=4, qkv_features=4, decode=True, rngs=nnx.Rngs(0))
    attention.init_cache((2, 5, 4))
    exported = to_onnx(attention, [(2, 1, 4)])
    assert int(attention.cache_index[...]) == 0
    assert "cached_key" in initializers(exported)
    x = np.random.default_rng(0).standard_normal((2, 1, 4)).astype(np.float32)
    np.testing.assert_allclose(inference(exported, x), nnx.clone(attention)(x), rtol=1e-5, atol=1e-5)


def test_functions_without_modules_are_left_alone() -> None:
    from jax2onnx.plugin.opening import Opening
    from jax2onnx_nnx.opening import open_modules

    assert open_modules(jnp.sin, Opening()) is None
    assert open_modules([1].append, Opening()) is None
    assert open_modules(functools.partial(jnp.add, 1), Opening()) is None


def test_flax_is_not_imported_for_a_function() -> None:
    program = """
import sys
import jax.numpy as jnp
from jax2onnx_nnx import plugin
assert plugin.jax2onnx_open(jnp.sin, False) is None
assert "flax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_submodules_as_functions_show_the_tree() -> None:
    model = evaluated()
    exported = to_onnx(model, [("B", 30)], functions="modules")
    onnx.checker.check_model(exported, full_check=True)
    check(exported, model, [("B", 30)])
    assert [n.op_type for n in exported.graph.node] == ["Linear", "BatchNorm", "Dropout", "Gelu", "Linear_1"]
    assert {f.name for f in exported.functions} == {"Linear", "BatchNorm", "Dropout", "Linear_1"}
    assert type(model.linear1) is nnx.Linear


def test_state_of_submodules_that_are_functions_costs_nothing_where_it_is_dropped() -> None:
    cell = nnx.LSTMCell(3, 4, activation_fn=nnx.relu, rngs=nnx.Rngs(0))  # with tanh it would be one operator
    model = nnx.Sequential(nnx.RNN(cell), nnx.Linear(4, 2, rngs=nnx.Rngs(1)))
    exported = to_onnx(model, [(2, 5, 3)], functions="modules")
    onnx.checker.check_model(exported, full_check=True)
    check(exported, model, [(2, 5, 3)])
    assert [n.op_type for n in exported.graph.node] == ["RNN", "Linear_2"]
    assert {"LSTMCell", "RNN"} <= {f.name for f in exported.functions}
    assert all(len(f.output) == 1 for f in exported.functions if f.name != "LSTMCell")
