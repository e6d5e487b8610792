"""Products of matrices and vectors, in forms that take one product of matrices.

onnxruntime multiplies a matrix, or a stack of matrices, by a vector on the right row by row: each row is a product of
its own. For 256 rows of 256 numbers that takes 50 times as long as one product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.initializers import stored_once
from jax2onnx.tidy.match_nodes import Dim, new_node, rank_of, sizes_of
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["multiply_rows_at_once"]

_FEW = 4
"""Up to how many rows are multiplied one by one in about the time of one product.

A product by a constant on the right takes a bit more than others of such sizes, since onnxruntime rearranges it; one by
a computed vector takes two reshapes.
"""


@rewrites("MatMul")
def multiply_rows_at_once(nodes: Sequence[ir.Node], home: Home) -> bool:
    """Rewrite ``MatMul(w[5, 4], v[4])`` to ``MatMul(v, w_rearranged[4, 5])``.

    A matrix that is computed stays on the left: ``MatMul(x[N, 4], v[4])`` becomes ``Squeeze(MatMul(x, v[4, 1]), -1)``.

    Returns:
        Whether a node has changed.
    """
    changed = False
    for node in nodes:
        matrix, vector = node.inputs
        rank = rank_of(matrix)
        if matrix is None or vector is None or rank is None or rank < 2 or rank_of(vector) != 1:
            continue
        if _rows(matrix) <= _FEW:
            continue
        if home.holds(matrix) and stored_once(matrix):
            node.replace_input_with(0, vector)
            node.replace_input_with(1, _transposed(matrix, home))
        else:
            _multiply_column(node, matrix, vector, home)
        changed = True
    return changed


def _rows(matrix: ir.Value) -> float:
    """Return how many rows there are, infinitely many if that is not known."""
    dims = () if matrix.shape is None else matrix.shape[:-1]
    sizes = sizes_of(dims)
    return math.inf if sizes is None else math.prod(sizes)


def _transposed(matrix: ir.Value, home: Home) -> ir.Value:
    """Return an initializer that holds the matrices of another one with rows and columns exchanged."""
    sizes = home.sizes(matrix)
    assert sizes is not None
    shape = (*sizes[:-2], sizes[-1], sizes[-2])
    return home.derive(matrix, lambda array: np.swapaxes(array, -1, -2), shape)


def _multiply_column(node: ir.Node, matrix: ir.Value, vector: ir.Value, home: Home) -> None:
    """Multiply by a matrix of one column, which the result then loses."""
    last = home.ints([-1])
    dims = [] if matrix.shape is None else list(matrix.shape[:-1])
    column = _column(node, vector, home)
    product = new_node("MatMul", [matrix, column], ir.Shape([*dims, 1]), node)
    node.prepend(product)
    node.op_type = "Squeeze"
    node.replace_input_with(0, product.outputs[0])
    node.replace_input_with(1, last)


def _column(node: ir.Node, vector: ir.Value, home: Home) -> ir.Value:
    """Return a vector as a matrix of one column."""
    sizes = home.sizes(vector)
    if sizes is not None and stored_once(vector):
        return home.reshaped(vector, (*sizes, 1))
    size: list[Dim] = [] if vector.shape is None else list(vector.shape)
    unsqueezed = new_node("Unsqueeze", [vector, home.ints([-1])], ir.Shape([*size, 1]), node)
    node.prepend(unsqueezed)
    return unsqueezed.outputs[0]
