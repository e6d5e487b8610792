"""Examples of :mod:`jax2onnx_lax.transcendental` and :mod:`jax2onnx_lax.special`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_NAN, _INF = np.nan, np.inf
_UNIT = [0.0, -0.0, 1e-20, -1e-20, 1e-7, -1e-7, 1e-3, 0.25, -0.5, 0.75, -0.99, 0.999999, 1.0, -1.0, 1.5, -2.0]
_REAL = [*_UNIT, 3.0, -3.0, 9.5, -9.5, 20.0, -20.0, 70.0, -70.0, 100.25, -100.75, 1e10, _INF, -_INF, _NAN]
_POSITIVE = [0.1, 0.5, 1.0, 1.4616321, 2.0, 3.0, 7.5, 30.0, 100.0, 1e6]

_UNARY: dict[str, Sequence[float]] = {
    "acos": _UNIT,
    "acosh": _REAL,
    "asin": _UNIT,
    "asinh": _REAL,
    "atan": _REAL,
    "atanh": _UNIT,
    "bessel_i0e": _REAL,
    "bessel_i1e": _REAL,
    "cbrt": _REAL,
    "cos": _REAL,
    "cosh": _REAL,
    # Zero is left out: digamma(0) is NaN before jax 0.12 and minus infinity since.
    "digamma": [*_POSITIVE, -0.25, -1.5, -2.0, -30.75, _INF, -_INF, _NAN],
    "erf": _REAL,
    "erf_inv": _UNIT,
    "erfc": _REAL,
    "exp2": _REAL,
    "expm1": _REAL,
    "lgamma": [*_POSITIVE, 0.0, -0.25, -1.5, -2.0, -30.75, 1e30, _INF, -_INF, _NAN],
    "log1p": _REAL,
    "logistic": _REAL,
    "rsqrt": _REAL,
    "sin": _REAL,
    "sinh": _REAL,
    "tan": _REAL,
}
"""Primitive -> where it is evaluated, in float32 and in float64."""


def _unary(name: str, points: Sequence[float], dtype: str) -> Example:
    suffix = "_float64" if dtype == "float64" else ""
    return Example(
        name=f"{name}{suffix}",
        context="lax",
        component=f"jax.lax.{name}",
        make=lambda: getattr(lax, name),
        inputs=[f"{dtype}[{len(points)}]"],
        values=lambda: [[np.asarray(points, dtype)]],
        # What is drawn has zeros in it, where digamma is one thing or another by the release of JAX.
        draw=name != "digamma",
        x64=bool(suffix),
    )


def _nary(name: str, fn: Callable[..., Any], points: Sequence[Sequence[float]], **options: Any) -> Example:
    """An example on all combinations of the points."""
    size = int(np.prod([len(p) for p in points]))
    grid = [a.ravel().astype(np.float32) for a in np.meshgrid(*points)]
    return Example(
        name=name,
        context="lax",
        component=f"jax.lax.{name}",
        make=lambda: fn,
        inputs=[(size,)] * len(points),
        values=lambda: [grid],
        **options,
    )


_SIGNED = [0.0, -0.0, 1.0, -1.0, 0.3, -2e5, 1e30, _INF, -_INF, _NAN]

EXAMPLES: list[Example] = [
    *[_unary(name, points, dtype) for name, points in _UNARY.items() for dtype in ("float32", "float64")],
    _nary("atan2", lax.atan2, [_SIGNED, _SIGNED]),
    # Each is a series or a continued fraction of up to hundreds of float32 terms.
    _nary("igamma", lax.igamma, [_POSITIVE[:9], _POSITIVE[:9]], draw=False, rtol=1e-4, atol=1e-6),
    _nary("igammac", lax.igammac, [_POSITIVE[:9], _POSITIVE[:9]], draw=False, rtol=1e-4, atol=1e-6),
    _nary("igamma_grad_a", lax.igamma_grad_a, [_POSITIVE[:8], _POSITIVE[:8]], draw=False, rtol=1e-4, atol=1e-6),
    _nary("random_gamma_grad", lax.random_gamma_grad, [_POSITIVE[:8], _POSITIVE[:8]], draw=False, rtol=1e-4, atol=1e-6),
    _nary(
        "regularized_incomplete_beta",
        lax.betainc,
        [_POSITIVE[:7], _POSITIVE[:7], [0.0, 0.1, 0.5, 0.99, 1.0]],
        draw=False,
        rtol=1e-4,
        atol=1e-6,
    ),
    _nary("zeta", lax.zeta, [[1.0, 1.5, 2.0, 3.0, 10.0, 0.5, _NAN], [0.5, 1.0, 10.0, -0.5, -2.0, _NAN]], draw=False),
    # The factorial is the exponential of a float32 logarithm.
    _nary("polygamma", lax.polygamma, [[0.0, 1.0, 2.0, 5.0, 10.0], [0.5, 1.0, 2.5, 20.0, -0.5]], draw=False, rtol=1e-4),
    Example(
        name="log2",
        context="lax",
        component="jax.lax.log2",
        make=lambda: jax.lax.log2,
        inputs=[("B", 3)],
        requires_jax=">=0.12",
    ),
    Example(
        name="expm1_bfloat16",
        context="lax",
        component="jax.lax.expm1",
        make=lambda: lambda x: (lax.expm1(x), lax.log1p(x), lax.erfc(x), lax.lgamma(x)),
        inputs=["bfloat16[B,3]"],
    ),
]
