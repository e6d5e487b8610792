"""Reductions over windows and their derivatives: pooling."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx_lax import pool, windows
from jax2onnx_lax.dtypes import is_float

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table(
        {
            "reduce_window_max": over_windows(reduce_window_extremum(is_max=True)),
            "reduce_window_min": over_windows(reduce_window_extremum(is_max=False)),
            "reduce_window_sum": over_windows(reduce_window_sum),
            "reduce_window": over_windows(reduce_window),
            "select_and_scatter_add": select_and_scatter_add,
            "select_and_gather_add": over_windows(select_and_gather_add),
        }
    )


_WINDOW = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")


def over_windows(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule that names the params of a window, and gives them to ``rule`` as its ``window``."""
    own = [p for p in inspect.signature(rule).parameters.values() if p.name != "window"]

    def lowered(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Any:
        size, strides, padding, base_dilation, dilation = (params.pop(name) for name in _WINDOW)
        window = windows.Window(size, strides, padding, base_dilation, dilation, ctx.avals_out[0].shape)
        return rule(ctx, *operands, window=window, **params)

    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in _WINDOW]
    lowered.__signature__ = inspect.Signature([*own, *named])  # type: ignore[attr-defined]
    return lowered


def reduce_window_sum(ctx: LoweringContext, x: ir.Value, *, window: windows.Window) -> ir.Value:
    """Lower ``reduce_window_sum``."""
    y = _simple(ctx, x, window, lax.reduce_sum, lax.cumsum)
    if y is not None:
        return y
    pooled = pool.window_sum(ctx, x, window)
    if pooled is not None:
        return pooled
    operand = windows.Operand(x, ctx.avals_in[0], ctx.constant(0, ctx.aval_out.dtype))
    return windows.reduce(ctx, [operand], window, windows.single(lax.reduce_sum))[0]


def reduce_window(
    ctx: LoweringContext,
    *operands: ir.Value,
    jaxpr: Any,
    consts: Sequence[Any],
    window: windows.Window,
) -> Sequence[ir.Value]:
    """Lower ``reduce_window``: any associative function of any number of arrays."""
    count = len(operands) // 2
    if not window.size:  # XLA leaves out the initial value
        return operands[:count]
    initial = operands[count:]
    given = [windows.Operand(x, a, i) for x, a, i in zip(operands[:count], ctx.avals_in, initial, strict=False)]
    monoid = _monoid(jaxpr, ctx.avals_in[0].dtype)
    if monoid is not None:
        return [_by_monoid(ctx, given[0], window, *monoid)]
    # XLA passes over padding, whatever the initial value; a mask says what is padding.
    real = windows.aval(ctx.avals_in[0].shape, np.bool_)
    mask = windows.Operand(ctx.op.Expand(np.bool_(1), ctx.shape(real.shape)), real, ctx.constant(np.bool_(0)))
    return windows.reduce(ctx, [*given, mask], window, _masked(jaxpr, consts))


def _masked(jaxpr: Any, consts: Sequence[Any]) -> windows.Reduce:
    """Return the reduction by ``jaxpr`` of those elements for which the last array is true."""

    def combine(left: Sequence[jax.Array], right: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
        *a, a_real = left
        *b, b_real = right
        merged = [
            lax.select(b_real, lax.select(a_real, new, y), x)
            for new, x, y in zip(jax.core.eval_jaxpr(jaxpr, consts, *a, *b), a, b, strict=True)
        ]
        return (*merged, a_real | b_real)

    def function(arrays: Sequence[jax.Array], fills: Sequence[jax.Array], axes: Sequence[int]) -> Sequence[jax.Array]:
        results: Sequence[jax.Array] = lax.reduce(tuple(arrays), (*fills[:-1], np.bool_(1)), combine, axes)
        return results[:-1]

    return function


def _by_monoid(
    ctx: LoweringContext, given: windows.Operand, window: windows.Window, operation: Any, identity: Any
) -> ir.Value:
    """Reduce windows by an operation and its reduction, from the identity, and then take in the initial value."""
    binary, reduction = operation
    padded = windows.Operand(given.value, given.aval, ctx.constant(identity))
    y = windows.reduce(ctx, [padded], window, windows.single(reduction))[0]
    initial = ctx.known(1)
    if initial is not None and np.array_equal(initial, identity):
        return y
    avals = [windows.aval(window.out, identity.dtype), windows.aval((), identity.dtype)]
    return ctx.via_jax(  # type: ignore[no-any-return]
        lambda x, i: binary(x, lax.full_like(x, i)), y, given.fill, avals=avals
    )


_Monoid = tuple[tuple[Callable[..., Any], Callable[..., Any]], "np.ndarray[Any, Any]"]


def _monoid(jaxpr: Any, dtype: Any) -> _Monoid | None:
    """Return operation and reduction, and their identity, if ``jaxpr`` is one operation on its two arguments."""
    if len(jaxpr.eqns) != 1 or len(jaxpr.invars) != 2 or len(jaxpr.outvars) != 1:
        return None
    eqn = jaxpr.eqns[0]
    if {id(v) for v in eqn.invars} != {id(v) for v in jaxpr.invars} or eqn.outvars[0] is not jaxpr.outvars[0]:
        return None
    zero = np.zeros((), dtype)
    identities = {
        "add": zero,
        "mul": np.ones((), dtype),
        "max": pool.bound(dtype, is_max=True),
        "min": pool.bound(dtype, is_max=False),
        "and": np.invert(zero) if not is_float(dtype) else zero,
        "or": zero,
        "xor": zero,
    }
    name = eqn.primitive.name
    return (_OPERATIONS[name], identities[name]) if name in _OPERATIONS else None


_OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (lax.add, lax.reduce_sum),
    "mul": (lax.mul, lax.reduce_prod),
    "max": (lax.max, lax.reduce_max),
    "min": (lax.min, lax.reduce_min),
    "and": (lax.bitwise_and, lax.reduce_and),
    "or": (lax.bitwise_or, lax.reduce_or),
    "xor": (lax.bitwise_xor, lax.reduce_xor),
}


def _simple(
    ctx: LoweringContext,
    x: ir.Value,
    window: windows.Window,
    reduce: Callable[..., jax.Array],
    cumulate: Callable[..., jax.Array],
) -> ir.Value | None:
    """Lower windows that take in one element, a whole dim, or all of a dim up to an element; None for any other."""
    shape = ctx.avals_in[0].shape
    axes = [a for a in range(len(shape)) if not window.is_whole(a)]
    if not axes:
        return x
    if any(window.size[a] != shape[a] or window.dilation[a] != 1 or window.base_dilation[a] != 1 for a in axes):
        return None
    padding = [tuple(window.padding[a]) for a in axes]
    if all(p == (0, 0) for p in padding):
        return ctx.via_jax(lambda a: lax.expand_dims(reduce(a, axes), axes), x)  # type: ignore[no-any-return]
    before = shape[axes[0]] - 1
    if len(axes) == 1 and window.strides[axes[0]] == 1 and padding[0] in {(before, 0), (0, before)}:
        reverse = padding[0] == (0, before)
        return ctx.via_jax(lambda a: cumulate(a, axis=axes[0], reverse=reverse), x)  # type: ignore[no-any-return]
    return None


def reduce_window_extremum(*, is_max: bool) -> Callable[..., ir.Value]:
    """Return the rule of ``reduce_window_max`` or ``reduce_window_min``."""
    reduction, cumulate = (lax.reduce_max, lax.cummax) if is_max else (lax.reduce_min, lax.cummin)

    def rule(ctx: LoweringContext, x: ir.Value, *, window: windows.Window) -> ir.Value:
        y = _simple(ctx, x, window, reduction, cumulate)
        if y is None:
            y = pool.window_extremum(ctx, x, window, is_max=is_max)
        if y is None:
            fill = ctx.constant(pool.bound(ctx.aval_out.dtype, is_max=is_max))
            operand = windows.Operand(x, ctx.avals_in[0], fill)
            y = windows.reduce(ctx, [operand], window, windows.single(reduction))[0]
        return y

    return rule


def select_and_gather_add(
    ctx: LoweringContext, tangents: ir.Value, operand: ir.Value, *, select_prim: Any, window: windows.Window
) -> ir.Value:
    """Lower ``select_and_gather_add``: of each window, the tangent of the operand selected."""
    worst = pool.bound(ctx.avals_in[1].dtype, is_max=select_prim.name == "ge")

    def select(arrays: Sequence[jax.Array], _: Sequence[jax.Array], axes: Sequence[int]) -> list[jax.Array]:
        pairs = list(zip(_elements(arrays[1], axes), _elements(arrays[0], axes), strict=True))
        first = lax.full_like(pairs[0][0], worst), lax.full_like(pairs[0][1], 0)
        return [_selected(select_prim, [first, *pairs])]

    _static(ctx, window)
    given = [
        windows.Operand(tangents, ctx.avals_in[0], ctx.constant(0, ctx.avals_in[0].dtype)),
        windows.Operand(operand, ctx.avals_in[1], ctx.constant(worst)),
    ]
    return windows.reduce(ctx, given, window, select)[0]


def select_and_scatter_add(
    ctx: LoweringContext,
    source: ir.Value,
    operand: ir.Value,
    *,
    select_prim: Any,
    window_dimensions: Sequence[Any],
    window_strides: Sequence[int],
    padding: Sequence[tuple[Any, Any]],
) -> ir.Value:
    """Lower ``select_and_scatter_add``: add each source to the operand's element selected from its window."""
    ones = [1] * len(window_dimensions)
    given, aval = ctx.avals_in
    window = windows.Window(window_dimensions, window_strides, padding, ones, ones, given.shape)
    places = _selected_places(ctx, operand, window, select_prim)
    avals = [given, windows.aval(given.shape, np.int32)]
    return ctx.via_jax(  # type: ignore[no-any-return]
        lambda values, places: _added(values, places, aval.shape), source, places, avals=avals
    )


def _selected_places(ctx: LoweringContext, operand: ir.Value, window: windows.Window, select_prim: Any) -> ir.Value:
    """Return the place, among all elements of the operand, of the one selected from each window."""
    _static(ctx, window)
    aval = ctx.avals_in[1]
    size = math.prod(aval.shape)
    numbers = ctx.via_jax(lambda: lax.reshape(lax.iota(np.int32, size), aval.shape), avals=[])
    # The place of padding lies outside of the array, so that nothing is added there.
    outside = ctx.cast(ctx.op.Squeeze(ctx.dim(size), ctx.ints(0)), np.int32)
    operands = [
        windows.Operand(operand, aval, ctx.constant(pool.bound(aval.dtype, is_max=select_prim.name == "ge"))),
        windows.Operand(numbers, windows.aval(aval.shape, np.int32), outside),
    ]

    def select(arrays: Sequence[jax.Array], _: Sequence[jax.Array], axes: Sequence[int]) -> list[jax.Array]:
        pairs = list(zip(_elements(arrays[0], axes), _elements(arrays[1], axes), strict=True))
        return [_selected(select_prim, pairs)]

    return windows.reduce(ctx, operands, window, select)[0]


def _added(values: jax.Array, places: jax.Array, shape: Sequence[Any]) -> jax.Array:
    """Add values up at their places in an array of ``shape``; booleans to whether any is true."""
    numbers = values.astype(np.int32) if values.dtype == np.bool_ else values
    zeros = jnp.zeros((math.prod(shape),), numbers.dtype)
    count = math.prod(places.shape)
    total = zeros.at[lax.reshape(places, (count,))].add(lax.reshape(numbers, (count,)), mode="drop")
    return lax.reshape(total, shape).astype(values.dtype)


def _static(ctx: LoweringContext, window: windows.Window) -> None:
    if not windows.known(*window.size):
        raise ctx.unsupported("windows of symbolic size", "give the window a size that is a number")


def _elements(x: jax.Array, axes: Sequence[int]) -> list[jax.Array]:
    """Return the arrays of the first, second … elements of all windows."""
    kept = [a for a in range(x.ndim) if a not in axes]
    x = lax.transpose(x, [*axes, *kept])
    count = math.prod(x.shape[: len(axes)])
    x = lax.reshape(x, (count, *x.shape[len(axes) :]))
    return [lax.index_in_dim(x, i, keepdims=False) for i in range(count)]


def _selected(select_prim: Any, pairs: Sequence[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Walk through (key, value) in order, keep those that win against the next; return the last value kept."""
    key, value = pairs[0]
    for next_key, next_value in pairs[1:]:
        wins = select_prim.bind(key, next_key)
        key, value = lax.select(wins, key, next_key), lax.select(wins, value, next_value)
    return value
