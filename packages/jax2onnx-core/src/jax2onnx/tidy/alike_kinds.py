"""What is alike: nodes that do the same, their operands place by place, and values that fit next to each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jax2onnx.tidy.alike_leaves import Values, piece
from jax2onnx.tidy.match_nodes import FLOATS, is_known
from jax2onnx.tidy.operators import BROADCASTING, REDUCTIONS, UNARY
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import onnx_ir as ir

__all__ = ["ELEMENTWISE", "fit", "nodes_of", "number_of", "operands_of", "signature"]

ELEMENTWISE = (BROADCASTING | UNARY | {"BitShift"}) - {"PRelu", "Identity"}
_MOST = 4096
"""How many elements what is computed at once has at most."""


def signature(value: ir.Value) -> Hashable:
    """Return what is equal for values that nodes alike compute, in one graph, of operands of the same ranks.

    A difference of floats is alike to a sum: it is the sum with the other sign of its second term, exactly.
    """
    node = value.producer()
    if node is None or len(node.outputs) != 1 or None in node.inputs or value.shape is None:
        return None
    kind = standard(node)
    if kind not in ELEMENTWISE and kind not in REDUCTIONS:
        return None
    attributes = tuple(sorted((name, repr(attribute.value)) for name, attribute in node.attributes.items()))
    kind = "Add" if kind == "Sub" and value.dtype in FLOATS else kind
    ranks = tuple(None if v is None or v.shape is None else len(v.shape) for v in node.inputs)
    return (kind, attributes, value.dtype, len(value.shape), ranks, None if None in ranks else id(node.graph))


def nodes_of(values: Values) -> list[ir.Node]:
    """Return the nodes that compute values."""
    producers = [value.producer() for value in values]
    return [node for node in producers if node is not None]


def operands_of(nodes: Sequence[ir.Node]) -> list[Values]:
    """Return the operands of nodes alike, place by place; those that commute in the order of the first node's."""
    rows = [tuple(value for value in node.inputs if value is not None) for node in nodes]
    if {standard(node) for node in nodes} <= {"Add", "Mul"} and len(rows[0]) == 2:
        wanted = tuple(map(_origin, rows[0]))
        rows = [row[::-1] if _suits(row[::-1], wanted) > _suits(row, wanted) else row for row in rows]
    return list(zip(*rows, strict=True))


def _suits(operands: Values, wanted: tuple[Hashable, ...]) -> int:
    """Return how many operands are of the origin that is wanted at their place."""
    return sum(_origin(operand) == other for operand, other in zip(operands, wanted, strict=True))


def _origin(value: ir.Value) -> Hashable:
    """Return what is equal for constants, for pieces of one array, and for results of nodes alike."""
    if value.const_value is not None:
        return "constant"
    part = piece(value)
    if part is not None:
        return id(part[0])
    found = signature(value)
    return id(value) if found is None else found


def fit(values: Values, end: int) -> bool:
    """Return whether values have the same dtype and, but for one axis, the same shape, and are not too large.

    Symbolic dims count as 1: nodes that are alike take as long for more numbers as the one in their place does.
    """
    shapes = [None if value.shape is None else tuple(value.shape) for value in values]
    known = [shape for shape in shapes if shape is not None and all(map(is_known, shape))]
    if len(known) < len(shapes) or len({value.dtype for value in values}) > 1 or len({*map(len, known)}) > 1:
        return False
    place = len(known[0]) - end
    if place >= 0 and not all(isinstance(shape[place], int) for shape in known):
        return False
    others = {shape if place < 0 else (*shape[:place], *shape[place + 1 :]) for shape in known}
    sizes = (math.prod(dim for dim in shape if isinstance(dim, int)) for shape in known)
    return len(others) == 1 and sum(sizes) <= _MOST


def number_of(value: ir.Value) -> float | None:
    """Return the number that a constant of rank 0 holds."""
    tensor = value.const_value
    return None if tensor is None or len(tensor.shape) else float(tensor.numpy())
