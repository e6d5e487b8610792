"""Examples of :mod:`jax2onnx_lax.reduce` and :mod:`jax2onnx_lax.cumulative`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_NAN, _INF = np.nan, np.inf
_ROWS = np.asarray(
    [[1, 3, _NAN, 3, _NAN], [_NAN, 1, 2, 3, 4], [1, 3, 3, 2, 1], [_INF, -_INF, 0, 0, -0.0], [-_INF] * 5], np.float32
)
_MAGNITUDES = np.asarray([[3e38, 3e38], [-0.0, -0.0], [_NAN, _INF], [-_INF, 1]], np.float32)
_LARGE = np.asarray([[2**31 - 1, 5, 7], [-(2**31), -1, 123456789], [65537, 65537, 3]], np.int32)


def _example(name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], **options: Any) -> Example:
    return Example(name=name, context="lax", component=component, make=lambda: fn, inputs=inputs, **options)


def _over(fn: Callable[..., Any], *axes: int) -> Callable[[Any], Any]:
    return lambda x: fn(x, axes)


def _rows(name: str, fn: Callable[..., Any], component: str) -> Example:
    return _example(name, component, fn, [(5, 5)], values=lambda: [[_ROWS]])


def _large(name: str, fn: Callable[..., Any], component: str) -> Example:
    return _example(name, component, fn, ["int32[3,3]"], values=lambda: [[_LARGE]])


def _first_largest(x: Any) -> Any:
    """A variadic reduction, as ``argmax`` was once written."""

    def larger(a: Any, b: Any) -> Any:
        take = (b[0] > a[0]) | (jnp.isnan(b[0]) & ~jnp.isnan(a[0]))
        return jnp.where(take, b[0], a[0]), jnp.where(take, b[1], a[1])

    index = lax.broadcasted_iota(jnp.int32, x.shape, 1)
    return lax.reduce((x, index), (np.float32(-_INF), np.int32(0)), larger, (1,))


def _accumulated(name: str, fn: Callable[..., Any], **options: Any) -> list[Example]:
    component = f"jax.lax.{name}"
    return [
        _example(name, component, lambda x: fn(x, 1), [("B", 5)], **options),
        _example(f"{name}_reverse", component, lambda x: fn(x, 0, reverse=True), [("B", 2)], **options),
    ]


EXAMPLES: list[Example] = [
    _example("reduce_sum", "jax.lax.reduce_sum", lambda x: jnp.sum(x, 1), [("B", 3)], operators={"ReduceSum": 1}),
    _example("reduce_sum_axes", "jax.lax.reduce_sum", lambda x: jnp.sum(x, (0, 2)), [("B", 3, 4)]),
    _large("reduce_sum_wraps", lambda x: (jnp.sum(x, 0), jnp.sum(x)), "jax.lax.reduce_sum"),
    _example("reduce_sum_int", "jax.lax.reduce_sum", lambda x: jnp.sum(x > 0, (0, 2)), [("B", 3, 4)]),
    _example("reduce_sum_empty", "jax.lax.reduce_sum", lambda x: (x.sum(1), x.astype(int).sum(1)), [("B", 0, 2)]),
    _example("reduce_prod", "jax.lax.reduce_prod", lambda x: jnp.prod(x, 1), [("B", 3)], operators={"ReduceProd": 1}),
    _large("reduce_prod_wraps", lambda x: (jnp.prod(x, 1), jnp.prod(x)), "jax.lax.reduce_prod"),
    _example("reduce_prod_int", "jax.lax.reduce_prod", lambda x: jnp.prod(x, (0, 2)), ["int32[B,3,2]"]),
    _example("reduce_max", "jax.lax.reduce_max", _over(lax.reduce_max, 1), [("B", 3)]),
    _example("reduce_min", "jax.lax.reduce_min", _over(lax.reduce_min, 0), [("B", 3)]),
    _example(
        "reduce_max_magnitude",
        "jax.lax.reduce_max",
        lambda x: (lax.reduce_max(abs(x), (1,)), 1 / lax.reduce_min(abs(x), (1,))),
        [(4, 2)],
        values=lambda: [[_MAGNITUDES]],
    ),
    _rows("reduce_max_nan", _over(lax.reduce_max, 1), "jax.lax.reduce_max"),
    _rows("reduce_min_nan", _over(lax.reduce_min, 0), "jax.lax.reduce_min"),
    _example("reduce_max_empty", "jax.lax.reduce_max", _over(lax.reduce_max, 1), [("B", 0, 2)]),
    _example("reduce_max_int", "jax.lax.reduce_max", _over(lax.reduce_max, 0, 1), ["int16[B,3]"]),
    _example("reduce_min_unsigned", "jax.lax.reduce_min", _over(lax.reduce_min, 1), ["uint32[B,3]"]),
    _example(
        "reduce_max_int64",
        "jax.lax.reduce_max",
        _over(lax.reduce_max, 0, 2),
        ["int64[2,2,2]"],
        values=lambda: [[np.asarray([[[2**32 - 1, 100], [2**62, 5]], [[3, 2**31], [-(2**63), 2**62 + 1]]], np.int64)]],
        x64=True,
    ),
    _example(
        "reduce_bool",
        "jax.lax.reduce_and",
        lambda x: (jnp.all(x, 1), jnp.any(x, 0), lax.reduce_xor(x, (1,)), lax.reduce_max(x, (0,))),
        ["bool[B,3]"],
    ),
    _example(
        "reduce_bits",
        "jax.lax.reduce_and",
        lambda x: (lax.reduce_and(x, (1,)), lax.reduce_or(x, (0,)), lax.reduce_xor(x, (0, 1))),
        ["int32[B,3]"],
    ),
    _example("argmax_test1", "jax.lax.argmax", lambda x: lax.argmax(x, 0, jnp.int32), [("B", 3)]),
    _example("argmax_test2", "jax.lax.argmax", lambda x: lax.argmax(x, 1, jnp.int32), [("B", 3)]),
    _example("argmin_test1", "jax.lax.argmin", lambda x: lax.argmin(x, 0, jnp.int32), [("B", 3)]),
    _example("argmin_test2", "jax.lax.argmin", lambda x: lax.argmin(x, 1, jnp.int32), [("B", 3)]),
    _rows("argmax_nan", lambda x: (lax.argmax(x, 1, jnp.int32), lax.argmax(x, 0, jnp.uint8)), "jax.lax.argmax"),
    _rows("argmin_nan", lambda x: (lax.argmin(x, 1, jnp.int32), lax.argmin(x, 0, jnp.uint8)), "jax.lax.argmin"),
    _example("argmax_bool", "jax.lax.argmax", lambda x: lax.argmax(x, 1, jnp.int32), ["bool[B,4]"]),
    _example(
        "reduce_generic",
        "jax.lax.reduce",
        lambda x: lax.reduce(x, np.float32(-_INF), jnp.logaddexp, (0, 2)),
        [("B", 3, 2)],
    ),
    _example("reduce_of_no_dims", "jax.lax.reduce", lambda x: lax.reduce(x, np.float32(9), lax.max, ()), [("B", 3)]),
    _example("reduce_of_one", "jax.lax.reduce", lambda x: lax.reduce(x, np.float32(9), jnp.hypot, (1,)), [("B", 1, 3)]),
    _example("reduce_variadic", "jax.lax.reduce", _first_largest, [("B", 5)]),
    *_accumulated("cumsum", lax.cumsum),
    *_accumulated("cumprod", lax.cumprod),
    *_accumulated("cummax", lax.cummax),
    *_accumulated("cummin", lax.cummin),
    *_accumulated("cumlogsumexp", lax.cumlogsumexp),
    _rows("cummax_nan", lambda x: (lax.cummax(x, 1), lax.cummin(x, 0, reverse=True)), "jax.lax.cummax"),
    _large("cumprod_wraps", lambda x: (lax.cumprod(x, 1), lax.cumsum(x, 0)), "jax.lax.cumprod"),
]
