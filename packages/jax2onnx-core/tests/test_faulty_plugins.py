"""Faulty plugins: whatever a plugin raises or returns, the error names it and its version, and the others are used."""

import jax.numpy as jnp
import numpy as np
import pytest

import jax2onnx
from jax2onnx.errors import ConversionError, PluginError
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.registry import Registry

EVERY_HOOK = """
class Box:
    def __call__(self, x):
        return x + 1

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return True


class Silent(Exception):
    def __str__(self):
        raise ValueError("no text")


faults = {{}}  # place -> what is raised or returned there


def answer(place):
    fault = faults.get(place)
    if isinstance(fault, BaseException):
        raise fault
    return fault


def act(place, default):
    return answer(place) if place in faults else default


@hookimpl
def jax2onnx_register_lowerings(registry):
    from jax2onnx.plugin import Facts

    registry.add("faulty", lambda ctx, x: act("lowering", x))
    registry.facts({{"faulty": Facts(zeros=lambda eqn, matters: act("fact", eqn.inputs))}})


def thrice(x):
    answer("reference")
    return x + x * 2.0


@hookimpl
def jax2onnx_register_fusions(registry):
    from jax2onnx.plugin import Fusion

    def emit(ctx, x):
        return act("fusion", x)

    def kwargs(candidate):
        return act("kwargs", [{{}}])

    registry.add(Fusion(name="thrice", reference=thrice, examples=[[(2,)]], kwargs=kwargs, emit={{18: emit}}))


@hookimpl
def jax2onnx_open(target, opening):
    return answer("open")


@hookimpl
def jax2onnx_carry(target):
    return answer("carry") if isinstance(target, Box) else None


@hookimpl
def jax2onnx_finalize(model):
    return answer("finalize")
""".replace("{{", "{").replace("}}", "}")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The module of one plugin with every hook, each of which does what ``faults`` says."""
    with pytest.MonkeyPatch.context() as patch:
        site = tmp_path_factory.mktemp("site")
        patch.syspath_prepend(str(site))
        (site / "faulty_plugin.py").write_text("from jax2onnx.plugin import hookimpl\n" + EVERY_HOOK)
        info = site / "dist_faulty-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-faulty\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text("[jax2onnx]\nfaulty = faulty_plugin\n")
        plugins.reset()
        yield plugins.load().manager.get_plugin("faulty")
    plugins.reset()


def calls(module):
    from jax.extend.core import Primitive

    faulty_p = Primitive("faulty")
    faulty_p.def_abstract_eval(lambda x: x)
    box = module.Box()
    marked = jax2onnx.onnx_function(lambda box, x: x + 1)
    return {
        "lowering": faulty_p.bind,
        "fact": lambda x: 1 / faulty_p.bind(x),
        "fusion": lambda x: x + x * 2.0,
        "open": lambda x: x,
        "carry": lambda x: marked(box, x),
        "finalize": lambda x: x,
    }


class Odd(BaseException):
    """What no handler of exceptions catches."""


@pytest.mark.parametrize(
    "raised",
    [ZeroDivisionError("oh"), SystemExit(3), GeneratorExit(), Odd("oh"), "silent"],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", ["lowering", "fact", "open", "carry", "finalize"])
def test_what_a_hook_raises_is_an_error_that_names_the_plugin(faulty, monkeypatch, place, raised):
    error = faulty.Silent() if raised == "silent" else raised
    function = calls(faulty)[place]
    monkeypatch.setitem(faulty.faults, place, error)
    with pytest.raises((PluginError, ConversionError)) as caught:
        jax2onnx.to_onnx(function, [(2,)])
    text = str(caught.value)
    assert "faulty 2.5" in text
    assert {"lowering": "the rule of faulty", "fact": "in answer"}.get(place, place) in text
    assert type(error).__name__ in text
    assert caught.value.__cause__ is error
    monkeypatch.undo()
    jax2onnx.to_onnx(lambda x: x * 2, [(2,)])


@pytest.mark.parametrize(
    ("place", "returned", "text"),
    [
        ("open", 5, "jax2onnx_open returns 5"),
        ("open", {"function": 5}, "function is 5"),
        ("open", {"params": []}, "no mapping"),
        ("open", {"params": {1: np.ones(2)}}, "has the key 1"),
        ("open", {"params": {"a\x1b": np.ones(2)}}, "without control characters"),
        ("open", {"params": {"a": "b"}}, "no array"),
        ("open", {"name": None}, "name is None"),
        ("open", {"warnings": "ab"}, "no sequence of texts"),
        ("open", {"signature": 1}, "signature is 1"),
        ("carry", 5, "jax2onnx_carry returns 5"),
        ("finalize", 5, "jax2onnx_finalize returns 5"),
        ("lowering", 5, "the rule of faulty returned 5"),
        ("lowering", (), "returned 0 values"),
    ],
)
def test_junk_that_a_hook_returns_is_an_error_that_names_the_plugin(faulty, monkeypatch, place, returned, text):
    from jax2onnx.plugin import Opened

    if isinstance(returned, dict):
        returned = Opened(**{"function": lambda params, x: x, "params": {}, "name": "f", **returned})
    function = calls(faulty)[place]
    monkeypatch.setitem(faulty.faults, place, returned)
    with pytest.raises((PluginError, ConversionError)) as caught:
        jax2onnx.to_onnx(function, [(2,)])
    assert text in str(caught.value)
    assert "faulty 2.5" in str(caught.value)


@pytest.mark.parametrize("place", ["reference", "kwargs"])
def test_a_function_that_cannot_be_recognised_costs_nothing_but_nodes(faulty, monkeypatch, place):
    monkeypatch.setitem(faulty.faults, place, ZeroDivisionError("oh"))
    scaled = jnp.arange(7.0, dtype="float32")  # no trace of this shape is kept
    model = jax2onnx.to_onnx(lambda x: x + x * 2.0, [scaled])
    assert [node.op_type for node in model.graph.node] == ["Mul", "Add"]


def test_what_is_no_lowering_fact_fusion_or_target_is_refused_when_it_is_registered():
    from jax2onnx.plugin import Facts, Fusion

    bound = Registry().bound("alpha")
    lowerings, fusions = bound["jax2onnx_register_lowerings"], bound["jax2onnx_register_fusions"]
    wrong = {
        "5 is no name of a primitive": lambda: lowerings.add(5, print),
        "the rule of frob is 5": lambda: lowerings.add("frob", 5),
        "no Facts": lambda: lowerings.facts({"frob": 5}),
        "the fact 'zeros' is 5": lambda: Facts(zeros=5),
        "'frob' is no Fusion": lambda: fusions.add("frob"),
        "no table from opsets to rules": lambda: Fusion(name="f", reference=print, examples=[], emit={}),
        "reference is 5": lambda: Fusion(name="f", reference=5, examples=[], emit={18: print}),
        "None is no Target": lambda: bound["jax2onnx_register_targets"].add(None),
    }
    for text, register in wrong.items():
        with pytest.raises(TypeError, match=text):
            register()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise SystemExit(7)", "SystemExit: 7"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import jax2onnx\njax2onnx.to_onnx(lambda x: x, [(2,)])", "imported just now"),
        ("@hookimpl(wrapper=True)\ndef jax2onnx_open(target, opening):\n    return (yield)", "is a wrapper"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_set_aside(fake_plugin, source, reason):
    fake_plugin("alpha", source)
    (info,) = [info for info in plugins.load().infos if info.name == "alpha"]
    assert info.status == "broken"
    assert reason in info.reason


def test_plugins_that_fail_to_register_are_set_aside_and_the_others_are_used(fake_plugin):
    hook = "@hookimpl\ndef jax2onnx_register_lowerings(registry):\n    "
    fake_plugin("exiting", f"{hook}raise SystemExit(7)")
    fake_plugin("odd", f"{hook}raise GeneratorExit")
    fake_plugin("exporting", f"{hook}import jax2onnx; jax2onnx.to_onnx(lambda x: x, [(2,)])")
    with pytest.warns(UserWarning, match="exiting") as told:
        model = jax2onnx.to_onnx(lambda x: x * 2, [(2,)])
    assert len(model.graph.node) == 1
    for reason in ("SystemExit: 7", "GeneratorExit", "registering just now"):
        assert reason in str(told[0].message)


def test_an_interrupt_while_a_plugin_is_imported_ends_loading_and_the_next_call_loads(fake_plugin):
    fake_plugin("alpha", "import os\nif os.environ.pop('INTERRUPT', ''):\n    raise KeyboardInterrupt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERRUPT", "1")
        with pytest.raises(KeyboardInterrupt):
            plugins.load()
        assert [info.status for info in plugins.load().infos if info.name == "alpha"] == ["ok"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("METADATA", None),
        ("METADATA", b""),
        ("METADATA", b"\xff\xfe\x00junk"),
        ("METADATA", b"Name: \xe9\xe9\nVersion: 1\n"),
        ("entry_points.txt", b"[jax2onnx]\nalpha = \xff\xfe\n"),
        ("entry_points.txt", b"[jax2onnx]\nalpha\n"),
        ("entry_points.txt", b"[jax2onnx]\nalpha = !!\n"),
        ("entry_points.txt", b"\xff[other]\n"),
        ("entry_points.txt", b""),
    ],
)
def test_corrupt_metadata_is_told_and_harms_nothing(fake_plugin, file, content):
    info = fake_plugin("alpha")
    if content is None:
        (info / file).unlink()
    else:
        (info / file).write_bytes(content)
    infos = plugins.load().infos
    assert {i.status for i in infos if i.distribution.startswith("jax2onnx-")} == {"ok"}
    named = [i for i in infos if i.distribution == "dist-alpha"]
    if file == "METADATA" or b"[jax2onnx]" in content:
        assert [i.status for i in named] == ["broken"]
        assert named[0].reason
    else:
        assert not named


@pytest.mark.parametrize(
    "change",
    ["model.metadata_props['a'] = 1", "model.graph.outputs[0].name = None", "model.graph.name = '\\ud800'"],
)
def test_a_model_that_a_plugin_leaves_unwritable_is_told(fake_plugin, tmp_path, change):
    fake_plugin("alpha", f"@hookimpl\ndef jax2onnx_finalize(model, target):\n    {change}")
    for export in (jax2onnx.to_onnx, lambda *call: jax2onnx.save_onnx(*call, tmp_path / "m.onnx")):
        with pytest.raises(
            ConversionError, match=r"cannot be written.*jax2onnx_finalize of .*alpha 1.0.* changed it last"
        ):
            export(lambda x: x * 2, [(2,)])
    assert not (tmp_path / "m.onnx").exists()
