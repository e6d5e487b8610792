"""Each error has a code of its own, with which its message ends; the page's programs fail with it, and work mended."""

from __future__ import annotations

import ast
import inspect
import os
import re
import tomllib
import warnings
from pathlib import Path

import pytest

from jax2onnx import errors

CODES = tomllib.loads((Path(__file__).parent / "support" / "error_codes.toml").read_text(encoding="utf-8"))["error"]
ROOT = Path(__file__).parents[3]
CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Return a function that executes a program in an empty folder; its warnings are errors."""
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def run(program):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        monkeypatch.chdir(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(program, "program.py", "exec"), {"__name__": "program"})

    return run


def test_every_class_has_a_code_and_a_section():
    codes = [vars(cls)["code"] for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"J2O\d{3}", code) for code in codes)
    assert [entry["code"] for entry in CODES] == sorted(set(codes) - {errors.Jax2OnnxError.code})


@pytest.mark.parametrize("entry", CODES, ids=lambda entry: entry["code"])
def test_the_program_fails_with_the_code_and_works_mended(entry, execute):
    (cls,) = [cls for cls in CLASSES if cls.code == entry["code"]]
    with pytest.raises(cls) as raised:
        execute(entry["fails"])
    assert type(raised.value) is cls
    text = str(raised.value)
    assert text.endswith(f" [{entry['code']}]")
    assert text.count("[J2O") == 1
    execute(entry["mended"])


def test_an_error_that_quotes_another_has_one_code():
    inner = errors.InputSpecError("no spec")
    assert str(errors.CheckError(f"x: {inner}; stop")) == "x: no spec; stop [J2O501]"
    assert str(errors.ConversionError(f"x: {inner}")) == "x: no spec [J2O301]"


def test_several_places_have_a_code_each():
    first = errors.OpsetError("one", remedy="this")
    both = errors.ConversionError.together([first, errors.NoKernelError("two")])
    assert str(both) == (
        "2 places of the program cannot be converted\n1. J2O323: one\n  remedy: this\n2. J2O324: two [J2O323]"
    )


# -- remedies --------------------------------------------------------------------------------------------------------

SOURCES = sorted(path for folder in ("packages", "plugins") for path in ROOT.glob(f"{folder}/*/src/**/*.py"))
QUOTING = {
    "lacking": "says what is missing and how to write it",
    "_explained": "says how to write the call",
    "_problems": "ends with a remedy",
    "_listing": "says what each stage is",
    "_refusal": "is given a reason with its remedy",
}
"""Functions that make a whole message, and why that has a remedy."""
COMPARED = "packages/jax2onnx-core/src/jax2onnx/checking/compare.py"
"""What it says is quoted by ``check``, which adds the remedy."""


def without_remedy(path):
    """Return the lines of a module that make an error of ours whose message says nothing to do about it.

    Its text has a semicolon, behind which the remedy stands, or says what to write; or it quotes an error or a reason.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            parts.setdefault(node.targets[0].id, []).append(ast.unparse(node.value))
    for node in ast.walk(tree):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        cls = getattr(errors, name, None)
        if name == "_refusal":
            cls = errors.SaveError
        if cls not in CLASSES or cls in {errors.PluginConflictError, errors.MissingPluginWarning}:
            continue  # these two write their remedy themselves
        if issubclass(cls, errors.ConversionError):
            has_own = cls in {errors.InvalidModelError, errors.OutOfMemoryError}
            if not has_own and not any(keyword.arg in {"remedy", None} for keyword in node.keywords):
                yield node.lineno
            continue
        said = " ".join(map(ast.unparse, node.args))
        said += "".join(text for name in re.findall(r"\w+", said) for text in parts.get(name, []))
        quotes = [*QUOTING, "error.message", "{error}", "core.problem", "{reason}"]
        if not any(word in said for word in ("; ", "remedy", ": write ", *quotes)):
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_error_has_a_remedy(path):
    if path != ROOT / COMPARED:
        assert not list(without_remedy(path))


def test_an_error_without_a_remedy_is_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "raise InputSpecError(f'{x} is wrong')\nraise errors.CheckError('it differs; look there')\n"
        "text = 'wrong'\nraise SaveError(text)\nraise OpsetError('old')\nraise OpsetError('old', remedy='raise it')\n"
    )
    assert list(without_remedy(module)) == [1, 4, 5]
