"""Every registered example with symbolic sizes runs where all are 0, and agrees with JAX where it has an answer.

Each fifth example is run, and all of them where the environment has ``DYNAMIC=all``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import onnxruntime
import pytest
from releases import installed

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError
from jax2onnx.testing import Case, cases, operators, x64

if TYPE_CHECKING:
    import onnx

BEFORE_ATTENTION = 22
"""onnxruntime's ``Attention`` refuses an empty batch, as docs/numerics.md says: export for an opset without it."""

EMPTY_IMAGES = {
    "conv_input_dilation_symbolic_dynamic",
    "conv_same_dilated_symbolic_dynamic",
    "conv_same_symbolic_dynamic",
    "conv_same_wide_strides_dynamic",
}
"""onnxruntime refuses a convolution of images without pixels, as docs/numerics.md says."""

REFUSES_FUSED_PRODUCTS = installed(onnxruntime, "<1.32")
"""onnxruntime refuses products that it makes of others, as docs/numerics.md says: of an empty batch and no batch."""

EVERY = 1 if os.environ.get("DYNAMIC") == "all" else 5
CASES = [case for case in cases() if case.dynamic and case.fusions][::EVERY]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_example_without_elements(case: Case) -> None:
    example = case.example
    with x64(enabled=example.x64):
        fn = example.make()
        model: onnx.ModelProto = to_onnx(fn, case.inputs, **case.options)
        inside = {node.op_type for function in model.functions for node in function.node}
        if "Attention" in {*operators(model), *inside}:
            model = to_onnx(fn, case.inputs, **{**case.options, "opset": BEFORE_ATTENTION})
        try:
            check(model, fn, case.inputs, sizes=(0,), rtol=example.rtol, atol=example.atol, **case.shared)
        except CheckError as error:
            if "JAX itself raises an error" in str(error):
                return
            if case.name in EMPTY_IMAGES and "cannot run the model" in str(error):
                return
            if REFUSES_FUSED_PRODUCTS and "FusedMatMul" in str(error) and "cannot broadcast" in str(error):
                return
            raise
        assert case.name not in EMPTY_IMAGES
