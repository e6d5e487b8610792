"""Products by codebooks: weights of 4-bit NormalFloat stay so in onnxruntime, whose operator looks them up.

``Gather`` of a table at indices that are known is computed by onnxruntime when it loads a model, to floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.packed_products import DOMAIN, array_of, become_parts, is_plain, sizes_of, tile_bounds
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from jax2onnx.legalise.derived import Derived
    from jax2onnx.legalise.targets import Target

__all__ = ["CodebookProducts"]

_Array: TypeAlias = np.ndarray[Any, Any]

_OPERATOR = "MatMulBnb4"
_NORMAL_FLOAT = 1
"""The operator's number of the table."""

_TABLE = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
"""The numbers of 4-bit NormalFloat, in appendix E of https://arxiv.org/abs/2305.14314."""

_TILE, _TILES = 2**18, 64
"""How many weights of a tile there are at most, if that makes no more tiles than this: their floats fit a cache."""
_LEAST, _MOST = 16, 256
"""The sizes of blocks that the operator takes: powers of two."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of a product, in the shape (blocks, block, columns).

    Attributes:
        codes: the initializer of codes, of as many elements.
        table: that of the numbers that they mean.
        scale: that of the scales, None for 1.
        sizes: how many weights a column has, and how many columns there are.
        block: how many weights of a column share a scale.
    """

    codes: ir.Value
    table: ir.Value
    scale: ir.Value | None
    sizes: tuple[int, int]
    block: int


class CodebookProducts:
    """Rewrites products by weights that are looked up."""

    def __init__(self, target: Target, derived: Derived) -> None:
        self._has_operator = (DOMAIN, _OPERATOR) in (target.kernels or ()) and target.preferred is None
        self._derived = derived

    def rewrite(self, node: ir.Node) -> bool:
        """Rewrite a product of weights that are looked up, in place, and return whether it is one.

        ``MatMul(x[N, 64], Reshape(Mul(Gather(t, Cast(w: uint4[2, 32, 32])), s[2, 1, 32]), [64, 32]))`` becomes
        ``MatMulBnb4(x, w_packed: uint8[1024], s_packed[64])`` if ``t`` has numbers of 4-bit NormalFloat only. There is
        one for each tile, and a ``Concat``: the operator makes floats of all its weights in each run. A ``Gemm`` gets
        an ``Add`` for its third operand.
        """
        weights = _weights(node) if self._has_operator else None
        if weights is None:
            return False
        bounds = tile_bounds(*weights.sizes, largest=_TILE, most=_TILES)
        parts = [self._part(node, weights, start, stop, is_whole=len(bounds) == 1) for start, stop in bounds]
        looked_up = node.inputs[1]
        become_parts(node, parts)
        self._derived.use_domain(DOMAIN)
        if looked_up is not None:
            self._derived.may_be_unread(looked_up)
        return True

    def _part(self, node: ir.Node, weights: _Weights, start: int, stop: int, *, is_whole: bool) -> ir.Node:
        """Return the product by some columns of the weights."""
        (inner, columns), block = weights.sizes, weights.block
        suffix, width = "" if is_whole else f"_{start}", stop - start

        def codes() -> _Array:
            places = {float(number): place for place, number in enumerate(_TABLE)}
            meant = np.array([places[float(number)] for number in array_of(weights.table)], np.uint8)
            stored = array_of(weights.codes).astype(np.uint8).reshape(inner, columns)[:, start:stop]
            rows = meant[stored.T].ravel()
            packed: _Array = (rows[0::2] << 4) | rows[1::2]
            return packed

        def scales() -> _Array:
            scale = np.ones((1, 1), np.float32) if weights.scale is None else array_of(weights.scale)
            scale = scale.reshape(-1, np.atleast_1d(scale).shape[-1])
            spread = np.broadcast_to(scale, (len(scale), columns))[:, start:stop]
            blocks = np.repeat(spread, inner // block // len(scale), axis=0)
            return np.ascontiguousarray(blocks.T).ravel()

        once = self._derived.once
        operands = [
            node.inputs[0],
            once(weights.codes, f"_packed{suffix}", codes, DataType.UINT8, (inner * width // 2,)),
            once(weights.scale or weights.codes, f"_scales{suffix}", scales, DataType.FLOAT, (inner // block * width,)),
        ]
        shape = node.outputs[0].shape
        result = ir.Value(type=ir.TensorType(DataType.FLOAT))
        result.shape = None if shape is None else ir.Shape([*shape[:-1], width])
        attributes = {"K": inner, "N": width, "block_size": block, "quant_type": _NORMAL_FLOAT}
        return ir.node(_OPERATOR, operands, attributes, domain=DOMAIN, outputs=[result])


def _weights(node: ir.Node) -> _Weights | None:
    """Return the weights of a product of float32 if they are looked up, None if the operator does not take them."""
    if node.outputs[0].dtype != DataType.FLOAT or not is_plain(node):
        return None
    value = node.inputs[1]
    shape = None if value is None else value.shape
    sizes = [] if shape is None else [size for size in shape if isinstance(size, int)]
    reshape = _made_by(value, "Reshape")
    product = value if reshape is None else reshape.inputs[0]
    scaled = _made_by(product, "Mul")
    gather = _made_by(product if scaled is None else scaled.inputs[0], "Gather")
    cast = None if gather is None else _made_by(gather.inputs[1], "Cast")
    if len(sizes) != 2 or shape is None or len(shape) != 2 or 0 in sizes or gather is None or cast is None:
        return None
    table, codes, scale = gather.inputs[0], cast.inputs[0], None if scaled is None else scaled.inputs[1]
    if not _is_known(table, DataType.FLOAT, 1) or not _is_known(codes, DataType.UINT4, 2 if reshape is None else 3):
        return None
    if scaled is not None and not _is_known(scale, DataType.FLOAT):
        return None
    assert table is not None
    assert codes is not None
    found = set(array_of(table).tolist()) <= set(_TABLE.tolist())
    block = _block(sizes_of(codes), () if scale is None else sizes_of(scale))
    return _Weights(codes, table, scale, (sizes[0], sizes[1]), block) if found and block else None


def _block(codes: tuple[int, ...], scales: tuple[int, ...]) -> int:
    """Return how many weights of a column share a scale in the operator, 0 if no number of them does."""
    if len(codes) == 3 and scales[:-1] not in {(codes[0], 1), ()}:
        return 0
    if len(codes) == 2 and scales[:-1] not in {(1,), ()}:
        return 0
    block = min(codes[-2] & -codes[-2], _MOST)  # the largest power of two that divides it
    return block if block >= _LEAST else 0


def _is_known(value: ir.Value | None, dtype: DataType, rank: int | None = None) -> bool:
    """Return whether a value is an initializer of a dtype and a rank."""
    if value is None or value.const_value is None or not value.is_initializer() or value.dtype != dtype:
        return False
    return rank in {None, len(value.const_value.shape)}


def _made_by(value: ir.Value | None, op_type: str) -> ir.Node | None:
    producer = None if value is None else value.producer()
    return producer if producer is not None and standard(producer) == op_type else None
