"""The same source gives the same bytes in every process: whatever its folder and its hash seed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from jax2onnx.output.sources import SOURCE, write_sources

PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from jax2onnx import onnx_function, save_onnx

class Block:
    def __init__(self, seed):
        self.weights = {name: np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32) for name in "qkv"}

    def __call__(self, x):
        q, k, v = (x @ self.weights[name] for name in "qkv")
        table = jnp.cos(jnp.arange(4.0)[:, None] * jnp.arange(4.0))
        return jax.nn.softmax(q @ k.swapaxes(-1, -2)) @ v @ table

blocks = [onnx_function(Block(seed)) for seed in (1, 1, 2)]

def model(x):
    for block in blocks:
        x = block(x)
    x = lax.fori_loop(0, 3, lambda i, v: lax.cond(v.sum() > i, jnp.sin, lambda u: jax.jit(jax.nn.gelu)(u), v), x)
    total, rows = lax.scan(lambda c, r: (c + r, {name: c * r for name in ("one", "two")}), x[0], x)
    return {"total": total, "rows": rows, "parts": {"b": x, "a": [x + 1]}}

def export(path):
    save_onnx(model, [('B', 4, 4)], path)
"""


def project(folder: Path) -> Path:
    package = folder / "project" / "models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text(PROGRAM)
    return package.parent


def test_two_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.onnx"
    here, there = project(tmp_path / "here"), project(tmp_path / "there")
    code = f"from models.net import export; export({str(other)!r})"
    path = os.pathsep.join([str(there), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": path}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    monkeypatch.syspath_prepend(here)
    monkeypatch.chdir(here / "models")
    own = tmp_path / "own.onnx"
    importlib.import_module("models.net").export(own)
    assert process.wait() == 0
    written = own.read_bytes()
    assert written == other.read_bytes()
    assert str(tmp_path).encode() not in written
    model = onnx.load_from_string(written)
    assert model.functions
    sources = {entry.value for node in model.graph.node for entry in node.metadata_props if entry.key == SOURCE}
    assert any(source.startswith("models/net.py:") for source in sources)


@pytest.mark.parametrize(
    ("file", "portable"),
    [
        ("/usr/lib/python3/site-packages/flax/nnx/nn/linear.py", "flax/nnx/nn/linear.py"),
        ("/home/me/scripts/model.py", "model.py"),
        ("<stdin>", "<stdin>"),
        (np.lib.__file__, "numpy/lib/__init__.py"),
    ],
)
def test_paths_in_models(file: str, portable: str) -> None:
    node = ir.Node("", "Neg", [ir.Value(name="x")], metadata_props={SOURCE: f"{file}:7 (f)"})
    model = ir.Model(ir.Graph(node.inputs, node.outputs, nodes=[node]), ir_version=10)
    write_sources(model)
    assert node.metadata_props[SOURCE] == f"{portable}:7 (f)"
