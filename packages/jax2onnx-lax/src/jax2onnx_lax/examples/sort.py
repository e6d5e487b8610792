"""Examples of :mod:`jax2onnx_lax.sort`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example


def _example(name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], **rest: Any) -> Example:
    return Example(name=name, context="lax", component=component, make=lambda: fn, inputs=inputs, **rest)


def _typed(shape: tuple[Any, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


_SPECIAL = [np.nan, 1, -0.0, 0.0, np.inf, -np.inf, -1, 2, np.nan, 0.0, -0.0, 3, np.inf]


def _special(dtype: Any = np.float32, rows: int = 3) -> Callable[[], list[list[Any]]]:
    """Rows with repeated NaN, infinities and zeros of either sign."""

    def values() -> list[list[Any]]:
        generator = np.random.default_rng(0)
        return [[np.stack([generator.permutation(_SPECIAL) for _ in range(rows)]).astype(dtype)]]

    return values


def _ties() -> list[list[Any]]:
    generator = np.random.default_rng(0)
    return [[generator.integers(0, 3, (3, 500)).astype(np.float32), generator.integers(0, 3, (3, 500), np.int32)]]


def _extremes(dtype: Any) -> Callable[[], list[list[Any]]]:
    limits = np.iinfo(dtype)
    middle = limits.max // 2
    row = [limits.max, limits.min, 3, 0, middle, middle + 1, middle + 2, 3, limits.max, 1, limits.min]
    return lambda: [[np.asarray([row, row[::-1]], dtype)]]


def _ten() -> list[list[Any]]:
    return [[np.random.default_rng(0).standard_normal((3, 10)).astype(np.float32)]]


def _sort(x: jax.Array) -> jax.Array:
    return lax.sort(x)


SORT = [
    _example("sort_1d", "jax.lax.sort", _sort, [(5,)]),
    _example("sort_1d_empty", "jax.lax.sort", _sort, [(0,)], operators={"TopK": 0}),
    _example("sort_1d_single", "jax.lax.sort", _sort, [(1,)], operators={"TopK": 0}),
    _example("sort_1d_larger", "jax.lax.sort", _sort, [(100,)], operators={"TopK": 1}),
    _example(
        "sort_1d_specific_values",
        "jax.lax.sort",
        _sort,
        [(5,)],
        values=lambda: [[np.asarray([5, 2, 1, 4, 3], np.float32)]],
    ),
    _example("sort_symbolic", "jax.lax.sort", lambda x: lax.sort(x, dimension=0), [("B", 3)]),
    _example("sort_integers", "jax.lax.sort", _sort, [_typed(("B", 5), jnp.int32)], operators={"TopK": 1}),
    _example("sort_uint16", "jax.lax.sort", _sort, [_typed((2, 11), jnp.uint16)], values=_extremes(np.uint16)),
    _example("sort_uint32", "jax.lax.sort", _sort, [_typed((2, 11), jnp.uint32)], values=_extremes(np.uint32)),
    _example("sort_uint64", "jax.lax.sort", _sort, [_typed((2, 11), np.uint64)], values=_extremes(np.uint64), x64=True),
    _example("sort_bool", "jax.lax.sort", _sort, [_typed(("B", 5), bool)]),
    _example("argsort", "jax.numpy.argsort", jnp.argsort, [(3, 13)], values=_special()),
    _example(
        "argsort_float16", "jax.numpy.argsort", jnp.argsort, [_typed((3, 13), np.float16)], values=_special(np.float16)
    ),
    _example(
        "argsort_bfloat16",
        "jax.numpy.argsort",
        jnp.argsort,
        [_typed((3, 13), jnp.bfloat16)],
        values=_special(jnp.bfloat16),
    ),
    _example(
        "argsort_float64",
        "jax.numpy.argsort",
        jnp.argsort,
        [_typed((3, 13), np.float64)],
        values=_special(np.float64),
        x64=True,
    ),
    _example(
        "argsort_descending",
        "jax.numpy.argsort",
        lambda x: jnp.argsort(x, descending=True),
        [(3, 13)],
        values=_special(),
    ),
    _example(
        "sort_stable",
        "jax.lax.sort",
        lambda x, y: lax.sort((x, y, lax.broadcasted_iota(jnp.int32, x.shape, 1)), num_keys=2),
        [(3, 500), _typed((3, 500), jnp.int32)],
        values=_ties,
    ),
    _example(
        "sort_by_one_key",
        "jax.lax.sort",
        lambda x, y: lax.sort((x, y), dimension=0, num_keys=1),
        [("B", 4), _typed(("B", 4), jnp.int8)],
    ),
]

TOP = [
    _example("top_k", "jax.lax.top_k", lambda x: lax.top_k(x, 5), [(3, 13)], values=_special()),
    _example(
        "top_k_selected",  # what orders zeros by their sign asks the selection before it to keep the sign
        "jax.lax.top_k",
        lambda x: lax.top_k(jnp.where(x > 2, 0.0, x), 5)[1],
        [(3, 13)],
        values=_special(),
    ),
    _example("top_k_symbolic", "jax.lax.top_k", lambda x: lax.top_k(x, 2), [("B", 13)]),
    _example("top_k_axis", "jax.lax.top_k", lambda x: lax.top_k(x, 2, axis=0), [_typed((4, 3), jnp.int32)]),
    _example(
        "top_k_float64",
        "jax.lax.top_k",
        lambda x: lax.top_k(x, 5),
        [_typed((3, 13), np.float64)],
        values=_special(np.float64),
        x64=True,
    ),
    _example("top_k_none", "jax.lax.top_k", lambda x: lax.top_k(x, 0), [(3, 4)]),
    # JAX compares with > here, which leaves the order of NaN open.
    _example(
        "approx_max_k", "jax.lax.approx_max_k", lambda x: lax.approx_max_k(x, 3), [("B", 10)], values=_ten, draw=False
    ),
    _example(
        "approx_min_k", "jax.lax.approx_min_k", lambda x: lax.approx_min_k(x, 3), [("B", 10)], values=_ten, draw=False
    ),
    _example(
        "approx_max_k_parts",
        "jax.lax.approx_max_k",
        lambda x: lax.approx_max_k(x, 3, aggregate_to_topk=False),
        [("B", 10)],
        values=_ten,
        draw=False,
    ),
]

EXAMPLES: list[Example] = [*SORT, *TOP]
