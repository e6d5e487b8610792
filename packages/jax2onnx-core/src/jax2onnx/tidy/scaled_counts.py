"""Scaled counts: numbers that are made of integers, as those between two bounds are of random bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import FLOATS, drop, input_at, same_shape, sole_producer, tensor_at
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_counts"]

_UNSIGNED = frozenset({ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64})
_INTEGERS = _UNSIGNED | {ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64}
_LEAST, _MOST = 2.0**-60, 2.0**60
"""Between which factors an integer of 64 bits is scaled to a normal number of float32."""


def _scale_once(node: ir.Node, home: Home) -> None:
    """Rewrite ``Mul(Mul(Cast(k[4]), 2**-23), 3)``, with integers ``k``, to ``Mul(Cast(k), 3 * 2**-23)``.

    Where one factor is a power of two, its product is exact: both forms round the same number once.
    """
    place, second = _factor(node)
    product = sole_producer(node, 1 - place, "Mul")
    if product is None or second is None or node.outputs[0].dtype not in FLOATS:
        return
    inner, first = _factor(product)
    source = product.inputs[1 - inner]
    count = None if source is None else source.producer()
    if first is None or count is None or not _is_count(count, _INTEGERS):
        return
    factors = (abs(first), abs(second), abs(first * second))
    if not _is_power_of_two(first, second) or min(factors) < _LEAST or max(factors) > _MOST:
        return
    dtype = node.outputs[0].dtype
    ranks = [
        tensor.shape.rank() for tensor in (tensor_at(product, inner), tensor_at(node, place)) if tensor is not None
    ]
    assert dtype is not None
    node.replace_input_with(1 - place, source)
    node.replace_input_with(place, home.constant(np.full([1] * max(ranks), first * second, dtype.numpy())))


def _factor(node: ir.Node) -> tuple[int, float | None]:
    """Return which operand is one constant number, and this number; 1 and None if neither is."""
    for place in (1, 0):
        tensor = tensor_at(node, place)
        if tensor is not None and tensor.size == 1:
            return place, float(tensor.numpy().item())
    return 1, None


def _is_power_of_two(*numbers: float) -> bool:
    return any(abs(math.frexp(number)[0]) == 0.5 for number in numbers)


def _is_count(node: ir.Node, dtypes: frozenset[ir.DataType]) -> bool:
    """Return whether a node converts integers to floats; among integers a large unsigned one may become negative."""
    value = input_at(node, 0)
    return standard(node) == "Cast" and value is not None and value.dtype in dtypes and node.outputs[0].dtype in FLOATS


def _bound_below(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Max(Add(Mul(Cast(k[4]), 2), -1), -1)``, with unsigned ``k``, to the sum; likewise a ``Relu`` of no sum.

    What is added to the bound is not negative, and no NaN.
    """
    place, bound = (1, 0.0) if standard(node) == "Relu" else _factor(node)
    if bound is None or len(node.inputs) > 2:
        return
    bounded = node.inputs[0] if standard(node) == "Relu" else node.inputs[1 - place]
    total = None if bounded is None else bounded.producer()
    if total is None or not same_shape(bounded, node.outputs[0]):
        return
    if standard(total) == "Add":
        side, added = _factor(total)
        numbers = total.inputs[1 - side]
        total = None if numbers is None or added != bound else numbers.producer()
    elif bound > 0:
        return
    if total is not None and _is_not_negative(total):
        node.replace_input_with(0, bounded)
        drop(node)


def _is_not_negative(node: ir.Node) -> bool:
    """Return whether a node computes floats of which none is negative or NaN: unsigned integers, maybe scaled."""
    if standard(node) == "Mul":
        place, factor = _factor(node)
        value = node.inputs[1 - place]
        before = None if value is None else value.producer()
        return before is not None and factor is not None and 0 <= factor <= _MOST and _is_not_negative(before)
    return _is_count(node, _UNSIGNED)


_RULES: dict[str, Callable[[ir.Node, Home], None]] = {"Max": _bound_below, "Mul": _scale_once, "Relu": _bound_below}

shorten_counts = by_rules(_RULES)
"""Scale integers by one factor, and bound numbers only where they may be out of bounds."""
