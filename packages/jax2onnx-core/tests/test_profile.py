"""Profiles: the parts are the whole, and what runs is found under the user's line and module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import jax
import jax.numpy as jnp
import pytest
from click.testing import CliRunner

from jax2onnx import onnx_function, to_onnx
from jax2onnx.checking.profile import profile
from jax2onnx.cli.main import cli
from jax2onnx.errors import InputSpecError
from jax2onnx.inspect.flame import flame_graph
from jax2onnx.output.save import save


@onnx_function
def turned(x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ x)


def program(x: jax.Array) -> Any:
    with jax.named_scope("loop"):
        y = jax.lax.scan(lambda c, a: (turned(c @ a), None), jnp.eye(8), x)[0]
    return jnp.sin(y.astype(jnp.int32).T), turned(y)


def test_the_parts_are_the_whole(tmp_path: Path) -> None:
    model = to_onnx(program, ["float32[T,8,8]"])
    found = profile(model, program, sizes={"T": 5}, runs=3)
    for parts in (found.lines, found.modules, found.operators, found.kinds, found.stacks):
        assert sum(parts.values()) == pytest.approx(found.total)
    assert any(line.startswith("test_profile.py:") for line in found.lines)
    assert "loop" in found.modules
    assert {"Scan", "Tanh"} <= set(found.operators)
    assert {"session", "compute", "cast"} <= set(found.kinds)
    assert found.jax is not None
    with pytest.raises(InputSpecError, match="no symbol 'S'"):
        profile(model, sizes={"S": 1})
    path, picture = tmp_path / "model.onnx", tmp_path / "flame.svg"
    save(model, path)
    done = CliRunner().invoke(cli, ["profile", str(path), "--size", "T=2", "--runs", "1", "--svg", str(picture)])
    assert done.exit_code == 0, done.output
    assert "T=2" in done.output
    fromstring(picture.read_text())
    done = CliRunner().invoke(cli, ["profile", str(path), "--runs", "1", "--json"])
    told = json.loads(done.output)
    assert sum(told["lines"].values()) == pytest.approx(told["total"])


def test_names_cannot_inject_anything() -> None:
    hostile = "</title><script>alert(1)</script>\"'&\x00\u202e"
    tree = fromstring(flame_graph({f"a/{hostile}": 3.0, "b": 1.0}))
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} == {"svg", "g", "title", "rect", "text"}


def test_fused_nodes_and_those_that_the_runtime_puts_in_belong_to_nodes_of_the_model() -> None:
    def convolved(x: jax.Array, w: jax.Array) -> jax.Array:
        for name in ("first", "second"):
            with jax.named_scope(name):
                x = jax.lax.conv(x, w, (1, 1), "SAME")
            x = jax.nn.relu(x)
        return x

    weights = jnp.ones((32, 32, 3, 3))
    found = profile(to_onnx(lambda x: convolved(x, weights), ["float32[1,32,8,8]"]), runs=1)
    assert {"first", "second"} <= set(found.modules)
    assert "(none)" not in found.lines
