"""Emit linear layers and embeddings of flax.nnx."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_nnx.fusions._layers import NO_RANDOM, given

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext


def _linear(x: Any, kernel: Any, bias: Any) -> Any:
    layer = nnx.Linear(*kernel.shape, kernel_init=given(kernel), bias_init=given(bias), rngs=NO_RANDOM)
    return layer(x)


def _emit_linear(ctx: LoweringContext, x: ir.Value, kernel: ir.Value, bias: ir.Value) -> ir.Value:
    product = ctx.stamp(ctx.op.MatMul(x, kernel), ctx.aval_out.shape)
    return ctx.op.Add(product, bias)


def _linear_general(x: Any, kernel: Any, bias: Any, *, axes: int = 1) -> Any:
    layer = nnx.LinearGeneral(
        kernel.shape[:axes],
        kernel.shape[axes:],
        axis=tuple(range(-axes, 0)),
        kernel_init=given(kernel),
        bias_init=given(bias),
        rngs=NO_RANDOM,
    )
    return layer(x)


def _contracted(candidate: Candidate) -> list[dict[str, int]]:
    """Read off the product how many trailing axes a layer contracts; with a matrix it is another layer."""
    (product, *_) = candidate.params("dot_general")
    return [{"axes": len(product["dimension_numbers"][0][1])}] if len(candidate.inputs[1].shape) > 2 else []


def _with_matrix(candidate: Candidate) -> list[dict[str, Any]]:
    return [{}] if len(candidate.inputs[1].shape) == 2 else []


def _emit_linear_general(ctx: LoweringContext, x: ir.Value, kernel: ir.Value, bias: ir.Value, *, axes: int) -> ir.Value:
    """Multiply by the kernel as a matrix; the last reshape splits the result's features."""
    shape, sizes = ctx.avals_in[0].shape, ctx.avals_in[1].shape
    if not all(isinstance(d, int) for d in sizes):
        raise Decline("the sizes of the kernel are not known at conversion")
    batch, inputs, outputs = shape[:-axes], math.prod(sizes[:axes]), math.prod(sizes[axes:])
    product = ctx.op.MatMul(ctx.reshape(x, shape, (*batch, inputs)), ctx.reshape(kernel, sizes, (inputs, outputs)))
    total = ctx.op.Add(ctx.stamp(product, (*batch, outputs)), ctx.reshape(bias, sizes[axes:], (outputs,)))
    return ctx.reshape(ctx.stamp(total, (*batch, outputs)), (*batch, outputs), ctx.aval_out.shape)


def _embed(ids: Any, table: Any) -> Any:
    return nnx.Embed(*table.shape, embedding_init=given(table), rngs=NO_RANDOM)(ids)


def _emit_embed(ctx: LoweringContext, ids: ir.Value, table: ir.Value) -> ir.Value:
    """Look up rows; an id beyond the table gives NaN in JAX, is undefined in ONNX and refused by the runtime."""
    shape, (rows, _) = ctx.avals_in[0].shape, ctx.avals_in[1].shape
    if not isinstance(rows, int) or ctx.avals_in[0].dtype != np.int32:
        raise Decline("the bounds of the table are no constants, or JAX converts the ids, and wraps those of 64 bits")
    inside = ctx.stamp(ctx.op.Clip(ids, -rows, rows - 1), shape)
    known = ctx.stamp(ctx.op.Equal(ids, inside), shape)
    found = ctx.stamp(ctx.op.Gather(table, inside, axis=0), ctx.aval_out.shape)
    column = ctx.stamp(ctx.op.Unsqueeze(known, ctx.ints(-1)), (*shape, 1))
    return ctx.op.Where(column, found, np.asarray(np.nan, ctx.aval_out.dtype))


_IDS = np.dtype(np.int32)

FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        name="flax.nnx.Linear",
        reference=_linear,
        examples=[[(2, 3), (3, 5), (5,)], [(3,), (3, 5), (5,)]],
        kwargs=_with_matrix,
        emit={MIN_OPSET: _emit_linear},
        primitives=frozenset({"dot_general"}),
    ),
    Fusion(
        name="flax.nnx.LinearGeneral",
        reference=_linear_general,
        examples=[[(2, 3), (3, 5, 4), (5, 4)]],
        kwargs=_contracted,
        emit={MIN_OPSET: _emit_linear_general},
        primitives=frozenset({"dot_general"}),
    ),
    Fusion(
        name="flax.nnx.Embed",
        reference=_embed,
        examples=[[jax.ShapeDtypeStruct((2, 3), _IDS), (5, 4)], [jax.ShapeDtypeStruct((), _IDS), (5, 4)]],
        emit={MIN_OPSET: _emit_embed},
    ),
)
