"""Each hook is documented, and does what its documentation says; lowerings of jax.lax come from the plugin lax."""

import inspect
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

import jax2onnx
from jax2onnx.errors import PluginError
from jax2onnx.plugin import hookspecs
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.kept_weights import locked

ROOT = Path(__file__).parents[3]

ALL = '''
class Box:
    """What the plugin opens: an array that adds itself to what it is given."""

    def __init__(self, array):
        self.array = array

    def __call__(self, x):
        return x + self.array


def thrice(x):
    return x + x * 2.0


@hookimpl
def jax2onnx_register_lowerings(registry):
    registry.add("hooked", lambda ctx, x, *, times: ctx.op.Mul(x, times))


@hookimpl
def jax2onnx_register_fusions(registry):
    from jax2onnx.plugin import Fusion

    emit = {18: lambda ctx, x: ctx.op.Mul(x, 3)}
    registry.add(Fusion(name="thrice", reference=thrice, examples=[[(2,)]], emit=emit))


@hookimpl
def jax2onnx_register_examples(registry):
    from jax2onnx.plugin import Example

    registry.add(
        Example(name="thrice", context="hooked", component="thrice", make=lambda: thrice, inputs=[("B", 2)])
    )


@hookimpl
def jax2onnx_register_targets(registry):
    from jax2onnx.plugin import Target

    registry.add(Target("nothing", "a runtime without any kernel", None, {("", "Add"): ()}))


@hookimpl
def jax2onnx_open(target, opening):
    from jax2onnx.plugin import Opened

    if isinstance(target, Box):
        def function(params, x):
            return x - params["array"] if opening.training else x + params["array"]

        return Opened(function=function, params={"array": target.array}, name="box")


@hookimpl
def jax2onnx_carry(target):
    from jax2onnx.plugin import Carried

    if isinstance(target, Box):
        return Carried(
            static="box",
            leaves=[target.array],
            rebuild=lambda leaves: Box(*leaves),
            read=lambda box: [box.array],
            write=lambda leaves: setattr(target, "array", leaves[0]),
        )


@hookimpl
def jax2onnx_open_weights(path):
    import numpy as np

    from jax2onnx.plugin import StoredArray

    if path.suffix == ".csv":
        array = np.loadtxt(path, np.float32, delimiter=",", ndmin=1)
        return {"array": StoredArray(shape=array.shape, dtype=array.dtype, read=lambda: array)}


@hookimpl
def jax2onnx_finalize(model):
    model.graph.doc_string = "finalised"
'''


@pytest.fixture
def plugin(fake_plugin):
    """The module of a plugin that implements every hook."""
    fake_plugin("hooked", ALL)
    return plugins.load().manager.get_plugin("hooked")


def hook_names():
    return {name for name in vars(hookspecs) if name.startswith("jax2onnx_")}


def run(model, *values):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], values, strict=True)))[0]


def operators(model):
    return [node.op_type for node in model.graph.node]


X = np.array([1, -2], np.float32)


def test_every_hook_is_implemented_here(plugin):
    (info,) = [i for i in plugins.load().infos if i.name == "hooked"]
    assert info.status == "ok", info.reason
    assert set(info.hooks) == hook_names()


def test_weights_of_another_format(plugin, tmp_path):
    (tmp_path / "w.csv").write_text("1,2")
    box = plugin.Box(jax.ShapeDtypeStruct((2,), np.float32))
    model = jax2onnx.to_onnx(box, [(2,)], weights=tmp_path / "w.csv")
    assert run(model, X).tolist() == [2, 0]


@pytest.mark.parametrize("wrong", ["return 3", "return {'array': 3}", "raise KeyError('mine')"])
def test_what_an_opener_of_weights_does_wrong(fake_plugin, tmp_path, wrong):
    body = "from jax2onnx import hookimpl\n@hookimpl\ndef jax2onnx_open_weights(path):\n    " + wrong
    fake_plugin("wrong", body)
    with pytest.raises(jax2onnx.errors.PluginError, match=r"the plugin wrong.*jax2onnx_open_weights"):
        jax2onnx.to_onnx(abs, [(2,)], weights=tmp_path)


def test_every_hook_is_documented():
    for name in hook_names():
        assert inspect.getdoc(getattr(hookspecs, name))


def test_the_hook_reference_is_current():
    written = runpy.run_path(str(ROOT / "scripts" / "hook_reference.py"))
    page = written["PAGE"].read_text()
    assert all(f"`{name}(" in page for name in hook_names())
    assert written["updated"](page) == page, "run python scripts/hook_reference.py"


def test_register_lowerings(plugin):
    from jax.extend.core import Primitive

    hooked_p = Primitive("hooked")
    hooked_p.def_abstract_eval(lambda x, *, times: x)
    model = jax2onnx.to_onnx(lambda x: hooked_p.bind(x, times=5.0), [(2,)])
    np.testing.assert_array_equal(run(model, X), X * 5)


def test_register_fusions(plugin):
    model = jax2onnx.to_onnx(lambda x: plugin.thrice(x), [(2,)])  # noqa: PLW0108 - a function that is not the reference
    assert operators(model) == ["Mul"]
    np.testing.assert_array_equal(run(model, X), X * 3)
    assert operators(jax2onnx.to_onnx(plugin.thrice, [(2,)], fusions=False)) == ["Mul", "Add"]


DECLINING = """
def scaled(x):
    return x + x * 0.125


@hookimpl
def jax2onnx_register_fusions(registry):
    from jax2onnx.plugin import Decline
    from jax2onnx.plugin import Fusion

    def emit(ctx, x):
        size, width = ctx.avals_in[0].shape
        ctx.op.Mul(ctx.reshape(x, (size, width), (width, size, 1)), ctx.constant(1.125, "float32"))
        ctx.dim(size)
        raise Decline("after it has emitted something")

    registry.add(Fusion(name="scaled", reference=scaled, examples=[[(2, 3)]], emit={18: emit}))
"""


@pytest.mark.parametrize("wrap", [lambda f: f, jax2onnx.onnx_function], ids=["plain", "function"])
def test_a_rule_may_decline_after_it_has_emitted(fake_plugin, wrap):
    """What it asked for, such as a dimension or a constant, is there for those who ask for it later."""
    fake_plugin("declining", DECLINING)
    scaled = plugins.load().manager.get_plugin("declining").scaled

    def function(x):
        return jnp.broadcast_to(scaled(x).sum(0) * 1.125, x.shape) + jnp.arange(x.shape[0])[:, None]

    model = jax2onnx.to_onnx(wrap(function), [("B", 3)])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(run(model, x), function(x), rtol=1e-6)
    assert len(operators(model)) <= len(operators(jax2onnx.to_onnx(wrap(function), [("B", 3)], fusions=False)))


def test_register_examples(plugin):
    from jax2onnx import testing

    cases = testing.cases("hooked")
    assert sorted(map(str, cases)) == [
        "hooked.thrice",
        "hooked.thrice-plain",
        "hooked.thrice_dynamic",
        "hooked.thrice_dynamic-plain",
    ]
    for case in cases:
        testing.run(case)


def test_register_targets(plugin):
    with pytest.raises(jax2onnx.errors.NoKernelError, match="without any kernel"):
        jax2onnx.to_onnx(plugin.thrice, [(2,)], target="nothing")


@pytest.mark.parametrize("training", [False, True])
def test_open(plugin, training):
    box = plugin.Box(np.array([10, 20], np.float32))
    model = jax2onnx.to_onnx(box, [(2,)], training=training)
    assert model.graph.name == "box"
    assert [t.name for t in model.graph.initializer] == ["array"]
    np.testing.assert_array_equal(run(model, X), X - box.array if training else X + box.array)


def test_carry(plugin):
    @jax2onnx.onnx_function
    def apply(box, x):
        return box(x) * 2

    box = plugin.Box(np.array([10, 20], np.float32))
    model = jax2onnx.to_onnx(lambda x: apply(box, x), [(2,)])
    assert [f.name for f in model.functions] == ["apply"]
    np.testing.assert_array_equal(run(model, X), (X + box.array) * 2)


def test_finalize_for_a_target(fake_plugin):
    fake_plugin(
        "choosy",
        "@hookimpl\ndef jax2onnx_finalize(target, model):\n    model.doc_string = str(target and target.name)\n",
    )
    plugins.load()
    names = {"onnx": "None", "web": "web", "onnxruntime>=1.20": "onnxruntime", None: "None"}
    for target, name in names.items():
        assert jax2onnx.to_onnx(lambda x: x + 1, [(2,)], target=target).doc_string == name


def test_finalize(plugin):
    assert jax2onnx.to_onnx(plugin.thrice, [(2,)]).graph.doc_string == "finalised"


WEIGHTS = {
    "another tensor": "value.const_value = ir.tensor(old + 1, name=value.name)",
    "another dtype": "value.const_value = ir.tensor(old.astype(np.float16), name=value.name)",
    "another shape": "value.const_value = ir.tensor(old.reshape(-1), name=value.name)",
    "written into": "old += 1",
}


@pytest.mark.parametrize("change", WEIGHTS)
def test_finalize_changes_no_weight_that_keeps_its_name(fake_plugin, change):
    source = "import numpy as np, onnx_ir as ir\n@hookimpl\ndef jax2onnx_finalize(model):\n"
    lines = "    (value,) = model.graph.initializers.values()\n    old = value.const_value.numpy()\n"
    fake_plugin("alpha", f"{source}{lines}    {WEIGHTS[change]}\n")
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    kept = weights.copy()
    with pytest.raises(PluginError, match=r"alpha.*jax2onnx_finalize.*(the initializer|read-only)"):
        jax2onnx.to_onnx(lambda x: x @ weights, [("B", 2)])
    assert np.array_equal(weights, kept)
    assert weights.flags.writeable


@pytest.mark.parametrize("turn", [1, -1])
def test_weights_that_are_views_of_others_are_unlocked(turn):
    """A constant may be a view of another one, as a reshaped one is, and stand before it or after it."""
    whole = np.arange(6, dtype=np.float32)
    arrays = [whole.reshape(2, 3), whole, whole[1:][1:]][::turn]
    with locked({str(number): ir.tensor(array) for number, array in enumerate(arrays)}):
        assert not any(array.flags.writeable for array in arrays)
    assert all(array.flags.writeable for array in arrays)


def test_finalize_brings_weights_of_other_names(fake_plugin):
    fake_plugin(
        "alpha",
        "import onnx_ir as ir\n@hookimpl\ndef jax2onnx_finalize(model):\n"
        "    (old,) = model.graph.initializers.values()\n"
        "    tensor = ir.tensor(old.const_value.numpy() * 2, name='w_doubled')\n"
        "    new = ir.Value(name='w_doubled', shape=old.shape, type=old.type, const_value=tensor)\n"
        "    model.graph.register_initializer(new)\n"
        "    old.replace_all_uses_with(new)\n"
        "    old.const_value = ir.tensor(old.const_value.numpy().copy(), name=old.name)\n",
    )
    weights = np.ones((2, 3), np.float32)
    model = jax2onnx.to_onnx(lambda x: x @ weights, [("B", 2)])
    assert "w_doubled" in [tensor.name for tensor in model.graph.initializer]
