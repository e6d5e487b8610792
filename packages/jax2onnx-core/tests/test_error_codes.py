"""Each error has a code of its own, with which its message ends; the page's programs fail with it, and work mended."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
import warnings
from pathlib import Path

import pytest

from jax2onnx import errors

CODES = tomllib.loads((Path(__file__).parent / "support" / "error_codes.toml").read_text(encoding="utf-8"))["error"]
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
