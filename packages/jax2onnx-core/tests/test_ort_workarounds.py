"""Workarounds: what onnxruntime's optimiser would spoil in float64 gives the right numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from small_models import constant, model_of, node, operators, run, same, typed

if TYPE_CHECKING:
    import onnx_ir as ir

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
