"""Emit writes to one place of a small array, which may be out of bounds, as a choice between the update and the array.

JAX drops an update that is out of bounds, and ONNX refuses its index. An index that equals no place chooses nothing, so
that it is neither clamped nor compared, and what is at the place is not read::

    x[5, 4], i, u[1, 4]:    Where(Equal(i, [[0], [1], [2], [3], [4]]), u, x)
    x[3, 5], ij[2], u[1]:   Where(ReduceMin(Equal(ij, places[3, 5, 2]), 2), u, x)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.plugin import is_static
from jax2onnx_lax.indexing import counted_from_end
from jax2onnx_lax.zeros import emit_select

if TYPE_CHECKING:
    from jax2onnx.plugin import LoweringContext

__all__ = ["is_chosen", "write"]

_SMALL = 1024
"""Of arrays of up to so many elements, a choice takes about as long as that of one row."""


def is_chosen(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], start: Sequence[int]) -> bool:
    """Return whether the write of one place of an array is emitted as a choice.

    Args:
        ctx: the context of the equation.
        x: the array.
        shape: its shape.
        start: the dims that the components of the index vector address.
    """
    if x.dtype is None or not is_static(*shape) or math.prod(shape) > _SMALL:
        return False
    if ctx.target is not None and not ctx.target.supports("Where", ctx.opset, [ir.DataType.BOOL, x.dtype]):
        return False
    reduces_bools = len(start) == 1 or ctx.opset >= 20
    return list(start) == list(range(len(start))) and reduces_bools


def write(ctx: LoweringContext, x: ir.Value, indices: ir.Value, update: ir.Value, dims: Sequence[int]) -> ir.Value:
    """Write ``update[1, ...]`` at the one index vector there is, of the first ``dims`` of an array.

    Args:
        ctx: the context of the equation.
        x: the array.
        indices: the index vector, of the rank that the equation has; a scalar in place of one component.
        update: what is written.
        dims: the sizes that are addressed.
    """
    op, rank = ctx.op, len(ctx.avals_in[0].shape)
    last = [1] * (rank - len(dims))
    assert indices.dtype is not None
    dtype = indices.dtype.numpy()
    if len(dims) == 1:
        (size,) = dims
        given = counted_from_end(ctx, indices, size, in_bounds=False)
        given = given if len(given.shape or ()) <= 1 else ctx.reshape(given, [1] * len(given.shape or ()), (1,))
        places = np.arange(size, dtype=dtype).reshape([size, *last])
        found = op.Equal(given, places)
        if given is not indices:  # the user's own, which JAX counts from the end
            found = op.Or(found, op.Equal(given, (places - size).astype(dtype)))
        return emit_select(ctx, found, update, x)
    places = np.moveaxis(np.indices(dims, dtype), 0, -1)
    vector = ctx.reshape(indices, ctx.avals_in[1].shape, (len(dims),))
    same = op.Equal(vector, places.reshape([*dims, *last, len(dims)]))
    return emit_select(ctx, op.ReduceMin(same, ctx.ints(rank), keepdims=0), update, x)
