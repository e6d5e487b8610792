"""Examples of :mod:`jax2onnx_lax.control` and :mod:`jax2onnx_lax.effects`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _example(name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], **options: Any) -> Example:
    return Example(name=name, context="lax", component=component, make=lambda: fn, inputs=inputs, **options)


def _vectors(*shape: int, count: int = 3) -> list[list[np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(7)
    return [[rng.standard_normal(shape).astype(np.float32)] for _ in range(count)]


_WEIGHTS = np.random.default_rng(3).standard_normal((3, 3)).astype(np.float32) * np.float32(0.3)


# -- cond ------------------------------------------------------------------------------------------------------------


def _either(x: jax.Array) -> Any:
    return lax.cond(x.sum() > 0, lambda v: v * 2, lambda v: v - _WEIGHTS[0], x)


def _switch(i: jax.Array, x: jax.Array) -> Any:
    branches = [
        lambda v: (v, v > 0),
        lambda v: (-v, v < 1),
        lambda v: (jnp.sin(v), jnp.zeros(v.shape, bool)),
        lambda v: (v + 1, jnp.isfinite(v)),
    ]
    return lax.switch(i, branches, x)


def _nested(x: jax.Array) -> Any:
    def inner(v: jax.Array) -> Any:
        return lax.cond(v[0] > v[1], lambda w: w @ _WEIGHTS, lambda w: x - w, v)

    return lax.cond(x.sum() > 0, inner, lambda v: v, x)


def _mixed(i: jax.Array) -> Any:
    def branch(k: int) -> Any:
        return lambda: (
            jnp.asarray(k == 1),
            jnp.full((2,), k, jnp.int8),
            jnp.full((), k, jnp.uint32),
            jnp.full((0, 3), k, jnp.float16),
        )

    return lax.switch(i, [branch(k) for k in range(3)])


def _batched(p: jax.Array, x: jax.Array) -> Any:
    return jax.vmap(lambda q, v: lax.cond(q > 0, jnp.sin, jnp.cos, v))(p, x)


def _platform(x: jax.Array) -> Any:
    return lax.platform_dependent(x, cpu=jnp.sin, default=jnp.sin)


# -- while -----------------------------------------------------------------------------------------------------------


def _collatz(n: jax.Array) -> Any:
    def step(state: tuple[jax.Array, jax.Array]) -> Any:
        value, steps = state
        return jnp.where(value % 2 == 0, value // 2, 3 * value + 1), steps + 1

    return lax.while_loop(lambda s: s[0] > 1, step, (n, jnp.zeros((), jnp.int32)))


def _grow(x: jax.Array, limit: jax.Array) -> Any:
    return lax.while_loop(lambda v: v.sum() < limit, lambda v: v + jnp.abs(x) + 1, x)


def _lanes(x: jax.Array) -> Any:
    def one(v: jax.Array) -> Any:
        return lax.while_loop(
            lambda s: jnp.abs(s[0]).sum() < 5,
            lambda s: (s[0] * 2 + 1, s[1] | (s[0] > 4).any()),
            (v, jnp.zeros((), bool)),
        )

    return jax.vmap(one)(x)


def _bounds(n: jax.Array, x: jax.Array) -> Any:
    return lax.fori_loop(0, n, lambda i, v: v * 0.5 + i, x)


def _nested_loops(x: jax.Array) -> Any:
    def outer(i: int, v: jax.Array) -> Any:
        return lax.while_loop(lambda w: w.sum() < 3 + i, lambda w: w + 1, v)

    return lax.fori_loop(0, 3, outer, x)


# -- scan ------------------------------------------------------------------------------------------------------------


def _cell(carry: jax.Array, x: jax.Array) -> Any:
    new = jnp.tanh(carry @ _WEIGHTS + x)
    return new, new * 2


def _rnn(xs: jax.Array, *, reverse: bool = False, unroll: int = 1) -> Any:
    return lax.scan(_cell, jnp.zeros(xs.shape[1:]), xs, reverse=reverse, unroll=unroll)


def _counter(x: jax.Array, *, length: int) -> Any:
    return lax.scan(lambda c, _: (c * 0.5 + 1, c.sum()), x, None, length=length)


def _running(x: jax.Array, w: jax.Array, *, reverse: bool) -> Any:
    """Scan few rows, with little to do for each."""

    def step(carry: tuple[jax.Array, jax.Array], v: jax.Array) -> Any:
        total, largest = carry[0] + v * w, jnp.maximum(carry[1], v)
        return (total, largest), total * largest

    return lax.scan(step, (w, w), x, reverse=reverse)


def _empty(x: jax.Array) -> Any:
    return lax.scan(lambda c, v: (c + v, (c, v > 0)), x[0], x[:0])


def _maybe_empty(x: jax.Array, *, reverse: bool) -> Any:
    """Scan over all rows but the first; with one row there is nothing to scan over."""
    return lax.scan(lambda c, v: (c + v, c * v), x[0], x[1:], reverse=reverse)


def _pytree(x: jax.Array, flags: jax.Array) -> Any:
    def step(carry: dict[str, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> Any:
        v, flag = inputs
        new = {"sum": carry["sum"] + jnp.where(flag, v, 0), "n": carry["n"] + flag}
        return new, {"flag": ~flag, "n": new["n"], "v": v}

    return lax.scan(step, {"sum": jnp.zeros(x.shape[1:]), "n": jnp.zeros((), jnp.int8)}, (x, flags))


def _nested_scan(x: jax.Array) -> Any:
    def row(carry: jax.Array, v: jax.Array) -> Any:
        total, partial_sums = lax.scan(lambda c, e: (c + e, c * carry.sum()), jnp.zeros(()), v)
        return carry + total, partial_sums

    return lax.scan(row, jnp.zeros(2), x)[1]


def _scan_grad(x: jax.Array) -> Any:
    return jax.grad(lambda v: _rnn(v)[1].sum())(x)


def _scan_vmap(x: jax.Array) -> Any:
    return jax.vmap(lambda v: _rnn(v)[1])(x)


def _conditional_scan(x: jax.Array) -> Any:
    return lax.scan(lambda c, v: (lax.cond(v.sum() > 0, lambda: c + v, lambda: c * 2), c), x[0], x)


def _loop_of_rows(x: jax.Array) -> Any:
    return lax.map(lambda row: jnp.sin(row).sum(), x)


# -- calls -----------------------------------------------------------------------------------------------------------


def _solve(x: jax.Array) -> Any:
    return lax.custom_linear_solve(
        lambda v: 2 * v + 0 * x, x, lambda _, b: b / 2, transpose_solve=lambda _, b: b / 2, symmetric=True
    )


@jax.custom_jvp
def _with_jvp(x: jax.Array) -> Any:
    return jnp.sin(x) * 2


_with_jvp.defjvp(lambda primals, tangents: (_with_jvp(*primals), tangents[0]))


@jax.custom_vjp
def _with_vjp(x: jax.Array) -> Any:
    return jnp.cos(x) * 3


_with_vjp.defvjp(lambda x: (_with_vjp(x), x), lambda x, ct: (ct * x,))


@jax.custom_batching.custom_vmap
def _with_vmap(x: jax.Array) -> Any:
    return x - 1


_with_vmap.def_vmap(lambda _, batched, x: (x + 1, batched[0]))


def _references(x: jax.Array) -> Any:
    ref = jax.new_ref(x)
    ref[...] = ref[...] * 2
    return ref[...] + 1


_FLAGS = [[np.arange(12, dtype=np.float32).reshape(4, 3), np.array([True, False, True, True])]]
_PAIRS = [[np.int32(i), np.array([0.5, -0.0, np.nan, 2], np.float32)] for i in (-7, 0, 1, 2, 3, 99)]

EXAMPLES: list[Example] = [
    _example("cond", "jax.lax.cond", _either, [(3,)], values=lambda: [*_vectors(3), [np.full(3, np.nan, np.float32)]]),
    _example("cond_symbolic", "jax.lax.cond", lambda x: lax.cond(x.sum() > 0, jnp.sin, lambda v: v, x), [("B", 3)]),
    _example("cond_nested", "jax.lax.cond", _nested, [(3,)], values=lambda: _vectors(3, count=8)),
    _example("cond_vmap", "jax.lax.cond", _batched, [("B",), ("B", 2)]),
    _example("switch", "jax.lax.switch", _switch, ["int32[]", (4,)], values=lambda: _PAIRS),
    _example("switch_dtypes", "jax.lax.switch", _mixed, ["int32[]"], values=lambda: [[np.int32(i)] for i in range(3)]),
    _example("platform_dependent", "jax.lax.platform_dependent", _platform, [("B", 3)]),
    _example(
        "while_loop",
        "jax.lax.while_loop",
        _collatz,
        ["int32[]"],
        draw=False,
        values=lambda: [[np.int32(n)] for n in (-3, 0, 1, 2, 6, 27)],
    ),
    _example(
        "while_loop_captures",
        "jax.lax.while_loop",
        _grow,
        [(3,), ()],
        draw=False,
        values=lambda: [[np.array([1, -2, 3], np.float32), np.float32(n)] for n in (-5, 7, 60)],
    ),
    _example(
        "while_loop_vmap",
        "jax.lax.while_loop",
        _lanes,
        [(5, 2)],
        draw=False,
        values=lambda: _vectors(5, 2),
    ),
    _example(
        "while_loop_nested",
        "jax.lax.while_loop",
        _nested_loops,
        [(3,)],
        draw=False,
        values=lambda: _vectors(3),
    ),
    _example(
        "fori_loop",
        "jax.lax.fori_loop",
        lambda x: lax.fori_loop(0, 24, lambda i, v: v * 0.5 + i, x),
        [("B", 3)],
        operators={"Scan": 1},
    ),
    _example(
        "fori_loop_short",
        "jax.lax.fori_loop",
        lambda x: lax.fori_loop(0, 4, lambda i, v: v * 0.5 + i, x),
        [("B", 3)],
        operators={"Scan": 0, "Loop": 0},
    ),
    _example(
        "scan_short",
        "jax.lax.scan",
        partial(_running, reverse=False),
        [(4, 3), (3,)],
        operators={"Scan": 0, "Loop": 0},
    ),
    _example("scan_short_reverse", "jax.lax.scan", partial(_running, reverse=True), [(4, "B"), ("B",)]),
    _example(
        "fori_loop_bounds",
        "jax.lax.fori_loop",
        _bounds,
        ["int32[]", (3,)],
        draw=False,
        values=lambda: [[np.int32(n), np.array([1, -2, np.inf], np.float32)] for n in (-1, 0, 1, 9)],
    ),
    _example("scan", "jax.lax.scan", _rnn, [(5, 3)], operators={"Scan": 1}),
    _example("scan_batch", "jax.lax.scan", _rnn, [(5, "B", 3)]),
    _example("scan_time", "jax.lax.scan", _rnn, [("T", 3)]),
    _example("scan_reverse", "jax.lax.scan", partial(_rnn, reverse=True), [("T", 3)]),
    _example("scan_unroll", "jax.lax.scan", partial(_rnn, unroll=2), [(5, 3)]),
    _example("scan_once", "jax.lax.scan", _rnn, [(1, 3)], operators={"Scan": 0, "Loop": 0}),
    _example("scan_no_inputs", "jax.lax.scan", partial(_counter, length=24), [("B", 3)]),
    _example("scan_no_inputs_short", "jax.lax.scan", partial(_counter, length=4), [("B", 3)]),
    _example("scan_empty", "jax.lax.scan", _empty, [(4, "B")]),
    _example("scan_maybe_empty", "jax.lax.scan", partial(_maybe_empty, reverse=False), [("T", "B")]),
    _example("scan_maybe_empty_reverse", "jax.lax.scan", partial(_maybe_empty, reverse=True), [("T", "B")]),
    _example("scan_no_carry", "jax.lax.map", _loop_of_rows, [("B", 3)]),
    _example("scan_pytree", "jax.lax.scan", _pytree, [(4, 3), "bool[4]"], values=lambda: _FLAGS),
    _example("scan_nested", "jax.lax.scan", _nested_scan, [("B", 2)]),
    _example("scan_grad", "jax.lax.scan", _scan_grad, [(5, 3)]),
    _example("scan_vmap", "jax.lax.scan", _scan_vmap, [("B", 4, 3)]),
    _example("scan_of_cond", "jax.lax.scan", _conditional_scan, [("T", 2)]),
    _example("custom_linear_solve", "jax.lax.custom_linear_solve", _solve, [("B", 3)]),
    _example("custom_jvp", "jax.custom_jvp", _with_jvp, [("B", 3)]),
    _example("custom_vjp", "jax.custom_vjp", _with_vjp, [("B", 3)]),
    _example("custom_vmap", "jax.custom_batching.custom_vmap", _with_vmap, [("B", 3)]),
    _example("checkpoint", "jax.checkpoint", jax.checkpoint(jnp.sin), [("B", 3)]),
    _example("composite", "jax.lax.composite", lax.composite(lambda x: x * 2, "test.twice"), [("B", 3)]),
    _example("new_ref", "jax.new_ref", _references, [("B", 3)]),
    _example(
        "psum_vmap",
        "jax.lax.psum",
        jax.vmap(lambda x: x / lax.psum(x, "i") + lax.pmax(x, "i"), axis_name="i"),
        [(4, 3)],
    ),
]
