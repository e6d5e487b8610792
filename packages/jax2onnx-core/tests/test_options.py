"""The options: spelled out where users read them, typed where functions pass them on, and equal everywhere."""

import dataclasses
import inspect
import os
import subprocess
import sys
import typing

import jax.numpy as jnp
import onnx
import pytest

import jax2onnx
from jax2onnx.api import show
from jax2onnx.checking.check import allclose
from jax2onnx.cli.main import main
from jax2onnx.errors import InputSpecError
from jax2onnx.fusion.report import FusionReport
from jax2onnx.options import CheckOptions, ExportOptions, Options, SharedOptions

NAMES = {"FusionReport": FusionReport, "onnx": onnx, "os": os}
"""What annotations name that is imported for type checkers only."""


DELIVERY = {"return_mode", "output_path"}
"""Keywords of ``to_onnx`` alone: they decide what it returns."""


def keyword_only(function):
    parameters = inspect.signature(function).parameters.values()
    return [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in DELIVERY]


def types_of(function):
    hints = typing.get_type_hints(function, localns=NAMES)
    return {p.name: hints[p.name] for p in keyword_only(function)}


def test_names_and_defaults_are_those_of_to_onnx():
    defaults = {p.name: p.default for p in keyword_only(jax2onnx.to_onnx)}
    assert {f.name: f.default for f in dataclasses.fields(Options)} == defaults
    assert dataclasses.asdict(Options.of({})) == defaults


def test_types_are_those_of_to_onnx_and_of_check():
    expected = types_of(jax2onnx.to_onnx)
    assert typing.get_type_hints(Options, localns=NAMES) == expected
    assert typing.get_type_hints(ExportOptions, localns=NAMES) == expected
    assert typing.get_type_hints(CheckOptions, localns=NAMES) == types_of(jax2onnx.check)


def test_check_shares_defaults_with_to_onnx():
    exported = {p.name: p.default for p in keyword_only(jax2onnx.to_onnx)}
    checked = {p.name: p.default for p in keyword_only(jax2onnx.check)}
    shared = exported.keys() & checked.keys()
    assert shared == set(SharedOptions.__annotations__)
    assert {name: exported[name] for name in shared} == {name: checked[name] for name in shared}


def test_the_command_line_has_the_defaults_of_to_onnx(monkeypatch, tmp_path):
    given = []

    def save_onnx(fn, inputs, path, *, progress, **options):
        assert callable(progress)
        given.append(Options.of(options))
        raise InputSpecError("what was given is known")

    monkeypatch.setattr(jax2onnx, "save_onnx", save_onnx)
    with pytest.raises(SystemExit):
        main(["export", "jax.numpy:tanh", "-i", "float32[3]", "-o", str(tmp_path / "model.onnx")])
    assert given == [Options()]


UNKNOWN = {
    "save_onnx": lambda path, **options: jax2onnx.save_onnx(jnp.tanh, [(3,)], path, **options),
    "show": lambda _, **options: show(jnp.tanh, [(3,)], **options),
    "allclose": lambda _, **options: allclose(None, jnp.tanh, [(3,)], **options),
}


@pytest.mark.parametrize(
    ("function", "option", "hint"),
    [
        ("save_onnx", "opest", "'opset'"),
        ("save_onnx", "input_name", "'input_names'"),
        ("save_onnx", "zzz", "constraints, doc_string, domains, explain, "),
        ("show", "fusion", "'fusions'"),
        ("allclose", "kind", "'kinds'"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(function, option, hint, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(InputSpecError, match=f"no option '{option}'.*{hint}"):
        UNKNOWN[function](path, **{option: 18})
    assert not path.exists()


PROGRAM = """
import jax.numpy as jnp
from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.checking.check import allclose

def f(x: object) -> object:
    return x

save_onnx(f, [(3,)], "m.onnx", opset=18, constraints=["T >= 4"], explain=True, target=None)
check("m.onnx", f, [(3,)], rtol=1e-3, training=True)
allclose("m.onnx", f, [(3,)], rtol=1e-3, training=True)
to_onnx(f, [(3,)], opest=18)  # refused
save_onnx(f, [(3,)], "m.onnx", opest=18)  # refused
save_onnx(f, [(3,)], "m.onnx", opset="18")  # refused
save_onnx(f, [(3,)], "m.onnx", state="keep")  # refused
check("m.onnx", f, [(3,)], trainig=True)  # refused
allclose("m.onnx", f, [(3,)], sizes="B")  # refused
"""


def test_mypy_refuses_a_misspelt_or_mistyped_option(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    # Only this project's own types matter, and mypy takes long over jax.
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = skip\n[mypy-jax2onnx.*]\nfollow_imports = silent\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "program.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    refused = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    lines = enumerate(PROGRAM.splitlines(), start=1)
    assert refused == {number for number, line in lines if line.endswith("# refused")}, found
