"""Compare the results of a model with those of JAX, and describe in words how they differ.

Dtypes and shapes must be equal. Integers and booleans must be equal too. NaN must meet NaN, and infinity the same
infinity. The sign of zero is free. Floats must agree within ``rtol * |expected|``, with these defaults:

========  =======  ========
dtype     rtol     small
========  =======  ========
float64   1e-11    1e-13
float32   2e-5     2e-6
float16   4e-3     1e-4
bfloat16  1.6e-2   1e-3
float8    2 eps    eps**2
========  =======  ========

Where a result is outside its tolerance, JAX itself decides what the inputs determine. JAX is evaluated again, on inputs
that differ by two units in the last place, and with each equation rounded a little differently (:mod:`~jax2onnx.
checking.rounding`). An element that changes there is *ill-conditioned*: it is accepted if its difference is at most a
small multiple of that change, and the report counts it. So a rounding difference before a threshold or a cancellation
is no error, and a coarse formula for a well-conditioned function is one.

A difference below ``small`` is judged by looser roundings: where JAX has zero, another way to compute it may leave a
rest. It is not accepted for being small: a result of 1e-9 that is 0 in the model is an error, unless rounding explains
it. If ``atol`` is given, differences up to ``atol`` are accepted as they are.

JAX flushes subnormal numbers to zero on the CPU and onnxruntime does not. So a difference up to the smallest normal
number of the dtype is accepted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jax2onnx._printable import counted
from jax2onnx.checking.inputs import finfo
from jax2onnx.errors import CheckError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CheckReport", "OutputReport", "combine", "compare", "finite_part", "is_finite", "type_of"]

Array = np.ndarray[Any, Any]
Arrays = Sequence[Array]

_SLACK = 16.0
"""An ill-conditioned element may differ by this many times the change of JAX's own result."""


class _Tolerance(NamedTuple):
    """How far two numbers may differ.

    Attributes:
        relative: relative to JAX's number.
        absolute: in any case.
        small: up to here, looser roundings may explain a difference.
    """

    relative: float
    absolute: float
    small: float

    def __str__(self) -> str:
        return f"{self.absolute:.2g} + {self.relative:.2g} * |JAX|, and what rounding explains"


_TOLERANCES = {
    "float64": (1e-11, 1e-13),
    "float32": (2e-5, 2e-6),
    "float16": (4e-3, 1e-4),
    "bfloat16": (1.6e-2, 1e-3),
}
"""Name of a dtype -> its relative tolerance, and the difference that is small."""


@dataclass(frozen=True, slots=True)
class OutputReport:
    """How one output compared, over all batches.

    Attributes:
        name: the output's name.
        dtype: its dtype.
        max_abs: the largest absolute difference of finite elements.
        max_rel: the largest difference relative to the expected value, where that exceeds the absolute tolerance.
        ill_conditioned: how many elements were accepted only because JAX's own result changes there.
    """

    name: str
    dtype: str
    max_abs: float
    max_rel: float
    ill_conditioned: int

    def __str__(self) -> str:
        parts = [
            f"{self.name}: {self.dtype}",
            f"largest difference {self.max_abs:.2g} (relative {self.max_rel:.2g})",
        ]
        if self.ill_conditioned:
            parts.append(f"{self.ill_conditioned} ill-conditioned elements")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was compared, and how closely it agreed; ``refused`` are inputs on which the program itself raises."""

    runtime: str
    batches: tuple[str, ...]
    outputs: tuple[OutputReport, ...]
    refused: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"agrees with JAX in {self.runtime}"]
        lines += [f"  on {batch}" for batch in self.batches]
        lines += [f"  {output}" for output in self.outputs]
        lines += [f"  not compared: JAX itself raises an error on {batch}" for batch in self.refused]
        return "\n".join(lines)


def compare(
    expected: Arrays,
    actual: Arrays,
    names: Sequence[str],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    nearby: Callable[[bool], Sequence[Arrays]] | None = None,
    inputs: Mapping[str, Array] | None = None,
) -> list[OutputReport]:
    """Compare what JAX returned with what a model returned.

    Args:
        expected: JAX's results.
        actual: the model's results.
        names: names of the results.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of none.
        nearby: computes JAX's results under several roundings, strict or loose ones. It is called at most once for
            either, and only where the tolerances do not hold.
        inputs: the inputs by name, for the message.

    Raises:
        CheckError: they disagree.
    """
    if len(expected) != len(actual):
        counts = f"JAX returns {counted(len(expected), 'array')}, the model returns {len(actual)}"
        listed = ", ".join(names)
        raise CheckError(f"{counts}: {listed}")
    near = functools.cache(nearby or _no_results)
    reports = []
    for index, (name, want, got) in enumerate(zip(names, expected, actual, strict=True)):
        expected_type = type_of(want)
        actual_type = type_of(got)
        if expected_type != actual_type:
            raise CheckError(f"{name}: JAX returns {expected_type}, the model returns {actual_type}")
        tolerance = _tolerance(want.dtype, rtol, atol)
        difference = _difference(want, got)
        size = _size(want)
        allowed = tolerance.absolute + tolerance.relative * size
        outside = difference > allowed
        wrong = outside
        small = outside & (difference <= tolerance.small + tolerance.relative * size)
        for loose, among in ((True, small), (False, outside & ~small)):
            if among.any():
                alternatives = [results[index] for results in near(loose)]
                wrong = wrong & ~(among & _ill_conditioned(want, difference, alternatives))
        if wrong.any():
            largest = np.argmax(np.where(wrong, difference, 0))
            place = np.unravel_index(largest, want.shape)
            worst = tuple(map(int, place))
            element = f"{name}{list(worst)}"
            lines = [
                f"{name}: {wrong.sum()} of {want.size} elements differ; the worst is {element}:",
                f"  JAX:   {want[worst]!s}",
                f"  model: {got[worst]!s}   (allowed: {tolerance})",
                *_inputs_at(worst, want.shape, inputs or {}),
            ]
            raise CheckError("\n".join(lines))
        finite = np.isfinite(difference)
        relevant = finite & (size > tolerance.absolute)
        relative = difference[relevant] / size[relevant]
        report = OutputReport(
            name,
            str(want.dtype),
            max_abs=float(difference[finite].max(initial=0)),
            max_rel=float(relative.max(initial=0)),
            ill_conditioned=int(outside.sum()),
        )
        reports.append(report)
    return reports


def combine(reports: Sequence[OutputReport]) -> OutputReport:
    """Combine the reports of one output on several batches."""
    return OutputReport(
        reports[0].name,
        reports[0].dtype,
        max(r.max_abs for r in reports),
        max(r.max_rel for r in reports),
        sum(r.ill_conditioned for r in reports),
    )


def type_of(array: Any) -> str:
    """Return the dtype and shape of an array as text, for example ``float32[2, 3]``."""
    return f"{array.dtype}{list(array.shape)}"


def is_finite(array: Array) -> bool:
    """Return whether an array has neither NaN nor infinities."""
    return bool(np.all(np.isfinite(_wide(array))))


def finite_part(want: Array, got: Array) -> Array:
    """Return a result of a model with what is wanted where that is not finite."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return got
    return np.where(np.isfinite(_wide(want)), got, want)


def _tolerance(
    dtype: np.dtype[Any],
    rtol: float | None,
    atol: float | None,
) -> _Tolerance:
    """Return the tolerance of a dtype, whose defaults ``rtol`` and ``atol`` replace."""
    if not jnp.issubdtype(dtype, np.inexact):
        return _Tolerance(0.0, 0.0, 0.0)
    limits = finfo(dtype)
    eps = float(limits.eps)
    tiny = float(limits.tiny)
    real = np.empty(0, dtype).real.dtype
    relative, small = _TOLERANCES.get(real.name, (2 * eps, eps**2))
    if rtol is not None:
        relative = rtol
    absolute = tiny if atol is None else max(atol, tiny)
    return _Tolerance(relative, absolute, max(small, absolute))


def _wide(array: Array) -> Array:
    """Return the numbers in a dtype in which differences are exact enough."""
    if jnp.issubdtype(array.dtype, np.complexfloating):
        return array.astype(np.complex128)
    if jnp.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64)
    if array.dtype.itemsize >= 8:
        return array.astype(object)  # Python's integers do not overflow
    return array.astype(np.int64)


def _difference(a: Array, b: Array) -> Array:
    """Return the distance of each pair of elements.

    It is 0 for two NaN and for two equal infinities, and infinite where only one of the two is NaN or infinite.
    """
    x = _wide(a)
    y = _wide(b)
    if x.dtype.kind not in "fc":
        return np.asarray(np.abs(x - y), np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(x - y)
    both_finite = np.isfinite(x) & np.isfinite(y)
    distance = np.where(both_finite, distance, np.inf)
    both_nan = np.isnan(x) & np.isnan(y)
    same = both_nan | (x == y)
    return np.where(same, 0.0, distance)


def _size(array: Array) -> Array:
    """Return the absolute values of the finite elements, 0 for the others."""
    size = np.asarray(np.abs(_wide(array)), np.float64)
    return np.where(np.isfinite(size), size, 0.0)


def _no_results(_loose: bool) -> list[Arrays]:  # noqa: FBT001
    """Return no results: no element is ill-conditioned."""
    return []


def _ill_conditioned(want: Array, difference: Array, alternatives: Arrays) -> Array:
    """Return where JAX's own results differ, on nudged inputs, by a good part of the difference."""
    change = np.zeros(want.shape)
    for result in alternatives:
        if result.shape != want.shape:
            return np.zeros(want.shape, bool)
        movement = _difference(want, result)
        change = np.maximum(change, movement)
    return (change > 0) & (difference <= _SLACK * change)


def _inputs_at(
    place: tuple[int, ...],
    shape: tuple[int, ...],
    inputs: Mapping[str, Array],
) -> list[str]:
    """Describe the elements at a place of the inputs that have this shape, and the inputs that are one number."""
    elements = []
    numbers = []
    for label, array in inputs.items():
        if place and array.shape == shape:
            element = array[place]
            elements.append(f"  input {label}{list(place)}: {element!s}")
        if array.size == 1:
            numbers.append(f"  input {label}: {array!s}")
    return elements + numbers
