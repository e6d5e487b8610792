"""Discovery: what plugins cover, and all that a program needs and nobody provides, in one go."""

from __future__ import annotations

import json
import warnings

import equinox
import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx
from jax.extend.core import Primitive

from jax2onnx import to_onnx
from jax2onnx.checking.portability import portability
from jax2onnx.cli import main as cli
from jax2onnx.errors import (
    ConversionError,
    InputSpecError,
    MissingPluginWarning,
    NoKernelError,
    UnsupportedPrimitiveError,
)
from jax2onnx.legalise.targets import load as load_target
from jax2onnx.plugin import Target, loaded
from jax2onnx.plugin.directory import Listed, directory
from jax2onnx.plugin.loader import load

PROGRAM = """
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

found_p = Primitive("found_nowhere")
found_p.def_abstract_eval(lambda x: x)


def program(x):
    def body(i, carry):
        return found_p.bind(carry)

    return jax.lax.fori_loop(0, 3, body, jnp.sin(x))
"""


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code or 0, capsys.readouterr().out


def unknown(name):
    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda x: x)
    return primitive.bind


@pytest.fixture
def tanless():
    """A target that lacks two operators."""
    known = load_target("onnxruntime-cpu")
    kernels = {key: kernels for key, kernels in known.kernels.items() if key[1] not in {"Tan", "Atan"}}
    registry = load().registry()
    registry.targets.add(Target("tanless", "a runtime without Tan", known.max_opset, kernels), override=True)
    yield "tanless"
    del registry.targets._entries["tanless"]


def test_missing_rules_and_missing_kernels_are_one_error(tanless):
    first, second = unknown("first_unknown"), unknown("second_unknown")

    def program(x, y):
        branches = (second, jnp.arctan)
        return jax.lax.cond(y, *branches, first(x)) + jnp.tan(x)

    with pytest.raises(ConversionError) as raised:
        to_onnx(program, [(3,), "bool[]"], target=tanless)
    errors = [raised.value, *raised.value.others]
    assert [type(error) for error in errors] == [UnsupportedPrimitiveError] * 2 + [NoKernelError] * 2
    assert [e.primitive for e in errors[:2]] == ["first_unknown", "second_unknown"]
    assert {e.what.partition("no kernel for ")[2].partition(" ")[0] for e in errors[2:]} == {"Tan", "Atan"}
    assert all(error.where and "test_discovery.py" in error.where for error in errors)
    assert str(raised.value).startswith("4 places of the program cannot be converted")


def test_many_places_are_all_there_and_some_are_printed():
    binds = [unknown(f"unknown_{number}") for number in range(30)]
    with pytest.raises(UnsupportedPrimitiveError) as raised:
        to_onnx(lambda x: [bind(x) for bind in binds], [(3,)])
    assert len(raised.value.others) == 29
    assert "and 9 more" in str(raised.value)


def _modules():
    linear = equinox.nn.Linear(3, 2, key=jax.random.key(0))
    dense = linen.Dense(2)
    variables = dense.init(jax.random.key(0), jnp.ones((1, 3)))
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    return [
        ("jax2onnx-nnx", layer),
        ("jax2onnx-nnx", lambda x: layer(x) + 1),
        ("jax2onnx-equinox", jax.vmap(linear)),
        ("jax2onnx-equinox", jax.tree_util.Partial(lambda module, x: jax.vmap(module)(x), linear)),
        ("jax2onnx-linen", lambda x: dense.apply(variables, x)),
    ]


def test_a_framework_without_its_plugin_is_told_once(isolated_plugins):
    isolated_plugins("lax")
    for distribution, fn in _modules():
        with pytest.warns(MissingPluginWarning, match=f"run `pip install {distribution}`") as told:
            to_onnx(fn, [("B", 3)])
        assert len(told) == 1


def test_a_framework_whose_plugin_is_disabled_is_told_so(isolated_plugins, monkeypatch):
    monkeypatch.setenv("JAX2ONNX_DISABLE_PLUGINS", "nnx")
    isolated_plugins("lax", "nnx")
    with pytest.warns(MissingPluginWarning, match="list-plugins tells more: nnx .*: disabled"):
        to_onnx(_modules()[0][1], [("B", 3)])


def test_nothing_is_told_without_need(isolated_plugins):
    class Step(equinox.Module):
        size: int = equinox.field(static=True)

    step = Step(3)
    isolated_plugins("lax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(lambda x: x * step.size, [("B", 3)])  # it has no array


def test_the_remedy_of_a_known_primitive_is_its_distribution(isolated_plugins):
    isolated_plugins("jnp")
    with pytest.raises(UnsupportedPrimitiveError, match="run `pip install jax2onnx-lax`, which covers it"):
        to_onnx(jnp.sin, [(3,)])


def test_the_remedy_of_a_known_target_is_its_distribution(isolated_plugins):
    isolated_plugins("lax")
    for target, distribution in (("onnxruntime-genai", "jax2onnx-ortgenai"), ("openvino>=2026", "jax2onnx-openvino")):
        with pytest.raises(InputSpecError, match=f"run `pip install {distribution}`, which has it"):
            to_onnx(jnp.sin, [(3,)], target=target)
        with pytest.raises(InputSpecError, match=f"run `pip install {distribution}`, which has it"):
            portability(to_onnx(jnp.sin, [(3,)]), [target])
    with pytest.raises(InputSpecError, match="'acme' is not known; "):
        to_onnx(jnp.sin, [(3,)], target="acme")


def test_the_remedy_of_a_target_whose_plugin_is_disabled_is_to_look(fake_plugin, monkeypatch):
    monkeypatch.setattr(loaded, "directory", lambda: [Listed(**ALPHA)])
    monkeypatch.setenv("JAX2ONNX_DISABLE_PLUGINS", "alpha")
    fake_plugin("alpha", "")
    message = "'acme' is not known; jax2onnx list-plugins tells more: alpha .*disabled"
    with pytest.raises(InputSpecError, match=message):
        to_onnx(jnp.sin, [(3,)], target="acme")


ALPHA = {"name": "alpha", "distribution": "dist-alpha", "purpose": "a runtime", "targets": ("acme",)}


def test_missing_lists_everything(isolated_plugins, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needing.py").write_text(PROGRAM)
    code, text = run(capsys, "list-plugins", "--missing", "needing:program", "-i", "float32[B,3]")
    assert code == 1
    assert [line.split()[:2] for line in text.splitlines()] == [["kind", "what"], ["primitive", "found_nowhere"]]
    assert "needing.py:12 (program.<locals>.body)" in text
    isolated_plugins("jnp")
    code, text = run(capsys, "list-plugins", "--missing", "needing:program", "-i", "x=float32[3]", "--json")
    found = {entry["what"]: entry["install"] for entry in json.loads(text)["missing"]}
    assert code == 1
    assert found["sin"] == found["while"] == "pip install jax2onnx-lax"
    assert "of your own" in found["found_nowhere"]


def test_missing_names_the_plugin_of_a_framework(isolated_plugins, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flaxen.py").write_text("from flax import nnx\nmodel = nnx.Linear(3, 2, rngs=nnx.Rngs(0))\n")
    isolated_plugins("lax")
    code, text = run(capsys, "list-plugins", "--missing", "flaxen:model", "-i", "float32[B,3]", "--json")
    (entry,) = json.loads(text)["missing"]
    assert (code, entry["kind"], entry["install"]) == (1, "framework", "pip install jax2onnx-nnx")


def test_nothing_missing(capsys):
    assert run(capsys, "list-plugins", "--missing", "jax.numpy:tanh", "-i", "float32[3]") == (
        0,
        "nothing is missing\n",
    )
    assert run(capsys, "list-plugins", "-i", "float32[3]")[0] == 2
    assert run(capsys, "list-plugins", "--missing", "jax.numpy:tanh", "-i", "float32[3]", "--opset", "1")[0] == 1


def test_what_plugins_cover(capsys, fake_plugin):
    source = "@hookimpl\ndef jax2onnx_register_lowerings(registry): registry.add('frob', lambda ctx, x: x)\n"
    fake_plugin("alpha", source, requires=["jax2onnx-core>=0.1,<0.2"])
    _, plugins = run(capsys, "list-plugins")
    row = next(line for line in plugins.splitlines() if line.startswith("alpha"))
    assert row.split() == ["alpha", "ok", "1.0", "dist-alpha", "<0.2,>=0.1", "lowerings"]
    _, primitives = run(capsys, "list-plugins", "--primitives")
    rows = [line.split() for line in primitives.splitlines()]
    assert ["lowering", "frob", "alpha", "18"] in rows
    assert {row[0] for row in rows[1:]} == {"lowering"}
    _, functions = run(capsys, "list-plugins", "--functions")
    assert "jax.nn.gelu" in functions
    assert "lowering" not in functions
    _, text = run(capsys, "list-plugins", "--verbose", "--json")
    assert json.loads(text)["counts"]["alpha"] == {"lowerings": 1, "fusions": 0, "targets": 0}
    assert "1 lowering" in run(capsys, "list-plugins", "-v")[1]


def test_the_directory_names_each_plugin_once():
    names = [(listed.name, listed.distribution) for listed in directory()]
    assert len(set(names)) == len(names)
    assert all(listed.purpose and not listed.purpose.endswith(".") for listed in directory())
