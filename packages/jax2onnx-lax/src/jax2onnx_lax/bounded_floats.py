"""Bounded floats: numbers that are made of integers and constants are no NaN, so that nothing needs to look for one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["is_never_nan"]

_DEEP = 12
"""So many operators deep it is looked for integers and constants of which a number is made."""
_LARGEST = 1e30
"""Numbers up to this one have sums and products that no dtype of 32 bits makes infinite, as long as they are few."""
_UNNAMED = "const_"
"""How the names of constants begin that have none of the user's."""
_MOVING = frozenset({"Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice",
                     "Squeeze", "Tile", "Transpose", "Unsqueeze"})  # fmt: skip
"""Operators whose results are numbers of their first operands."""
_KEEPING = frozenset({"Abs", "Neg"})
_CHOOSING = {"Where": (1, 2), "Max": None, "Min": None, "Concat": None}
"""Operators whose results are numbers of these operands; None: of all."""


def is_never_nan(x: ir.Value) -> bool:
    """Return whether no element of a float of 32 or 64 bits can be NaN, as far as its producers show."""
    if x.dtype is None or not x.dtype.is_floating_point() or x.dtype.itemsize < 4:
        return False
    return _bound(x, _DEEP) is not None


def _bound(x: ir.Value | None, depth: int) -> float | None:
    """Return a number that no magnitude of elements exceeds, None if none is known or it is too large."""
    bound = None if x is None else _of_value(x, depth)
    return bound if bound is not None and bound <= _LARGEST else None


def _of_value(x: ir.Value, depth: int) -> float | None:
    node = x.producer()
    if x.const_value is not None and (node is None or node.op_type == "Constant"):
        return _of_constant(x.const_value) if _is_unnamed(x) else None
    if node is None or node.domain or depth == 0:
        return None
    kind, operands = node.op_type, node.inputs
    if kind == "Cast":
        return _of_cast(operands[0], depth)
    if kind in _MOVING or kind in _KEEPING:
        return _bound(operands[0], depth - 1)
    if kind in _CHOOSING:
        places = _CHOOSING[kind] or range(len(operands))
        return _largest([_bound(operands[place], depth - 1) for place in places])
    if kind in {"Add", "Sub", "Mul"}:
        a, b = (_bound(operand, depth - 1) for operand in operands)
        if a is None or b is None:
            return None
        return a * b if kind == "Mul" else a + b
    return None


def _is_unnamed(x: ir.Value) -> bool:
    """Return whether a constant is no parameter of the user's, which can be given other numbers in the model."""
    return (x.name or _UNNAMED).startswith(_UNNAMED)


def _largest(bounds: list[float | None]) -> float | None:
    known = [bound for bound in bounds if bound is not None]
    return max(known) if len(known) == len(bounds) else None


def _of_constant(tensor: ir.TensorProtocol) -> float | None:
    if not 0 < tensor.size <= 2**16:
        return None
    array = np.abs(tensor.numpy().astype(np.float64))
    largest = float(array.max())
    return largest if math.isfinite(largest) and not np.isnan(array).any() else None


def _of_cast(operand: ir.Value | None, depth: int) -> float | None:
    """Return the bound of what is converted: an integer has as many bits as its dtype."""
    if operand is None or operand.dtype is None:
        return None
    if operand.dtype.is_floating_point():
        return _bound(operand, depth - 1) if operand.dtype.itemsize >= 4 else None
    return 1.0 if operand.dtype.name == "BOOL" else 2.0**operand.dtype.bitwidth
