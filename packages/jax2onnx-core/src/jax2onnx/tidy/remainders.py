"""Remainders: what has the sign of the divisor is one ``Mod``, as Python's ``%`` is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import producer_at, same_shape, tensor_at
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_remainders"]


def _floored(node: ir.Node, _home: Home) -> None:
    """Rewrite the choice between a remainder that has the sign of the dividend, and this one plus the divisor.

    ::

        before: m = Mod(i[4], 10, fmod=1); Where(And(Less(m, 0), Not(Equal(m, 0))), Add(m, 10), m)
        after:  Mod(i, 10, fmod=0)

    The divisor is an integer above 0.
    """
    truncated, more = producer_at(node, 2), producer_at(node, 1)
    if truncated is None or more is None or standard(truncated) != "Mod" or standard(more) != "Add":
        return
    result, divisor = truncated.outputs[0], _integer_at(truncated, 1)
    if divisor is None or divisor <= 0 or not same_shape(result, node.outputs[0]) or result not in more.inputs:
        return
    if _integer_at(more, 1 - more.inputs.index(result)) != divisor or not _asks_for_negative(node.inputs[0], result):
        return
    node.op_type = "Mod"
    node.resize_inputs(2)
    for place, operand in enumerate(truncated.inputs):
        node.replace_input_with(place, operand)
    node.attributes.add(ir.AttrInt64("fmod", 0))


def _asks_for_negative(condition: ir.Value | None, value: ir.Value) -> bool:
    """Return whether a condition is ``Less(value, 0)``, or this and that ``value`` is not 0."""
    node = None if condition is None else condition.producer()
    if node is None or standard(node) not in {"And", "Less"}:
        return False
    if standard(node) == "Less":
        return node.inputs[0] is value and _integer_at(node, 1) == 0
    sides = list(node.inputs)
    return any(_asks_for_negative(sides[place], value) and _is_other(sides[1 - place], value) for place in (0, 1))


def _is_other(condition: ir.Value | None, value: ir.Value) -> bool:
    """Return whether a condition is ``Not(Equal(value, 0))``."""
    node = None if condition is None else condition.producer()
    equal = None if node is None or standard(node) != "Not" else producer_at(node, 0)
    if equal is None or standard(equal) != "Equal" or value not in equal.inputs:
        return False
    return _integer_at(equal, 1 - equal.inputs.index(value)) == 0


def _integer_at(node: ir.Node, place: int) -> int | None:
    """Return the signed integer that all elements of an operand are, None if they are not known."""
    tensor = tensor_at(node, place)
    if tensor is None or not tensor.size or not tensor.dtype.is_signed() or not tensor.dtype.is_integer():
        return None
    numbers = tensor.numpy()
    return int(numbers.flat[0]) if (numbers == numbers.flat[0]).all() else None


_RULES: dict[str, Callable[[ir.Node, Home], None]] = {"Where": _floored}

shorten_remainders = by_rules(_RULES)
"""Write remainders in one node. The nodes that this leaves without users stay."""
