"""Which runtimes execute a model: asked of the file, in Python and on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import pytest
from click.testing import CliRunner

from jax2onnx import save_onnx, to_onnx
from jax2onnx.checking.portability import portability
from jax2onnx.cli.main import cli
from jax2onnx.errors import ConversionError, InputSpecError

if TYPE_CHECKING:
    from pathlib import Path


def narrow(x: jax.Array) -> jax.Array:
    y = jnp.tanh(x)
    return y.astype("bfloat16") * 2


def test_every_known_target_is_judged() -> None:
    model = to_onnx(narrow, ["float32[B,4]"], target="onnx")
    found = {one.target: one for one in portability(model)}
    assert {"onnxruntime>=1.20", "onnxruntime>=1.24", "onnxruntime-web", "onnxruntime-web-webgpu", "qnn"} <= set(found)

    older = found["onnxruntime>=1.20"]
    assert not older.loads
    assert older.reason.startswith("it reads opsets up to 21, the model has 23; export with target='onnxruntime>=1.20'")

    usual = found["onnxruntime>=1.24"]
    assert [(f.operator, f.what, f.count) for f in usual.findings] == [("Mul(bfloat16)", "no kernel", 1)]
    assert usual.findings[0].where.startswith("test_portability.py:")
    assert usual.findings[0].instead == "in float: export with target='onnxruntime>=1.24'"

    assert "static shapes" in found["qnn"].findings[0].what
    assert "QDQ" in found["qnn"].needs[0]


def test_what_falls_back_and_what_runs() -> None:
    model = to_onnx(lambda x: jnp.isnan(jnp.tanh(x)), ["float32[3,4]"])
    web, gpu = portability(model, ["onnxruntime-web", "onnxruntime-web-webgpu"])
    assert web.loads
    assert not web.findings
    assert gpu.loads
    assert [(f.operator, f.what) for f in gpu.findings] == [("IsNaN(float)", "falls back")]


def test_wrong_targets() -> None:
    model = to_onnx(narrow, ["float32[3]"])
    with pytest.raises(InputSpecError, match="did you mean 'onnxruntime-web'"):
        portability(model, ["onnxruntime-wep"])
    with pytest.raises(InputSpecError, match=r"write \['onnxruntime'\]"):
        portability(model, "onnxruntime")


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_onnx(narrow, ["float32[B,4]"], path, target="onnx")
    shown = CliRunner().invoke(cli, ["inspect", str(path), "--targets", "onnxruntime>=1.20", "--targets", "qnn"])
    assert shown.exit_code == 0, shown.output
    assert "it reads opsets up to 21" in shown.output
    assert "export with numbers for the symbolic dims" in shown.output
    found = CliRunner().invoke(cli, ["inspect", str(path), "--targets", "all", "--json"])
    assert len(json.loads(found.output)) >= 9


def test_a_page_gets_only_arrays_that_it_has() -> None:
    with pytest.raises(ConversionError, match=r"the result output is bfloat16, of which JavaScript has no arrays"):
        to_onnx(narrow, ["float32[3]"], target="onnxruntime-web")
    to_onnx(lambda x: narrow(x).astype("float32"), ["float32[3]"], target="onnxruntime-web-webgpu")
