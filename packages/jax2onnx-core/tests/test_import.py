"""Importing jax2onnx is light, and so is listing plugins."""

import os
import subprocess
import sys

import pytest

HEAVY = ("jax", "jaxlib", "flax", "onnx", "onnx_ir", "onnxruntime", "numpy")


def test_importing_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-c", "import jax2onnx"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert "jax2onnx" in imported
    assert imported.isdisjoint(HEAVY)


def test_listing_plugins_imports_nothing_heavy():
    code = (
        "import sys; from jax2onnx.cli.main import cli; cli(['list-plugins'], standalone_mode=False); "
        f"print(*(set(sys.modules) & set({HEAVY!r})))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("plugin ")
    assert told.splitlines()[-1] == ""


def test_listing_plugins_answers_at_once():
    def seconds(*arguments):
        """Processor time, which other work on the machine hardly changes."""
        before = os.times()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    bare = min(seconds("-c", "pass") for _ in range(3))
    assert 0 < min(seconds("-m", "jax2onnx", "list-plugins") for _ in range(3)) - bare < 0.7


@pytest.mark.parametrize("shape", [("B", 3), ("B", "2*T + 1")], ids=str)
def test_an_export_does_not_execute_sympy(shape):
    code = (
        "import sys; from jax2onnx import to_onnx; "
        f"to_onnx(lambda x: x.reshape(-1) + x.shape[0] * x.shape[1], [{shape!r}]); "
        "print('sympy.core' in sys.modules); "
        "import sympy; print(sympy.Symbol('x') * 2); import onnx_ir; print(onnx_ir.SymbolicDim('B') + 1)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split("\n") == ["False", "2*x", "B + 1", ""]


@pytest.mark.parametrize("name", ["allclose", "check", "onnx_function", "save_onnx", "to_onnx"])
def test_no_public_name_executes_sympy(name):
    code = f"import sys; from jax2onnx import {name}; import onnx_ir; print('sympy.core' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "False\n"


def test_public_names():
    import jax2onnx

    assert set(jax2onnx.__all__) <= set(dir(jax2onnx))
    for name in jax2onnx.__all__:
        assert getattr(jax2onnx, name) is not None
    with pytest.raises(AttributeError, match="to_onxx"):
        jax2onnx.to_onxx  # noqa: B018
