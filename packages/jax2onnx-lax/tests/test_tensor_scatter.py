"""An update of one axis at a place that is known at run time is TensorScatter at opset 24."""

import jax
import onnxruntime
import pytest
from releases import installed

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

HAS_KERNEL = installed(onnxruntime, ">=1.32")
"""Whether the installed runtime has the operator; the table of kernels that the target has is that of 1.32."""
NEW = {"opset": 24, "target": "onnxruntime>=1.32"}
CASES = {
    "second axis": (
        lambda x, u, i: jax.lax.dynamic_update_slice(x, u, (0, i, 0)),
        ["float32[B,9,3]", "float32[B,2,3]"],
    ),
    "last axis": (lambda x, u, i: jax.lax.dynamic_update_slice(x, u, (0, 0, i)), ["int32[2,3,9]", "int32[2,3,4]"]),
    "symbolic": (lambda x, u, i: jax.lax.dynamic_update_slice(x, u, (0, i)), ["float32[2,S]", "float32[2,T]"]),
    "transposed": (
        lambda x, u, i: jax.lax.dynamic_update_slice(x.transpose(0, 2, 1), u, (0, i, 0)).transpose(0, 2, 1) + 1,
        ["float32[2,3,9]", "float32[2,4,3]"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_operator(name):
    function, specs = CASES[name]
    options = {"constraints": ["S >= T"]} if name == "symbolic" else {}
    model = to_onnx(function, [*specs, "int32[]"], **NEW, **options)
    found = operators(model)
    assert found["TensorScatter"] == 1
    assert found["Concat"] == 0
    assert found["Transpose"] == (name == "transposed")
    sizes = [{"S": 5, "T": 2}, {"S": 5, "T": 5}, {"S": 4, "T": 0}] if name == "symbolic" else (1, 3)
    if HAS_KERNEL:
        check(model, function, [*specs, "int32[]"], sizes=sizes, **options)


OTHERS = {
    "first axis": lambda x, u, i: jax.lax.dynamic_update_slice(x, u[:1], (i, 0)),
    "two axes": lambda x, u, i: jax.lax.dynamic_update_slice(x, u[:1, :1], (i, i)),
    "a known place": lambda x, u, i: jax.lax.dynamic_update_slice(x, u + i, (0, 3)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_slices(name):
    specs = ["float32[4,9]", "float32[4,9]" if name == "first axis" else "float32[4,2]", "int32[]"]
    model = to_onnx(OTHERS[name], specs, **NEW)
    assert operators(model)["TensorScatter"] == 0
    check(model, OTHERS[name], specs, kinds=["ordinary"])


def test_the_default_has_no_new_operator():
    function, specs = CASES["second axis"]
    assert operators(to_onnx(function, [*specs, "int32[]"], opset=24))["TensorScatter"] == 0
