"""Carriers: the wider dtypes in which a runtime can compute, where it has no kernel for the dtype itself.

A carrier of bfloat16 is float32, for example. onnxruntime has no ``Sqrt`` of bfloat16, so that

    y = Sqrt(x)                                   x, y: bfloat16[3, 4]

is rewritten to

    wide = Cast(x, to=float32)                    float32[3, 4]
    root = Sqrt(wide)                             float32[3, 4]
    y = Cast(root, to=bfloat16)                   bfloat16[3, 4]

Which carriers give the right numbers depends on the operator, and so does what its result in the carrier says about
the result in the original dtype. This module knows both.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_ir import DataType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FLOAT8", "IN_BYTES", "Carrier", "Encoding", "Family", "Kind", "Trust", "carriers", "kind"]

FLOAT8 = frozenset({DataType.FLOAT8E4M3FN, DataType.FLOAT8E4M3FNUZ, DataType.FLOAT8E5M2, DataType.FLOAT8E5M2FNUZ})
IN_BYTES: Mapping[DataType | None, DataType] = {DataType.INT4: DataType.INT8, DataType.UINT4: DataType.UINT8}
"""Integers of 4 bits -> the dtype of 8 bits that has all their numbers."""
_HALVES = frozenset({DataType.FLOAT16, DataType.BFLOAT16})


class Trust(enum.IntEnum):
    """What a value in its carrier says about the value in the original dtype."""

    NOTHING = 0
    """It must be cast back (rounded) first."""
    CONGRUENT = 1
    """Both are equal modulo two to the width of the original integer dtype."""
    EXACT = 2
    """Both are equal."""


class Encoding(enum.Enum):
    """How a dtype is put into its carrier."""

    VALUE = enum.auto()
    """The same number; for uint64 in int64, the same bits."""
    OFFSET = enum.auto()
    """uint64 in int64, less 2**63: the order of the numbers is kept."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A dtype that carries another."""

    dtype: DataType
    encoding: Encoding = Encoding.VALUE


class Family(enum.Enum):
    """What an operator does with the integers in its data operands."""

    MOVE = enum.auto()
    """It moves elements, or does not read them."""
    RING = enum.auto()
    """It adds, multiplies or combines bits: the result is correct modulo any power of two."""
    ORDER = enum.auto()
    """It selects elements by their order."""
    EQUALITY = enum.auto()
    """It returns whether elements are equal."""
    COMPARE = enum.auto()
    """It returns which of two elements is greater."""
    NUMBER = enum.auto()
    """It needs the numbers themselves."""
    OTHER = enum.auto()
    """It is not known to be right on other integers than the original ones."""


_FAMILIES = {
    Family.MOVE: """
        CenterCropPad Compress Concat ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND
        Identity OneHot Pad Reshape ReverseSequence ScatterElements ScatterND Shape Size Slice SpaceToDepth Split
        Squeeze Tile Transpose Trilu Unsqueeze Where""",
    Family.RING: """
        Add BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CumProd CumSum Einsum MatMul Mul Neg Sub Sum""",
    Family.ORDER: "ArgMax ArgMin Clip Max MaxPool Min ReduceMax ReduceMin TopK",
    Family.EQUALITY: "Equal NonZero",
    Family.COMPARE: "Greater GreaterOrEqual Less LessOrEqual",
    Family.NUMBER: "Abs BitShift Div Mod ReduceSum Relu Sign",
}
_FAMILY = {name: family for family, names in _FAMILIES.items() for name in names.split()}
_REDUCTIONS = {"none": Family.MOVE, "add": Family.RING, "mul": Family.RING, "max": Family.ORDER, "min": Family.ORDER}
_TYPED = frozenset({"BitCast", "Cast", "CastLike"})
"""Operators whose meaning is the dtype itself."""
_EXACT_IN_FLOAT = frozenset({"Abs", "Ceil", "Floor", "Neg", "Relu", "Round", "Sign"})
"""Operators whose result, computed in a wider float, is a number of the original float dtype."""
_PADS_WITH_LOWEST = frozenset({"Clip", "MaxPool"})
"""Operators that may return the carrier's lowest or highest number, which the original dtype rounds."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An operator, as far as carriers are concerned."""

    op_type: str
    family: Family

    @property
    def needs(self) -> Trust:
        """What the operator must know of its data operands."""
        return Trust.CONGRUENT if self.family in {Family.MOVE, Family.RING} else Trust.EXACT

    def result(self, operands: Trust, dtype: DataType) -> Trust:
        """Return what a result of an original ``dtype`` promises, given the least promise among the data operands."""
        if self.family is Family.MOVE:
            return operands
        if dtype not in _HALVES:
            return Trust.EXACT if self.family is Family.ORDER else Trust.CONGRUENT
        if self.op_type in _PADS_WITH_LOWEST:
            return Trust.NOTHING
        exact = self.op_type in _EXACT_IN_FLOAT or self.family is Family.ORDER
        return Trust.EXACT if exact else Trust.NOTHING


@functools.cache
def kind(op_type: str, reduction: str = "none") -> Kind:
    """Return the kind of an operator; ``reduction`` is that of a scatter."""
    family = _FAMILY.get(op_type, Family.OTHER)
    if op_type.startswith("Scatter"):
        family = _REDUCTIONS[reduction]
    return Kind(op_type, family)


@functools.cache
def carriers(dtype: DataType, operator: Kind) -> tuple[Carrier, ...]:
    """Return the dtypes that can carry ``dtype`` through an operator, the cheapest first."""
    if operator.op_type in _TYPED:
        return ()
    if dtype in _HALVES:
        return _carriers("FLOAT", "DOUBLE")
    # onnxruntime's casts to float8 saturate or overflow at bounds that are not JAX's: only unchanged values pass.
    if dtype in FLOAT8:
        computes = operator.family in {Family.RING, Family.NUMBER, Family.OTHER}
        return () if computes else _carriers("FLOAT")
    if operator.family is Family.OTHER:
        return ()
    # Over no elements these return the carrier's bound, which wraps to another number.
    if operator.op_type in {"ReduceMax", "ReduceMin"} and dtype in {DataType.INT8, DataType.INT16}:
        return ()
    return tuple(c for c in _INTEGER_CARRIERS.get(dtype, ()) if _fits(dtype, c, operator))


def _fits(dtype: DataType, carrier: Carrier, operator: Kind) -> bool:
    """Return whether an operator gives the right numbers when this carrier stands for an integer dtype or bool."""
    family = operator.family
    if carrier.dtype == DataType.INT64 and operator.op_type in _WRONG_IN_INT64:
        return False
    # onnxruntime 1.31 sums int32 with saturation.
    if carrier.dtype != DataType.INT64 and operator.op_type == "ReduceSum":
        return False
    if dtype == DataType.UINT64:
        # The same bits have the right sums and products, but another order as int64; the offset keeps the order only.
        ordered = family in {Family.ORDER, Family.COMPARE}
        return family is not Family.NUMBER and ordered == (carrier.encoding is Encoding.OFFSET)
    if family in {Family.RING, Family.NUMBER}:
        # Arithmetic of bool is not that of numbers, and floats round where integers wrap.
        return dtype != DataType.BOOL and carrier.dtype not in {DataType.FLOAT, DataType.DOUBLE}
    return True


_WRONG_IN_INT64 = frozenset({"Clip", "Max", "Min", "ReduceMax", "ReduceMin", "Sign"})
"""onnxruntime compares int64 by halves here, the lower ones as signed: the maximum of 2**32 - 1 and 100 is 100."""


def _carriers(*names: str) -> tuple[Carrier, ...]:
    return tuple(Carrier(DataType[name]) for name in names)


_SIGNED = _carriers("INT32", "INT64", "FLOAT", "DOUBLE")
_UNSIGNED = _carriers("INT32", "UINT32", "INT64", "UINT64", "FLOAT", "DOUBLE")
_INTEGER_CARRIERS = {
    DataType.BOOL: _carriers("UINT8", "INT32", "INT64", "FLOAT"),
    DataType.INT4: _carriers("INT8", "INT32", "INT64", "FLOAT"),
    DataType.UINT4: _carriers("UINT8", "INT32", "INT64", "FLOAT"),
    DataType.INT8: _SIGNED,
    DataType.INT16: _SIGNED,
    DataType.UINT8: _UNSIGNED,
    DataType.UINT16: _UNSIGNED,
    DataType.INT32: _carriers("INT64", "DOUBLE"),
    DataType.UINT32: _carriers("INT64", "UINT64", "DOUBLE"),
    DataType.UINT64: (Carrier(DataType.INT64), Carrier(DataType.INT64, Encoding.OFFSET)),
}
