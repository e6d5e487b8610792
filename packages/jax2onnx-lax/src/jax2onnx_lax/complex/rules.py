"""Define the primitives of complex numbers as functions of real and imaginary parts."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Complex, evaluate, open_jaxpr
from jax2onnx_lax.blocked import prefixes_in_blocks
from jax2onnx_lax.complex.fourier import transform
from jax2onnx_lax.complex.functions import (
    ELEMENTARY,
    Array,
    integer_power,
    maximum,
    minimum,
    multiply,
)
from jax2onnx_lax.complex.scatter_loop import one_by_one

Maker: TypeAlias = Callable[[Any], Callable[..., Any]]
"""Makes, from an equation, the function of parts that does its work."""


def _part_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of the parts of complex numbers; any other dtype is its own."""
    return np.empty(0, dtype).real.dtype


def _number(value: complex, like: Complex) -> Complex:
    """Return a complex number in the precision of others."""
    dtype = like.re.dtype
    return Complex(np.asarray(value.real, dtype), np.asarray(value.imag, dtype))


def _each_part(eqn: Any) -> Callable[..., Any]:
    """Apply the primitive to the real and to the imaginary parts."""
    params = dict(eqn.params)
    if params.get("preferred_element_type") is not None:
        params["preferred_element_type"] = _part_dtype(params["preferred_element_type"])
    imaginary = {**params, "fill_value": 0} if eqn.primitive.name == "gather" else params

    def function(*operands: Any) -> Any:
        pairs = [o if isinstance(o, Complex) else Complex(o, o) for o in operands]
        re = eqn.primitive.bind(*[p.re for p in pairs], **params)
        im = eqn.primitive.bind(*[p.im for p in pairs], **imaginary)
        return list(map(Complex, re, im)) if eqn.primitive.multiple_results else Complex(re, im)

    return function


def _bilinear(eqn: Any) -> Callable[..., Any]:
    params = dict(eqn.params)
    part = _part_dtype(eqn.outvars[0].aval.dtype)
    mixed = eqn.invars[0].aval.dtype != eqn.invars[1].aval.dtype
    if params.get("preferred_element_type") is not None:
        params["preferred_element_type"] = part

    def product(x: Array, y: Array) -> Any:
        return eqn.primitive.bind(*([x.astype(part), y.astype(part)] if mixed else [x, y]), **params)

    def function(x: Any, y: Any) -> Complex:
        if not isinstance(x, Complex) and not isinstance(y, Complex):  # complex by ``preferred_element_type`` alone
            real = product(x, y)
            return Complex(real, jnp.zeros_like(real))
        if not isinstance(x, Complex):
            return Complex(product(x, y.re), product(x, y.im))
        if not isinstance(y, Complex):
            return Complex(product(x.re, y), product(x.im, y))
        return Complex(product(x.re, y.re) - product(x.im, y.im), product(x.re, y.im) + product(x.im, y.re))

    return function


def _convert(eqn: Any) -> Callable[..., Any]:
    new = np.dtype(eqn.params["new_dtype"])
    part = _part_dtype(new)

    def function(x: Any) -> Any:
        re, im = x if isinstance(x, Complex) else (x, jnp.zeros_like(x))
        return Complex(re.astype(part), im.astype(part)) if new.kind == "c" else re.astype(new)

    return function


def _real(eqn: Any) -> Callable[..., Any]:
    """Make real numbers of the same precision; their imaginary parts are zero."""
    params = {**eqn.params, "dtype": _part_dtype(eqn.params["dtype"])}

    def function(*sizes: Any) -> Complex:
        re = eqn.primitive.bind(*sizes, **params)
        return Complex(re, jnp.zeros_like(re))

    return function


def _parts(x: Any) -> list[Any]:
    return [lax.real(x), lax.imag(x)] if jnp.iscomplexobj(x) else [x]


_WINDOW = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")


def _reduce(eqn: Any, operands: Sequence[Any], starts: Sequence[Any], combine: Any) -> list[Any]:
    """Reduce over axes or windows as an equation does, the parts being arrays of their own.

    ``combine`` takes two lists of complex (or real) scalars and returns one.
    """
    kinds = [isinstance(x, Complex) for x in operands]
    params = eqn.params

    def joined(parts: Sequence[Any]) -> list[Any]:
        left = iter(parts)
        return [lax.complex(next(left), next(left)) if is_complex else next(left) for is_complex in kinds]

    def function(x: Sequence[Any], y: Sequence[Any]) -> tuple[Any, ...]:
        values = map(_parts, combine(joined(x), joined(y)))
        return tuple(itertools.chain.from_iterable(values))

    parts, initial = tuple(jax.tree_util.tree_leaves(operands)), tuple(jax.tree_util.tree_leaves(starts))
    if "window_dimensions" in params:
        reduced = lax.reduce_window(parts, initial, function, *[params[name] for name in _WINDOW])
    else:
        reduced = lax.reduce(parts, initial, function, params["axes"] if "axes" in params else params["dimensions"])
    results = iter(reduced)
    return [Complex(next(results), next(results)) if is_complex else next(results) for is_complex in kinds]


def _reducing(operation: Callable[[Any, Any], Any], start: complex) -> Maker:
    """Reduce over axes or windows by an operation of two complex numbers."""

    def maker(eqn: Any) -> Callable[..., Any]:
        return lambda x: _reduce(eqn, [x], [_number(start, x)], lambda a, b: [operation(a[0], b[0])])[0]

    return maker


def _generic(eqn: Any) -> Callable[..., Any]:
    """Do ``reduce`` and ``reduce_window``, which hold a jaxpr of scalars."""
    params = eqn.params

    def combine(x: Sequence[Any], y: Sequence[Any]) -> Any:
        jaxpr, consts = open_jaxpr(params["jaxpr"])
        return evaluate(jaxpr, consts or params.get("consts", ()), *x, *y)

    def function(*operands: Any) -> Any:
        count = len(operands) // 2
        return _reduce(eqn, operands[:count], operands[count:], combine)

    return function


def _cumulative(operation: Callable[[Complex, Complex], Complex], start: complex) -> Maker:
    """Combine each element with all before it, in JAX's order."""

    def maker(eqn: Any) -> Callable[..., Any]:
        return functools.partial(
            prefixes_in_blocks,
            combine=operation,
            start=Complex(start.real, start.imag),
            axis=eqn.params["axis"],
            reverse=eqn.params["reverse"],
        )

    return maker


def _log_add_exp(x: Complex, y: Complex) -> Complex:
    result = jnp.logaddexp(lax.complex(x.re, x.im), lax.complex(y.re, y.im))
    return Complex(lax.real(result), lax.imag(result))


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
        parts, tree = jax.tree_util.tree_flatten(list(operands))
        num_keys = len(jax.tree_util.tree_leaves(keys))
        ordered = lax.sort(parts, dimension=params["dimension"], is_stable=params["is_stable"], num_keys=num_keys)
        result: list[Any] = jax.tree_util.tree_unflatten(tree, ordered)
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

_LOWEST, _HIGHEST = complex(-np.inf, 0), complex(np.inf, 0)

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
    "reduce_window_max": _reducing(lax.max, _LOWEST),
    "reduce_window_min": _reducing(lax.min, _HIGHEST),
    "scatter-max": _scattering(maximum),
    "scatter-min": _scattering(minimum),
    "scatter-mul": _scattering(multiply),
    "scatter_max": _scattering(maximum),
    "scatter_min": _scattering(minimum),
    "scatter_mul": _scattering(multiply),
    "sort": _sort,
}
"""For each primitive, by name, its maker."""
