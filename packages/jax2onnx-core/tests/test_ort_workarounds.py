"""Workarounds: what onnxruntime's optimiser would spoil in float64 gives the right numbers."""

from __future__ import annotations

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
