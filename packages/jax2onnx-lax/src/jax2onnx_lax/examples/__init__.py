"""The examples of every family: tests, rows of the coverage table and documentation at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx_lax.examples import (
    complex_numbers,
    control,
    conv,
    convert,
    defined,
    dot,
    elementwise,
    indexing,
    linalg,
    linalg_functions,
    random,
    reduce,
    shape,
    sort,
    transcendental,
    window,
)

if TYPE_CHECKING:
    from jax2onnx.plugin import Example

ALL: tuple[Example, ...] = (
    *complex_numbers.EXAMPLES,
    *control.EXAMPLES,
    *conv.EXAMPLES,
    *convert.EXAMPLES,
    *defined.EXAMPLES,
    *dot.EXAMPLES,
    *elementwise.EXAMPLES,
    *indexing.EXAMPLES,
    *linalg.EXAMPLES,
    *linalg_functions.EXAMPLES,
    *random.EXAMPLES,
    *reduce.EXAMPLES,
    *shape.EXAMPLES,
    *sort.EXAMPLES,
    *transcendental.EXAMPLES,
    *window.EXAMPLES,
)
