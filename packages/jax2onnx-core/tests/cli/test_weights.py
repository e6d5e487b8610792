"""The command line's entries and weights that are elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_safetensors
from click.testing import CliRunner

from jax2onnx.cli import terminal
from jax2onnx.cli.main import cli
from jax2onnx.output.external_data import locations

MODULE = """
import functools
import jax
import jax.numpy as jnp

abstract = {"kernel": jax.ShapeDtypeStruct((32, 32), jnp.float32)}

def one(params, x):
    h = jnp.tanh(x @ params["kernel"])
    return h, {"a": h, "b": -h}

def two(params, x, held):
    h = jnp.tanh(x @ params["kernel"]) + held["a"]
    return h, {"a": h, "b": held["b"]}

single = functools.partial(one, abstract)
X = ("B", 32)
entries = {"one": (single, [X]), "two": (functools.partial(two, abstract), [X, {"a": X, "b": X}])}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(MODULE)
    kernel = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    write_safetensors(tmp_path / "w.safetensors", {"net.weight": kernel})

    def invoke(*arguments: str):
        return CliRunner().invoke(cli, arguments, catch_exceptions=True)

    return invoke


WEIGHTS = ("--weights", "w.safetensors", "--weight-name", "kernel=net.weight")
QUICK = ("--size", "2", "--kind", "ordinary")


def test_weights_of_a_model(run) -> None:
    call = ("nets.py:single", "-i", "x=float32[B,32]", "-o", "m.onnx", *WEIGHTS, "--check", *QUICK)
    done = run("export", *call)
    assert done.exit_code == 0, done.output
    assert locations(Path("m.onnx")) == {"w.safetensors"}
    done = run("check", "m.onnx", "nets.py:single", *WEIGHTS, *QUICK)
    assert "agrees with JAX" in done.output


def test_entries_are_a_folder(run) -> None:
    done = run("export", "nets.py:entries", "-o", "out", *WEIGHTS, "--check", *QUICK)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("out").iterdir()) == ["one.onnx", "two.onnx", "weights.data"]
    assert "all, one after the other, agrees with JAX" in done.output
    done = run("export", "nets.py:entries", "-o", "lm.onnx", *WEIGHTS, "--json")
    assert json.loads(done.output)["output"] == {"one": "lm.one.onnx", "two": "lm.two.onnx"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nets.py:entries",), "nothing to do"),
        (("nets.py:entries", "-o", "out", "-i", "float32[3]"), "give --output and no --input"),
        (("nets.py:entries", "-o", "out", "--static", "train=False"), "among the options of the entry"),
        (("nets.py:single", "-i", "float32[B,32]", "-o", "."), "is a folder; add a name"),
    ],
)
def test_wrong_calls(run, arguments: tuple[str, ...], says: str) -> None:
    done = run("export", *arguments)
    assert done.exit_code == 2
    assert says in done.output


def test_a_terminal_shows_how_much_is_written(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with terminal.progress("exporting") as tell:
        tell(2**29, 2**30)
        tell(2**30, 2**30)
    assert "exporting" in capsys.readouterr().err
