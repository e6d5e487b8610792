"""Carriers: every operator in every dtype loads in onnxruntime and gives the dtype's own numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx_ir import DataType
from small_models import (
    BOOL,
    EVERY,
    F32,
    FLOATS,
    HALVES,
    I64,
    INTS,
    NUMBERS,
    SIGNED,
    UNSIGNED,
    WITH_FLOAT8,
    constant,
    dtypes,
    edges,
    model_of,
    node,
    plain,
    run,
    same,
    typed,
)

from jax2onnx.legalise.carriers import carriers, kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir


@dataclass(frozen=True)
class Case:
    """One operator: its reference on arrays of the dtype itself, and the dtypes to try."""

    op: str
    dtypes: Sequence[np.dtype[Any]]
    reference: Callable[..., Any]
    constants: Sequence[Any] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    operands: int = 1
    values: Callable[..., np.ndarray] = edges
    shape: tuple[int, ...] = (3, 4)
    out: Any = None

    def check(self, dtype: np.dtype[Any], opset: int) -> None:
        arrays = [self.values(dtype, k)[: np.prod(self.shape)].reshape(self.shape) for k in range(self.operands)]
        inputs = [typed(dtype, a.shape) for a in arrays]
        fixed = [c(dtype) if callable(c) else constant(c) for c in self.constants]
        made = node(self.op, *inputs, *fixed, out=self.out, **self.attributes)
        got = run(model_of(inputs, [made], [made.outputs[0]], opset), *arrays)[0]
        with np.errstate(all="ignore"):
            want = np.asarray(self.reference(*arrays))
            same(got, want.astype((self.out[0] or dtype) if isinstance(self.out, list) else self.out or dtype))


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float32 what is to be rounded once; leave other dtypes alone."""
    return lambda *a: function(*(x.astype(F32) if x.dtype in HALVES else x for x in a))


def exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute with Python's integers, then wrap."""

    def wrapped(*arrays: np.ndarray) -> np.ndarray:
        bits = 8 * arrays[0].dtype.itemsize
        exact = function(*(a.astype(object) for a in arrays))
        return np.array([int(v) % 2**bits for v in exact.flat], np.uint64).astype(arrays[0].dtype).reshape(exact.shape)

    return wrapped


def truncated(x: Any, y: Any) -> Any:
    return np.sign(x) * np.sign(y) * (abs(x) // abs(y))


def same_type(*values: int) -> list[Callable[[Any], ir.Value]]:
    return [lambda d, v=v: constant(v, d) for v in values]


REDUCED = [d for d in [BOOL, *NUMBERS] if d.name not in {"int16", "uint64"}]
MOVES = [
    Case("Transpose", WITH_FLOAT8, lambda x: x.T, attributes={"perm": [1, 0]}),
    Case("Reshape", WITH_FLOAT8, lambda x: x.reshape(2, 6), [[2, 6]]),
    Case("Identity", WITH_FLOAT8, lambda x: x),
    Case("Flatten", WITH_FLOAT8, lambda x: x, attributes={"axis": 1}),
    Case("Unsqueeze", WITH_FLOAT8, lambda x: x[None], [[0]]),
    Case("Squeeze", WITH_FLOAT8, lambda x: x[0], [[0]], shape=(1, 12)),
    Case("Shape", WITH_FLOAT8, lambda x: x.shape, out=I64),
    Case("Size", EVERY, lambda x: x.size, out=I64),
    Case("Slice", WITH_FLOAT8, lambda x: x[:, 3:0:-1], [[3], [0], [1], [-1]]),
    Case("Gather", WITH_FLOAT8, lambda x: x[[2, 0]], [[2, 0]], {"axis": 0}),
    Case("GatherElements", WITH_FLOAT8, lambda x: x[:1, [3]], [[[3]]], {"axis": 1}, shape=(1, 12)),
    Case("GatherND", WITH_FLOAT8, lambda x: x[[2], [1]], [[[2, 1]]]),
    Case("ScatterND", EVERY, lambda x: x[[0, 1, 2, 1]], [[[3]], lambda d: constant(edges(d)[3:6][None], d)],
         shape=(4, 3)),
    Case("ScatterElements", EVERY, lambda x: x[[0, 1, 2, 1]], [[[3] * 3], lambda d: constant(edges(d)[3:6][None], d)],
         {"axis": 0}, shape=(4, 3)),
    Case("Concat", WITH_FLOAT8, lambda x, y: np.concatenate([x, y], 1), operands=2, attributes={"axis": 1}),
    Case("Split", WITH_FLOAT8, lambda x: x[:2], [[2, 1]], {"axis": 0}, out=[None, None]),
    Case("Expand", WITH_FLOAT8, lambda x: np.broadcast_to(x, (2, 3, 4)), [[2, 3, 4]]),
    Case("Tile", WITH_FLOAT8, lambda x: np.tile(x, (2, 1)), [[2, 1]]),
    Case("Pad", EVERY, lambda x: np.pad(x, ((1, 0), (0, 2))), [[1, 0, 0, 2]]),
    Case("Trilu", EVERY, np.triu, attributes={"upper": 1}),
    Case("DepthToSpace", [d for d in EVERY if d.name not in {"int64", "uint64"}],
         lambda x: x.reshape(1, 2, 2, 1, 3, 1).transpose(0, 3, 4, 1, 5, 2).reshape(1, 1, 6, 2),
         attributes={"blocksize": 2}, shape=(1, 4, 3, 1)),
    Case("Compress", WITH_FLOAT8, lambda x: x[[0, 2]], [lambda _: constant([1, 0, 1], bool)], {"axis": 0}),
    Case("ReverseSequence", WITH_FLOAT8, lambda x: x[[1, 0, 2]], [[2, 2, 2, 2]], {"time_axis": 0, "batch_axis": 1}),
    Case("EyeLike", [BOOL, *NUMBERS], lambda x: np.eye(*x.shape)),
]  # fmt: skip
INTEGERS = [
    Case("Add", INTS, np.add, operands=2),
    Case("Sub", INTS, np.subtract, operands=2),
    Case("Mul", INTS, np.multiply, operands=2),
    Case("Neg", SIGNED, np.negative),
    Case("Abs", INTS, np.abs),
    Case("Sign", INTS, np.sign),
    Case("Relu", SIGNED[:-1], lambda x: np.maximum(x, 0)),
    Case("Div", INTS, exactly(truncated), operands=2, values=plain),
    Case("Mod", INTS, np.mod, operands=2, values=plain),
    Case("Mod", INTS, np.fmod, operands=2, values=plain, attributes={"fmod": 1}),
    Case("BitwiseAnd", INTS, np.bitwise_and, operands=2),
    Case("BitwiseXor", INTS, np.bitwise_xor, operands=2),
    Case("BitwiseNot", INTS, np.bitwise_not),
    Case("BitShift", UNSIGNED, lambda x: x << 3, same_type(3), {"direction": "LEFT"}),
    Case("BitShift", UNSIGNED, lambda x: x >> 3, same_type(3), {"direction": "RIGHT"}),
    Case("CumSum", INTS, lambda x: np.cumsum(x, 0, dtype=x.dtype), [0]),
    Case("ReduceSum", dtypes("int8 uint8 int16 uint16 uint32"), lambda x: x.sum(1, dtype=x.dtype), [[1]],
         {"keepdims": 0}),
    Case("MatMul", INTS, np.matmul, operands=2, shape=(3, 3)),
    Case("Einsum", INTS, np.matmul, operands=2, shape=(3, 3), attributes={"equation": "ab,bc->ac"}),
    Case("Max", INTS, np.maximum, operands=2),
    Case("Min", INTS, np.minimum, operands=2),
    Case("Clip", INTS, lambda x: np.clip(x, 1, 50), same_type(1, 50)),
    Case("ScatterND", INTS, lambda x: np.concatenate([x[:3], x[3:] + 7]),
         [[[3]], lambda d: constant([[7, 7, 7]], d)], {"reduction": "add"}, shape=(4, 3)),
    Case("ScatterND", INTS, lambda x: np.concatenate([x[:3], np.maximum(x[3:], 7)]),
         [[[3]], lambda d: constant([[7, 7, 7]], d)], {"reduction": "max"}, shape=(4, 3)),
]  # fmt: skip
ORDERED = [
    Case("ReduceMax", REDUCED, lambda x: x.max(1), [[1]], {"keepdims": 0},
         values=plain),
    Case("ReduceMin", REDUCED, lambda x: x.min(1), [[1]], {"keepdims": 0},
         values=plain),
    Case("ArgMax", NUMBERS, lambda x: x.argmax(1), attributes={"axis": 1, "keepdims": 0}, values=plain, out=I64),
    Case("ArgMin", NUMBERS, lambda x: x.argmin(1), attributes={"axis": 1, "keepdims": 0}, values=plain, out=I64),
    Case("TopK", NUMBERS, lambda x: np.sort(x, 1)[:, :1:-1], [[2]], {"axis": 1}, values=plain, out=[None, I64]),
    Case("Max", FLOATS, np.maximum, operands=2, values=plain),
    Case("MaxPool", dtypes("int8 uint8 float16 bfloat16 float32 float64"), lambda x: x.max(-1, keepdims=True),
         attributes={"kernel_shape": [4]}, values=plain, shape=(1, 3, 4)),
    Case("Equal", EVERY, np.equal, operands=2, out=BOOL, values=lambda d, k: edges(d)[:: 1 - 2 * k]),
    Case("Less", NUMBERS, np.less, operands=2, out=BOOL, values=lambda d, k: edges(d)[:: 1 - 2 * k]),
    Case("Greater", NUMBERS, np.greater, operands=2, out=BOOL),
    Case("LessOrEqual", NUMBERS, np.less_equal, operands=2, out=BOOL),
    Case("GreaterOrEqual", NUMBERS, np.greater_equal, operands=2, out=BOOL),
    Case("NonZero", [BOOL, *INTS, *HALVES], np.nonzero, out=I64),
]  # fmt: skip
FLOATING = [
    Case("Add", FLOATS, in_float32(np.add), operands=2),
    Case("Sub", FLOATS, in_float32(np.subtract), operands=2),
    Case("Mul", FLOATS, in_float32(np.multiply), operands=2),
    Case("Div", FLOATS, in_float32(np.divide), operands=2),
    Case("Neg", FLOATS, np.negative),
    Case("Abs", FLOATS, np.abs),
    Case("Sqrt", FLOATS, in_float32(np.sqrt)),
    Case("Floor", FLOATS, in_float32(np.floor)),
    Case("Ceil", FLOATS, in_float32(np.ceil)),
    Case("Round", FLOATS, in_float32(np.rint)),
    Case("Reciprocal", FLOATS, in_float32(np.reciprocal)),
    Case("MatMul", HALVES, in_float32(np.matmul), operands=2, shape=(3, 3), values=plain),
    Case("ReduceSum", HALVES, in_float32(lambda x: x.sum(1)), [[1]], {"keepdims": 0}),
    Case("IsNaN", FLOATS, np.isnan, out=BOOL),
    Case("IsInf", FLOATS, np.isinf, out=BOOL),
    # operators without a kernel of their own
    Case("HardSwish", FLOATS[:-1], in_float32(lambda x: x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1)),
         values=lambda d, _: np.array([-4, -3, 0, 3, 4, 6] * 2).astype(d)),
]  # fmt: skip
GRID = [
    pytest.param(case, dtype, opset, id=f"{case.op}{i}-{dtype}-{opset}")
    for i, case in enumerate([*MOVES, *INTEGERS, *ORDERED, *FLOATING])
    for dtype in case.dtypes
    for opset in ((18, 23) if dtype.name in {"bool", "int8", "uint32", "bfloat16", "float32"} else (23,))
]


@pytest.mark.parametrize(("case", "dtype", "opset"), GRID)
def test_operator(case: Case, dtype: np.dtype[Any], opset: int) -> None:
    case.check(dtype, opset)


@pytest.mark.parametrize("dtype", ["INT8", "INT16", "UINT8", "UINT16", "INT4"])
def test_sums_of_small_integers_are_those_of_int64(dtype: str) -> None:
    """In int32, sums of many elements saturate."""
    assert [carrier.dtype.name for carrier in carriers(DataType[dtype], kind("ReduceSum"))] == ["INT64"]
