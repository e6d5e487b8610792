"""What an export has at each of its stages, as text: from Python and on the command line."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import jax2onnx
from jax2onnx.cli.main import main
from jax2onnx.errors import InputSpecError
from jax2onnx.options import STAGES

PROGRAM = """
import jax
import jax.numpy as jnp

def layered(x):
    def step(carry, row):
        return jax.nn.gelu(carry + row), carry.sum()
    return jax.lax.scan(step, x[0], x)
"""


def layered(x):
    def step(carry, row):
        return jax.nn.gelu(carry + row), carry.sum()

    return jax.lax.scan(step, x[0], x)


def test_the_flat_program_has_primitives_and_bodies():
    text = jax2onnx.show(layered, [("B", 3)], "program")
    assert "tanh(" in text
    assert "  body 0:\n    in  " in text
    assert "test_show.py" in text  # the user's lines


def test_the_prepared_program_has_functions():
    text = jax2onnx.show(layered, [("B", 3)], "fused")
    assert "jax.nn.gelu(" in text
    assert "replaces 8 equations" in text
    assert "tanh(" not in text


def test_the_options_are_those_of_an_export():
    assert "tanh(" in jax2onnx.show(layered, [("B", 3)], "fused", fusions=False)


@pytest.mark.parametrize("stage", ["lowered", "tidied", "final"])
def test_models_are_shown_as_graphs(stage):
    assert "::Scan" in jax2onnx.show(layered, [("B", 3)], stage)


def test_a_later_stage_has_fewer_nodes():
    def fn(x):
        return jnp.transpose(jnp.transpose(x)).reshape(3, 2).reshape(2, 3)

    lowered, tidied = (jax2onnx.show(fn, [(2, 3)], stage) for stage in ("lowered", "tidied"))
    assert lowered.count("::") > tidied.count("::")


def test_an_unknown_stage_is_refused():
    with pytest.raises(InputSpecError, match=f"stage: 'fuse' is none of {', '.join(STAGES)}"):
        jax2onnx.show(layered, [(2, 3)], "fuse")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "shown_program.py"
    path.write_text(PROGRAM)
    return f"{path}:layered"


def test_the_command_prints_a_stage_and_writes_nothing(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["export", program, "-i", "float32[B,3]", "--show", "fused"])
    assert not ended.value.code
    assert "jax.nn.gelu(" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize("further", [[], ["--show", "fused", "-o", "model.onnx"]])
def test_the_command_wants_a_file_or_a_stage(program, further, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", program, "-i", "float32[B,3]", *further])
    assert ended.value.code == 2
    assert "--output" in capsys.readouterr().err
