"""Finite numbers: what is added in multiples of 0 changes nothing, unless it may be NaN or infinite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.tidy.known_numbers import has_no_negative_zero
from jax2onnx.tidy.match_nodes import (
    FLOATS,
    drop,
    producer_at,
    same_shape,
    scalar_at,
    tensor_at,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_finite"]

_FEW = 1024
"""Up to how many numbers a constant is looked at."""


def _finite(node: ir.Node, home: Home) -> None:
    """Drop terms that are 0 times what a choice keeps finite."""
    test, otherwise = producer_at(node, 0), tensor_at(node, 2)
    if otherwise is None or not _tests_finite(test, node.inputs[1]):
        return
    if otherwise.size <= _FEW and np.all(np.isfinite(otherwise.numpy())):
        for user, _ in _readers(node.outputs[0]):
            _drop_zero(user, home)


def _readers(value: ir.Value) -> list[tuple[ir.Node, int]]:
    """Return what reads a value, or what only gives it other dims."""
    found = []
    for user, place in value.uses():
        found += _readers(user.outputs[0]) if standard(user) in RESHAPES and place == 0 else [(user, place)]
    return found


def _drop_zero(product: ir.Node, home: Home) -> None:
    """Rewrite ``Add(Mul(0, f[4]), y[4])`` to ``y``, where ``f`` has finite numbers only and ``y`` no -0.

    ::

        f = Where(Less(Abs(x), inf), x, 0)
    """
    if standard(product) != "Mul" or not any(_is_zero(product, place, home) for place in (0, 1)):
        return
    for user, place in list(product.outputs[0].uses()):
        other = user.inputs[1 - place] if standard(user) == "Add" else None
        if same_shape(other, user.outputs[0]) and has_no_negative_zero(other):
            drop(user, 1 - place)


def _is_zero(node: ir.Node, place: int, home: Home) -> bool:
    """Return whether an operand is a constant of zeros, which no user may replace."""
    tensor, value = tensor_at(node, place), node.inputs[place]
    if tensor is None or value is None or home.is_parameter(value) or tensor.dtype not in FLOATS:
        return False
    return tensor.size <= _FEW and not np.any(tensor.numpy())


def _tests_finite(test: ir.Node | None, value: ir.Value | None) -> bool:
    """Return whether a node is ``Less(Abs(value), inf)``."""
    if test is None or standard(test) != "Less" or scalar_at(test, 1) != math.inf:
        return False
    magnitude = producer_at(test, 0)
    return magnitude is not None and standard(magnitude) == "Abs" and magnitude.inputs[0] is value


shorten_finite = by_rules({"Where": _finite})
"""Add no multiples of 0 that are 0. The nodes that this leaves without users stay."""
