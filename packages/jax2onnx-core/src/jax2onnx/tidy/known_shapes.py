"""Known shapes: those of elementwise results, and of sizes, that no equation has: a rule computes with them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import ints_at, is_known, shape_at
from jax2onnx.tidy.operators import BROADCASTING, UNARY
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["complete_shapes"]


@rewrites(*BROADCASTING, *UNARY, "Squeeze", keeps_nodes=True)
def complete_shapes(nodes: Sequence[ir.Node], _home: Home) -> None:
    """Give the results of elementwise operators the shape that their operands have, or are broadcast to.

    Those of ``Squeeze`` have it without some axes.
    """
    for node in nodes:
        (result,) = node.outputs
        if result.shape is not None:
            continue
        if node.op_type == "Squeeze":
            result.shape = _squeezed(node)
            continue
        operands = node.inputs[:1] if node.op_type in UNARY else node.inputs
        shapes = [None if value is None else value.shape for value in operands]
        result.shape = _broadcast([shape for shape in shapes if shape is not None]) if None not in shapes else None


def _squeezed(node: ir.Node) -> ir.Shape | None:
    """Return the shape of an array without the axes that a constant holds, None if it is not known."""
    shape, axes = shape_at(node, 0), ints_at(node, 1) if len(node.inputs) > 1 else None
    if shape is None or not axes:
        return None
    left_out = {axis % len(shape) for axis in axes}
    return ir.Shape([dim for axis, dim in enumerate(shape) if axis not in left_out])


def _broadcast(shapes: Sequence[ir.Shape]) -> ir.Shape | None:
    """Return the shape that shapes are broadcast to, None if it is not known."""
    dims: list[Dim] = []
    for place in itertools.zip_longest(*[tuple(shape)[::-1] for shape in shapes], fillvalue=1):
        sizes = {dim for dim in place if dim != 1}
        if len(sizes) > 1 or not all(map(is_known, place)):
            return None
        dims.append(sizes.pop() if sizes else 1)
    return ir.Shape(dims[::-1])
