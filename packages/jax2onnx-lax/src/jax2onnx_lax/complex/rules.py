"""Complex numbers, as their real and imaginary parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Complex, evaluate, is_symbolic, open_jaxpr
from jax2onnx_lax.complex.fourier import transform
from jax2onnx_lax.complex.functions import (
    ELEMENTARY,
    Array,
    add,
    exponential,
    integer_power,
    logarithm,
    maximum,
    minimum,
    multiply,
)
from jax2onnx_lax.complex.scatter_loop import one_by_one

Maker: TypeAlias = Callable[[Any], Callable[..., Any]]


def _each_part(eqn: Any) -> Callable[..., Any]:
    """Apply the primitive to the real and to the imaginary parts."""
    params = dict(eqn.params)
    if params.get("preferred_element_type") is not None:
        params["preferred_element_type"] = np.empty(0, params["preferred_element_type"]).real.dtype
    imaginary = {**params, "fill_value": 0} if eqn.primitive.name == "gather" else params

    def function(*operands: Any) -> Any:
        re = eqn.primitive.bind(*[o.re if isinstance(o, Complex) else o for o in operands], **params)
        im = eqn.primitive.bind(*[o.im if isinstance(o, Complex) else o for o in operands], **imaginary)
        return [Complex(*p) for p in zip(re, im, strict=True)] if eqn.primitive.multiple_results else Complex(re, im)

    return function


def _bilinear(eqn: Any) -> Callable[..., Any]:
    params = dict(eqn.params)
    part = np.empty(0, eqn.outvars[0].aval.dtype).real.dtype
    mixed = eqn.invars[0].aval.dtype != eqn.invars[1].aval.dtype
    if params.get("preferred_element_type") is not None:
        params["preferred_element_type"] = part

    def product(x: Array, y: Array) -> Any:
        return eqn.primitive.bind(*([x.astype(part), y.astype(part)] if mixed else [x, y]), **params)

    def function(x: Any, y: Any) -> Complex:
        if not isinstance(x, Complex):
            return Complex(product(x, y.re), product(x, y.im))
        if not isinstance(y, Complex):
            return Complex(product(x.re, y), product(x.im, y))
        return Complex(product(x.re, y.re) - product(x.im, y.im), product(x.re, y.im) + product(x.im, y.re))

    return function


def _convert(eqn: Any) -> Callable[..., Any]:
    new = np.dtype(eqn.params["new_dtype"])
    part = np.empty(0, new).real.dtype

    def function(x: Any) -> Any:
        re, im = x if isinstance(x, Complex) else (x, jnp.zeros_like(x))
        return Complex(re.astype(part), im.astype(part)) if new.kind == "c" else re.astype(new)

    return function


def _real(eqn: Any) -> Callable[..., Any]:
    """Make real numbers of the same precision; their imaginary parts are zero."""
    params = {**eqn.params, "dtype": np.empty(0, eqn.params["dtype"]).real.dtype}

    def function(*sizes: Any) -> Complex:
        re = eqn.primitive.bind(*sizes, **params)
        return Complex(re, jnp.zeros_like(re))

    return function


def _together(x: Complex) -> Any:
    return lax.complex(x.re, x.im)


def _apart(x: Any) -> list[Any]:
    return [lax.real(x), lax.imag(x)] if jnp.iscomplexobj(x) else [x]


def _pairwise(reduce: Callable[..., Any], operands: Sequence[Any], starts: Sequence[Any], combine: Any) -> list[Any]:
    """Reduce by a function of complex (or real) scalars, the parts being arrays of their own.

    ``reduce(parts, starts, function)`` reduces real arrays by a function of two tuples; ``combine`` takes two lists.
    """
    kinds = [isinstance(x, Complex) for x in operands]

    def joined(parts: Sequence[Any]) -> list[Any]:
        left = iter(parts)
        return [_together(Complex(next(left), next(left))) if k else next(left) for k in kinds]

    def function(x: Sequence[Any], y: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(part for value in combine(joined(x), joined(y)) for part in _apart(value))

    results = iter(reduce(jax.tree_util.tree_leaves(operands), jax.tree_util.tree_leaves(starts), function))
    return [Complex(next(results), next(results)) if k else next(results) for k in kinds]


def _reducing(operation: Callable[[Any, Any], Any], start: complex) -> Maker:
    """Reduce over axes by an operation of two complex numbers."""

    def maker(eqn: Any) -> Callable[..., Any]:
        axes = tuple(eqn.params["axes"])

        def function(x: Complex) -> Complex:
            initial = Complex(*[np.asarray(s, x.re.dtype) for s in (start.real, start.imag)])
            reduce = functools.partial(_reduce, dimensions=axes)
            return _pairwise(reduce, [x], [initial], lambda a, b: [operation(a[0], b[0])])[0]  # type: ignore[no-any-return]

        return function

    return maker


def _reduce(parts: Sequence[Any], starts: Sequence[Any], function: Any, *, dimensions: Sequence[int]) -> Any:
    return lax.reduce(tuple(parts), tuple(starts), function, dimensions)


def _generic(eqn: Any) -> Callable[..., Any]:
    """Do ``reduce`` and ``reduce_window``, which hold a jaxpr of scalars."""
    params = eqn.params
    consts = params.get("consts", ())
    if eqn.primitive.name == "reduce":
        reduce: Any = functools.partial(_reduce, dimensions=params["dimensions"])
    else:
        reduce = functools.partial(_reduce_window, params=params)

    def combine(x: Sequence[Any], y: Sequence[Any]) -> Any:
        jaxpr, held = open_jaxpr(params["jaxpr"])
        return evaluate(jaxpr, held or consts, *x, *y)

    def function(*operands: Any) -> Any:
        count = len(operands) // 2
        return _pairwise(reduce, operands[:count], operands[count:], combine)

    return function


_WINDOW = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")


def _reduce_window(parts: Sequence[Any], starts: Sequence[Any], function: Any, *, params: Mapping[str, Any]) -> Any:
    return lax.reduce_window(tuple(parts), tuple(starts), function, *[params[p] for p in _WINDOW])


def _windowed(operation: Callable[[Any, Any], Any], start: complex) -> Maker:
    """Reduce windows by an operation of two complex numbers."""

    def maker(eqn: Any) -> Callable[..., Any]:
        reduce = functools.partial(_reduce_window, params=eqn.params)

        def function(x: Complex) -> Complex:
            initial = Complex(*[np.asarray(s, x.re.dtype) for s in (start.real, start.imag)])
            return _pairwise(reduce, [x], [initial], lambda a, b: [operation(a[0], b[0])])[0]  # type: ignore[no-any-return]

        return function

    return maker


def _cumulative(operation: Callable[[Complex, Complex], Complex], start: complex) -> Maker:
    """Combine each element with all before it, in logarithmically many steps if there is a number of them."""

    def maker(eqn: Any) -> Callable[..., Any]:
        axis, reverse = eqn.params["axis"], eqn.params["reverse"]

        def step(carry: Complex, x: Complex) -> tuple[Complex, Complex]:
            value = operation(carry, x)
            return value, value

        def function(x: Complex) -> Any:
            if not is_symbolic(x.re.shape[axis]):
                return lax.associative_scan(operation, x, reverse=reverse, axis=axis)
            moved = Complex(*[jnp.moveaxis(part, axis, 0) for part in x])
            first = Complex(*[lax.full(moved.re.shape[1:], s, x.re.dtype) for s in (start.real, start.imag)])
            _, result = lax.scan(step, first, moved, reverse=reverse)
            return Complex(*[jnp.moveaxis(part, 0, axis) for part in result])

        return function

    return maker


def _log_add_exp(x: Complex, y: Complex) -> Complex:
    top = jnp.maximum(x.re, y.re)
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = add(*[exponential(Complex(v.re - top, v.im)) for v in (x, y)])
    log = logarithm(total)
    return Complex(log.re + top, log.im)


def _scattering(operation: Callable[[Complex, Complex], Complex]) -> Maker:
    """Scatter by an operation that mixes the parts."""

    def maker(eqn: Any) -> Callable[..., Any]:
        scatter = functools.partial(
            one_by_one,
            numbers=eqn.params["dimension_numbers"],
            mode=eqn.params["mode"],
            combine=lambda old, new: operation(Complex(*old), Complex(*new)),
        )
        return lambda operand, indices, updates: Complex(*scatter(operand, indices, updates))

    return maker


def _sort(eqn: Any) -> Callable[..., Any]:
    """Sort by the real and then by the imaginary part of a complex key."""
    params = eqn.params

    def function(*operands: Any) -> list[Any]:
        keys = operands[: params["num_keys"]]
        parts = jax.tree_util.tree_leaves(operands)
        sorted_parts = lax.sort(
            parts, dimension=params["dimension"], is_stable=params["is_stable"],
            num_keys=len(jax.tree_util.tree_leaves(keys)),
        )  # fmt: skip
        result: list[Any] = jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(list(operands)), sorted_parts)
        return result

    return function


def _always(function: Callable[..., Any]) -> Maker:
    return lambda _eqn: function


_LINEAR = (
    "add", "add_any", "broadcast_in_dim", "concatenate", "cumsum", "dynamic_slice", "dynamic_update_slice",
    "expand_dims", "gather", "neg", "pad", "reduce_sum", "reduce_window_sum", "reshape", "rev", "scatter",
    "scatter-add", "scatter-sub", "select_n", "slice", "split", "squeeze", "stack", "sub", "tile", "transpose",
    "unstack",
)  # fmt: skip
"""Primitives that treat the real and the imaginary part alike."""

_LOWEST, _HIGHEST = complex(-np.inf, -np.inf), complex(np.inf, np.inf)

COMPLEX: dict[str, Maker] = {
    **{name: _always(function) for name, function in ELEMENTARY.items()},
    **dict.fromkeys(_LINEAR, _each_part),
    "bitcast_convert_type": _always(lambda x: x),
    "complex": _always(lambda re, im: Complex(*jnp.broadcast_arrays(re, im))),
    "conv_general_dilated": _bilinear,
    "convert_element_type": _convert,
    "cumlogsumexp": _cumulative(_log_add_exp, complex(-np.inf, 0)),
    "cummax": _cumulative(maximum, _LOWEST),
    "cummin": _cumulative(minimum, _HIGHEST),
    "cumprod": _cumulative(multiply, 1 + 0j),
    "dot_general": _bilinear,
    "empty": _real,
    "empty2": _real,
    "fft": lambda eqn: lambda x: transform(x, Complex, eqn),
    "integer_pow": lambda eqn: functools.partial(integer_power, exponent=eqn.params["y"]),
    "iota": _real,
    "reduce": _generic,
    "reduce_max": _reducing(lax.max, _LOWEST),
    "reduce_min": _reducing(lax.min, _HIGHEST),
    "reduce_prod": _reducing(lax.mul, 1),
    "reduce_window": _generic,
    "reduce_window_max": _windowed(lax.max, _LOWEST),
    "reduce_window_min": _windowed(lax.min, _HIGHEST),
    "scatter-max": _scattering(maximum),
    "scatter-min": _scattering(minimum),
    "scatter-mul": _scattering(multiply),
    "scatter_max": _scattering(maximum),
    "scatter_min": _scattering(minimum),
    "scatter_mul": _scattering(multiply),
    "sort": _sort,
}
"""Primitive name -> what makes, from an equation, the function of parts that does its work."""
