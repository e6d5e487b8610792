"""Packed products: weights of 4 and 8 bits stay so in onnxruntime, and their products are those of float32.

onnxruntime makes one ``MatMulNBits`` of ``DequantizeLinear`` and ``MatMul``. Unless an option of the session says
otherwise (``session.qdq_matmulnbits_accuracy_level``), it rounds the other operand to 8 bits there: results differ in
the third digit. Written as ``MatMulNBits`` of accuracy level 1, the product is computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.casts import like
from jax2onnx.tidy.initializers import Home, restore_names
from jax2onnx.tidy.match_nodes import sizes_of
from jax2onnx.tidy.subgraphs import every_node, standard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.legalise.targets import Target

__all__ = ["pack_products"]

_Array: TypeAlias = np.ndarray[Any, Any]

DOMAIN = "com.microsoft"
_OPERATOR = "MatMulNBits"
_FLOAT32 = 1
"""The accuracy level at which the operator computes in float32."""

_BITS = 4
_LEAST, _MOST = 16, 256
"""The sizes of blocks for which there are fast kernels of float32: powers of two."""

_OFFSETS = {DataType.INT4: 8, DataType.UINT4: 0, DataType.INT8: 128, DataType.UINT8: 0}
"""What makes numbers of a dtype unsigned."""


def pack_products(model: ir.Model, target: Target) -> None:
    """Rewrite products of weights that are dequantised, in place, where the target has ``MatMulNBits``.

    ``MatMul(x[N, 64], DequantizeLinear(w: int4[64, 32], s[2, 32], axis=0, block_size=32))`` becomes
    ``MatMulNBits(x, w_packed: uint8[32, 2, 16], s[32, 2])``. There are fast kernels of float32 for 4 bits only. A number
    of 8 bits is 16 times its upper half plus its lower half, so with ``w: int8`` there are two of them and an ``Add``.
    A ``Gemm`` gets an ``Add`` for its third operand.
    """
    assert target.kernels is not None
    if (DOMAIN, _OPERATOR) not in target.kernels:
        return
    changed = False
    for node in list(every_node(model.graph)):
        weights = _weights(node)
        if weights is not None:
            _replace(node, weights)
            changed = True
    if changed:
        for node in list(every_node(model.graph)):
            if standard(node) == "DequantizeLinear" and not node.outputs[0].uses():
                assert node.graph is not None
                node.graph.remove(node, safe=True)
        restore_names(model.graph)
        model.graph.opset_imports.setdefault(DOMAIN, 1)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights as the operator takes them.

    Attributes:
        value: the initializer, of shape (inner, columns).
        block: how many weights of a column share a scale.
        scales: the scales, of shape (blocks, columns).
        zeros: the zero points of the unsigned numbers likewise.
    """

    value: ir.Value
    block: int
    scales: _Array
    zeros: _Array

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of weights in a column, and the number of columns."""
        sizes = sizes_of(self.value.shape)
        assert sizes is not None
        return sizes[0], sizes[1]


def _weights(node: ir.Node) -> _Weights | None:
    """Return the weights of a product of float32, None if it has none that are dequantised as the operator does it."""
    if standard(node) not in {"MatMul", "Gemm"} or node.outputs[0].dtype != DataType.FLOAT:
        return None
    if any(node.attributes.get_float(name, 1.0) != 1 for name in ("alpha", "beta")):
        return None
    if any(node.attributes.get_int(name, 0) for name in ("transA", "transB")):
        return None
    made = None if node.inputs[1] is None else node.inputs[1].producer()
    if made is None or standard(made) != "DequantizeLinear" or any(v is None for v in made.inputs):
        return None
    value, scale = made.inputs[0], made.inputs[1]
    sizes = sizes_of(None if value is None else value.shape)
    if value is None or scale is None or sizes is None or len(sizes) != 2 or 0 in sizes:
        return None
    if not value.is_initializer() or value.const_value is None or value.dtype not in _OFFSETS:
        return None
    zero = made.inputs[2] if len(made.inputs) > 2 else None
    spread = _spread(made, sizes)
    if scale.const_value is None or spread is None or (zero is not None and zero.const_value is None):
        return None
    block, arranged = spread
    zeros = np.zeros((), np.int32) if zero is None or zero.const_value is None else zero.const_value.numpy()
    offset = _OFFSETS[value.dtype]
    return _Weights(
        value,
        block,
        arranged(scale.const_value.numpy()),
        arranged(zeros.astype(np.int32) + offset),
    )


def _spread(made: ir.Node, sizes: Sequence[int]) -> tuple[int, Callable[[_Array], _Array]] | None:
    """Return a size of blocks, and what gives each block of each column its scale; None if there is no such size."""
    inner, columns = sizes
    axis = made.attributes.get_int("axis", 1) % 2
    given = made.attributes.get_int("block_size", 0)
    scale = made.inputs[1]
    rank = 0 if scale is None or scale.shape is None else scale.shape.rank()
    if given and axis == 0 and inner % given == 0:
        block = min(given & -given, _MOST)  # the largest power of two that divides it
        if block < _LEAST:
            return None
        return block, lambda array: np.repeat(np.broadcast_to(array, (inner // given, columns)), given // block, axis=0)
    if given or (rank and axis == 0):
        return None
    block = min(max(1 << (inner - 1).bit_length(), _LEAST), _MOST)
    return block, lambda array: np.broadcast_to(array, (-(-inner // block), columns))


def _replace(node: ir.Node, weights: _Weights) -> None:
    """Replace a product by one or two nodes of packed weights, and an addition for its third operand."""
    result = node.outputs[0]
    dtype = weights.value.dtype
    assert dtype is not None
    if dtype.bitwidth == _BITS:
        last = _product(node, weights, lambda number: number, 1.0, "")
    else:
        upper = _product(node, weights, lambda number: number >> _BITS, 16.0, "_upper")
        lower = _product(node, weights, lambda number: number & 15, 1.0, "_lower")
        last = _added(node, upper, lower)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        last = _added(node, last, node.inputs[2])
    last.name, result.name = result.name, last.name
    result.replace_all_uses_with(last, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def _product(
    node: ir.Node, weights: _Weights, half: Callable[[Any], Any], factor: float, suffix: str
) -> ir.Value:
    """Insert the product of 4 bits of each weight."""
    inner, columns = weights.sizes
    block, dtype = weights.block, weights.value.dtype
    assert dtype is not None
    blocks = len(weights.scales)
    graph = weights.value.graph
    assert isinstance(graph, ir.Graph)
    home = Home(graph, is_function=False)

    def packed(array: Any) -> _Array:
        numbers = half(np.asarray(array).astype(np.int16) + _OFFSETS[dtype]).astype(np.uint8)
        padded = np.zeros((columns, blocks * block), np.uint8)
        padded[:, :inner] = numbers.T
        return _pairs(padded).reshape(columns, blocks, block // 2)

    scales = np.ascontiguousarray((weights.scales * np.float32(factor)).T.astype(np.float32))
    zeros = half(weights.zeros.T).astype(np.uint8)
    name = weights.value.name
    inputs = [
        node.inputs[0],
        home.derive(weights.value, packed, (columns, blocks, block // 2), DataType.UINT8),
        home.constant(scales.reshape(-1), f"{name}_scales{suffix}"),
    ]
    if np.any(zeros != 8):
        zeros = np.pad(zeros, ((0, 0), (0, blocks % 2)))
        inputs.append(home.constant(_pairs(zeros).reshape(-1), f"{name}_zero_points{suffix}"))
    attributes = {"K": inner, "N": columns, "bits": _BITS, "block_size": block, "accuracy_level": _FLOAT32}
    made = ir.node(_OPERATOR, inputs, attributes, domain=DOMAIN, outputs=[like(node.outputs[0], DataType.FLOAT)])
    return _put(node, made)


def _pairs(numbers: _Array) -> _Array:
    """Return two numbers of 4 bits in each byte, the first one in the lower half."""
    low, high = numbers[:, 0::2], numbers[:, 1::2]
    pairs: _Array = (low | (high << _BITS)).astype(np.uint8)
    return pairs


def _added(node: ir.Node, left: ir.Value, right: ir.Value) -> ir.Value:
    return _put(node, ir.node("Add", [left, right], outputs=[like(node.outputs[0], DataType.FLOAT)]))


def _put(node: ir.Node, made: ir.Node) -> ir.Value:
    made.metadata_props.update(node.metadata_props)
    node.prepend(made)
    return made.outputs[0]
