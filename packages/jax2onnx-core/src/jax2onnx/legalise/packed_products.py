"""Packed products: weights of 4 and 8 bits stay so in onnxruntime, and their products are those of float32.

onnxruntime makes one ``MatMulNBits`` of ``DequantizeLinear`` and ``MatMul``. Unless an option of the session says
otherwise (``session.qdq_matmulnbits_accuracy_level``), it rounds the other operand to 8 bits there: results differ in
the third digit. Written as ``MatMulNBits`` of accuracy level 1, the product is computed in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.casts import like
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.legalise.derived import Derived
    from jax2onnx.legalise.targets import Target

__all__ = [
    "DOMAIN",
    "PRODUCTS",
    "Packer",
    "add_zero_point",
    "array_of",
    "become_parts",
    "dequantised",
    "is_plain",
    "put",
    "sizes_of",
    "tile_bounds",
]

_Array: TypeAlias = np.ndarray[Any, Any]

PRODUCTS = frozenset({"Gemm", "MatMul"})
"""The operators whose weights may be packed."""

_READERS = PRODUCTS | {"Conv", "ConvTranspose"}

DOMAIN = "com.microsoft"
"""The domain of the operators that onnxruntime has besides those of ONNX."""

_OPERATOR = "MatMulNBits"
_FLOAT32 = 1
"""The accuracy level at which the operator computes in float32."""

_BITS, _MIDDLE = 4, 8
_LEAST, _MOST = 16, 256
"""The sizes of blocks for which there are fast kernels of float32: powers of two."""

_OFFSETS = {DataType.INT4: 8, DataType.UINT4: 0, DataType.INT8: 128, DataType.UINT8: 0}
"""What makes numbers of a dtype unsigned."""


def add_zero_point(node: ir.Node, derived: Derived) -> None:
    """Give ``DequantizeLinear(w: int8[4, 5], s[5])``, in place, zero points of 0, unless only products read it.

    Up to 1.24 the optimiser of onnxruntime moves the node behind a transpose or a reshape, puts a ``QuantizeLinear``
    between, and takes its result for uint8 if there is no zero point.
    """
    value, scale = node.inputs[0], node.inputs[1]
    if len(node.inputs) > 2 or value is None or scale is None or value.dtype is None or scale.const_value is None:
        return
    if not scale.is_initializer() or all(user.op_type in _READERS for user, _ in node.outputs[0].uses()):
        return
    dtype, sizes = value.dtype, sizes_of(scale)
    node.resize_inputs(3)
    node.replace_input_with(2, derived.once(scale, "_zero", lambda: np.zeros(sizes, dtype.numpy()), dtype, sizes))


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights as the operator takes them.

    Attributes:
        value: the initializer, of shape (inner, columns).
        sources: it, and those of its scales and zero points.
        block: how many weights of a column share a scale.
        scales: the scales, of shape (blocks, columns).
        zeros: the zero points of the unsigned numbers likewise.
    """

    value: ir.Value
    sources: tuple[ir.Value, ...]
    block: int
    scales: _Array
    zeros: _Array

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of weights in a column, and the number of columns."""
        inner, columns = sizes_of(self.value)
        return inner, columns


def sizes_of(value: ir.Value) -> tuple[int, ...]:
    """Return the shape of an initializer."""
    assert value.const_value is not None
    return tuple(map(int, value.const_value.shape.numpy()))


def array_of(value: ir.Value) -> _Array:
    """Return the numbers of an initializer."""
    assert value.const_value is not None
    return value.const_value.numpy()


def dequantised(node: ir.Node) -> ir.Node | None:
    """Return the ``DequantizeLinear`` of initializers by which a product of float32 multiplies, None without one."""
    if node.outputs[0].dtype != DataType.FLOAT or not is_plain(node):
        return None
    made = None if node.inputs[1] is None else node.inputs[1].producer()
    if made is None or standard(made) != "DequantizeLinear":
        return None
    given = [value for value in made.inputs if value is not None]
    return made if all(value.const_value is not None and value.is_initializer() for value in given) else None


def _weights(node: ir.Node) -> _Weights | None:
    """Return the weights of a product of float32, None if it has none that are dequantised as the operator does it."""
    made = dequantised(node)
    if made is None:
        return None
    value, scale, *zeros = known = [value for value in made.inputs if value is not None]
    sizes = sizes_of(value)
    if value.dtype not in _OFFSETS or len(sizes) != 2 or 0 in sizes:
        return None
    spread = _spread(made, sizes, len(sizes_of(scale)))
    if spread is None:
        return None
    block, arranged = spread
    zero = array_of(zeros[0]).astype(np.int32) if zeros else np.zeros((), np.int32)
    return _Weights(value, tuple(known), block, arranged(array_of(scale)), arranged(zero + _OFFSETS[value.dtype]))


def is_plain(node: ir.Node) -> bool:
    """Return whether a product is that of its operands as they are."""
    factors = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    return factors == [1, 1] and not any(node.attributes.get_int(name, 0) for name in ("transA", "transB"))


def _spread(made: ir.Node, sizes: Sequence[int], rank: int) -> tuple[int, Callable[[_Array], _Array]] | None:
    """Return a size of blocks, and what gives each block of each column its scale; None if there is no such size."""
    inner, columns = sizes
    axis = made.attributes.get_int("axis", 1) % 2
    given = made.attributes.get_int("block_size", 0)
    if given and axis == 0 and inner % given == 0:
        block = min(given & -given, _MOST)  # the largest power of two that divides it
        if block < _LEAST:
            return None
        return block, lambda array: np.repeat(np.broadcast_to(array, (inner // given, columns)), given // block, axis=0)
    if given or (rank and axis == 0):
        return None
    block = min(max(1 << (inner - 1).bit_length(), _LEAST), _MOST)
    return block, lambda array: np.broadcast_to(array, (-(-inner // block), columns))


class Packer:
    """Packs the weights of products."""

    def __init__(self, target: Target, derived: Derived) -> None:
        self._has_operator = (DOMAIN, _OPERATOR) in (target.kernels or ())
        self._derived = derived

    def pack(self, node: ir.Node) -> None:
        """Rewrite a product of weights that are dequantised, in place, where the target has ``MatMulNBits``.

        ``MatMul(x[N, 64], DequantizeLinear(w: int4[64, 32], s[2, 32], axis=0, block_size=32))`` becomes
        ``MatMulNBits(x, w_packed: uint8[32, 2, 16], s_packed[64])``. There are fast kernels of float32 for 4 bits only.
        A number of 8 bits is 16 times its upper half plus its lower half, so with ``w: int8`` there are two of them, a
        ``Mul`` and an ``Add``. A ``Gemm`` gets an ``Add`` for its third operand.
        """
        weights = _weights(node) if self._has_operator else None
        if weights is None:
            return
        dtype = weights.value.dtype
        assert dtype is not None
        self._derived.replaces(weights.sources)
        if dtype.bitwidth == _BITS:
            last = self._product(node, weights, lambda number: number, "")
        else:
            upper = self._product(node, weights, lambda number: number >> _BITS, "_upper")
            lower = self._product(node, weights, lambda number: number & 15, "_lower")
            factor = self._derived.scalar(node, np.float32(2**_BITS))
            last = _computed(node, "Add", [_scaled(node, upper, factor), put(node, lower)])
        become_parts(node, [last])
        self._derived.use_domain(DOMAIN)

    def _product(self, node: ir.Node, weights: _Weights, half: Callable[[Any], Any], suffix: str) -> ir.Node:
        """Return the product of 4 bits of each weight."""
        inner, columns = weights.sizes
        block, dtype, blocks = weights.block, weights.value.dtype, len(weights.scales)
        tensor = weights.value.const_value
        assert dtype is not None
        assert tensor is not None

        def packed() -> _Array:
            numbers = half(tensor.numpy().astype(np.int16) + _OFFSETS[dtype]).astype(np.uint8)
            padded = np.zeros((columns, blocks * block), np.uint8)
            padded[:, :inner] = numbers.T
            return _pairs(padded).reshape(columns, blocks, block // 2)

        weight, scale = weights.sources[:2]
        scales = weights.scales.T.astype(np.float32)
        inputs = [
            node.inputs[0],
            self._derived.once(weight, f"_packed{suffix}", packed, DataType.UINT8, (columns, blocks, block // 2)),
            self._derived.once(scale, "_packed", scales.ravel, DataType.FLOAT, (scales.size,)),
        ]
        zeros = half(weights.zeros.T).astype(np.uint8)
        if np.any(zeros != _MIDDLE):
            pairs = _pairs(np.pad(zeros, ((0, 0), (0, blocks % 2)))).ravel()
            inputs.append(
                self._derived.once(weights.sources[-1], f"_zeros{suffix}", lambda: pairs, DataType.UINT8, pairs.shape)
            )
        attributes = {"K": inner, "N": columns, "bits": _BITS, "block_size": block, "accuracy_level": _FLOAT32}
        return ir.node(_OPERATOR, inputs, attributes, domain=DOMAIN, outputs=[like(node.outputs[0], DataType.FLOAT)])


def _pairs(numbers: _Array) -> _Array:
    """Return two numbers of 4 bits in each byte, the first one in the lower half."""
    low, high = numbers[:, 0::2], numbers[:, 1::2]
    pairs: _Array = (low | (high << _BITS)).astype(np.uint8)
    return pairs


def _computed(node: ir.Node, op_type: str, operands: Sequence[ir.Value | None]) -> ir.Node:
    return ir.node(op_type, operands, outputs=[like(node.outputs[0], DataType.FLOAT)])


def _scaled(node: ir.Node, product: ir.Node, factor: ir.Value) -> ir.Value:
    return put(node, _computed(node, "Mul", [put(node, product), factor]))


def put(node: ir.Node, made: ir.Node) -> ir.Value:
    """Insert a node before another, from whose line it comes; return its result."""
    made.metadata_props.update(node.metadata_props)
    node.prepend(made)
    return made.outputs[0]


def _become(node: ir.Node, made: ir.Node) -> None:
    """Give a node the operator, the operands and the attributes of another one."""
    node.op_type, node.domain = made.op_type, made.domain
    inputs = list(made.inputs)
    made.resize_inputs(0)
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    node.attributes.clear()
    node.attributes.update(made.attributes)


def tile_bounds(inner: int, columns: int, *, largest: int, most: int) -> list[tuple[int, int]]:
    """Return the first column of each tile of weights and the one behind its last.

    A tile has ``largest`` weights at most, if that makes no more than ``most`` tiles.
    """
    count = min(math.ceil(inner * columns / largest), most, columns)
    width = math.ceil(columns / count)
    return [(start, min(start + width, columns)) for start in range(0, columns, width)]


def become_parts(node: ir.Node, parts: Sequence[ir.Node]) -> None:
    """Give a product of float32 the products by some columns each, joined; a ``Gemm`` adds its third operand."""
    last = parts[0]
    if len(parts) > 1:
        results = [put(node, part) for part in parts]
        last = ir.node("Concat", results, {"axis": -1}, outputs=[like(node.outputs[0], DataType.FLOAT)])
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        last = _computed(node, "Add", [put(node, last), node.inputs[2]])
    _become(node, last)
