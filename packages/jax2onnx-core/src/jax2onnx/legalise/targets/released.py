"""Faults of releases of onnxruntime that are mended by version: models are made for older ones than the newest."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.carriers import Carrier
from jax2onnx.legalise.casts import carry_operand, carry_result, like
from jax2onnx.legalise.targets.fault import Fault, Span
from jax2onnx.legalise.whole_bytes import SHARED_MEMORY

__all__ = ["EMPTY_BATCHES", "FAULTS"]

EMPTY_BATCHES = "products of a transposed empty batch end the process"
"""The fault that keeps transposes and products apart."""


def _double(_graph: ir.Graph, node: ir.Node) -> str | None:
    """Take the root in float64, which is the root of float32 once it is rounded.

    Rewrite ``y = Sqrt(x)`` of float32 to

        wide = Cast(x, to=float64)
        root = Sqrt(wide)
        y = Cast(root, to=float32)
    """
    x = node.inputs[0]
    if x is not None and x.dtype == DataType.FLOAT:
        carry_operand(node, 0, Carrier(DataType.DOUBLE))
        carry_result(node, 0, Carrier(DataType.DOUBLE))
    return None


def _count_from_start(graph: ir.Graph, node: ir.Node) -> str | None:
    """Count the axes of a reduction from the first one, in place.

    Rewrite ``ArgMax(x, axis=-1)`` of ``x: float32[N, 3]`` to ``ArgMax(x, axis=1)``. An array that has elements at all
    sizes stays.
    """
    x = node.inputs[0]
    rank = None if x is None or x.shape is None else x.shape.rank()
    if x is None or x.shape is None or not rank or all(isinstance(dim, int) and dim > 0 for dim in x.shape):
        return None
    for name in ("axis", "axes"):
        attribute = node.attributes.get(name)
        if attribute is not None and name == "axis":
            node.attributes[name] = ir.AttrInt64(name, attribute.as_int() % rank)
        elif attribute is not None:
            node.attributes[name] = ir.AttrInt64s(name, [axis % rank for axis in attribute.as_ints()])
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    known = None if axes is None else ir.convenience.get_const_tensor(axes)
    if known is not None and known.size and known.numpy().min() < 0:
        tensor = ir.tensor(known.numpy() % rank)
        constant = ir.node("Constant", [], {"value": tensor})
        constant.outputs[0].type, constant.outputs[0].shape = ir.TensorType(tensor.dtype), ir.Shape([known.size])
        graph.insert_before(node, constant)
        node.replace_input_with(1, constant.outputs[0])
    return None


def _keep_nan(graph: ir.Graph, node: ir.Node) -> str | None:
    """Return NaN where an operand is NaN, in place; numbers of 16 bits are compared in float32.

    Rewrite ``y = Max(a, b)`` of float32 to

        most = Max(a, b)
        from_a = Where(IsNaN(a), NaN, most)
        y = Where(IsNaN(b), NaN, from_a)
    """
    y = node.outputs[0]
    dtype = None if y.dtype is None else _COMPARED.get(y.dtype)
    if dtype is None or all(value is None or _is_number(value) for value in node.inputs):
        return None
    if dtype != y.dtype:
        carrier = Carrier(dtype)
        for index, value in enumerate(node.inputs):
            if value is not None:
                carry_operand(node, index, carrier)
        carry_result(node, 0, carrier)
    nan = ir.node("Constant", [], {"value": ir.tensor(np.asarray(np.nan, dtype.numpy()))})
    nan.outputs[0].type, nan.outputs[0].shape = ir.TensorType(dtype), ir.Shape([])
    graph.insert_before(node, nan)
    operands = [value for value in node.inputs if value is not None and not _is_number(value)]
    result = like(y, dtype)
    y.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name, y.name = y.name, None
    nodes, most = [], y
    for value, chosen in zip(operands, [*(like(y, dtype) for _ in operands[1:]), result], strict=True):
        is_nan = ir.node("IsNaN", [value], outputs=[like(value, DataType.BOOL)])
        nodes += [is_nan, ir.node("Where", [is_nan.outputs[0], nan.outputs[0], most], outputs=[chosen])]
        most = chosen
    for made in nodes:
        made.metadata_props.update(node.metadata_props)
    graph.insert_after(node, nodes)
    return None


_COMPARED = {
    DataType.FLOAT: DataType.FLOAT,
    DataType.DOUBLE: DataType.DOUBLE,
    DataType.FLOAT16: DataType.FLOAT,
    DataType.BFLOAT16: DataType.FLOAT,
}
"""dtype -> that in which its numbers are compared."""


def _is_number(value: ir.Value) -> bool:
    """Return whether a value is a constant without NaN."""
    known = ir.convenience.get_const_tensor(value)
    return known is not None and not np.isnan(known.numpy()).any()


_REDUCTIONS = (
    *("ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
FAULTS = (
    Fault(
        "numbers may be wrong from the second run on, as memory of arrays overlaps",
        versions=Span(high="1.19"),
        remedy="set enable_mem_pattern = False in its SessionOptions",
    ),
    Fault("Max and Min lose NaN", ("Max", "Min"), _keep_nan, Span(high="1.20")),
    Fault("Sqrt of float32 loses infinity and the sign of 0", ("Sqrt",), _double, Span(high="1.21")),
    Fault("TopK of no rows ends the process", versions=Span(high="1.31")),
    Fault(SHARED_MEMORY, versions=Span(high="1.31")),
    Fault("reductions of no elements ignore axes from the end", _REDUCTIONS, _count_from_start, Span(high="1.32")),
    Fault(EMPTY_BATCHES, versions=Span(high="1.32")),
)
