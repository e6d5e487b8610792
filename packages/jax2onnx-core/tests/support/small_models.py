"""Models of a few nodes to legalise, and arrays to run them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from jax2onnx.checking.runtime import Runner
from jax2onnx.legalise import targets
from jax2onnx.legalise.legalise import legalise

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGET = targets.load(targets.DEFAULT)


def dtypes(names: str) -> list[np.dtype[Any]]:
    return [np.dtype(getattr(ml_dtypes, n, n)) for n in names.split()]


BOOL, I64, F32, BF16 = dtypes("bool int64 float32 bfloat16")
SIGNED = dtypes("int8 int16 int32 int64")
UNSIGNED = dtypes("uint8 uint16 uint32 uint64")
INTS = [*SIGNED, *UNSIGNED]
HALVES = dtypes("float16 bfloat16")
FLOATS = dtypes("float16 bfloat16 float32 float64")
NUMBERS = [*INTS, *FLOATS]
EVERY = [BOOL, *NUMBERS]
WITH_FLOAT8 = [*EVERY, *dtypes("float8_e4m3fn float8_e5m2")]


def edges(dtype: np.dtype[Any], seed: int = 0) -> np.ndarray:
    """Twelve numbers of a dtype, extremes first."""
    rng = np.random.default_rng(seed)
    if dtype == BOOL:
        return rng.integers(0, 2, 12).astype(bool)
    if dtype in INTS:
        info = np.iinfo(dtype)
        some = [info.min, info.max, info.min + 1, info.max // 2, info.max // 2 + 1, 0, 1, 2, 3]
        values = np.array([*some, *rng.integers(0, 100, 3)], dtype)
    else:
        special = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-3, -2.5, 3.14159]
        values = np.array([*special, *rng.standard_normal(4)]).astype(dtype)
    return np.roll(values, seed * 5)


def plain(dtype: np.dtype[Any], seed: int = 0) -> np.ndarray:
    """Twelve distinct numbers of a dtype, neither zero nor special, some of them large."""
    if dtype == BOOL:
        return edges(dtype, seed)
    values = np.random.default_rng(seed).permutation(np.arange(1, 13)).astype(dtype)
    if dtype in INTS:
        values[:2] = np.iinfo(dtype).max, np.iinfo(dtype).min + (dtype in UNSIGNED) * 100
    else:
        values[::3] = -values[::3] / dtype.type(3)
    return values


def constant(value: Any, dtype: Any = np.int64) -> ir.Value:
    tensor = ir.tensor(np.asarray(value, dtype))
    return ir.Value(type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)


def typed(dtype: Any, shape: Sequence[int] | None = None) -> ir.Value:
    type_ = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    return ir.Value(type=type_, shape=None if shape is None else ir.Shape(shape))


def node(op: str, *inputs: ir.Value | None, out: Any = None, **attributes: Any) -> ir.Node:
    """A node whose results have the dtype of its first input, or ``out`` (a list: several results)."""
    outs = out if isinstance(out, list) else [out]
    results = [typed(o) if o is not None else ir.Value(type=inputs[0].type) for o in outs]
    given = [ir.convenience.convert_attribute(k, v) for k, v in attributes.items()]
    return ir.Node("", op, inputs, given, outputs=results)


def model_of(inputs: list[ir.Value], nodes: list[ir.Node], outputs: list[ir.Value], opset: int = 23) -> ir.Model:
    used = list(dict.fromkeys(v for n in nodes for v in n.inputs if v is not None and v.const_value is not None))
    for prefix, values in (("c", used), ("x", inputs), ("y", outputs)):
        for i, value in enumerate(values):
            value.name = f"{prefix}{i}"
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=used, opset_imports={"": opset}, name="g")
    return ir.Model(graph, ir_version=10)


def run(model: ir.Model, *arrays: np.ndarray) -> list[np.ndarray]:
    legalise(model, TARGET)
    return Runner(ir.to_proto(model)).run(list(arrays))


def same(got: np.ndarray, want: np.ndarray) -> None:
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(*(a if a.dtype.kind in "biu" else a.astype(np.float64) for a in (got, want)))


def operators(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


def value_model(dtype: Any, *steps: tuple[Any, ...], opset: int = 23) -> ir.Model:
    """A chain of one-input nodes; a step is an operator, its constants, and attributes."""
    x = typed(dtype, (3, 4))
    nodes: list[ir.Node] = []
    for op, *rest in steps:
        attributes = rest.pop() if rest and isinstance(rest[-1], dict) else {}
        nodes.append(node(op, nodes[-1].outputs[0] if nodes else x, *rest, **attributes))
    return model_of([x], nodes, [nodes[-1].outputs[0]], opset)
