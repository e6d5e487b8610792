"""Multiples: functions of JAX that ask whether a size is even, or a multiple of 8, where that is not known.

JAX raises no error there. It takes every symbolic dimension for true, ``size % 8`` as well, and equal to no number that
it does not have to be: ``size % 2 == 0`` is false. The program would be wrong at the sizes that are multiples.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic, is_users

__all__ = ["MULTIPLES"]

_Function: TypeAlias = Callable[..., Any]


def _truth(_: _Function | None) -> _Function:
    """Return whether a dimension is not 0; JAX's error, which names the constraint, if that is not known."""

    def is_true(dim: Any) -> bool:
        return _taken_for_true.get() or bool(dim >= 1 or dim <= -1)

    return is_true


def _equality(original: _Function) -> _Function:
    """Return JAX's comparison of a dimension, which warns where the user asks what JAX does not know."""

    @functools.wraps(original)
    def is_equal(dim: Any, other: Any) -> Any:
        result = original(dim, other)
        if result is False and (type(other) is int or is_symbolic(other)):
            # Who asks, behind ``replaced``; JAX itself does so often.
            _warn_if_unknown(dim, other, sys._getframe(2))  # noqa: SLF001
        return result

    return is_equal


def _warn_if_unknown(dim: Any, other: Any, frame: FrameType) -> None:
    """Warn if the user's code asks whether a dimension is a size that it may be; JAX says that it is not."""
    code = frame.f_code
    if code.co_name == "__ne__" and frame.f_back is not None:  # which asks ``==``
        frame = frame.f_back
        code = frame.f_code
    is_plugin = str(frame.f_globals.get("__name__")).startswith("jax2onnx")
    if is_plugin or not is_users(code.co_filename):
        return
    with contextlib.suppress(InconclusiveDimensionOperation):
        if dim > other or dim < other:
            return
    warnings.warn_explicit(
        f"the program asks whether {dim} == {other}, which depends on the size. JAX takes it not to be: the model may "
        f"be wrong where it is. Pass constraints=['{dim} == {other}'] if that always holds, or constraints that rule "
        f"it out ('{dim} >= {other + 1}')",
        UserWarning,
        code.co_filename,
        frame.f_lineno,
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


_taken_for_true: ContextVar[bool] = ContextVar("taken_for_true", default=False)
"""Whether dimensions that may be 0 are true just now: what is done to so many elements may be done to none."""


def _with_remainder(original: _Function) -> _Function:
    """``lax.map`` with ``batch_size``: what is left after the last whole batch, which may be nothing, is mapped too."""

    @functools.wraps(original)
    def split(*args: Any, **kwargs: Any) -> Any:
        token = _taken_for_true.set(True)
        try:
            return original(*args, **kwargs)
        finally:
            _taken_for_true.reset(token)

    return split


def _pack_bits(original: _Function) -> _Function:
    """Pack bits; JAX adds zeros where the size is no multiple of 8, and adds 8 where it does not know."""

    @functools.wraps(original)
    def packbits(a: Any, axis: int | None = None, bitorder: str = "big") -> Any:
        shape = np.shape(a)
        size = math.prod(shape) if axis is None else shape[axis]
        if not is_symbolic(size):
            return original(a, axis, bitorder)
        place = 0 if axis is None else axis % len(shape)
        a = jnp.ravel(a) if axis is None else jnp.asarray(a)
        widths = [(0, 0)] * a.ndim
        count = (size + 7) // 8
        widths[place] = (0, 8 * count - size)
        bits = jnp.pad(a != 0, widths)
        groups = bits.reshape(*bits.shape[:place], count, 8, *bits.shape[place + 1 :])
        packed = original(groups, place + 1, bitorder)
        return jnp.squeeze(packed, place + 1)

    return packbits


def _real_frequencies(original: _Function) -> _Function:
    """Return the frequencies of ``rfft``: JAX asks whether there is an even number of them, but n // 2 serves both."""

    @functools.wraps(original)
    def rfftfreq(n: Any, d: Any = 1.0, *, dtype: Any = None, **how: Any) -> Any:
        if not is_symbolic(n):
            return original(n, d, dtype=dtype, **how)
        dtype = dtype or jnp.result_type(float)
        return jnp.arange(n // 2 + 1, dtype=dtype) / jnp.array(d * n, dtype=dtype)

    return rfftfreq


def _transpose_rfft(original: _Function) -> _Function:
    """Transpose ``rfft``, as JAX does where it knows whether the length is even."""

    @functools.wraps(original)
    def transpose(t: Any, fft_lengths: Any) -> Any:
        if not is_symbolic(fft_lengths[-1]):
            return original(t, fft_lengths)
        halves = lax.conj(t) / _times_in_spectrum(t.shape[-1], fft_lengths[-1]).astype(t.dtype)
        return math.prod(fft_lengths) * lax.fft(halves, lax.FftType.IRFFT, fft_lengths)

    return transpose


def _transpose_irfft(original: _Function) -> _Function:
    """Transpose ``irfft``, as JAX does where it knows whether the length is even."""

    @functools.wraps(original)
    def transpose(t: Any, fft_lengths: Any) -> Any:
        if not is_symbolic(fft_lengths[-1]):
            return original(t, fft_lengths)
        x = lax.fft(t, lax.FftType.RFFT, fft_lengths)
        times = _times_in_spectrum(x.shape[-1], fft_lengths[-1]).astype(x.dtype)
        return lax.conj(1 / math.prod(fft_lengths) * times * x)

    return transpose


def _times_in_spectrum(count: Any, length: Any) -> Any:
    """Return how often each result of ``rfft`` is in the whole spectrum: once if it is its own mirror image."""
    place = jnp.arange(count)
    return jnp.where((place == 0) | (2 * place == length), 1, 2)


MULTIPLES: Mapping[tuple[str, str], _Function] = {
    ("jax._src.export.shape_poly", "_DimExpr.__bool__"): _truth,
    ("jax._src.export.shape_poly", "_DimExpr.__eq__"): _equality,
    ("jax._src.lax.control_flow.loops", "_batch_and_remainder"): _with_remainder,
    ("jax.numpy", "packbits"): _pack_bits,
    ("jax.numpy.fft", "rfftfreq"): _real_frequencies,
    ("jax._src.lax.fft", "_rfft_transpose"): _transpose_rfft,
    ("jax._src.lax.fft", "_irfft_transpose"): _transpose_irfft,
}
"""(module, name) -> what makes the replacement of the original."""
