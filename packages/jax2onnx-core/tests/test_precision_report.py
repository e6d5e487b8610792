"""What half precision does to a program, measured module by module."""

import json
from pathlib import Path

import jax.numpy as jnp
import pytest
from click.testing import CliRunner
from flax import nnx

from jax2onnx.checking.halves import measure
from jax2onnx.cli.main import cli
from jax2onnx.errors import InputSpecError


class Model(nnx.Module):
    """Sines of large numbers, which half precision spoils."""

    def __init__(self):
        self.wild = nnx.Linear(16, 16, rngs=nnx.Rngs(0))
        self.wild.kernel[...] *= 500
        self.head = nnx.Linear(16, 2, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.head(jnp.sin(self.wild(x)))


@pytest.mark.parametrize("target", ["onnx", "onnxruntime-cpu"])
def test_the_module_that_half_precision_spoils_is_kept(target):
    report = measure(Model(), [("B", 16)], target=target, tolerance=5e-3, sizes=[2])
    assert report.keep == ("wild",)
    assert [one.module for one in report.modules] == ["wild", "head"]
    assert report.full <= report.kept <= 5e-3 < report.error


def test_nothing_is_kept_where_the_error_is_small():
    report = measure(lambda x: x @ jnp.eye(16), [("B", 16)], target="onnx", sizes=[2])
    assert (report.keep, report.modules) == ((), ())


def test_an_impossible_tolerance():
    with pytest.raises(InputSpecError, match="tolerance: expected a number above 0"):
        measure(Model(), [("B", 16)], tolerance=0.0)


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("parts.py").write_text("import jax.numpy as jnp\n\n\ndef layer(x):\n    return x @ (jnp.eye(16) / 3)\n")
    arguments = ["precision", "parts.py:layer", "-i", "float32[B,16]", "--json"]
    done = CliRunner().invoke(cli, [*arguments, "--tolerance", "1e-5", "--size", "B=2"], standalone_mode=False)
    assert done.return_value == 0
    assert json.loads(done.stdout)["keep"] == ["parts.py:5"]
