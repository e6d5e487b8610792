"""The examples of every family: tests, rows of the coverage table and documentation at once."""

from __future__ import annotations

from jax2onnx.registry import Example
from jax2onnx_lax.examples import (
    control,
    conv,
    dot,
    elementwise,
    indexing,
    shape,
    sort,
    window,
)

ALL: tuple[Example, ...] = (
    *control.EXAMPLES,
    *conv.EXAMPLES,
    *dot.EXAMPLES,
    *elementwise.EXAMPLES,
    *indexing.EXAMPLES,
    *shape.EXAMPLES,
    *sort.EXAMPLES,
    *window.EXAMPLES,
)
