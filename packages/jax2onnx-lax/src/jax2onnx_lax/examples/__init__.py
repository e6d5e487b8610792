"""The examples of every family: tests, rows of the coverage table and documentation at once."""

from __future__ import annotations

from jax2onnx.registry import Example
from jax2onnx_lax.examples import dot, elementwise

ALL: tuple[Example, ...] = (*dot.EXAMPLES, *elementwise.EXAMPLES)
