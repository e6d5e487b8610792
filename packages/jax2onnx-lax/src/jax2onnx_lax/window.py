"""Lower reductions over windows, and their derivatives: pooling."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, is_static, other_axes
from jax2onnx_lax import pool, windows
from jax2onnx_lax.dtypes import bound
from jax2onnx_lax.shape import dim_scalar

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, Eqn, LoweringContext


def _work(eqn: Eqn, _bodies: Sequence[float]) -> float:
    """Return how many elements all windows have."""
    work: float = eqn.outputs[0].aval.size * math.prod(eqn.params["window_dimensions"])
    return work


FACTS = dict.fromkeys(
    ("reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum", "select_and_gather_add"),
    Facts(work=_work),
)


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "reduce_window_max": over_windows(pooled("max", lax.cummax, pool.window_maximum)),
            "reduce_window_min": over_windows(pooled("min", lax.cummin, pool.window_minimum)),
            "reduce_window_sum": over_windows(pooled("add", lax.cumsum, pool.window_sum)),
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


def pooled(
    name: str, cumulate: Callable[..., jax.Array], pool_windows: Callable[..., ir.Value | None]
) -> Callable[..., ir.Value]:
    """Return the rule of a reduction over windows that ``pool_windows`` may emit as a pool."""
    monoid = _MONOIDS[name]

    def rule(ctx: LoweringContext, x: ir.Value, *, window: windows.Window) -> ir.Value:
        y = _whole_dims(ctx, x, window, monoid[1], cumulate)
        if y is None:
            y = pool_windows(ctx, x, window)
        return _reduced(ctx, x, window, monoid) if y is None else y

    return rule


def _whole_dims(
    ctx: LoweringContext,
    x: ir.Value,
    window: windows.Window,
    reduce: Callable[..., jax.Array],
    cumulate: Callable[..., jax.Array],
) -> ir.Value | None:
    """Lower windows that take in one element, a whole dim, or all of a dim up to an element; None for any other."""
    shape = ctx.avals_in[0].shape
    axes = [axis for axis in range(len(shape)) if not window.is_whole(axis)]
    if not axes:
        return x
    for axis in axes:
        if window.size[axis] != shape[axis] or (window.dilation[axis], window.base_dilation[axis]) != (1, 1):
            return None
    padding = [tuple(window.padding[axis]) for axis in axes]
    value: ir.Value | None = None
    if padding == [(0, 0)] * len(axes):
        value = ctx.via_jax(lambda a: lax.expand_dims(reduce(a, axes), axes), x)
    elif len(axes) == 1 and window.strides[axes[0]] == 1:
        before = shape[axes[0]] - 1
        if padding[0] in ((before, 0), (0, before)):
            backwards = padding[0] == (0, before)
            value = ctx.via_jax(lambda a: _cumulated(cumulate, a, axes[0], backwards=backwards), x)
    return value


def _cumulated(cumulate: Callable[..., jax.Array], x: jax.Array, axis: int, *, backwards: bool) -> jax.Array:
    """Accumulate along an axis. JAX has windows of bools, but accumulates numbers only."""
    numbers = x.astype(jnp.uint8) if x.dtype == bool else x
    return cumulate(numbers, axis=axis, reverse=backwards).astype(x.dtype)


def _reduced(ctx: LoweringContext, x: ir.Value, window: windows.Window, monoid: _Monoid) -> ir.Value:
    """Reduce over windows; padding holds the identity of the operation."""
    binary, reduction, identity_of = monoid
    aval = ctx.avals_in[0]
    operand = windows.Operand(x, aval, ctx.constant(identity_of(aval.dtype)))
    return windows.reduce_by(ctx, operand, window, binary, reduction)


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
    monoid = _monoid(jaxpr)
    if monoid is not None:
        return [_by_monoid(ctx, operands[0], operands[1], window, monoid)]
    given: list[windows.Operand] = []
    for x, aval, initial in zip(operands[:count], ctx.avals_in, operands[count:], strict=False):
        given.append(windows.Operand(x, aval, initial))
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


_Monoid: TypeAlias = tuple[Callable[..., Any], Callable[..., Any], Callable[[Any], Any]]
"""An operation of two numbers, the reduction by it, and a function from a dtype to its identity."""

_ZERO = functools.partial(np.zeros, ())
_MONOIDS: dict[str, _Monoid] = {
    "add": (lax.add, lax.reduce_sum, _ZERO),
    "mul": (lax.mul, lax.reduce_prod, functools.partial(np.ones, ())),
    "max": (lax.max, lax.reduce_max, functools.partial(bound, is_max=True)),
    "min": (lax.min, lax.reduce_min, functools.partial(bound, is_max=False)),
    "and": (lax.bitwise_and, lax.reduce_and, lambda dtype: np.invert(_ZERO(dtype))),
    "or": (lax.bitwise_or, lax.reduce_or, _ZERO),
    "xor": (lax.bitwise_xor, lax.reduce_xor, _ZERO),
}


def _monoid(jaxpr: Any) -> _Monoid | None:
    """Return the operation that ``jaxpr`` is on its two arguments, if it is one that JAX has a reduction for."""
    if len(jaxpr.eqns) != 1 or len(jaxpr.invars) != 2 or len(jaxpr.outvars) != 1:
        return None
    eqn = jaxpr.eqns[0]
    if set(map(id, eqn.invars)) != set(map(id, jaxpr.invars)) or eqn.outvars[0] is not jaxpr.outvars[0]:
        return None
    return _MONOIDS.get(eqn.primitive.name)


def _by_monoid(
    ctx: LoweringContext, x: ir.Value, initial: ir.Value, window: windows.Window, monoid: _Monoid
) -> ir.Value:
    """Reduce windows by an operation, from its identity, and then take in the initial value."""
    binary, _, identity_of = monoid
    dtype = ctx.avals_in[0].dtype
    identity = identity_of(dtype)
    y = _reduced(ctx, x, window, monoid)
    known = ctx.known(1)
    if known is not None and np.array_equal(known, identity):
        return y
    avals = [windows.aval(window.out, dtype), windows.aval((), dtype)]
    return ctx.via_jax(lambda a, i: binary(a, lax.full_like(a, i)), y, initial, avals=avals)  # type: ignore[no-any-return]


def select_and_gather_add(
    ctx: LoweringContext, tangents: ir.Value, operand: ir.Value, *, select_prim: Any, window: windows.Window
) -> ir.Value:
    """Lower ``select_and_gather_add``: of each window, the tangent of the operand selected."""
    worst = bound(ctx.avals_in[1].dtype, is_max=select_prim.name == "ge")

    def select(arrays: Sequence[jax.Array], _: Sequence[jax.Array], axes: Sequence[int]) -> list[jax.Array]:
        keys, values = _elements(arrays[1], axes), _elements(arrays[0], axes)
        first_key, first_value = lax.full_like(keys[0], worst), lax.full_like(values[0], 0)
        return [_select(select_prim, [first_key, *keys], [first_value, *values], [None, *inside])]

    _refuse_symbolic(ctx, window)
    inside = _inside(window, ctx.avals_in[1].shape)
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
    padding: windows.Padding,
) -> ir.Value:
    """Lower ``select_and_scatter_add``: add each source to the operand's element selected from its window."""
    ones = [1] * len(window_dimensions)
    given, aval = ctx.avals_in
    window = windows.Window(window_dimensions, window_strides, padding, ones, ones, given.shape)
    places = _selected_places(ctx, operand, window, select_prim)
    avals = [given, windows.aval(given.shape, np.int32)]
    return ctx.via_jax(_add_at, source, places, avals=avals, shape=aval.shape)  # type: ignore[no-any-return]


def _selected_places(ctx: LoweringContext, operand: ir.Value, window: windows.Window, select_prim: Any) -> ir.Value:
    """Return the place, among all elements of the operand, of the one selected from each window."""
    _refuse_symbolic(ctx, window)
    aval = ctx.avals_in[1]
    size = math.prod(aval.shape)
    numbers = ctx.via_jax(lambda: lax.reshape(lax.iota(np.int32, size), aval.shape), avals=[])
    # The place of padding lies outside of the array, so that nothing is added there.
    outside = ctx.cast(dim_scalar(ctx, size), np.int32)
    operands = [
        windows.Operand(operand, aval, ctx.constant(bound(aval.dtype, is_max=select_prim.name == "ge"))),
        windows.Operand(numbers, windows.aval(aval.shape, np.int32), outside),
    ]

    def select(arrays: Sequence[jax.Array], _: Sequence[jax.Array], axes: Sequence[int]) -> list[jax.Array]:
        keys = _elements(arrays[0], axes)
        return [_select(select_prim, keys, _elements(arrays[1], axes), [None] * len(keys))]

    return windows.reduce(ctx, operands, window, select)[0]


def _add_at(values: jax.Array, places: jax.Array, *, shape: Sequence[Any]) -> jax.Array:
    """Add values up at their places in an array of ``shape``; of booleans, return whether any is true."""
    numbers = values.astype(np.int32) if values.dtype == np.bool_ else values
    zeros = jnp.zeros((math.prod(shape),), numbers.dtype)
    total = zeros.at[places.reshape(-1)].add(numbers.reshape(-1), mode="drop")
    return total.reshape(shape).astype(values.dtype)


def _refuse_symbolic(ctx: LoweringContext, window: windows.Window) -> None:
    if not is_static(*window.size):
        raise ctx.unsupported("windows of symbolic size", "give the window a size that is a number")


def _elements(x: jax.Array, axes: Sequence[int]) -> list[jax.Array]:
    """Return the arrays of the first, second … elements of all windows."""
    x = lax.transpose(x, [*axes, *other_axes(x.ndim, axes)])
    count = math.prod(x.shape[: len(axes)])
    x = lax.reshape(x, (count, *x.shape[len(axes) :]))
    return [lax.index_in_dim(x, i, keepdims=False) for i in range(count)]


def _inside(window: windows.Window, shape: Sequence[Any]) -> list[np.ndarray[Any, Any] | None]:
    """Return, for each element of the windows, in which windows it is one of the array, not padding.

    None: in all of them, or it depends on a symbolic dim.
    """
    along: list[list[np.ndarray[Any, Any]]] = []
    for axis, size in enumerate(window.size):
        if window.is_whole(axis) or not is_static(shape[axis], window.out[axis], *window.padding[axis]):
            along.append([np.ones(1, np.bool_)] * size)
            continue
        first = np.arange(window.out[axis]) * window.strides[axis] - window.padding[axis][0]
        places = [first + element * window.dilation[axis] for element in range(size)]
        base = window.base_dilation[axis]
        end = (shape[axis] - 1) * base + 1
        along.append([(place >= 0) & (place < end) & (place % base == 0) for place in places])
    masks = [functools.reduce(np.logical_and.outer, element) for element in itertools.product(*along)]
    return [None if mask.all() else mask for mask in masks]


def _select(
    select_prim: Any,
    keys: Sequence[jax.Array],
    values: Sequence[jax.Array],
    inside: Sequence[np.ndarray[Any, Any] | None],
) -> jax.Array:
    """Walk through the keys in order, keep each that wins against the next; return the value of the last one kept.

    Padding is passed over, as XLA does: it would win against NaN.
    """
    key, value = keys[0], values[0]
    for next_key, next_value, mask in zip(keys[1:], values[1:], inside[1:], strict=True):
        wins = select_prim.bind(key, next_key)
        if mask is not None:
            wins = wins | ~mask
        key, value = lax.select(wins, key, next_key), lax.select(wins, value, next_value)
    return value
