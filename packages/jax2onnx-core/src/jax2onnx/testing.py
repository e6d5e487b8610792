"""The test kit: every registered example is exported, loaded in onnxruntime and compared with JAX.

A plugin's test file is three lines::

    import pytest
    from jax2onnx.testing import cases, run

    @pytest.mark.parametrize("case", cases("my-plugin"), ids=str)
    def test_example(case): run(case)

For programs of symbolic sizes there are :class:`Sized` and :func:`run_sized`. :class:`Runner` runs a model in
onnxruntime, :func:`draw` draws inputs, and :func:`compare` compares results under the tolerances of ``check``.
"""

from __future__ import annotations

from jax2onnx.checking.cases import STATIC_SIZE, Case, cases, operators, run, static, x64
from jax2onnx.checking.compare import compare
from jax2onnx.checking.dynamic import Sized, check_shapes, run_sized, select, validate
from jax2onnx.checking.inputs import draw, nudge
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.checking.sizes import concrete
from jax2onnx.program.represent import represented

__all__ = [
    "RUNTIME_ERRORS",
    "STATIC_SIZE",
    "Case",
    "Runner",
    "Sized",
    "cases",
    "check_shapes",
    "compare",
    "concrete",
    "draw",
    "nudge",
    "operators",
    "represented",
    "run",
    "run_sized",
    "select",
    "static",
    "validate",
    "x64",
]
