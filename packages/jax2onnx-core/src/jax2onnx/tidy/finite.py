"""Finite numbers: what puts 0 in place of numbers that are not finite, and what is added to numbers in multiples of 0.

``Where`` takes onnxruntime three times as long as another node, where arrays are small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.known_numbers import has_no_negative_zero
from jax2onnx.tidy.match_nodes import (
    FLOATS,
    drop,
    new_node,
    producer_at,
    same_shape,
    scalar_at,
    sizes_of,
    sole_producer,
    tensor_at,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_finite"]

_FEW = 1024
"""Of more numbers, a choice takes about as long as what replaces it."""


def _finite(node: ir.Node, home: Home) -> None:
    """Drop terms that are 0 times finite numbers, and choose these numbers without a ``Where``."""
    test, otherwise = producer_at(node, 0), tensor_at(node, 2)
    if otherwise is None or not _tests_finite(test, node.inputs[1]):
        return
    if otherwise.size <= _FEW and np.all(np.isfinite(otherwise.numpy())):
        for user, _ in _readers(node.outputs[0]):
            _drop_zero(user, home)
    _shrink(node, home)


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


def _shrink(node: ir.Node, home: Home) -> None:
    """Rewrite ``Where(Less(Abs(x[4]), inf), x, 0)`` to ``Shrink(Add(x, Mul(x, 0)))``.

    A finite number is itself beside 0, and any other one is NaN, of which ``Shrink`` makes 0, since it is neither above
    a limit nor below one. All numbers are below 1 or above -1: they pass, as -0 is added, or 0 where they are not 0.
    """
    value, otherwise = node.inputs[1], tensor_at(node, 2)
    if value is None or value.dtype is None or otherwise is None or not same_shape(value, node.outputs[0]):
        return
    sizes = sizes_of(value.shape)
    if sizes is None or math.prod(sizes) > _FEW or sole_producer(node, 0, "Less") is None:
        return
    if not _is_zero(node, 2, home) or np.any(np.signbit(otherwise.numpy())):
        return
    zero = home.constant(np.zeros((), value.dtype.numpy()))
    none = new_node("Mul", [value, zero], value.shape, node)
    total = new_node("Add", [value, none.outputs[0]], value.shape, node)
    for before in (none, total):
        node.prepend(before)
    node.op_type = "Shrink"
    node.replace_input_with(0, total.outputs[0])
    node.resize_inputs(1)
    node.attributes.update({"lambd": ir.AttrFloat32("lambd", -1.0), "bias": ir.AttrFloat32("bias", -0.0)})


shorten_finite = by_rules({"Where": _finite})
"""Choose between finite numbers and 0, and add multiples of 0, in fewer nodes. Nodes without users stay."""
