"""Broken plugins: each mistake is told with the plugin's name, at registration where it can be, and harms no other."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from jax.extend.core import Primitive

import jax2onnx
from jax2onnx.errors import ConversionError, PluginError
from jax2onnx.plugin import loader
from jax2onnx.testing import TemporaryPlugins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jax2onnx.plugin.loaded import PluginInfo


def hook(kind: str, *lines: str) -> str:
    """Return the source of a hook that registers something."""
    return "\n    ".join(["@hookimpl", f"def jax2onnx_register_{kind}(registry):"][1:] + list(lines)).join(
        ["@hookimpl\n", "\n"]
    )


def fusion(**changed: str) -> str:
    """Return the source of a plugin with one fusion, some of whose fields are changed."""
    given = {
        "name": "'f'",
        "reference": "lambda x: x * 2",
        "examples": "[[(2,)]]",
        "emit": "{18: lambda ctx, x: x}",
        **changed,
    }
    fields = ", ".join(f"{field}={value}" for field, value in given.items())
    return hook("fusions", "from jax2onnx.plugin import Fusion", f"registry.add(Fusion({fields}))")


def example(**changed: str) -> str:
    """Return the source of a plugin with one example, some of whose fields are changed."""
    given = {"name": "'e'", "context": "'c'", "component": "'f'", "make": "lambda: abs", "inputs": "[(2,)]", **changed}
    fields = ", ".join(f"{field}={value}" for field, value in given.items())
    return hook("examples", "from jax2onnx.plugin import Example", f"registry.add(Example({fields}))")


def target(*fields: str) -> str:
    """Return the source of a plugin with one target."""
    return hook("targets", "from jax2onnx.plugin import Target", f"registry.add(Target({', '.join(fields)}))")


def lowerings(line: str) -> str:
    """Return the source of a plugin that registers a rule or facts."""
    return hook("lowerings", "from jax2onnx.plugin import Facts", line)


MARKED = "@hookimpl\n"
IMPORTED = {
    "raises": ("import does_not_exist", "No module named 'does_not_exist'"),
    "syntax": ("def (", "SyntaxError"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "unmarked": ("def jax2onnx_open(target, opening): ...", "not marked as a hook: write @hookimpl before it"),
    "misspelt": (
        MARKED + "def jax2onnx_register_lowering(registry): ...",
        "did you mean 'jax2onnx_register_lowerings'",
    ),
    "unmarked_misspelt": ("def jax2onnx_register_fusion(r): ...", "and call it jax2onnx_register_fusions"),
    "prefix": ("def jax2onx_register_targets(registry): ...", "and call it jax2onnx_register_targets"),
    "argument": (MARKED + "def jax2onnx_finalize(graph): ...", "graph"),
    "async_hook": (MARKED + "async def jax2onnx_finalize(model): ...", "write def instead of async def"),
    "generator": (MARKED + "def jax2onnx_finalize(model): yield", "has a yield"),
    "wrapper": ("@hookimpl(wrapper=True)\ndef jax2onnx_finalize(model): return (yield)", "is a wrapper"),
}
"""What is told when the plugin is imported: source, reason."""

REGISTERED = {
    "hook_raises": (hook("lowerings", "1 / 0"), "ZeroDivisionError"),
    "hook_returns": (hook("lowerings", "return [abs]"), "register by registry.add, and return nothing"),
    "rule_none": (lowerings("registry.add('p', None)"), "the rule of p is None, which cannot be called"),
    "rule_context": (lowerings("registry.add('p', lambda: 1)"), "the first one is the context"),
    "rule_async": (lowerings("async def rule(ctx, x): ...\n    registry.add('p', rule)"), "is an async function"),
    "min_opset": (lowerings("registry.add('p', abs, min_opset='18')"), "min_opset of the rule of p is '18', no opset"),
    "primitive": (lowerings("registry.add(abs, abs)"), "is no name of a primitive"),
    "table": (lowerings("registry.table(['Abs'])"), "AttributeError"),
    "via_jax": (lowerings("registry.via_jax({'p': 3})"), "the rule of p is 3"),
    "twice": (lowerings("registry.add('p', abs), registry.add('p', abs)"), "registered by both twice and twice"),
    "facts": (lowerings("registry.facts({'p': True})"), "no Facts"),
    "fact": (lowerings("registry.facts({'p': Facts(folds=abs)})"), "folds"),
    "fact_value": (lowerings("registry.facts({'p': Facts(fold=3)})"), "the fact 'fold' is 3"),
    "fact_word": (
        lowerings("registry.facts({'p': Facts(rounding='units')})"),
        "'rounding' is 'units', none of 'result'",
    ),
    "composite": (lowerings("registry.composite('c', None)"), "the rule of the composite c is None"),
    "composite_version": (lowerings("registry.composite('c', abs, version='1')"), "version of the composite c is '1'"),
    "fusion_name": (fusion(name="''"), "the name of a fusion is '', no text"),
    "fusion_reference": (fusion(reference="None"), "f: reference is None"),
    "fusion_emit": (fusion(emit="lambda ctx, x: x"), "no table from opsets to rules"),
    "fusion_opset": (fusion(emit="{'18': abs}"), "a key of emit is '18', no opset"),
    "fusion_rule": (fusion(emit="{18: 'Abs'}"), "the rule of opset 18 is 'Abs'"),
    "fusion_emit_call": (fusion(emit="{18: lambda x: x}"), "the rule of opset 18 cannot be called with 2 positional"),
    "fusion_reference_call": (fusion(reference="lambda x, y: x"), "reference cannot be called with 1 positional"),
    "fusion_keyword": (fusion(kwargs="[{'axis': 1}]"), "cannot be called with 1 positional arguments, axis"),
    "fusion_kwargs": (fusion(kwargs="{'axis': 1}"), "f: kwargs is {'axis': 1}, no list"),
    "fusion_no_kwargs": (fusion(kwargs="[]"), "kwargs is empty"),
    "fusion_unhashable": (fusion(kwargs="[{'axis': [1]}]"), "have to be hashable"),
    "fusion_no_examples": (fusion(examples="[]"), "examples is empty"),
    "fusion_example": (fusion(examples="[(2,)]"), "an input of an example is 2, no shape"),
    "fusion_dtypes": (fusion(dtypes="'float32'"), "f: dtypes is 'float32', no set of names"),
    "fusion_dtype": (fusion(dtypes="{'float'}"), "f: dtypes has 'float', no name of a dtype"),
    "fusion_primitives": (fusion(primitives="[abs]"), "one of f: primitives"),
    "fusion_library": (fusion(library="3"), "f: library is 3, no text"),
    "fusion_field": (fusion(pattern="3"), "pattern"),
    "fusion_list": (hook("fusions", "registry.add([])"), r"\[\] is no Fusion; give one by one"),
    "target_kernels": (target("'t'", "'r 1'", "None", "[]"), r"kernels of the target t is \[\], no mapping"),
    "target_key": (target("'t'", "'r 1'", "None", "{'Add': ()}"), "'Add', no pair of a domain and an operator"),
    "target_kernel": (target("'t'", "'r 1'", "None", "{('', 'Add'): [1]}"), "1 of Add is no Kernel"),
    "target_types": (
        hook(
            "targets",
            "from jax2onnx.plugin import Kernel, Target",
            "registry.add(Target('t', 'r 1', 23, {('', 'Mul'): [Kernel(7, 14, {'T': {'float32'}})]}))",
        ),
        "types of Mul: 'float32' of T is no onnx_ir.DataType",
    ),
    "target_opset": (target("'t'", "'r 1'", "'23'", "None"), "max_opset of the target t is '23', no opset"),
    "target_name": (target("None", "'r 1'", "None", "None"), "the name of a target is None, no text"),
    "target_taken": (target("'onnxruntime-cpu'", "'r 1'", "None", "None"), "the target 'onnxruntime-cpu'"),
}
"""What is told when the plugin registers."""

SHOWN = {
    "example_raises": (hook("examples", "1 / 0"), "ZeroDivisionError"),
    "example_make": (example(make="3"), "make of the example 'e' is 3, which cannot be called"),
    "example_inputs": (example(inputs="None"), "inputs of the example 'e' is None, no list"),
    "example_options": (example(options="[]"), "options of the example 'e'"),
    "example_operators": (example(operators="['Add']"), "operators of the example 'e'"),
    "example_jax": (example(requires_jax="'new'"), "write for example '>=0.9'"),
    "example_rtol": (example(rtol="'1e-3'"), "rtol of the example 'e' is '1e-3', no number"),
    "example_name": (example(name="None"), "name of the example None is None, no text"),
}
"""What is told when examples are asked for."""

RULES = {
    "nothing": ("None", "returned None where JAX has 1 value"),
    "number": ("5", "returned 5 where JAX has 1 value"),
    "a_text": ("'y'", "returned 'y' where JAX has 1 value"),
    "too_few": ("[]", "returned 0 values where JAX has 1 value"),
    "too_many": ("[x, x]", "returned 2 values where JAX has 1 value"),
    "no_value": ("[5]", "returned 5, which is no value of the graph"),
    "wrong_dtype": ("ctx.cast(x, 'int32')", "returned INT32 where JAX has FLOAT"),
    "wrong_shape": ("ctx.constant([1.0], 'float32')", r"returned a value of shape \[1\] where JAX has \[3\]"),
    "shape_of_node": ("ctx.op.Concat(x, x, axis=0)", "Concat: the model that was made is not valid ONNX"),
    "raising": ("1 / 0", "failed: ZeroDivisionError"),
    "exiting": ("exit(3)", "failed: SystemExit"),
    "attribute": ("ctx.op.Concat(x, axes=0)", "Concat has no attribute 'axes'; did you mean 'axis'"),
    "type_of_attribute": ("ctx.op.Concat(x, axis='a')", "'axis' is of type INT, got 'a'"),
    "operator": ("ctx.op.Sinn(x)", "operator Sinn does not exist.*\n.*\n.*\n.*did you mean Sin"),
    "contrib_operator": ("ctx.op.emit('Geluu', x, domain='com.microsoft')", "com.microsoft has no operator Geluu"),
    "domain": ("ctx.op.emit('Abs', x, domain='nobody')", "no runtime is known to have the domain 'nobody'"),
    "inputs": ("ctx.op.Abs(x, x)", "Abs: the model that was made is not valid ONNX"),
    "no_input": ("ctx.op.Reshape(x)", "Reshape: .* it has 1 input, and the operator needs 2"),
    "missing_attribute": ("ctx.op.Concat(x)", "Concat: the model that was made is not valid ONNX"),
    "stray": ("ctx.op.Add(x, __import__('onnx_ir').Value())", "an input is no value of the model"),
}
"""What rules do wrong, and what is told when one is used."""

FINALIZERS = {
    "finalize_raises": ("1 / 0", "jax2onnx_finalize raises ZeroDivisionError"),
    "finalize_returns": ("return model", "jax2onnx_finalize returns"),
    "finalize_domain": ("model.graph.node(0).domain = 'nobody'", "no runtime is known to have the domain 'nobody'"),
    "finalize_cuts": ("model.graph.node(0).replace_input_with(0, None)", "jax2onnx_finalize of"),
    "finalize_adds": (
        "model.graph.insert_before(model.graph.node(0), __import__('onnx_ir').node('Abs', []))",
        "Abs: the model that was made is not valid ONNX",
    ),
}
"""What changes of the finished model do wrong: every export needs them."""


def plain(x: Any) -> Any:
    return x * 2.0


def export() -> None:
    """Export a program that needs none of the plugins."""
    model = jax2onnx.to_onnx(plain, [(3,)])
    assert [node.op_type for node in model.graph.node] == ["Mul"]


def infos() -> dict[str, PluginInfo]:
    return {info.name: info for info in loader.load().infos}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plugins")


def test_the_mistakes_are_many() -> None:
    assert len(IMPORTED | REGISTERED | SHOWN | RULES | FINALIZERS | FUSIONS) >= 80


@pytest.mark.parametrize("kind", ["imported", "registered", "shown"])
def test_a_mistake_is_told_with_the_plugins_name_and_the_others_are_used(folder: Path, kind: str) -> None:
    table = {"imported": IMPORTED, "registered": REGISTERED, "shown": SHOWN}[kind]
    with TemporaryPlugins(folder / kind, beside=["lax"]) as make:
        make("good", lowerings("registry.add('good', lambda ctx, x: x)"))
        for name, (source, _) in table.items():
            make(name, source)
        if kind == "shown":
            export()
        loaded = loader.load()
        with pytest.warns(UserWarning, match="set plugins aside") as told:
            loaded.examples() if kind == "shown" else loaded.registry()
        export()
        found = infos()
        for name, (_, reason) in table.items():
            assert found[name].status == "broken", name
            assert re.search(reason, found[name].reason), (name, found[name].reason)
            assert f"\n  {name} (dist-{name.replace('_', '-')} 1.0): broken" in str(told[-1].message)
        assert found["good"].status == found["lax"].status == "ok"
        assert loaded.registry().lowerings.find("good", 23) is not None


@pytest.fixture(scope="module")
def rules(folder: Path) -> Iterator[None]:
    """Plugins whose rules are wrong, each for a primitive of the plugin's name."""
    with TemporaryPlugins(folder / "rules", beside=["lax"]) as make:
        for name, (returned, _) in RULES.items():
            make(name, lowerings(f"registry.add('broken_{name}', lambda ctx, x: {returned})"), version="2.5")
        yield


@pytest.mark.parametrize("name", RULES)
@pytest.mark.usefixtures("rules")
def test_a_rule_that_is_wrong_is_told_with_its_plugin_and_the_users_line(name: str) -> None:
    primitive = Primitive(f"broken_{name}")
    primitive.def_abstract_eval(lambda x: x)

    def user(x: Any) -> Any:
        return primitive.bind(x) + 1.0

    with pytest.raises(ConversionError, match=RULES[name][1]) as caught:
        jax2onnx.to_onnx(user, [(3,)])
    assert caught.value.plugin == f"{name} 2.5"
    assert "test_broken_plugins.py" in (caught.value.where or "")
    if name not in {"operator", "contrib_operator"}:  # which another opset may have
        assert infos()[name].status == "faulty"
    export()


@pytest.mark.parametrize("name", FINALIZERS)
def test_a_change_of_the_finished_model_that_is_wrong_is_told_with_its_plugin(folder: Path, name: str) -> None:
    line, reason = FINALIZERS[name]
    with TemporaryPlugins(folder / name, beside=["lax"]) as make:
        make(name, f"@hookimpl\ndef jax2onnx_finalize(model):\n    {line}\n", version="2.5")
        with pytest.raises((ConversionError, PluginError), match=reason) as caught:
            jax2onnx.to_onnx(plain, [(3,)])
        assert f"{name} 2.5" in str(caught.value)
        assert name == "finalize_domain" or infos()[name].status == "faulty"


FUSIONS = {
    "fusion_raises": ("1 / 0", "the rule of thrice failed: ZeroDivisionError"),
    "fusion_exits": ("exit(3)", "the rule of thrice failed: SystemExit"),
    "fusion_nothing": ("None", "the rule of thrice returned None where JAX has 1 value"),
    "fusion_dtype": ("ctx.cast(x, 'int32')", "the rule of thrice returned INT32 where JAX has FLOAT"),
    "fusion_attribute": ("ctx.op.Concat(x, axes=0)", "Concat has no attribute 'axes'"),
    "fusion_operator": ("ctx.op.Sinn(x)", "operator Sinn does not exist"),
}
"""What rules of whole functions do wrong: the functions' primitives are there to do without."""


def thrice(x: Any) -> Any:
    return x + x * 2.0


@pytest.mark.parametrize("name", FUSIONS)
def test_the_primitives_of_a_function_stand_in_for_its_rule(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    returned, reason = FUSIONS[name]
    emit = f"{{18: lambda ctx, x: {returned}}}"
    with TemporaryPlugins(folder / name, beside=["lax"]) as make:
        make(name, fusion(name="'thrice'", reference="lambda x: x + x * 2.0", emit=emit), version="2.5")
        with pytest.warns(UserWarning, match=f"plugin {name} 2.5: {reason}") as told:
            model = jax2onnx.to_onnx(thrice, [(3,)])
        assert "test_broken_plugins.py" in str(told[0].message)
        assert [node.op_type for node in model.graph.node] == ["Mul", "Add"]
        assert infos()[name].status == "faulty"
        export()
        monkeypatch.setenv("JAX2ONNX_STRICT_PLUGINS", "1")
        loader.reset()
        with pytest.raises(ConversionError, match=reason):
            jax2onnx.to_onnx(thrice, [(3,)])


def test_a_function_that_is_never_found_is_told_once_and_harms_nothing(folder: Path) -> None:
    source = fusion(name="'thrice'", reference="lambda x: x.nothing", examples="[[(2,)], [(2, 3)]]")
    with TemporaryPlugins(folder / "never", beside=["lax"]) as make:
        make("never", source)
        with pytest.warns(UserWarning, match=r"never \(dist-never 1.0\): faulty, the function thrice is never found"):
            export()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            export()
        assert infos()["never"].status == "faulty"


@pytest.mark.parametrize(
    ("core", "requires", "status"),
    [
        ("0.1.7", ">=0.1,<0.2", "ok"),
        ("0.2.0", ">=0.1,<0.2", "incompatible"),
        ("0.2.0rc1", ">=0.1,<0.2", "incompatible"),
        ("0.2.0", ">=0.1", "ok"),
        ("0.2.0", "", "ok"),
        ("1.0", "~=0.1", "incompatible"),
    ],
)
def test_a_plugin_made_for_this_core_loads_in_a_later_one_or_is_incompatible(
    folder: Path, monkeypatch: pytest.MonkeyPatch, core: str, requires: str, status: str
) -> None:
    monkeypatch.setattr(loader, "_core_version", lambda: core)
    with TemporaryPlugins(folder / f"core-{core}-{status}-{len(requires)}", beside=["lax"]) as make:
        make(
            "built",
            lowerings("registry.add('built', lambda ctx, x: ctx.op.Neg(x))"),
            requires=[f"jax2onnx-core{requires}"],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lax itself may be made for another core
            loader.load().registry()
        info = infos()["built"]
        assert info.status == status
        if status == "incompatible":
            assert info.reason.startswith("it needs jax2onnx-core")
            assert info.reason.endswith(f", installed is jax2onnx-core {core}")
