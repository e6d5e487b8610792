"""Signs: a product by numbers that are 1, -1 or 0 is part of a product by other constants, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.tidy.match_nodes import FLOATS, sizes_of, sole_producer, tensor_at
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["multiply_signs"]

_FEW = 1024
"""Up to how many numbers a constant is looked at."""


@rewrites("Mul")
def multiply_signs(nodes: Sequence[ir.Node], home: Home) -> bool:
    """Rewrite ``Mul(Mul(x[4], [2, 3, 4, 5]), [1, -1, 1, -1])`` to ``Mul(x, [2, -3, 4, -5])``.

    ``Mul(Mul(x, [1, 0, 0, 1]), [2, 3, 4, 5])`` becomes ``Mul(x, [2, 0, 0, 5])``, and ``Mul(Neg(x), 2)`` becomes
    ``Mul(x, -2)``. The signs come from sums and differences that are computed at once. Nodes without users stay.

    Returns:
        Whether a node has changed.
    """
    changed = False
    for node in nodes:
        for place, value in enumerate(node.inputs):
            if value is not None and value.const_value is not None and _multiply(node, place, home):
                changed = True
                break
    return changed


def _multiply(node: ir.Node, place: int, home: Home) -> bool:
    """Multiply the constants of two products, one of them an operand of the first; return whether it is done."""
    product = sole_producer(node, 1 - place, "Mul", "Neg")
    second = None if product is None else _constant(node, place, home)
    if product is None or second is None or node.outputs[0].dtype not in FLOATS:
        return False
    for source, first in _factors(product, home):
        both = first * second
        if not _is_exact(first, second) or both.size > _FEW or not _has_shape(source, both, node.outputs[0]):
            continue
        node.replace_input_with(1 - place, source)
        node.replace_input_with(place, home.constant(both))
        return True
    return False


def _factors(product: ir.Node, home: Home) -> list[tuple[ir.Value, np.ndarray[Any, Any]]]:
    """Return what a node multiplies, and by which constant, as often as it can be seen so."""
    operands = product.inputs
    if product.op_type == "Neg":
        dtype = product.outputs[0].dtype
        minus = np.asarray(-1, None if dtype is None else dtype.numpy())
        return [(operands[0], minus)] if operands[0] is not None else []
    found = [(operands[1 - place], _constant(product, place, home)) for place in (0, 1)]
    return [(source, numbers) for source, numbers in found if source is not None and numbers is not None]


def _constant(node: ir.Node, place: int, home: Home) -> np.ndarray[Any, Any] | None:
    """Return the few numbers of an operand that no user may replace, None if it has none."""
    tensor, value = tensor_at(node, place), node.inputs[place]
    if tensor is None or value is None or tensor.size > _FEW or home.is_parameter(value):
        return None
    return tensor.numpy()


def _is_exact(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    """Return whether a product by two constants, one after the other, is that by their product.

    A number times 0 is no number only if it is not finite. So is a product that is too large, which ``first`` may make.
    """
    if np.all(np.abs(second) == 1):
        return True
    is_mask = np.all((np.abs(first) == 1) | (first == 0))
    return bool(is_mask and np.all(np.isfinite(second)))


def _has_shape(source: ir.Value, factors: np.ndarray[Any, Any], result: ir.Value) -> bool:
    """Return whether the product of a value and constants has the shape of a result."""
    sizes, wanted = sizes_of(source.shape), sizes_of(result.shape)
    if sizes is None or wanted is None:
        return False
    return np.broadcast_shapes(sizes, factors.shape) == wanted
