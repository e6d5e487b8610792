"""Biases: move constants that are added next to a product or a convolution, and make one node of the two."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    drop,
    new_node,
    rank_of,
    replace,
    same_dims,
    same_shape,
    shape_at,
    sizes_of,
    sole_producer,
)
from jax2onnx.tidy.operators import BROADCASTING, RESHAPES
from jax2onnx.tidy.reshapes import shorten_reshape
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["merge_biases", "place_biases", "split_sizes"]

_Reshaped: TypeAlias = "Callable[[ir.Value | None, tuple[int, ...]], ir.Value]"

_GEMM_DTYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})

_SMALL = 4096
"""How many elements a matrix has at most that is added to a product in one node."""


@rewrites(*BROADCASTING, *RESHAPES)
def place_biases(nodes: Sequence[ir.Node], home: Home) -> None:
    """Add biases before the reshapes that split features, and remove leading dims of size 1 from operands."""

    @functools.cache  # one initializer for all who want it in this shape
    def reshaped(value: ir.Value | None, sizes: tuple[int, ...]) -> ir.Value:
        return home.reshaped(value, sizes)

    placed = False
    for node in nodes:
        if node.op_type == "Add" and _add_before_split(node, home, reshaped):
            placed = True
        elif node.op_type in BROADCASTING:
            _strip_ones(node, home, reshaped)
        elif placed and node.op_type in RESHAPES:
            shorten_reshape(node, home)


def _strip_ones(node: ir.Node, home: Home, reshaped: _Reshaped) -> None:
    """Rewrite ``Add(x[N, 3, 4], b[1, 1, 4])`` to ``Add(x, b_rearranged[4])``.

    Another operand must give the result its rank.
    """
    for index, value in enumerate(node.inputs):
        sizes = home.sizes(value)
        if not sizes or sizes[0] != 1:
            continue
        others = [*node.inputs[:index], *node.inputs[index + 1 :]]
        if any((rank_of(v) or 0) >= len(sizes) for v in others):
            stripped = reshaped(value, _without_leading_ones(sizes))
            node.replace_input_with(index, stripped)


def _without_leading_ones(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(itertools.dropwhile(lambda size: size == 1, sizes))


def _add_before_split(node: ir.Node, home: Home, reshaped: _Reshaped) -> bool:
    """Rewrite ``Add(Reshape(x[N, 6], [N, 2, 3]), b[2, 3])`` to ``Reshape(Add(x, b_rearranged[6]), [N, 2, 3])``.

    Return whether the node was of this form.
    """
    for index in (0, 1):
        reshape = sole_producer(node, index, "Reshape")
        if reshape is None:
            continue
        split = split_sizes(reshape)
        bias = node.inputs[1 - index]
        sizes = home.sizes(bias)
        if split is None or sizes is None or split != _without_leading_ones(sizes):
            continue
        flat_bias = reshaped(bias, (math.prod(split),))
        operands = [reshape.inputs[0], flat_bias]
        added = new_node("Add", operands, shape_at(reshape, 0), node)
        reshape.prepend(added)
        reshape.replace_input_with(0, added.outputs[0])
        drop(node, index)
        return True
    return False


def split_sizes(reshape: ir.Node) -> tuple[int, ...] | None:
    """Return the sizes into which a reshape splits the last dim, None if it does anything else.

    A first size of 1 is refused: constants are compared without their leading dims of size 1.
    """
    before = shape_at(reshape, 0)
    after = reshape.outputs[0].shape
    if not before or not after or len(before) >= len(after):
        return None
    leading = len(before) - 1
    sizes = sizes_of(after[leading:])
    if sizes is None or sizes[0] <= 1 or math.prod(sizes) != before[-1]:
        return None
    if not same_dims(before[:leading], after[:leading]):
        return None
    return sizes


@rewrites("Add", "Sub")
def merge_biases(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Add(MatMul(x[N, 4], w[4, 5]), b[5])`` to ``Gemm(x, w, b)``.

    ``Add(Conv(x[N, 3, 9, 9], w), b[8, 1, 1])`` becomes ``Conv(x, w, b_rearranged[8])``. A small matrix is added, or the
    product subtracted from it, like a bias: ``Sub(c[3, 5], MatMul(a[3, 4], b[4, 5]))`` becomes ``Gemm(a, b, c)`` with
    ``alpha=-1``.
    """
    for node in nodes:
        if node.op_type == "Add":
            _merge_bias(node, home)
        elif node.op_type == "Sub":
            _merge_difference(node)


def _merge_bias(node: ir.Node, home: Home) -> None:
    for index in (0, 1):
        product = sole_producer(node, index, "MatMul", "Conv", "ConvTranspose")
        result = node.outputs[0]
        if product is None or not same_shape(product.outputs[0], result):
            continue
        added = node.inputs[1 - index]
        bias = _row(product, added) if product.op_type == "MatMul" else _channels(product, added, home)
        if bias is None:
            continue
        _merge(node, product, bias)
        return


def _merge_difference(node: ir.Node) -> None:
    for index, factor in ((0, "beta"), (1, "alpha")):
        product = sole_producer(node, index, "MatMul")
        if product is None or not same_shape(product.outputs[0], node.outputs[0]):
            continue
        other = _row(product, node.inputs[1 - index])
        if other is not None:
            _merge(node, product, other).attributes.add(ir.AttrFloat32(factor, -1.0))
            return


def _merge(node: ir.Node, product: ir.Node, bias: ir.Value) -> ir.Node:
    """Put one node in the place of a sum and of the product or convolution in it, and return it."""
    result = node.outputs[0]
    op_type = "Gemm" if product.op_type == "MatMul" else product.op_type
    merged = new_node(op_type, [*product.inputs, bias], result.shape, product)
    merged.attributes.update(product.attributes)
    merged.meta.update(product.meta)
    node.append(merged)
    new = merged.outputs[0]
    new.name, result.name = result.name, new.name
    replace(node, new)
    return merged


def _row(matmul: ir.Node, added: ir.Value | None) -> ir.Value | None:
    """Return what is added to a product of two matrices, None if it is neither one row, for all rows, nor small."""
    if added is None or not added.shape or added.dtype not in _GEMM_DTYPES:
        return None
    if {*map(rank_of, matmul.inputs)} != {2}:
        return None
    if added.shape[:-1] in ((), (1,)):
        return added
    if any(
        made is not None and made.op_type == "DequantizeLinear"
        for made in (value.producer() for value in matmul.inputs if value is not None)
    ):
        return None  # runtimes have products of packed weights, to which a matrix is added afterwards
    # Of a large one, the copy that Gemm begins with takes longer than a node does.
    sizes = sizes_of(added.shape)
    return added if sizes is not None and math.prod(sizes) <= _SMALL and rank_of(added) == 2 else None


def _channels(conv: ir.Node, added: ir.Value | None, home: Home) -> ir.Value | None:
    """Return the constant that is added to a convolution as a vector, None if it is not one number per channel."""
    shape = conv.outputs[0].shape
    sizes = home.sizes(added)
    if len(conv.inputs) > 2 or shape is None or sizes is None:
        return None
    channels = shape[1]
    if not isinstance(channels, int):
        return None
    expected = (channels, *[1] * (len(shape) - 2))
    if _without_leading_ones(sizes) != _without_leading_ones(expected):
        return None
    return home.reshaped(added, [channels])
