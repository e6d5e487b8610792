"""The examples of every family: tests, rows of the coverage table and documentation at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx_lax.examples import (
    control,
    conv,
    convert,
    dot,
    elementwise,
    indexing,
    linalg,
    linalg_functions,
    reduce,
    shape,
    sort,
    transcendental,
    window,
)

if TYPE_CHECKING:
    from jax2onnx.registry import Example

ALL: tuple[Example, ...] = (
    *control.EXAMPLES,
    *conv.EXAMPLES,
    *convert.EXAMPLES,
    *dot.EXAMPLES,
    *elementwise.EXAMPLES,
    *indexing.EXAMPLES,
    *linalg.EXAMPLES,
    *linalg_functions.EXAMPLES,
    *reduce.EXAMPLES,
    *shape.EXAMPLES,
    *sort.EXAMPLES,
    *transcendental.EXAMPLES,
    *window.EXAMPLES,
)
