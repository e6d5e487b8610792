"""Write the table of the OpenVINO that is installed: ``python -m jax2onnx_openvino.generate FILE``.

OpenVINO has no list of its kernels. So each operator is tried: a model of one node is compiled for the CPU, executed on
numbers that need their dtype, and compared with the reference evaluator of onnx. A dtype in which the numbers are not
the same is left out, such as float64, which OpenVINO computes as float32, or the sum of int8, which does not wrap.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx
import openvino
from onnx import helper
from onnx.reference import ReferenceEvaluator

from jax2onnx_openvino.runner import OpenVINO

__all__ = ["main"]

_Array: TypeAlias = np.ndarray[Any, Any]

_NAMES = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}
"""Names of dtypes in tables -> dtypes of numpy."""
_UNTRIED = "float float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 bool"
"""The dtypes of an operator that is known to OpenVINO, and for which there are no numbers here."""
_ULPS = 8


def _words(text: str) -> list[str]:
    return text.split()


_UNARY = frozenset(
    _words(
        """
    Abs Neg Sign Identity Relu Sqrt Exp Log Sin Cos Tan Tanh Sinh Cosh Asin Acos Atan Asinh Acosh Atanh Erf
    Floor Ceil Round Reciprocal Not BitwiseNot IsNaN IsInf Softplus Softsign Elu Selu Celu HardSigmoid
    HardSwish Mish Gelu Swish LeakyRelu Sigmoid ThresholdedRelu Softmax LogSoftmax Hardmax NonZero Size
    Shape Flatten GlobalAveragePool GlobalMaxPool
    """
    )
)
_BINARY = frozenset(
    _words(
        """
    Add Sub Mul Div Mod Pow Max Min Less LessOrEqual Greater GreaterOrEqual Equal And Or Xor BitwiseAnd
    BitwiseOr BitwiseXor PRelu Sum Mean
    """
    )
)
_REDUCTIONS = frozenset(
    _words(
        """
    ReduceSum ReduceMax ReduceMin ReduceProd ReduceMean ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum
    ReduceLogSumExp
    """
    )
)
_POSITIVE = {"Log", "Reciprocal", "Sqrt", "Acosh", "Pow", "ReduceLogSum"}
_PRODUCTS = {"MatMul", "Gemm", "Einsum", "Conv", "ConvTranspose", "Pow", "ReduceProd", "ReduceSumSquare", "ReduceL2"}
_ORDERS = {"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "Max", "Min"}
_UNIT = {"Asin", "Acos", "Atanh"}
_LAYERED = {"GlobalAveragePool", "GlobalMaxPool"}


def _numbers(name: str, op_type: str) -> tuple[_Array, _Array]:
    """Return two arrays of shape [2, 3] that need their dtype: the digits of a float, the ends of an integer."""
    dtype = _NAMES[name]
    if name == "bool":
        return np.array([[1, 0, 1], [0, 0, 1]], bool), np.array([[1, 1, 0], [0, 1, 1]], bool)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        if info.bits > 32:
            return _wide_numbers(dtype, op_type)
        low, high = info.min, info.max
        first = np.array([[high, low, high // 2 + 3], [5, 0, 7]], dtype)
        second = np.array([[1, 1, 7], [3, 5, high]], dtype)
        if op_type in _ORDERS:
            second = np.array([[high - 1, low + 1, high // 2 + 4], [5, 1, 6]], dtype)
        if op_type in {"ReduceSum", "CumSum", "ReduceProd"}:
            first[1] = high // 2 + 3
        return first, (np.array([[1, 1, 2], [3, 5, 0]], dtype) if op_type == "Pow" else second)
    first = np.array([[1 / 3, -2 / 3, 1.1], [0.7, 0.0, -3.7]])
    second = np.array([[1 / 7, 0.3, -1.7], [0.9, 1.3, 2.1]])
    if op_type in _POSITIVE:
        first = np.abs(first) + 1
    if op_type in _UNIT:
        first = first / 4
    return first.astype(dtype), second.astype(dtype)


def _wide_numbers(dtype: Any, op_type: str) -> tuple[_Array, _Array]:
    """Return integers of 64 bits whose results are within 32 bits, and need more digits than float32 has.

    That larger ones are cut to 32 bits is a fault of all operators.
    """
    large = 2**13 + 1 if op_type in _PRODUCTS else 2**29 + 1
    low = 3 if np.iinfo(dtype).min == 0 else -(2**28) - 1
    first = np.array([[large, 5, large - 2], [3, 0, low if op_type not in _PRODUCTS else 7]], dtype)
    second = np.array([[1, 2, 3], [3, 5, 1]], dtype)
    if op_type in _ORDERS:
        second = first - np.array([[1, 0, 1], [1, 0, 1]], dtype)
    if op_type == "ReduceProd":
        first = np.array([[large, large, 5], [1, 3, 7]], dtype)
    return first, second


_Probe: TypeAlias = tuple[list[_Array], dict[str, Any]]


class _Constant(np.ndarray):
    """An operand that is a constant of the model."""


def _i64(*values: Any) -> _Array:
    return np.array(values, np.int64).view(_Constant)


def _moves(x: _Array) -> Mapping[str, _Probe]:
    """Return operators that move numbers, and others that take further operands, with these operands."""
    pad = np.zeros((), x.dtype)
    image = np.tile(x, (1, 2)).reshape(1, 1, 3, 4)
    return {
        "Reshape": ([x, _i64(3, 2)], {}),
        "Transpose": ([x], {"perm": [1, 0]}),
        "Squeeze": ([x[None], _i64(0)], {}),
        "Unsqueeze": ([x, _i64(0)], {}),
        "Concat": ([x, x], {"axis": 1}),
        "Slice": ([x, _i64(0), _i64(2), _i64(1)], {}),
        "Gather": ([x, _i64(2, 0)], {"axis": 1}),
        "GatherElements": ([x, _i64([0, 1, 0])], {"axis": 0}),
        "GatherND": ([x, _i64([0, 2], [1, 1])], {}),
        "ScatterElements": ([x, _i64([1, 0, 1]), x[1:]], {"axis": 0}),
        "ScatterND": ([x, _i64([1]), x[:1]], {}),
        "Expand": ([x[:1], _i64(2, 3)], {}),
        "Tile": ([x, _i64(2, 1)], {}),
        "Pad": ([x, _i64(0, 1, 1, 0), pad], {}),
        "Where": ([np.array([[True, False, True]]), x, x[::-1].copy()], {}),
        "Trilu": ([x], {"upper": 1}),
        "CumSum": ([x, np.array(1, np.int64)], {}),
        "Split": ([x, _i64(1, 2)], {"axis": 1}),
        "TopK": ([x, _i64(2)], {"axis": 1}),
        "OneHot": ([_i64(0, 2), _i64(3)[0], x[0, :2].copy()], {}),
        "ReverseSequence": ([x, _i64(2, 1, 2)], {}),
        "Range": ([x[1, 1], x[1, 2], np.ones((), x.dtype)], {}),
        "Einsum": ([x, x], {"equation": "ij,kj->ik"}),
        "ConvTranspose": ([image, image[:, :, :2, :2].copy()], {}),
        "ArgMax": ([x], {"axis": 1, "keepdims": 0}),
        "ArgMin": ([x], {"axis": 1, "keepdims": 0}),
        "Clip": ([x, x[1, 1], x[0, 0]], {}),
        "DepthToSpace": ([np.tile(x, (2, 2)).reshape(1, 4, 2, 3)], {"blocksize": 2}),
        "SpaceToDepth": ([np.tile(x, (2, 2)).reshape(1, 1, 4, 6)], {"blocksize": 2}),
        "MatMul": ([x, x.T.copy()], {}),
        "Gemm": ([x, x.T.copy()], {}),
        "Conv": ([image, image[:, :, :2, :2].copy()], {}),
        "MaxPool": ([image], {"kernel_shape": [2, 2]}),
        "AveragePool": ([image], {"kernel_shape": [2, 2]}),
        "LayerNormalization": ([x, x[0]], {}),
    }


def _probes(op_type: str, name: str) -> _Probe | None:
    """Return operands and attributes of an operator in a dtype; None if there are none here."""
    x, y = _numbers(name, op_type)
    if op_type in _UNARY:
        x = x.reshape(1, 2, 3) if op_type in _LAYERED else x
        return [x], {}
    if op_type in _BINARY:
        fmod = {"fmod": 1} if op_type == "Mod" and x.dtype.kind not in "iu" else {}
        return [x, y], fmod
    if op_type == "BitShift":
        return [x, np.ones_like(x)], {"direction": "RIGHT"}
    if op_type in _REDUCTIONS:
        return [x, _i64(1)], {"keepdims": 0}
    return _moves(x).get(op_type)


def _model(op_type: str, operands: Sequence[_Array], attributes: Mapping[str, Any], opset: int) -> onnx.ModelProto:
    """Return a model of one node: the first operand is an input, those of its dtype too; the others are constants."""
    inputs, constants, names = [], [], []
    for index, array in enumerate(operands):
        names.append(f"x{index}")
        if array.dtype == operands[0].dtype and array.ndim and not isinstance(array, _Constant):
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(names[-1], dtype, array.shape))
        else:
            constants.append(onnx.numpy_helper.from_array(np.asarray(array), names[-1]))
    results = ["y", "z"] if op_type in {"Split", "TopK"} else ["y"]
    node = helper.make_node(op_type, names, results, **attributes)
    graph = helper.make_graph([node], op_type, inputs, [onnx.ValueInfoProto(name=name) for name in results], constants)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def _agrees(op_type: str, name: str, opset: int) -> bool | None:
    """Return whether OpenVINO computes an operator in a dtype as ONNX says; None if that cannot be told."""
    probe = _probes(op_type, name)
    if probe is None:
        return None
    operands, attributes = probe
    try:
        model = _model(op_type, operands, attributes, opset)
        feeds = {f"x{index}": array for index, array in enumerate(operands)}
        feeds = {value.name: feeds[value.name] for value in model.graph.input}
        expected: Any = ReferenceEvaluator(model).run(None, feeds)
        expected = expected[0]
    except (
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
        TypeError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ):
        return None  # ONNX has no such dtype here, or the evaluator none
    try:
        actual = OpenVINO(model).run(list(feeds.values()))[0]
    except (RuntimeError, ValueError):
        return False
    return _close(np.asarray(expected), actual)


def _close(expected: _Array, actual: _Array) -> bool:
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return False
    if expected.dtype.kind in "iub":
        return bool(np.array_equal(expected, actual))
    info = ml_dtypes.finfo(expected.dtype)  # type: ignore[no-untyped-call]
    wide, got = expected.astype(np.float64), actual.astype(np.float64)
    return bool(np.all(np.abs(wide - got) <= _ULPS * float(info.eps) * np.maximum(np.abs(wide), 1)))


def _casts(opset: int) -> list[list[Any]]:
    """Return the kernels of ``Cast``: for each dtype, those to which it is converted as ONNX says."""
    entries: list[list[Any]] = []
    for name in _NAMES:
        x, _ = _numbers(name, "Cast")
        right = []
        for other, dtype in _NAMES.items():
            to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            value = x.astype(bool) if other == "bool" else x
            value = np.abs(value) if other.startswith("u") and value.dtype.kind not in "iub" else value
            model = _model("Cast", [value], {"to": to}, opset)
            with np.errstate(all="ignore"):
                expected = value.astype(dtype)
            try:
                actual = OpenVINO(model).run([value])[0]
            except (RuntimeError, ValueError):
                continue
            if _close(expected, actual):
                right.append(other)
        if right:
            entries.append([1, opset, {"T1": name, "T2": " ".join(right)}])
    return entries


def _known(op_type: str, operands: int, opset: int) -> bool:
    """Return whether OpenVINO knows an operator by name: a node of it is not called unknown."""
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 2, 2])
    node = helper.make_node(op_type, ["x"] * operands, ["y"])
    graph = helper.make_graph([node], op_type, [x], [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    try:
        openvino.Core().read_model(model.SerializeToString())
    except RuntimeError as error:
        return "does not support the following ONNX operations" not in str(
            error
        ) and "No conversion rule found" not in str(error)
    return True


def kernels(opset: int) -> dict[str, list[list[Any]]]:
    """Return operator -> ``[since, until, {parameter: "dtype dtype …"}]``.

    Each operator is tried in a process of its own: OpenVINO ends it for some nodes.
    """
    context = multiprocessing.get_context("fork")
    table: dict[str, list[list[Any]]] = {}
    for op_type, schema in _operators():
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=lambda: sender.send(_entries(op_type, schema, opset)))  # noqa: B023 - it runs now
        child.start()
        sender.close()
        try:
            entries = receiver.recv()
        except EOFError:
            entries = []
        child.join()
        if entries:
            table[op_type] = entries
    return table


def _entries(op_type: str, schema: Any, opset: int) -> list[list[Any]]:
    if op_type == "Cast":
        return _casts(opset)
    tried = {name: _agrees(op_type, name, opset) for name in _NAMES}
    if any(answer is not None for answer in tried.values()):
        right = [name for name, answer in tried.items() if answer]
        first = schema.inputs[1 if op_type == "Where" else 0].type_str
        return [[1, opset, {first: " ".join(right)}]] if right else []
    if not _known(op_type, schema.min_input, opset):
        return []
    variables = [constraint.type_param_str for constraint in schema.type_constraints]
    return [[1, opset, dict.fromkeys(variables, _UNTRIED)]]


def _operators() -> Iterator[tuple[str, Any]]:
    for schema in sorted(onnx.defs.get_all_schemas(), key=lambda schema: schema.name):
        if schema.domain == "" and not schema.deprecated:
            yield schema.name, schema


def main() -> None:
    """Write the table named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    opset = onnx.defs.onnx_opset_version()
    version = openvino.__version__.partition("-")[0]
    found = kernels(opset)
    lines = [f'   "{name}": {json.dumps(entries)}' for name, entries in sorted(found.items())]
    text = (
        f'{{\n "name": "openvino",\n "runtime": "OpenVINO {version} (CPU)",\n "max_opset": {opset},\n'
        ' "kernels": {\n  "": {\n' + ",\n".join(lines) + "\n  }\n }\n}\n"
    )
    arguments.file.write_text(text)


if __name__ == "__main__":
    main()
