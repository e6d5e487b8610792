"""Tiled products: weights of 8 bits are converted a tile at a time, which is multiplied while it is in a cache.

onnxruntime has no fast product of float32 by weights of 8 bits. A conversion of all of them would write and read as
many bytes as the weights have in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.packed_products import DOMAIN, array_of, become_parts, dequantised, put, sizes_of, tile_bounds

if TYPE_CHECKING:
    from jax2onnx.legalise.derived import Derived
    from jax2onnx.legalise.targets import Target

__all__ = ["Tiler"]

_Array: TypeAlias = np.ndarray[Any, Any]

_OPERATOR = "FusedMatMul"
_BYTES = frozenset({DataType.INT8, DataType.UINT8})
_TILE = 2**19
"""How many weights of a tile there are at most, if that makes no more tiles than :data:`_TILES`."""
_TILES = 32
_PER_AXIS = 13
"""The opset that brought scales per axis."""


class Tiler:
    """Splits products of weights of 8 bits."""

    def __init__(self, target: Target, derived: Derived) -> None:
        # An accelerator has no such operator, and no such cache.
        self._has_operator = (DOMAIN, _OPERATOR) in (target.kernels or ()) and target.preferred is None
        self._derived = derived

    def tile(self, node: ir.Node) -> bool:
        """Rewrite a product of weights of 8 bits that are dequantised, in place, and return whether it is one.

        ``MatMul(x[N, 1024], DequantizeLinear(w: int8[1024, 4096], s[4096], axis=1))`` becomes

            w_0 = DequantizeLinear(w_transposed_0: int8[512, 1024], s_0[512], z_0[512], axis=0)
            y_0 = FusedMatMul(x, w_0, transB=1)                                    float32[N, 512]
            y = Concat(y_0, y_1, ..., axis=-1)                                     float32[N, 4096]

        Conversion is fast where all that it reads in a row has one scale. So blocks are rows of the
        ``DequantizeLinear``, which a ``Reshape`` puts next to each other. A ``Gemm`` gets an ``Add`` for its third
        operand.
        """
        made = dequantised(node) if self._has_operator else None
        weights = None if made is None else _weights(made)
        if weights is None or self._derived.opset < _PER_AXIS:
            return False
        self._derived.replaces(weights.known)
        bounds = tile_bounds(weights.inner, weights.columns, largest=_TILE, most=_TILES)
        parts = [self._part(node, weights, start, stop, is_whole=len(bounds) == 1) for start, stop in bounds]
        become_parts(node, parts)
        self._derived.use_domain(DOMAIN)
        return True

    def _part(self, node: ir.Node, weights: _Weights, start: int, stop: int, *, is_whole: bool) -> ir.Node:
        """Return the product by some columns of the weights."""
        suffix = "" if is_whole else f"_{start}"
        width, inner, columns = stop - start, weights.inner, weights.columns
        blocks = inner // weights.block
        rows = width * blocks

        def values() -> _Array:
            return array_of(weights.value)[:, start:stop].T.reshape(rows, weights.block)

        def of_rows(array: _Array) -> _Array:
            return np.broadcast_to(array, (blocks, columns))[:, start:stop].T.ravel()

        def scales() -> _Array:
            return of_rows(array_of(weights.scale))

        def zeros() -> _Array:
            return of_rows(np.zeros((), weights.dtype.numpy()) if weights.zero is None else array_of(weights.zero))

        once = self._derived.once
        operands = [
            once(weights.value, f"_transposed{suffix}", values, weights.dtype, (rows, weights.block)),
            once(weights.scale, f"_tiled{suffix}", scales, DataType.FLOAT, (rows,)),
            # Without zero points the optimiser of onnxruntime may take the numbers for uint8.
            once(weights.zero or weights.value, f"_zeros{suffix}", zeros, weights.dtype, (rows,)),
        ]
        tile = put(node, ir.node("DequantizeLinear", operands, {"axis": 0}, outputs=[_float(rows, weights.block)]))
        if blocks > 1:
            sizes = once(weights.value, f"_sizes{suffix}", lambda: np.array([width, inner]), DataType.INT64, (2,))
            tile = put(node, ir.node("Reshape", [tile, sizes], outputs=[_float(width, inner)]))
        shape = node.outputs[0].shape
        result = ir.Value(type=ir.TensorType(DataType.FLOAT))
        result.shape = None if shape is None else ir.Shape([*shape[:-1], width])
        return ir.node(_OPERATOR, [node.inputs[0], tile], {"transB": 1}, domain=DOMAIN, outputs=[result])


def _float(*sizes: int) -> ir.Value:
    return ir.Value(type=ir.TensorType(DataType.FLOAT), shape=ir.Shape(sizes))


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of 8 bits, of shape (inner, columns).

    Attributes:
        value: the initializer.
        scale: that of the scales, which broadcast to (inner / block, columns).
        zero: that of the zero points likewise, None if there are none.
        block: how many weights of a column share a scale.
    """

    value: ir.Value
    scale: ir.Value
    zero: ir.Value | None
    block: int

    @property
    def known(self) -> list[ir.Value]:
        """The initializers."""
        return [self.value, self.scale, *([] if self.zero is None else [self.zero])]

    @property
    def dtype(self) -> DataType:
        """The dtype of the weights."""
        assert self.value.dtype is not None
        return self.value.dtype

    @property
    def inner(self) -> int:
        """How many weights a column has."""
        return sizes_of(self.value)[0]

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return sizes_of(self.value)[1]


def _weights(made: ir.Node) -> _Weights | None:
    """Return the weights of a ``DequantizeLinear`` of known operands; None if they are of other dtypes or scales."""
    value, scale, *zeros = (one for one in made.inputs if one is not None)
    sizes = sizes_of(value)
    if value.dtype not in _BYTES or scale.dtype != DataType.FLOAT or len(sizes) != 2 or 0 in sizes:
        return None
    block = made.attributes.get_int("block_size", 0)
    is_first = made.attributes.get_int("axis", 1) % 2 == 0
    if (block and not (is_first and sizes[0] % block == 0)) or (not block and is_first and sizes_of(scale)):
        return None
    return _Weights(value, scale, zeros[0] if zeros else None, block or sizes[0])
