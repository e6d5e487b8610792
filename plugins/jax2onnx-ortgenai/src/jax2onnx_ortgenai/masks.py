"""Masks: whether one is proven to hide what comes later, and what is padding, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx_ortgenai.graphs import VIEWS, NotFound, constant, inputs_of, made_by, through

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["counts_tokens", "hides_later", "hides_later_and_padding", "window"]


def hides_later(mask: ir.Value, past: ir.Value) -> bool:
    """Return whether a mask is ``slots <= own``: ``slots`` counts all positions, ``own`` those of the tokens.

    ``past`` is what the cache holds, with its length on the third axis: the first token's position.
    """
    try:
        _pair(through(mask, *VIEWS), "LessOrEqual", past)
    except NotFound:
        return False
    return True


def window(mask: ir.Value, past: ir.Value) -> int | None:
    """Return how many positions a token sees of itself and those before, None if that is not proven.

    The mask is ``(slots <= own) & (own - slots < 4)``, in any order, and with any terms on either side of a comparison.
    """
    try:
        sides = [through(value, *VIEWS) for value in inputs_of(made_by(through(mask, *VIEWS), "And"), 2)]
        least = [_least(side, past) for side in sides]
    except NotFound:
        return None
    # One hides what comes later: own - slots >= 0. The other one what is far: slots - own >= 1 - 4.
    later, far = sorted(least, reverse=True)
    return 1 - far[1] if later == (1, 0) and far[0] == -1 and far[1] <= 0 else None


def _least(value: ir.Value, past: ir.Value) -> tuple[int, int]:
    """Return (1, n) if a comparison is ``own - slots >= n``, and (-1, n) if it is ``slots - own >= n``."""
    node = made_by(value, *_COMPARISONS)
    first, second = (_linear(operand, past) for operand in inputs_of(node, 2))
    slots, own, number = (a - b for a, b in zip(first, second, strict=True))
    sign, more = _COMPARISONS[node.op_type]
    slots, own, number = sign * slots, sign * own, sign * number
    if (slots, own) not in {(-1, 1), (1, -1)}:
        raise NotFound("what is compared is no difference of positions")
    return own, more - number


_COMPARISONS = {"GreaterOrEqual": (1, 0), "Greater": (1, 1), "LessOrEqual": (-1, 0), "Less": (-1, 1)}
"""For each, ``sign * (a - b) >= more`` is what it says of integers."""


def _linear(value: ir.Value, past: ir.Value) -> tuple[int, int, int]:
    """Return a sum of integers as its multiples of ``slots`` and of ``own``, and a number."""
    inner = through(value, *VIEWS)
    number = constant(inner)
    if number is not None and number.size == 1 and number.dtype.kind in "iu":
        return 0, 0, int(number.reshape(-1)[0])
    if counts_tokens(value, past):
        _require_axis(value, 2)
        return 0, 1, 0
    node = made_by(inner, "Range", "Add", "Sub")
    if node.op_type == "Range":
        _require_axis(value, 1)
        _require_count(inner)
        return 1, 0, 0
    first, second = (_linear(operand, past) for operand in inputs_of(node, 2))
    sign = -1 if node.op_type == "Sub" else 1
    return first[0] + sign * second[0], first[1] + sign * second[1], first[2] + sign * second[2]


def _require_axis(value: ir.Value, last: int) -> None:
    """Require that an array lies along its last axis, or the one before: all others are of one element."""
    sizes = list(value.shape or ())
    if len(sizes) < last or any(size != 1 for size in [*sizes[:-last], *sizes[len(sizes) - last + 1 :]]):
        raise NotFound("the positions do not lie along the axes")


def hides_later_and_padding(mask: ir.Value, past: ir.Value, attention_mask: ir.Value | None) -> bool:
    """Return whether a mask is ``(slots <= own) & (attention_mask > 0) | (slots == own)``; None is any input."""
    try:
        either = made_by(through(mask, *VIEWS), "Or")
        both, same = (through(value, *VIEWS) for value in inputs_of(either, 2))
        later, visible = (through(value, *VIEWS) for value in inputs_of(made_by(both, "And"), 2))
        pair = _pair(later, "LessOrEqual", past)
        if _pair(same, "Equal", past) != pair:
            return False
        given, zero = inputs_of(made_by(visible, "Greater"), 2)
    except NotFound:
        return False
    number = constant(zero)
    if attention_mask is None and given.is_graph_input():
        attention_mask = given
    return given is attention_mask and number is not None and not number.any()


def _pair(value: ir.Value, comparison: str, past: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the two ranges that are compared: all positions as a row, those of the tokens as a column."""
    slots, own = inputs_of(made_by(value, comparison), 2)
    if not _is_row(slots) or not _is_column(own):
        raise NotFound("the positions do not lie along the axes")
    _require_count(through(slots, *VIEWS))
    _require_tokens(own, past)
    return slots, own


def counts_tokens(value: ir.Value, past: ir.Value) -> bool:
    """Return whether a value is the positions of the tokens: they count from the length of the cache."""
    try:
        _require_tokens(value, past)
    except NotFound:
        return False
    return True


def _require_tokens(value: ir.Value, past: ir.Value) -> None:
    first, second = (through(term, *VIEWS) for term in inputs_of(made_by(through(value, *VIEWS), "Add"), 2))
    producer = first.producer()
    if producer is not None and producer.op_type == "Shape":
        first, second = second, first
    _require_count(first)
    _require_length(second, past)


def _is_row(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.rank() == 2 and value.shape[0] == 1


def _is_column(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.rank() == 2 and value.shape[1] == 1


def _require_count(value: ir.Value) -> None:
    """Require ``Range(0, n, 1)``, or such a constant."""
    array = constant(value)
    if array is not None:
        if array.dtype.kind not in "iu" or (array.reshape(-1) != np.arange(array.size)).any():
            raise NotFound("the positions do not count from zero")
        return
    start, _, step = inputs_of(made_by(value, "Range"), 3)
    numbers = constant(start), constant(step)
    if numbers[0] is None or numbers[1] is None or int(numbers[0]) != 0 or int(numbers[1]) != 1:
        raise NotFound("the positions do not count from zero")


def _require_length(value: ir.Value, past: ir.Value) -> None:
    """Require the size of the third axis of the cache."""
    shape = made_by(value, "Shape")
    start = shape.attributes.get_int("start", 0)
    measured = inputs_of(shape, 1)[0]
    same = measured.shape is not None and past.shape is not None and measured.shape[2] == past.shape[2]
    if start != 2 or shape.attributes.get_int("end", 0) != 3 or not same or not measured.is_graph_input():
        raise NotFound("the first position is not the length of the cache")
