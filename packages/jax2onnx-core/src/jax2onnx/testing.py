"""The test kit: every registered example is exported, loaded in onnxruntime and compared with JAX.

A plugin's test file is three lines::

    import pytest
    from jax2onnx.testing import cases, run

    @pytest.mark.parametrize("case", cases("my-plugin"), ids=str)
    def test_example(case): run(case)
"""

from __future__ import annotations

from jax2onnx.checking.cases import STATIC_SIZE, Case, cases, operators, run, static, x64

__all__ = ["STATIC_SIZE", "Case", "cases", "operators", "run", "static", "x64"]
