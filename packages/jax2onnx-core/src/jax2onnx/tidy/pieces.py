"""Pieces: what is joined and then cut again is neither joined nor cut.

Straight code over small arrays, such as the factors of a 3 x 3 matrix, joins results that the next step cuts apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import is_used_once, new_node, producer_at, replace, shape_at, sole_producer
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.spans import slice_bounds
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["forward_pieces"]

_Part: TypeAlias = tuple[ir.Value, int, int]
"""A value, and between which places of an axis it lies."""


@rewrites("Concat", "Slice", "Split")
def forward_pieces(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Split(Concat(a[2], b[3]), [2, 3])`` to ``a`` and ``b``.

    ``Slice(Concat(a[2], b[3]), 3, 4)`` becomes ``Slice(b, 1, 2)``, and ``Concat(*Split(x))`` becomes ``x``. The nodes
    that this leaves without users stay.
    """
    cuts: dict[tuple[ir.Value | None, int], list[_Part]] = {}
    for node in nodes:
        kind = node.op_type
        if kind == "Split":
            _split(node, home)
            axis = _axis(node)
            pieces = None if axis is None else _laid_out(node.outputs, axis)
            if axis is not None and pieces is not None:
                cuts.setdefault((node.inputs[0], axis), pieces)
        elif kind == "Slice":
            while _cut_part(node, home):
                pass
            _take_piece(node, cuts)
        elif kind == "Concat":
            _concat(node)


def _axis(node: ir.Node) -> int | None:
    """Return the axis of a ``Concat`` or ``Split``, counted from the first; None if the rank is not known."""
    shape = shape_at(node, 0)
    axis = node.attributes.get_int("axis", 0)
    if shape is None:
        return None
    return axis % len(shape) if len(shape) else None


def _laid_out(values: Sequence[ir.Value | None], axis: int) -> list[_Part] | None:
    """Return values that lie next to each other along an axis with their places; None if a size is not known."""
    parts: list[_Part] = []
    start = 0
    for value in values:
        size = None if value is None or value.shape is None else value.shape[axis]
        if value is None or not isinstance(size, int):
            return None
        parts.append((value, start, start + size))
        start += size
    return parts


def _joined_before(node: ir.Node, axis: int) -> list[_Part] | None:
    """Return the parts of which the first operand of a node is joined along an axis, None if it is not."""
    concat = producer_at(node, 0)
    if concat is None or standard(concat) != "Concat" or _axis(concat) != axis:
        return None
    return _laid_out(concat.inputs, axis)


def _within(parts: Sequence[_Part], start: int, end: int) -> list[ir.Value] | None:
    """Return the parts that fill the places from ``start`` to ``end``, None if these cut one."""
    found = [value for value, first, last in parts if start <= first and last <= end and first != last]
    filled = sum(last - first for _, first, last in parts if start <= first and last <= end)
    return found if found and filled == end - start else None


def _split(node: ir.Node, home: Home) -> None:
    """Give the users of a split what was joined before it, where at most one of its results is not a part as it is.

    That one is joined of several parts, or cut from one. ``Split(Slice(Concat(a[1], b[9]), 0, 2), [1, 1])`` becomes
    ``a`` and ``Slice(b, 0, 1)``.
    """
    axis = _axis(node)
    pieces = None if axis is None else _laid_out(node.outputs, axis)
    if pieces is None or axis is None or any(value.is_graph_output() for value in node.outputs):
        return
    joined, offset = _before_slice(node, axis)
    parts = None if joined is None else _joined_before(joined, axis)
    if parts is None:
        return
    found = [_of_parts(parts, start + offset, end + offset) for _, start, end in pieces]
    made = [piece for piece in found if piece is not None and piece.needs_node]
    if None in found or len(made) > 1:
        return
    for result, piece in zip(list(node.outputs), found, strict=True):
        assert piece is not None
        result.replace_all_uses_with(_made(piece, node, result, axis, home) if piece.needs_node else piece.parts[0])


@dataclass(frozen=True)
class _Piece:
    """What lies between two places: whole parts, or one that is cut.

    Attributes:
        parts: the parts that lie there.
        bounds: between which places the part is cut, if it is.
    """

    parts: list[ir.Value]
    bounds: tuple[int, int] | None = None

    @property
    def needs_node(self) -> bool:
        """Whether it is no part as it is."""
        return len(self.parts) > 1 or self.bounds is not None


def _before_slice(node: ir.Node, axis: int) -> tuple[ir.Node | None, int]:
    """Return the node whose first operand is split, after a slice of the axis if there is one, and where it begins."""
    before = sole_producer(node, 0, "Slice")
    bounds = None if before is None else slice_bounds(before)
    if bounds is None:
        return node, 0
    return (before, bounds[axis][0]) if list(bounds) == [axis] else (None, 0)


def _of_parts(parts: Sequence[_Part], start: int, end: int) -> _Piece | None:
    """Return what lies between two places, None if these cut several parts."""
    whole = _within(parts, start, end)
    if whole is not None:
        return _Piece(whole)
    inside = [
        _Piece([value], (start - first, end - first)) for value, first, last in parts if first <= start < end <= last
    ]
    return inside[0] if len(inside) == 1 else None


def _made(piece: _Piece, node: ir.Node, result: ir.Value, axis: int, home: Home) -> ir.Value:
    """Return a piece that is cut from a part, or joined of several."""
    if piece.bounds is None:
        made = new_node("Concat", piece.parts, result.shape, node)
        made.attributes.add(ir.AttrInt64("axis", axis))
    else:
        made = new_node("Slice", piece.parts, result.shape, node)
        _set_bounds(made, piece.parts[0], {axis: piece.bounds}, home)
    node.prepend(made)
    return made.outputs[0]


def _cut_part(node: ir.Node, home: Home) -> bool:
    """Cut the part in which a slice lies instead of what was joined of it; return whether that may be done again."""
    bounds = slice_bounds(node)
    concat = producer_at(node, 0)
    if bounds is None or concat is None:
        return False
    if standard(concat) == "Slice":
        return _cut_once(node, concat, bounds, home)
    axis = _axis(concat) if standard(concat) == "Concat" else None
    if axis not in bounds:
        return False
    start, end = bounds[axis]
    parts = _joined_before(node, axis) or ()
    inside = [part for part in parts if part[1] <= start and end <= part[2] and start < end]
    if len(inside) != 1:
        return False
    ((value, first, last),) = inside
    if (start, end) == (first, last):
        del bounds[axis]
    else:
        bounds[axis] = (start - first, end - first)
    if not bounds:
        return _pass_on(node, value)
    _set_bounds(node, value, bounds, home)
    return True


def _cut_once(node: ir.Node, before: ir.Node, bounds: Mapping[int, tuple[int, int]], home: Home) -> bool:
    """Rewrite ``Slice(Slice(x[9], 2, 8), 1, 4)`` to ``Slice(x, 3, 6)``; return whether that was possible.

    Likewise where they cut other axes, ``x[2:8][:, 1:4]`` becomes ``x[2:8, 1:4]``; but what several nodes cut stays,
    unless it is cut from what was joined.
    """
    whole, joined = slice_bounds(before), producer_at(before, 0)
    if whole is None or before.inputs[0] is None:
        return False
    is_one_axis = len(whole) == 1 and list(whole) == list(bounds)
    is_joined = joined is not None and standard(joined) == "Concat"
    if not is_one_axis and not is_joined and not is_used_once(before.outputs[0]):
        return False
    for axis, (start, end) in bounds.items():
        offset = whole[axis][0] if axis in whole else 0
        whole[axis] = (start + offset, end + offset)
    _set_bounds(node, before.inputs[0], whole, home)
    return True


def _set_bounds(node: ir.Node, value: ir.Value, bounds: Mapping[int, tuple[int, int]], home: Home) -> None:
    """Make a slice cut another value."""
    starts, ends = zip(*bounds.values(), strict=True)
    node.resize_inputs(4)
    for index, operand in enumerate((value, home.ints(starts), home.ints(ends), home.ints(list(bounds)))):
        node.replace_input_with(index, operand)


def _pass_on(node: ir.Node, value: ir.Value) -> bool:
    """Give a value to the users of a node's result; return False."""
    if not node.outputs[0].is_graph_output():
        node.outputs[0].replace_all_uses_with(value)
    return False


def _take_piece(node: ir.Node, cuts: Mapping[tuple[ir.Value | None, int], list[_Part]]) -> None:
    """Give the users of a slice the result of a split before it that is the same."""
    bounds = slice_bounds(node) or {}
    if len(bounds) != 1:
        return
    ((axis, places),) = bounds.items()
    for value, start, end in cuts.get((node.inputs[0], axis), ()):
        if (start, end) == places:
            _pass_on(node, value)


def _concat(node: ir.Node) -> None:
    """Join no pieces of one array that lie next to each other in it, and what is joined of parts all at once."""
    axis = _axis(node)
    if axis is None or node.outputs[0].shape is None:
        return
    _open_concats(node, axis)
    operands: list[ir.Value | None] = []
    changed = False
    for source, run in itertools.groupby(node.inputs, lambda value: _cut_from(value, axis)):
        values = list(run)
        whole = None if source is None or len(values) < 2 else _whole(values, source, axis)
        operands += values if whole is None else [whole]
        changed |= whole is not None
    if changed and len(operands) == 1 and operands[0] is not None:
        if not node.outputs[0].is_graph_output():
            replace(node, operands[0])
    elif changed:
        node.resize_inputs(len(operands))
        for index, value in enumerate(operands):
            node.replace_input_with(index, value)


def _open_concats(node: ir.Node, axis: int) -> None:
    """Rewrite ``Concat(Concat(a, b), c)`` to ``Concat(a, b, c)``, where nothing else reads ``Concat(a, b)``.

    Likewise ``Concat(Slice(Concat(a[1], b[2], c[1]), 0, 3), d)`` becomes ``Concat(a, b, d)``.
    """
    operands: list[ir.Value | None] = []
    for value in node.inputs:
        parts = _parts_of_slice(value, axis)
        if parts is not None:
            operands += parts
            continue
        inner = None if value is None else value.producer()
        is_open = (
            value is not None
            and inner is not None
            and standard(inner) == "Concat"
            and inner.graph is node.graph
            and _axis(inner) == axis
            and len(value.uses()) == 1
            and not value.is_graph_output()
        )
        operands += inner.inputs if is_open and inner is not None else [value]
    if len(operands) != len(node.inputs):
        node.resize_inputs(len(operands))
        for index, value in enumerate(operands):
            node.replace_input_with(index, value)


def _parts_of_slice(value: ir.Value | None, axis: int) -> list[ir.Value] | None:
    """Return the parts of which what a slice cuts out was joined, None if it is no slice, or cuts one of them."""
    node = None if value is None else value.producer()
    if node is None or standard(node) != "Slice":
        return None
    bounds = slice_bounds(node) or {}
    parts = _joined_before(node, axis)
    return _within(parts, *bounds[axis]) if parts is not None and list(bounds) == [axis] else None


def _cut_from(value: ir.Value | None, axis: int) -> ir.Value | None:
    """Return the array from which a value is cut along one axis, in whatever way, and None for what is not cut."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if standard(node) == "Split" and _axis(node) == axis:
        return node.inputs[0]
    return None


def _whole(values: Sequence[ir.Value | None], source: ir.Value, axis: int) -> ir.Value | None:
    """Return the array of which the pieces are all, in their order; None if they are not."""
    first = None if values[0] is None else values[0].producer()
    if first is None or source.shape is None or tuple(values) != tuple(first.outputs):
        return None
    parts = _laid_out(values, axis)
    return source if parts is not None and parts[-1][2] == source.shape[axis] else None
