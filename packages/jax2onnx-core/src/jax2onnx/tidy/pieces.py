"""Pieces: what is joined and then cut again is neither joined nor cut.

Straight code over small arrays, such as the factors of a 3 x 3 matrix, joins results that the next step cuts apart.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import new_node, producer_at, replace, shape_at
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
            _split(node)
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


def _split(node: ir.Node) -> None:
    """Give the users of a split what was joined before it, where at most one of its results was joined of several."""
    axis = _axis(node)
    parts = None if axis is None else _joined_before(node, axis)
    pieces = None if axis is None else _laid_out(node.outputs, axis)
    if parts is None or pieces is None or axis is None:
        return
    found = [_within(parts, start, end) for _, start, end in pieces]
    several = [values for values in found if values is not None and len(values) > 1]
    if None in found or len(several) > 1 or any(value.is_graph_output() for value in node.outputs):
        return
    for result, values in zip(list(node.outputs), found, strict=True):
        assert values is not None
        value = values[0]
        if len(values) > 1:
            joined = new_node("Concat", values, result.shape, node)
            joined.attributes.add(ir.AttrInt64("axis", axis))
            node.prepend(joined)
            value = joined.outputs[0]
        result.replace_all_uses_with(value)


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
    """Rewrite ``Slice(Slice(x[9], 2, 8), 1, 4)`` to ``Slice(x, 3, 6)``; return whether that was possible."""
    first = slice_bounds(before)
    if first is None or len(first) != 1 or list(first) != list(bounds):
        return False
    ((axis, (start, end)),) = bounds.items()
    offset = first[axis][0]
    assert before.inputs[0] is not None
    _set_bounds(node, before.inputs[0], {axis: (start + offset, end + offset)}, home)
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
