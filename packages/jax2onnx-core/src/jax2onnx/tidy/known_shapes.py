"""Known shapes: those of elementwise results that no equation has, since a rule computes with them in between."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import is_known
from jax2onnx.tidy.operators import BROADCASTING, UNARY
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["complete_shapes"]


@rewrites(*BROADCASTING, *UNARY, keeps_nodes=True)
def complete_shapes(nodes: Sequence[ir.Node], _home: Home) -> None:
    """Give the results of elementwise operators the shape that their operands have, or are broadcast to."""
    for node in nodes:
        (result,) = node.outputs
        if result.shape is not None:
            continue
        operands = node.inputs[:1] if node.op_type in UNARY else node.inputs
        shapes = [None if value is None else value.shape for value in operands]
        result.shape = _broadcast([shape for shape in shapes if shape is not None]) if None not in shapes else None


def _broadcast(shapes: Sequence[ir.Shape]) -> ir.Shape | None:
    """Return the shape that shapes are broadcast to, None if it is not known."""
    dims: list[Dim] = []
    for place in itertools.zip_longest(*[tuple(shape)[::-1] for shape in shapes], fillvalue=1):
        sizes = {dim for dim in place if dim != 1}
        if len(sizes) > 1 or not all(map(is_known, place)):
            return None
        dims.append(sizes.pop() if sizes else 1)
    return ir.Shape(dims[::-1])
