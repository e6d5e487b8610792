"""Folded: nodes that only rearrange an initializer become the initializer, rearranged."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.tidy.initializers import stored_once
from jax2onnx.tidy.match_nodes import (
    ints_at,
    is_transpose,
    permutation,
    shape_at,
    sizes_of,
    slice_steps,
    tensor_at,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home, Rearrangement

__all__ = ["fold"]


@rewrites("Cast", "Slice", "Transpose", *RESHAPES)
def fold(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``MatMul(x, Transpose(w[5, 4], [1, 0]))`` to ``MatMul(x, w_rearranged[4, 5])``.

    The same is done for casts of scalars, reshapes and slices. The nodes are left without users.
    """
    for node in nodes:
        find = _REARRANGE.get(node.op_type)
        source = node.inputs[0]
        result = node.outputs[0]
        if not home.holds(source) or not stored_once(source) or result.is_graph_output():
            continue
        shape = sizes_of(result.shape)
        if shape is None:
            continue
        if _keeps_order(node):
            result.replace_all_uses_with(home.reshaped(source, shape))
        elif find is not None and (function := find(node)) is not None:
            result.replace_all_uses_with(home.derive(source, function, shape, result.dtype))


def _keeps_order(node: ir.Node) -> bool:
    """Return whether a node gives an array another shape, and no element another place among all."""
    if not is_transpose(node):
        return node.op_type in RESHAPES
    sizes = shape_at(node, 0)
    moved = [axis for axis in permutation(node) if sizes is None or sizes[axis] != 1]
    return moved == sorted(moved)


def _transpose(node: ir.Node) -> Rearrangement | None:
    perm = node.attributes["perm"].as_ints()
    return lambda array: np.transpose(array, perm)


def _cast(node: ir.Node) -> Rearrangement | None:
    """Cast scalars between dtypes where the result is the same everywhere."""
    tensor = tensor_at(node, 0)
    dtype = node.outputs[0].dtype
    if tensor is None or tensor.size != 1 or dtype is None:
        return None
    to = dtype.numpy()
    given = tensor.numpy().dtype
    # Floats that an integer cannot hold are converted by each runtime in its own way.
    if given.kind not in "iub" and not np.can_cast(given, to, "same_kind"):
        return None

    def cast(array: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(to)

    return cast


def _slice(node: ir.Node) -> Rearrangement | None:
    starts = ints_at(node, 1)
    ends = ints_at(node, 2)
    axes = ints_at(node, 3)
    steps = slice_steps(node)
    if starts is None or ends is None or axes is None or steps is None:
        return None
    if min(axes, default=0) < 0:
        return None
    index = [slice(None)] * (max(axes, default=-1) + 1)
    for axis, start, end, step in itertools.zip_longest(axes, starts, ends, steps, fillvalue=1):
        # A slice that steps down to element 0 ends at the least number in ONNX, and at None in Python.
        to_first = step < 0 and end <= np.iinfo(np.int32).min
        index[axis] = slice(start, None if to_first else end, step)
    return lambda array: array[tuple(index)]


_REARRANGE: dict[str, Callable[[ir.Node], Rearrangement | None]] = {
    "Cast": _cast,
    "Transpose": _transpose,
    "Slice": _slice,
}
