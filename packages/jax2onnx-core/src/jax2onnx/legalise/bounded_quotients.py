"""Bounded quotients: numbers over the largest magnitude among them, as they are before they are rounded to few bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_bounded"]

_Axes: TypeAlias = list[int | None]
"""For each axis of a value the axis that it is of the value one began with; None for a dim of 1 that is none of its."""

_REDUCED = -1
"""What stands for an axis over which the largest magnitude is taken."""

_FACTORS = (1e-3, 1e3)
_GUARDS = (1e-20, 1e3)
"""Between which numbers constants lie, so that no scale is 0 or subnormal, and no quotient overflows float32."""
_MOST_FACTORS = 2


def is_bounded(value: ir.Value) -> bool:
    """Return whether float32 numbers are proven to be NaN or at most 1e30, since they are divided by what bounds them.

    It is ``Div(x, s)``, where ``s`` is made of ``m``, the largest magnitude of ``x`` over some axes, NaN if one is NaN:
    ``m = Where(IsNaN(ReduceSum(Abs(x))), nan, ReduceMax(Abs(x)))``. Constants may multiply or divide it, and it has
    to be kept away from 0, as by ``Max(m, 1e-6)`` or ``Where(Less(m, 1e-6), 1, m)``. Both ``x`` and ``s`` may be
    rearranged. If ``x`` has an infinity, ``s`` is infinite, and the quotients of that row are 0 or NaN.
    """
    node = value.producer()
    if node is None or standard(node) != "Div":
        return False
    dividend, scale = node.inputs
    rank = _rank(dividend)
    if dividend is None or scale is None or rank is None or rank != _rank(scale):
        return False
    found = _largest(scale)
    if found is None:
        return False
    root, of_scale = found
    of_dividend = _axes_in(dividend, root)
    if of_dividend is None:
        return False
    pairs = zip(of_scale, of_dividend, strict=True)
    return all(a in {_REDUCED, None} or b is None or a == b for a, b in pairs)


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else value.shape.rank()


def _largest(scale: ir.Value) -> tuple[ir.Value, _Axes] | None:
    """Return the value whose largest magnitude bounds it over the scale, and where its axes are in the scale."""
    value: ir.Value | None = scale
    axes: _Axes | None = list(range(scale.shape.rank())) if scale.shape is not None else None
    is_kept, factors = False, 0
    while value is not None and axes is not None:
        node = value.producer()
        if node is None:
            return None
        reduced = _reduced(node)
        if reduced is not None:
            root, over, keeps = reduced
            of_root = _before_reduction(axes, over, keeps=keeps)
            return (root, of_root) if is_kept and factors <= _MOST_FACTORS and of_root is not None else None
        if standard(node) in _VIEWS:
            value, axes = node.inputs[0], _before_view(node, axes)
        elif (inner := _kept_from_zero(node)) is not None:
            value, is_kept = inner, True
        else:
            value, factors = _scaled(node), factors + 1
    return None


def _reduced(node: ir.Node) -> tuple[ir.Value, list[int], bool] | None:
    """Return of which value a node is the largest magnitude, NaN if one is NaN, over which axes, and if they stay."""
    unknown = _producer(node, 0, "IsNaN") if standard(node) == "Where" else None
    total = None if unknown is None else _producer(unknown, 0, "ReduceSum")
    most = None if unknown is None else _producer(node, 2, "ReduceMax")
    if total is None or most is None or total.inputs[0] is not most.inputs[0]:
        return None
    number = _number(node.inputs[1])
    magnitudes = _producer(most, 0, "Abs")
    root = None if magnitudes is None else magnitudes.inputs[0]
    rank, over = _rank(root), _axes_of(most)
    if number is None or number == number or root is None or rank is None or over is None:  # noqa: PLR0124 - NaN
        return None
    keeps = [bool(one.attributes.get_int("keepdims", 1)) for one in (total, most)]
    if over != _axes_of(total) or keeps[0] != keeps[1]:
        return None
    return root, [axis % rank for axis in over], keeps[0]


def _axes_of(node: ir.Node) -> list[int] | None:
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    return _ints(node)


def _before_reduction(axes: _Axes, over: list[int], *, keeps: bool) -> _Axes | None:
    kept = iter(axes)
    rank = len(axes) if keeps else len(axes) + len(over)
    found: _Axes = []
    for axis in range(rank):
        if keeps or axis not in over:
            here = next(kept)
        found.append(_REDUCED if axis in over else here)
    return found


def _kept_from_zero(node: ir.Node) -> ir.Value | None:
    """Return what a node keeps away from 0: it is as it was where it is larger than a constant, and where it is NaN."""
    if standard(node) == "Max" and len(node.inputs) == 2:
        for place in (0, 1):
            if _is_between(node.inputs[1 - place], _GUARDS):
                return node.inputs[place]
    if standard(node) != "Where":
        return None
    less = _producer(node, 0, "Less")
    if less is None or less.inputs[0] is not node.inputs[2]:
        return None
    return node.inputs[2] if _is_between(less.inputs[1], _GUARDS) and _is_between(node.inputs[1], _GUARDS) else None


def _scaled(node: ir.Node) -> ir.Value | None:
    if standard(node) in {"Div", "Mul"} and _is_between(node.inputs[1], _FACTORS):
        return node.inputs[0]
    return node.inputs[1] if standard(node) == "Mul" and _is_between(node.inputs[0], _FACTORS) else None


def _axes_in(value: ir.Value, root: ir.Value) -> _Axes | None:
    """Return where the axes of ``root`` are in a value that rearranges it, None if it does not."""
    axes: _Axes | None = list(range(value.shape.rank())) if value.shape is not None else None
    here: ir.Value | None = value
    while here is not root:
        node = None if here is None else here.producer()
        if node is None or axes is None or standard(node) not in _VIEWS:
            return None
        here, axes = node.inputs[0], _before_view(node, axes)
    return axes


def _before_view(node: ir.Node, axes: _Axes) -> _Axes | None:
    return _VIEWS[standard(node)](node, axes)


def _before_transpose(node: ir.Node, axes: _Axes) -> _Axes | None:
    if "perm" not in node.attributes:
        return None
    order = node.attributes["perm"].as_ints()
    before: _Axes = [None] * len(axes)
    for axis, place in zip(axes, order, strict=True):
        before[place] = axis
    return before


def _before_unsqueeze(node: ir.Node, axes: _Axes) -> _Axes | None:
    inserted = _ints(node)
    if inserted is None:
        return None
    places = {axis % len(axes) for axis in inserted}
    return [axis for place, axis in enumerate(axes) if place not in places]


def _before_squeeze(node: ir.Node, axes: _Axes) -> _Axes | None:
    removed = _ints(node)
    if removed is None:
        return None
    rank = len(axes) + len(removed)
    places = {axis % rank for axis in removed}
    left = iter(axes)
    return [None if place in places else next(left) for place in range(rank)]


def _before_reshape(node: ir.Node, axes: _Axes) -> _Axes | None:
    """Follow a ``Reshape`` that adds and removes dims of 1, and does nothing else."""
    value, after = node.inputs[0], node.outputs[0].shape
    before = None if value is None else value.shape
    if before is None or after is None:
        return None
    kept = [(dim, axis) for dim, axis in zip(after, axes, strict=True) if dim != 1]
    dims = [dim for dim, _ in kept]
    # Two dims without a name compare equal, but may differ.
    if dims != [dim for dim in before if dim != 1] or any(not isinstance(d, int) and d.value is None for d in dims):
        return None
    left = iter(axis for _, axis in kept)
    return [None if dim == 1 else next(left) for dim in before]


_VIEWS: dict[str, Callable[[ir.Node, _Axes], _Axes | None]] = {
    "Reshape": _before_reshape,
    "Squeeze": _before_squeeze,
    "Transpose": _before_transpose,
    "Unsqueeze": _before_unsqueeze,
}


def _producer(node: ir.Node, place: int, op_type: str) -> ir.Node | None:
    value = node.inputs[place]
    producer = None if value is None else value.producer()
    return producer if producer is not None and standard(producer) == op_type else None


def _ints(node: ir.Node) -> list[int] | None:
    """Return the integers that the second input of a node holds, None if there is none or it is computed."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else [int(number) for number in tensor.numpy().reshape(-1)]


def _is_between(value: ir.Value | None, bounds: tuple[float, float]) -> bool:
    number = _number(value)
    return number is not None and bounds[0] <= number <= bounds[1]


def _number(value: ir.Value | None) -> float | None:
    """Return the number of which all elements of a value are, None if they differ or are not known."""
    while value is not None and (node := value.producer()) is not None and standard(node) in _FILLED:
        value = node.inputs[0]
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return float(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else None


_FILLED = frozenset({*_VIEWS, "Expand"})
