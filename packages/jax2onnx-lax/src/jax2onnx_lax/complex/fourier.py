"""Compute discrete Fourier transforms of real and imaginary parts, as products with matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import is_static

if TYPE_CHECKING:
    from collections.abc import Callable

Parts: TypeAlias = tuple[Any, Any]
"""The real and the imaginary part."""

_ROUNDED = 1e-15
"""What is below it is the rounding error of a zero: a root's part that is not zero is above 1 / n."""
_SPLIT = 256
"""From this length on an axis is transformed by factors of its length."""
_DIRECT = 2048
"""The longest prime length that is one product with a matrix, which has the square of it."""


def transform(x: Any, make: Callable[[Any, Any], Any], eqn: Any) -> Any:
    """Transform the parts of a complex array, or a real array, as an ``fft`` equation does.

    ``make`` makes a complex array of its parts.
    """
    lengths = eqn.params["fft_lengths"]
    kind = str(getattr(eqn.params["fft_type"], "name", eqn.params["fft_type"]))
    sign = 1 if kind in {"IFFT", "IRFFT"} else -1
    last = lengths[-1]
    if kind == "RFFT":
        re, im = (part[..., : last // 2 + 1] for part in _real(x, last))
    else:
        re, im = x
        if kind != "IRFFT":
            re, im = _last(re, im, last, sign)
    for axis in range(-len(lengths), -1):
        moved = _last(jnp.moveaxis(re, axis, -1), jnp.moveaxis(im, axis, -1), lengths[axis], sign)
        re, im = (jnp.moveaxis(part, -1, axis) for part in moved)
    if kind == "IRFFT":
        return _from_half(re, im, last) / _number(math.prod(lengths), re.dtype)
    if sign < 0:
        return make(re, im)
    size = _number(math.prod(lengths), re.dtype)
    return make(re / size, im / size)


def _number(n: Any, dtype: Any) -> Any:
    return np.asarray(n, dtype) if is_static(n) else jnp.asarray(n).astype(dtype)


def _real(x: Any, n: Any) -> Parts:
    """Transform the last axis of a real array; a single number stays what it is."""
    if is_static(n) and n == 1:
        return x, jnp.zeros_like(x)
    if not is_static(n) or n < _SPLIT:
        cos, sin = _matrix(n, -1, x.dtype)
        return _times(x, cos), _times(x, sin)
    return _last(x, jnp.zeros_like(x), n, -1)


def _from_half(re: Any, im: Any, n: Any) -> Any:
    """Transform back to a real array from the first half of its transform, whose other half is its conjugate."""
    if is_static(n) and n == 0:
        # Of one number, which ``jnp.fft.irfft`` takes for the half of 0.
        return jnp.zeros((*re.shape[:-1], 0), re.dtype)
    if is_static(n) and n == 1:
        return re
    half = n // 2 + 1
    index = jnp.arange(half)
    twice = (2 - (index == 0) - (2 * index == n)).astype(re.dtype)
    re, im = re * twice, im * twice
    if not is_static(n) or n < _SPLIT:
        cos, sin = (m[:half] for m in _matrix(n, 1, re.dtype))
        return _times(re, cos) - _times(im, sin)
    zeros = jnp.zeros((*re.shape[:-1], n - half), re.dtype)
    return _last(jnp.concatenate([re, zeros], -1), jnp.concatenate([im, zeros], -1), n, 1)[0]


def _last(re: Any, im: Any, n: Any, sign: int) -> Parts:
    """Transform the last axis, of length ``n``; a single number stays what it is."""
    if is_static(n) and n == 1:
        return re, im
    if not is_static(n) or n < _SPLIT:
        return _product(re, im, *_matrix(n, sign, re.dtype))
    rows = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
    if rows > 1:
        return _by_factors(re, im, (rows, n // rows), sign)
    return _product(re, im, *_matrix(n, sign, re.dtype)) if n <= _DIRECT else _chirped(re, im, n, sign)


def _by_factors(re: Any, im: Any, shape: tuple[int, int], sign: int) -> Parts:
    """Transform the columns and then the rows of the axis seen as a matrix (Cooley and Tukey, 1965)."""
    rows, columns = shape
    re, im = (part.reshape((*part.shape[:-1], rows, columns)).mT for part in (re, im))
    re, im = _last(re, im, rows, sign)
    twist = _roots(np.outer(np.arange(columns), np.arange(rows)), rows * columns, sign, re.dtype)
    re, im = (part.mT for part in _multiplied(re, im, *twist))
    re, im = (part.mT for part in _last(re, im, columns, sign))
    return re.reshape((*re.shape[:-2], rows * columns)), im.reshape((*im.shape[:-2], rows * columns))


def _chirped(re: Any, im: Any, n: int, sign: int) -> Parts:
    """Transform an axis of any length by a convolution with a chirp (Bluestein, 1970)."""
    dtype = re.dtype
    length = 1 << (2 * n - 1).bit_length()
    chirp = np.exp(sign * 1j * np.pi * (np.arange(n, dtype=np.int64) ** 2 % (2 * n)) / n)
    kernel = np.zeros(length, np.complex128)
    kernel[:n] = chirp.conj()
    kernel[length - n + 1 :] = chirp[:0:-1].conj()
    kernel = np.fft.fft(kernel) / length
    front = jnp.asarray(chirp.real, dtype), jnp.asarray(chirp.imag, dtype)
    zeros = jnp.zeros((*re.shape[:-1], length - n), dtype)
    re, im = (jnp.concatenate([part, zeros], -1) for part in _multiplied(re, im, *front))
    re, im = _last(re, im, length, -1)
    re, im = _multiplied(re, im, jnp.asarray(kernel.real, dtype), jnp.asarray(kernel.imag, dtype))
    re, im = _last(re, im, length, 1)
    return _multiplied(re[..., :n], im[..., :n], *front)


def _matrix(n: Any, sign: int, dtype: Any) -> Parts:
    """Return the parts of the matrix of roots of unity ``exp(sign * 2j pi j k / n)``."""
    if is_static(n):
        return _roots(np.outer(np.arange(n), np.arange(n)), n, sign, dtype)
    index = lax.iota(np.int32, n)
    order = lax.rem(index[:, None] * index, jnp.broadcast_to(jnp.asarray(n).astype(np.int32), (n, n)))
    angle = order.astype(dtype) * (2 * math.pi / _number(n, dtype))
    return jnp.cos(angle), sign * jnp.sin(angle)


def _roots(order: Any, n: int, sign: int, dtype: Any) -> Parts:
    """Return the parts of roots of unity. Quarter turns are exact: the transform of a real array is real there."""
    roots = np.exp(sign * 2j * np.pi * (order % max(n, 1)) / max(n, 1))
    re, im = (np.where(np.abs(part) < _ROUNDED, 0, part) for part in (roots.real, roots.imag))
    return jnp.asarray(re, dtype), jnp.asarray(im, dtype)


def _times(x: Any, matrix: Any) -> Any:
    return jnp.matmul(x, matrix, precision=lax.Precision.HIGHEST)


def _product(re: Any, im: Any, real: Any, imaginary: Any) -> Parts:
    return _times(re, real) - _times(im, imaginary), _times(re, imaginary) + _times(im, real)


def _multiplied(re: Any, im: Any, real: Any, imaginary: Any) -> Parts:
    return re * real - im * imaginary, re * imaginary + im * real
