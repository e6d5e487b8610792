"""Ties, indices out of range, empty and 0-d arrays, masked reductions and rows with nothing in them, against JAX.

Edge values of each elementwise primitive in each dtype are in ``test_elementwise_dtypes.py``, gather and scatter in
every mode in ``test_indexing.py``, zeros of either sign in ``test_signed_zeros.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = np.nan, np.inf
TIES = np.array([[2, 1, 2, 0, 1], [0, 0, 0, 0, 0], [-3, 5, 5, -3, 5]])
FLOATS = np.array([[2.0, NAN, 2, NAN, INF], [-INF, -INF, INF, INF, -INF], [0, -0.0, 0, -0.0, 1], [NAN] * 5])
PLACES = np.array([0, 4, 5, -1, -5, -6, 100, -100, 2**31 - 1, -(2**31)])
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 8388609.0, -8388609.0])
OUT_OF_RANGE = np.array([NAN, INF, -INF, 3e9, -3e9, 300.7, -300.7, 255.5, -0.9, 2147483647.0])
LOWEST = np.array([np.iinfo(np.int32).min, -7, 7, 0, np.iinfo(np.int32).max])
DIVISORS = np.array([-1, 0, -3, 0, -1])
SMALL = np.array([1e-20, -1e-20, 1e-8, -1e-8, 1e-5, -1e-5, 1e-3, -1e-3])
MASK = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], bool)


def _ints(array: Any) -> Any:
    return np.asarray(array, np.int32)


def _masked(reduction: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda x, m: reduction(x, axis=1, where=m, **options)


def _take(mode: str | None, **options: Any) -> tuple[Callable[..., Any], list[Any]]:
    return lambda x, i: jnp.take(x, i, axis=1, mode=mode, **options), [FLOATS, _ints(PLACES)]


def _at(method: str, mode: str) -> tuple[Callable[..., Any], list[Any]]:
    def function(x: Any, i: Any, y: Any) -> Any:
        return getattr(x.at[i], method)(y, mode=mode)

    return function, [np.arange(5.0), _ints(PLACES), np.arange(10.0) + 10]


def _attend(x: Any, m: Any) -> Any:
    return jax.nn.dot_product_attention(x, x, x, mask=m)


QUERY = np.linspace(-1, 1, 24).reshape(1, 3, 2, 4)
ROWS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]], bool)[None, None]

POWERS = np.array([1, 1.5, 2, 17, 127, 32768, 65535, 1e6, 2.0**31, 1e20, 1e38, INF])
BASES = np.array([1e-30, 0.1, 0.999, 1, 1.0001, 2, 9.5, 100, 1e5, -0.5, -2, -30.5, INF])
ORDERS = np.array([0, 1, 2, 3, 17, 32768, 1e10, INF])

CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "zeta of any powers": (lax.zeta, np.meshgrid(POWERS, BASES)),
    "polygamma of any orders": (lax.polygamma, np.meshgrid(ORDERS, [1e-10, 0.5, 1, 3, 30, -0.5, -2, INF])),
    "argmax_ties": (lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 1), jnp.argmax(x, 0)), [_ints(TIES)]),
    "argmax_special": (lambda x: (jnp.argmax(x, 1), jnp.argmin(x, 1), jnp.nanargmax(x[:3], 1)), [FLOATS]),
    "top_k_ties": (lambda x: lax.top_k(x, 4), [_ints(TIES)]),
    "top_k_special": (lambda x: lax.top_k(x, 4), [FLOATS]),
    "top_k_of_negative": (lambda x: (lax.top_k(-x, 4), lax.top_k(-x.T, 2), 1 / lax.top_k(-x, 3)[0]), [FLOATS]),
    "partition_special": (lambda x: (jnp.partition(x, 2, axis=1)[:, :3], jnp.argpartition(x, 2, axis=0)[:3]), [FLOATS]),
    "sort_stable": (lambda x: lax.sort((x, lax.broadcasted_iota(np.int32, x.shape, 1)), num_keys=1), [_ints(TIES)]),
    "argsort_special": (lambda x: (jnp.argsort(x, 1), jnp.argsort(x, 1, descending=True)), [FLOATS]),
    "unique_ties": (lambda x: jnp.unique(x, size=7, fill_value=-1, return_counts=True), [_ints(TIES)]),
    "searchsorted_ties": (
        lambda x: (jnp.searchsorted(x, x), jnp.searchsorted(x, x, side="right")),
        [np.array([-INF, 0, 0, 1, 1, INF, NAN])],
    ),
    "median_ties": (lambda x: (jnp.median(x, 1), jnp.quantile(x, 0.3, axis=1)), [TIES * 1.0]),
    "max_special": (lambda x: (x.max(1), x.min(1), x.max(), lax.cummax(x, 1), lax.cummin(x, 1)), [FLOATS]),
    "clamp_special": (lambda x: (jnp.clip(x, -1, 1), lax.clamp(NAN, x, 1.0), jnp.clip(x, 1, -1)), [FLOATS]),
    "nan_reductions": (lambda x: (jnp.nanmax(x[:3], 1), jnp.nansum(x, 1), jnp.nanmean(x[:3], 1)), [FLOATS]),
    "round_even": (lambda x: (jnp.round(x), jnp.rint(x), lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)), [HALVES]),
    "round_away": (lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), [HALVES]),
    "round_decimals": (lambda x: jnp.round(x, 1), [np.array([0.25, 0.35, -0.25, 1.25])]),
    "to_int8": (lambda x: x.astype(np.int8), [OUT_OF_RANGE]),
    "to_int32": (lambda x: x.astype(np.int32), [OUT_OF_RANGE]),
    "to_uint8": (lambda x: x.astype(np.uint8), [OUT_OF_RANGE]),
    "to_uint32": (lambda x: x.astype(np.uint32), [OUT_OF_RANGE]),
    "to_bool": (lambda x: x.astype(bool), [OUT_OF_RANGE]),
    "int_division": (
        lambda x, y: (lax.div(x, y), lax.rem(x, y), x // y, x % y),
        [_ints(LOWEST), _ints(DIVISORS)],
    ),
    "int_division_constant": (lambda x: (x // -1, x % -1, x // 0, x % 0), [_ints(LOWEST)]),
    "int_bounds": (lambda x: (abs(x), -x, x * x, x + x, x**3, jnp.sign(x)), [_ints(LOWEST)]),
    "shift_by_width": (
        lambda x, s: (x << s, x >> s, lax.shift_right_logical(x, s)),
        [_ints(LOWEST), _ints([31, 32, 33, 100, -1])],
    ),
    "shift_constant": (lambda x: (x << 32, x >> 32, x >> 31), [_ints(LOWEST)]),
    "small": (lambda x: (jnp.log1p(x), jnp.expm1(x), jnp.sinh(x), jnp.arcsinh(x), jnp.arctanh(x), jnp.tan(x)), [SMALL]),
    "small_logits": (lambda x: (jax.nn.log_sigmoid(x * 1e22), jax.nn.softplus(x * 1e22)), [SMALL]),
    "take": _take(None),
    "take_clip": _take("clip"),
    "take_fill": _take("fill", fill_value=-7.0),
    "take_wrap": _take("wrap"),
    "index": (lambda x, i: x[:, i], [FLOATS, _ints(PLACES)]),
    "index_one": (lambda x, i: (x[i], x[-i - 1]), [np.arange(5.0), _ints(9)]),
    "index_get_fill": (lambda x, i: x.at[i].get(mode="fill", fill_value=9), [_ints(range(5)), _ints(PLACES)]),
    "take_along_axis": (lambda x, i: jnp.take_along_axis(x, i, 1), [FLOATS[:1], _ints(PLACES)[None]]),
    "one_hot": (lambda i: jax.nn.one_hot(i, 5), [_ints(PLACES)]),
    "at_add_drop": _at("add", "drop"),
    "at_add_clip": _at("add", "clip"),
    "at_max_drop": _at("max", "drop"),
    "at_set_drop": (
        lambda x, i, y: x.at[i].set(y, mode="drop"),
        [np.arange(5.0), _ints([0, 5, -6, 4, 2**31 - 1]), np.arange(5.0) + 10],
    ),
    "dynamic_slice": (
        lambda x, i: jax.vmap(lambda j: lax.dynamic_slice(x, (j,), (2,)))(i),
        [np.arange(5.0), _ints(PLACES)],
    ),
    "dynamic_slice_one": (lambda x, i: lax.dynamic_slice(x, (i, -i), (2, 3)), [FLOATS, _ints(3)]),
    "dynamic_update_slice": (
        lambda x, y, i: jax.vmap(lambda j: lax.dynamic_update_slice(x, y, (j,)))(i),
        [np.arange(5.0), np.array([7.0, 8]), _ints(PLACES)],
    ),
    "dynamic_index": (lambda x, i: lax.dynamic_index_in_dim(x, i, 1), [FLOATS, _ints(-1)]),
    "segment_sum": (lambda x, i: jax.ops.segment_sum(x, i, 4), [np.arange(10.0), _ints(PLACES)]),
    "bincount": (lambda i: jnp.bincount(i, length=4), [_ints([0, 1, 1, 9, 3])]),
    "sum_where": (_masked(jnp.sum, initial=3.0), [FLOATS, MASK]),
    "prod_where": (_masked(jnp.prod, initial=2.0), [FLOATS, MASK]),
    "max_where": (_masked(jnp.max, initial=-4.0), [FLOATS, MASK]),
    "min_where": (_masked(jnp.min, initial=4.0), [FLOATS, MASK]),
    "mean_where": (_masked(jnp.mean), [TIES[[0, 1, 2, 1]] * 1.0, MASK]),
    "var_where": (_masked(jnp.var), [TIES[[0, 1, 2, 1]] * 1.0, MASK]),
    "any_where": (_masked(jnp.any), [TIES[[0, 1, 2, 1]] > 0, MASK]),
    "all_where": (_masked(jnp.all), [TIES[[0, 1, 2, 1]] > 0, MASK]),
    "max_initial_int": (lambda x: jnp.max(x, axis=1, initial=1), [_ints(TIES)]),
    "softmax_where": (_masked(jax.nn.softmax), [TIES[[0, 1, 2, 1]] * 1.0, MASK]),
    "log_softmax_where": (_masked(jax.nn.log_softmax), [TIES[[0, 1, 2, 1]] * 1.0, MASK]),
    "logsumexp_where": (_masked(jax.nn.logsumexp), [TIES[[0, 1, 2, 1]] * 1.0, MASK]),
    "softmax_of_nothing": (
        lambda x, m: jax.nn.softmax(jnp.where(m, x, -jnp.inf)),
        [TIES[[0, 1, 2, 1]] * 1.0, MASK],
    ),
    "softmax_of_lowest": (
        lambda x, m: jax.nn.softmax(jnp.where(m, x, jnp.finfo(x.dtype).min)),
        [TIES[[0, 1, 2, 1]] * 1.0, MASK],
    ),
    "softmax_special": (lambda x: (jax.nn.softmax(x), jax.nn.log_softmax(x), jax.nn.logsumexp(x, axis=1)), [FLOATS]),
    "attention_masked_rows": (_attend, [QUERY, ROWS]),
    "scalars": (
        lambda x, i: (x + 1, x.sum(), jnp.max(x), x[None], jnp.sort(x[None]), x.reshape(()), jnp.argmax(x), -i, i // 0),
        [np.array(2.5), _ints(7)],
    ),
    "scalar_control": (
        lambda x: (
            lax.cond(x > 0, jnp.sin, jnp.cos, x),
            lax.fori_loop(0, 3, lambda _, c: c * 2, x),
            jnp.where(x, x, 1),
        ),
        [np.array(-0.5)],
    ),
}


def _typed(arrays: list[Any]) -> list[Any]:
    return [np.asarray(a, np.float32) if a.dtype == np.float64 else a for a in arrays]


@pytest.mark.parametrize("name", CASES)
def test_edge(name: str) -> None:
    function, given = CASES[name]
    arrays = _typed(given)
    specs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    check(to_onnx(function, specs), function, specs, values=[arrays])


EMPTY: dict[str, Callable[[Any], Any]] = {
    "all": lambda x: (x > 0).all(1),
    "any": lambda x: (x > 0).any(),
    "argsort": lambda x: jnp.argsort(x, 1),
    "broadcast": lambda x: x[:, None] + jnp.ones((4, 1)),
    "clip": lambda x: jnp.clip(x, 0, 1),
    "concatenate": lambda x: jnp.concatenate([x, x, jnp.ones_like(x)], 1),
    "cumsum": lambda x: (jnp.cumsum(x, 1), jnp.cumprod(x, 0), lax.cummax(x, 1)),
    "dot": lambda x: (x @ x.T, x.T @ x, jnp.einsum("ij,ij->i", x, x)),
    "gather": lambda x: x[:, jnp.zeros((0,), np.int32)],
    "integers": lambda x: (x.astype(np.int32).sum(1), x.astype(np.int32).prod(0), x.astype(np.int32) // 2),
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=0),
    "map": lambda x: lax.map(jnp.sin, x),
    "maximum": lambda x: jnp.maximum(x, 0),
    "mean": lambda x: (x.mean(0), x.mean(1)),
    "pad": lambda x: jnp.pad(x, ((1, 2), (0, 1)), constant_values=3),
    "prod": lambda x: (x.prod(), x.prod(0)),
    "reduce_max": lambda x: (x.max(0, initial=-1), x.max(1, initial=-1), x.max(initial=-1)),
    "repeat": lambda x: jnp.repeat(x, 2, axis=1),
    "reshape": lambda x: (x.reshape(-1), x.reshape(2, 0), x.T),
    "reverse": lambda x: (x[::-1], x[:, ::-1], jnp.roll(x, 1)),
    "scan": lambda x: lax.scan(lambda c, r: (c + r.sum(), r * 2), 0.0, x),
    "scatter": lambda x: x.at[:, jnp.zeros((0,), np.int32)].add(1.0),
    "softmax": lambda x: (jax.nn.softmax(x, axis=1), jax.nn.log_softmax(x, axis=0)),
    "sort": lambda x: (jnp.sort(x, 0), jnp.sort(x, 1)),
    "split": lambda x: jnp.split(x, [0], axis=1),
    "sum": lambda x: (x.sum(), x.sum(0), x.sum(1), x.var(1)),
    "top_k": lambda x: lax.top_k(x, 0),
    "tile": lambda x: jnp.tile(x, (2, 3)),
    "where": lambda x: jnp.where(x > 0, x, 0),
}


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("name", EMPTY)
def test_nothing(name: str, shape: tuple[int, int]) -> None:
    function = EMPTY[name]
    check(to_onnx(function, [shape]), function, [shape], values=[[np.zeros(shape, np.float32)]])
