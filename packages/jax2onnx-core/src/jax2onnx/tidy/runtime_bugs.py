"""Runtime bugs: write padding and products of vectors in the forms that onnxruntime computes correctly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import ints_at, is_transpose, permutation, producer_at, rank_of
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["pad_all_axes", "turn_vector_products"]


def pad_all_axes(node: ir.Node, home: Home) -> None:
    """Rewrite ``Pad(x[2, 3, 4], pads=[1, 0], axes=[1])`` to ``Pad(x, pads=[0, 1, 0, 0, 0, 0])``.

    onnxruntime's own layout pass reads the input ``axes`` wrongly.
    """
    pads = ints_at(node, 1)
    axes = ints_at(node, 3)
    rank = rank_of(node.outputs[0])
    if pads is None or axes is None or rank is None:
        return
    # First how much to pad before each axis, then how much after each.
    full = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        full[axis % rank] = pads[place]
        full[axis % rank + rank] = pads[place + len(axes)]
    node.replace_input_with(1, home.ints(full))
    node.resize_inputs(2 if node.inputs[2] is None else 3)


@rewrites("MatMul")
def turn_vector_products(nodes: Sequence[ir.Node], _home: Home) -> bool:
    """Rewrite ``MatMul(Transpose(x[3, 7], [1, 0]), v[3])`` to ``MatMul(v, x)``.

    ``MatMul(Cast(Transpose(x, [1, 0])), v)`` becomes ``MatMul(v, Cast(x))``. onnxruntime makes a ``FusedMatMul`` of the
    former, which gives wrong numbers for a vector on the right, or crashes.

    Returns:
        Whether a node has changed.
    """
    changed = False
    for product in nodes:
        if rank_of(product.inputs[1]) != 1:
            continue
        matrix = _untransposed(product)
        if matrix is not None:
            product.replace_input_with(0, product.inputs[1])
            product.replace_input_with(1, matrix)
            changed = True
    return changed


def _untransposed(product: ir.Node) -> ir.Value | None:
    """Return the matrix whose transpose is the first operand of a product, with the same ``Cast`` if there is one."""
    before = producer_at(product, 0)
    if before is None or standard(before) != "Cast":
        return _swapped(before)
    matrix = _swapped(producer_at(before, 0))
    if matrix is None:
        return None
    cast = ir.Node("", "Cast", [matrix], before.attributes)
    result = cast.outputs[0]
    result.type = before.outputs[0].type
    result.shape = matrix.shape
    product.prepend(cast)
    return result


def _swapped(node: ir.Node | None) -> ir.Value | None:
    """Return the input of a node that swaps the last two axes, None if it is another node."""
    if node is None or not is_transpose(node):
        return None
    perm = permutation(node)
    rank = len(perm)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    return node.inputs[0] if rank > 1 and perm == swapped else None
