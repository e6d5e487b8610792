"""Masks: whether one is proven to hide what comes later, and what is padding, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx_ortgenai.graphs import VIEWS, NotFound, constant, inputs_of, made_by, through

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["counts_tokens", "hides_later", "hides_later_and_padding"]


def hides_later(mask: ir.Value, past: ir.Value) -> bool:
    """Return whether a mask is ``slots <= own``: ``slots`` counts all positions, ``own`` those of the tokens.

    ``past`` is what the cache holds, with its length on the third axis: the first token's position.
    """
    try:
        _pair(through(mask, *VIEWS), "LessOrEqual", past)
    except NotFound:
        return False
    return True


def hides_later_and_padding(mask: ir.Value, past: ir.Value, attention_mask: ir.Value) -> bool:
    """Return whether a mask is ``(slots <= own) & (attention_mask > 0) | (slots == own)``."""
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
    first, second = inputs_of(made_by(through(value, *VIEWS), "Add"), 2)
    _require_count(through(first, *VIEWS))
    _require_length(through(second, *VIEWS), past)


def _is_row(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.rank() == 2 and value.shape[0] == 1


def _is_column(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.rank() == 2 and value.shape[1] == 1


def _require_count(value: ir.Value) -> None:
    """Require ``Range(0, n, 1)``."""
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
