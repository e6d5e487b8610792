"""Discrete Fourier transforms of parts, as products with a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import is_symbolic
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 2048
"""The longest axis that is transformed; its matrix has the square of it."""


def transform(x: Any, make: Callable[[Any, Any], Any], eqn: Any) -> Any:
    """Transform as an ``fft`` equation does.

    Args:
        x: the parts of a complex array, or a real array.
        make: makes a complex array of its parts.
        eqn: the equation.

    Raises:
        UnsupportedCaseError: an axis is too long or symbolic.
    """
    lengths = eqn.params["fft_lengths"]
    for n in lengths:
        if is_symbolic(n) or n > LONGEST:
            what = f"fft: an axis of length {n}"
            raise UnsupportedCaseError(what, remedy=f"transform axes of a static length up to {LONGEST}")
    kind = str(getattr(eqn.params["fft_type"], "name", eqn.params["fft_type"]))
    first = -len(lengths)
    if kind == "RFFT":
        re, im = _apply(x, None, _matrix(lengths[-1], -1)[:, : lengths[-1] // 2 + 1], -1)
    elif kind == "IRFFT":
        re, im = x
    else:
        re, im = x
        re, im = _apply(re, im, _direction(kind, lengths[-1]), -1)
    for axis in range(first, -1):
        re, im = _apply(re, im, _direction(kind, lengths[axis]), axis)
    if kind != "IRFFT":
        return make(re, im)
    n = lengths[-1]
    weights = np.full(n // 2 + 1, 2.0)
    weights[0] = 1
    if n % 2 == 0:
        weights[-1] = 1
    return _apply(re, im, weights[:, None] * _direction(kind, n)[: n // 2 + 1], -1)[0]


def _direction(kind: str, n: int) -> np.ndarray[Any, Any]:
    return _matrix(n, 1) / n if kind in {"IFFT", "IRFFT"} else _matrix(n, -1)


def _matrix(n: int, sign: int) -> np.ndarray[Any, Any]:
    """The roots of unity ``exp(sign * 2j pi j k / n)``."""
    order = np.outer(np.arange(n), np.arange(n)) % max(n, 1)
    return np.exp(sign * 2j * np.pi * order / max(n, 1))


def _apply(re: Any, im: Any, matrix: np.ndarray[Any, Any], axis: int) -> tuple[Any, Any]:
    """Multiply an axis with a complex matrix; ``im`` is None for a real operand."""
    real, imaginary = (jnp.asarray(m, re.dtype) for m in (matrix.real, matrix.imag))

    def times(x: Any, m: Any) -> Any:
        return jnp.moveaxis(jnp.matmul(jnp.moveaxis(x, axis, -1), m, precision="highest"), -1, axis)

    if im is None:
        return times(re, real), times(re, imaginary)
    return times(re, real) - times(im, imaginary), times(re, imaginary) + times(im, real)
