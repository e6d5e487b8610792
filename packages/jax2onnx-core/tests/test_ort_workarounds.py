"""Workarounds: what onnxruntime's optimiser would spoil in float64 gives the right numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from small_models import constant, model_of, node, operators, run, same, typed

F64 = np.dtype("float64")
X = np.linspace(0.5, 3, 6).reshape(2, 3)


def model_with_constant(op: str, number: float, *, swapped: bool = False) -> ir.Model:
    x, c = typed(F64, X.shape), constant(number, F64)
    operands = [c, x] if swapped else [x, c]
    applied = node(op, *operands, out=F64)
    return model_of([x], [applied], [applied.outputs[0]])


@pytest.mark.parametrize(
    ("op", "number", "swapped", "kept"),
    [
        ("Add", 1e-50, False, ["Constant", "Sum"]),
        ("Add", 1e-50, True, ["Constant", "Sum"]),
        ("Sub", 1e-50, False, ["Constant", "Sum"]),
        ("Mul", 1 + 1e-9, False, ["Constant", "Mul", "Constant", "Mul"]),
        ("Mul", 1 + 1e-9, True, ["Constant", "Mul", "Constant", "Mul"]),
        ("Div", 1 + 1e-9, False, ["Constant", "Mul", "Constant", "Div"]),
        # far from neutral, neutral itself, or not neutral on that side
        ("Add", 1e-3, False, ["Add"]),
        ("Add", 1e300, False, ["Add"]),
        ("Mul", 1.0, False, ["Mul"]),
        ("Sub", 1e-50, True, ["Sub"]),
        ("Div", 1 + 1e-9, True, ["Div"]),
    ],
)
def test_numbers_that_are_nearly_neutral(op: str, number: float, *, swapped: bool, kept: list[str]) -> None:
    model = model_with_constant(op, number, swapped=swapped)
    function = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op]
    x = X * 1e-50 if op in {"Add", "Sub"} else X
    want = function(number, x) if swapped else function(x, number)
    same(run(model, x)[0], want)
    assert operators(model) == kept


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("float64", ["Transpose", "Sum", "MatMul"]), ("float32", ["Transpose", "MatMul"])],
)
def test_products_of_transposes(dtype: Any, kept: list[str]) -> None:
    x = typed(dtype, X.shape)
    transpose = node("Transpose", x, perm=[1, 0])
    product = node("MatMul", transpose.outputs[0], x)
    product.metadata_props["source"] = "model.py:7"
    model = model_of([x], [transpose, product], [product.outputs[0]])
    values = X.astype(dtype)
    np.testing.assert_allclose(run(model, values)[0], values.T @ values, rtol=1e-6)
    assert operators(model) == kept
    assert {n.metadata_props.get("source") for n in model.graph if n.op_type != "Transpose"} == {"model.py:7"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (3, 3)])
@pytest.mark.parametrize("between", [(), ("Identity",), ("Add",), ("Relu",), ("Add", "Identity")])
def test_products_of_transposes_and_vectors(dtype: Any, shape: tuple[int, ...], between: tuple[str, ...]) -> None:
    rank = len(shape)
    axes = [*range(rank - 2), rank - 1, rank - 2]
    x, vector = typed(dtype, shape), typed(dtype, (3,))
    nodes = [node("Transpose", x, perm=axes)]
    for op in between:
        operands = [constant(0, dtype)] if op == "Add" else []
        nodes.append(node(op, nodes[-1].outputs[0], *operands))
    nodes[-1].outputs[0].shape = ir.Shape([shape[axis] for axis in axes])
    product = node("MatMul", nodes[-1].outputs[0], vector)
    model = model_of([x, vector], [*nodes, product], [product.outputs[0]])
    values = np.linspace(0.5, 3, math.prod(shape)).reshape(shape).astype(dtype)
    weights = np.array([1, -2, 0.5], dtype)
    want = values.swapaxes(-1, -2) @ weights
    np.testing.assert_allclose(run(model, values, weights)[0], want, rtol=1e-2 if dtype == "float16" else 1e-5)


BETWEEN = [
    *[("Transpose", "Cast"), ("Transpose", "Identity", "Cast"), ("Transpose", "Cast", "Identity")],
    *[("Transpose", "Cast", "Transpose"), ("Transpose", "Relu", "Transpose", "Cast"), ("Relu", "Cast", "Transpose")],
]


@pytest.mark.parametrize("between", [*BETWEEN, ("Transpose", "Cast", "Add"), ("Transpose", "Relu", "Cast")])
@pytest.mark.parametrize("perm", [(1, 0, 2), (1, 2, 0)])
@pytest.mark.parametrize("other", [(3,), (3, 3), (3, 3, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize("is_left", [True, False])
def test_products_of_transposes_in_half_precision(
    between: tuple[str, ...], perm: tuple[int, ...], other: tuple[int, ...], *, is_left: bool
) -> None:
    half, single = np.dtype("float16"), np.dtype("float32")
    x, y = typed(half, (3, 3, 3)), typed(single, other)
    value, dtype, nodes = x, half, []
    for op in between:
        attributes: dict[str, Any] = {"Transpose": {"perm": perm}, "Cast": {"to": ir.DataType.FLOAT}}.get(op, {})
        dtype = single if op == "Cast" else dtype
        further = [constant(0, dtype)] if op == "Add" else []
        nodes.append(node(op, value, *further, out=dtype, **attributes))
        value = nodes[-1].outputs[0]
        value.shape = ir.Shape([3, 3, 3])
    product = node("MatMul", *[value, y] if is_left else [y, value])
    model = model_of([x, y], [*nodes, product], [product.outputs[0]])
    values, others = np.arange(27).reshape(3, 3, 3), np.arange(np.prod(other)).reshape(other) % 5
    turned = values
    for _ in range(between.count("Transpose")):
        turned = turned.transpose(perm)
    want = turned @ others if is_left else others @ turned
    same(run(model, values.astype(half), others.astype(single))[0], want.astype(single))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("swapped", [False, True])
def test_whole_quotients(dtype: Any, shape: tuple[int, ...], *, swapped: bool) -> None:
    x, y, c = typed(dtype, (3,)), typed(dtype, (3,)), constant(np.ones(shape), dtype)
    quotient = node("Div", c, x)
    operands = [y, quotient.outputs[0]] if swapped else [quotient.outputs[0], y]
    product = node("Mul", *operands)
    model = model_of([x, y], [quotient, product], [product.outputs[0]])
    values = np.array([1, 2, -3], dtype), np.array([5, 7, 9], dtype)
    same(run(model, *values)[0], np.array([5, 0, 0], dtype))
    assert operators(model) == ["Div", "Max", "Mul"]


@pytest.mark.parametrize("number", [2, 0, -1])
def test_whole_quotients_of_other_numbers_stay(number: int) -> None:
    x = typed(np.int32, (3,))
    quotient = node("Div", constant(number, np.int32), x)
    product = node("Mul", quotient.outputs[0], x)
    model = model_of([x], [quotient, product], [product.outputs[0]])
    run(model, np.array([1, 2, -3], np.int32))
    assert operators(model) == ["Div", "Mul"]


@pytest.mark.parametrize(("dtype", "kept"), [("float64", ["Relu", "Max", "Clip"]), ("float32", ["Relu", "Clip"])])
def test_a_clip_of_a_relu(dtype: Any, kept: list[str]) -> None:
    x = typed(dtype, (4,))
    relu = node("Relu", x)
    clip = node("Clip", relu.outputs[0], constant(-1, dtype), constant(2, dtype))
    model = model_of([x], [relu, clip], [clip.outputs[0]])
    same(run(model, np.array([-3, 0.5, 5, np.nan], dtype))[0], np.array([0, 0.5, 2, np.nan], dtype))
    assert operators(model) == kept


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow"])
@pytest.mark.parametrize("swapped", [False, True])
def test_constants_with_more_dims(op: str, *, swapped: bool) -> None:
    x, c = typed(np.float32, (3,)), constant(np.full((1, 1), 2), np.float32)
    applied = node(op, *[c, x] if swapped else [x, c])
    applied.outputs[0].shape = ir.Shape([1, 3])
    model = model_of([x], [applied], [applied.outputs[0]])
    values = np.array([1, 2, 3], np.float32)
    function = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}[op]
    two = np.full((1, 1), 2, np.float32)
    same(run(model, values)[0], function(two, values) if swapped else function(values, two))
    assert operators(model) == ["Constant", op, "Constant", "Unsqueeze"]
