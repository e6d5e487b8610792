"""Verification: what is not valid ONNX never leaves an export; the error names the node, the line and the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from jax2onnx import check, onnx_function, save_onnx, show, to_onnx
from jax2onnx.errors import InvalidModelError
from jax2onnx.output.proto import add_weights, without_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def _leak(ctx: Any, x: Any, **_params: Any) -> Any:
    """Use a value of a branch outside of it."""
    inside: list[Any] = []

    def compute(_inputs: Any) -> list[Any]:
        inside.append(ctx.op.Neg(x))
        return [inside[0]]

    then = ctx.subgraph("then", [], compute)
    otherwise = ctx.subgraph("else", [], lambda _: [ctx.op.Abs(x)])
    chosen = ctx.op.If(ctx.op.Equal(ctx.op.ReduceSum(x, keepdims=0), 0.0), then_branch=then, else_branch=otherwise)
    return ctx.op.Add(inside[0], chosen)


def _wrong_branch(ctx: Any, x: Any, **_params: Any) -> Any:
    """Add numbers of two dtypes in a branch."""
    then = ctx.subgraph("then", [], lambda _: [ctx.op.Add(x, ctx.constant(1, np.int32))])
    otherwise = ctx.subgraph("else", [], lambda _: [ctx.op.Abs(x)])
    return ctx.op.If(ctx.op.Equal(ctx.op.ReduceSum(x, keepdims=0), 0.0), then_branch=then, else_branch=otherwise)


RULES: dict[str, tuple[str, Callable[..., Any]]] = {
    "too many inputs": ("Clip", lambda ctx, x, **_: ctx.op.Clip(x, x, x, x)),
    "too few inputs": ("Loop", lambda ctx, x, **_: _loop_of_nothing(ctx, x)),
    "two dtypes": ("Add", lambda ctx, x, **_: ctx.op.Add(x, ctx.constant(1, np.int32))),
    "two dtypes in a branch": ("Add", _wrong_branch),
    "a shape that contradicts the result": ("Concat", lambda ctx, x, **_: ctx.op.Concat(x, x, axis=0)),
    "shapes that contradict each other": ("Add", lambda ctx, x, **_: ctx.op.Add(x, ctx.constant(np.ones(2, "f")))),
    "an attribute that is missing": ("Concat", lambda ctx, x, **_: ctx.op.Concat(x, x)),
    "a value of another graph": ("Add", _leak),
    "a value of no graph": ("Add", lambda ctx, x, **_: ctx.op.Add(x, ir.Value(name="stray", type=_FLOAT))),
    "a value without a name": ("Add", lambda ctx, x, **_: ctx.op.Add(x, ir.Value(type=_FLOAT))),
}


def _loop_of_nothing(ctx: Any, x: Any) -> Any:
    avals = [jax.ShapeDtypeStruct((), np.int64), jax.ShapeDtypeStruct((), np.bool_)]
    body = ctx.subgraph("body", avals, lambda values: [values[1], ctx.op.Neg(x)])
    return ctx.op.Squeeze(ctx.op.Loop(ctx.constant(1), None, body=body), ctx.ints(0))


@pytest.mark.parametrize("case", RULES)
def test_an_invalid_model_is_an_error_that_names_the_node(case: str) -> None:
    operator, rule = RULES[case]

    def user(x: jax.Array) -> jax.Array:
        return jnp.sin(x)

    with pytest.raises(InvalidModelError) as caught:
        to_onnx(user, [(3,)], lowerings={"sin": rule})
    error = caught.value
    assert error.what.startswith(f"{operator}: the model that was made is not valid ONNX: ")
    assert error.plugin == "lowerings= argument"
    assert "test_verify.py" in (error.where or "")


def test_the_bodies_of_functions_are_verified() -> None:
    @onnx_function
    def marked(x: jax.Array) -> jax.Array:
        return jnp.sin(x)

    with pytest.raises(InvalidModelError, match="Add") as caught:
        to_onnx(marked, [(3,)], lowerings={"sin": RULES["two dtypes"][1]}, target="onnx")
    assert caught.value.plugin == "lowerings= argument"


def test_an_invalid_model_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(InvalidModelError):
        save_onnx(jnp.sin, [(3,)], path, lowerings={"sin": RULES["too many inputs"][1]})
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_model_can_be_looked_at() -> None:
    assert "Clip" in show(jnp.sin, [(3,)], "final", lowerings={"sin": RULES["too many inputs"][1]})


def test_the_remedy_leads_to_a_valid_model() -> None:
    model = to_onnx(jnp.sin, [(3,)], lowerings={"sin": lambda ctx, x, **_: ctx.op.Sin(x)})
    check(model, jnp.sin, [(3,)])


def test_weights_are_added_in_their_order_after_the_model_is_verified() -> None:
    arrays = [np.full((size,), size, "f") for size in (3, 1000, 4, 2000)]
    initializers = [ir.Value(name=f"w{i}", const_value=ir.tensor(a)) for i, a in enumerate(arrays)]
    for value in initializers:
        assert value.const_value is not None
        value.dtype, value.shape = value.const_value.dtype, value.const_value.shape
    inner = ir.node("Concat", initializers, {"axis": 0})
    inner.outputs[0].name, inner.outputs[0].type, inner.outputs[0].shape = "inner", _FLOAT, ir.Shape([3007])
    last = ir.node("Neg", inner.outputs)
    last.outputs[0].name, last.outputs[0].type, last.outputs[0].shape = "y", _FLOAT, ir.Shape([3007])
    graph = ir.Graph([], last.outputs, nodes=[inner, last], initializers=initializers, opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)

    light = without_weights(model)
    assert [value.name for value in light.graph.input] == ["w1", "w3"]
    assert [tensor.name for tensor in light.graph.initializer] == ["w0", "w2"]
    assert len(light.SerializeToString()) < 1000

    whole = add_weights(light, model)
    assert len(whole.graph.input) == 0
    assert [onnx.numpy_helper.to_array(t).tolist() for t in whole.graph.initializer] == [a.tolist() for a in arrays]
    assert [v.name for v in whole.graph.value_info] == ["inner"]
    onnx.checker.check_model(whole, full_check=True)
    assert (inner.outputs[0].type, list(graph.initializers)) == (_FLOAT, ["w0", "w1", "w2", "w3"])
