"""Composites: a plugin's rule for one by its name and version; its body where there is none, or where it declines."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest

from jax2onnx import to_onnx
from jax2onnx.plugin import loader as plugins

PLUGIN = """
@hookimpl
def jax2onnx_register_lowerings(registry):
    from jax2onnx.plugin import Decline

    def scaled(ctx, x, *, by, table):
        if by == 3.0:
            raise Decline("three is not ours")
        return ctx.op.Div(x, 1 / by)

    registry.composite("my.scaled", scaled)
    registry.composite("my.scaled", scaled, version=1, min_opset=20)
    registry.composite("my.pair", lambda ctx, x: [ctx.op.Neg(x), ctx.op.Abs(x)])
"""
X = np.array([1, -2], np.float32)


@pytest.fixture
def plugin(fake_plugin: Any) -> None:
    fake_plugin("alpha", PLUGIN)
    plugins.load()


def scaled(version: int, by: float) -> Any:
    named = jax.lax.composite(lambda x, *, by, table: x * by, "my.scaled", version)
    return lambda x: named(x, by=by, table={"a": 1})


@pytest.mark.parametrize(
    ("version", "by", "opset", "operators"),
    [
        (0, 2.0, 23, ["Div"]),
        (0, 3.0, 23, ["Mul"]),
        (1, 2.0, 23, ["Div"]),
        (1, 2.0, 18, ["Mul"]),
        (2, 2.0, 23, ["Mul"]),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_the_rule_of_a_composite_is_used_or_its_body(version: int, by: float, opset: int, operators: list[str]) -> None:
    program = scaled(version, by)
    model = to_onnx(lambda x: jax.jit(program)(x), [(2,)], opset=opset)  # noqa: PLW0108 - a composite inside of jit
    assert [node.op_type for node in model.graph.node] == operators
    result = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {model.graph.input[0].name: X})[0]
    np.testing.assert_allclose(result, X * by)


@pytest.mark.usefixtures("plugin")
def test_a_composite_may_have_several_results() -> None:
    pair = jax.lax.composite(lambda x: (-x, jax.numpy.abs(x)), "my.pair")
    model = to_onnx(pair, [(2,)])
    assert [node.op_type for node in model.graph.node] == ["Neg", "Abs"]


def test_without_a_rule_the_body_is_converted() -> None:
    assert [node.op_type for node in to_onnx(scaled(0, 2.0), [(2,)]).graph.node] == ["Mul"]


@pytest.mark.usefixtures("plugin")
def test_the_user_replaces_the_rule_by_its_name() -> None:
    rule = {"composite my.scaled 0": lambda ctx, x, **_: ctx.op.Neg(x)}
    assert [node.op_type for node in to_onnx(scaled(0, 2.0), [(2,)], lowerings=rule).graph.node] == ["Neg"]
