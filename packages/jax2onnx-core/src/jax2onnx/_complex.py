"""Complex numbers, as their real and imaginary parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx._fourier import transform

Array: TypeAlias = jax.Array


class Complex(NamedTuple):
    """A complex array."""

    re: Any
    im: Any


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
    if params.get("preferred_element_type") is not None:
        params["preferred_element_type"] = np.empty(0, params["preferred_element_type"]).real.dtype

    def product(x: Array, y: Array) -> Any:
        return eqn.primitive.bind(x, y, **params)

    return lambda x, y: Complex(product(x.re, y.re) - product(x.im, y.im), product(x.re, y.im) + product(x.im, y.re))


def _convert(eqn: Any) -> Callable[..., Any]:
    new = np.dtype(eqn.params["new_dtype"])
    part = np.empty(0, new).real.dtype

    def function(x: Any) -> Any:
        re, im = x if isinstance(x, Complex) else (x, jnp.zeros_like(x))
        return Complex(re.astype(part), im.astype(part)) if new.kind == "c" else re.astype(new)

    return function


def _conjugate(x: Any) -> Complex:
    return Complex(x.re, -x.im) if isinstance(x, Complex) else Complex(x, jnp.zeros_like(x))


def _multiply(x: Complex, y: Complex) -> Complex:
    return Complex(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)


def _divide(x: Complex, y: Complex) -> Complex:
    scale = jnp.maximum(jnp.abs(y.re), jnp.abs(y.im))
    c, d = y.re / scale, y.im / scale
    size = c * c + d * d
    return Complex((x.re * c + x.im * d) / size / scale, (x.im * c - x.re * d) / size / scale)


def _one(x: Complex) -> Complex:
    return Complex(jnp.ones_like(x.re), jnp.zeros_like(x.im))


def _integer_power(eqn: Any) -> Callable[..., Any]:
    exponent = eqn.params["y"]

    def function(x: Complex) -> Complex:
        result, factor, left = _one(x), x, abs(exponent)
        while left:
            if left & 1:
                result = _multiply(result, factor)
            left >>= 1
            if left:
                factor = _multiply(factor, factor)
        return _divide(_one(x), result) if exponent < 0 else result

    return function


def _absolute(x: Complex) -> Array:
    a, b = jnp.abs(x.re), jnp.abs(x.im)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    ratio = small / jnp.where(large == 0, 1, large)
    size = large * jnp.sqrt(1 + ratio * ratio)
    return jnp.where(jnp.isinf(a) | jnp.isinf(b), jnp.inf, size)


def _sign(x: Complex) -> Complex:
    size = _absolute(x)
    zero = size == 0
    size = jnp.where(zero, 1, size)
    return Complex(jnp.where(zero, x.re, x.re / size), jnp.where(zero, x.im, x.im / size))


def _exponential(x: Complex) -> Complex:
    size = jnp.exp(x.re)
    return Complex(jnp.where(x.im == 0, size, size * jnp.cos(x.im)), jnp.where(x.im == 0, x.im, size * jnp.sin(x.im)))


def _logarithm(x: Complex) -> Complex:
    a, b = jnp.abs(x.re), jnp.abs(x.im)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    # Near the unit circle log(|x|) has lost the digits that |x| does not hold.
    near = 0.5 * jnp.log1p((large - 1) * (large + 1) + small * small)
    size = _absolute(x)
    return Complex(jnp.where((size > 0.5) & (size < 2), near, jnp.log(size)), jnp.arctan2(x.im, x.re))


def _square_root(x: Complex) -> Complex:
    root = jnp.sqrt((_absolute(x) / 2) + jnp.abs(x.re) / 2)
    other = jnp.abs(x.im) / jnp.where(root == 0, 1, 2 * root)
    right = x.re >= 0
    return Complex(jnp.where(right, root, other), jnp.where(x.im < 0, -1, 1) * jnp.where(right, other, root))


def _hyperbolic_tangent(x: Complex) -> Complex:
    outside = jnp.abs(x.re) > 20
    a = jnp.where(outside, 0, x.re)
    sinh, cosh, sin, cos = jnp.sinh(a), jnp.cosh(a), jnp.sin(x.im), jnp.cos(x.im)
    size = sinh * sinh + cos * cos
    return Complex(
        jnp.where(outside, jnp.sign(x.re), sinh * cosh / size), jnp.where(outside, 0 * x.im, sin * cos / size)
    )


def _tangent(x: Complex) -> Complex:
    turned = _hyperbolic_tangent(Complex(-x.im, x.re))
    return Complex(turned.im, -turned.re)


def _power(x: Complex, y: Complex) -> Complex:
    result = _exponential(_multiply(y, _logarithm(x)))
    zero = (x.re == 0) & (x.im == 0)
    at_zero = jnp.where((y.re == 0) & (y.im == 0), 1.0, 0.0).astype(x.re.dtype)
    return Complex(jnp.where(zero, at_zero, result.re), jnp.where(zero, 0, result.im))


def _always(function: Callable[..., Any]) -> Maker:
    return lambda _eqn: function


_LINEAR = (
    "add", "add_any", "broadcast_in_dim", "concatenate", "cumsum", "dynamic_slice", "dynamic_update_slice",
    "expand_dims", "gather", "neg", "pad", "reduce_sum", "reshape", "rev", "select_n", "slice", "split", "squeeze",
    "stack", "sub", "tile", "transpose", "unstack",
)  # fmt: skip
"""Primitives that treat the real and the imaginary part alike."""

COMPLEX: dict[str, Maker] = {
    **dict.fromkeys(_LINEAR, _each_part),
    "abs": _always(_absolute),
    "complex": _always(Complex),
    "conj": _always(_conjugate),
    "conv_general_dilated": _bilinear,
    "convert_element_type": _convert,
    "cos": _always(lambda x: Complex(jnp.cos(x.re) * jnp.cosh(x.im), -jnp.sin(x.re) * jnp.sinh(x.im))),
    "cosh": _always(lambda x: Complex(jnp.cosh(x.re) * jnp.cos(x.im), jnp.sinh(x.re) * jnp.sin(x.im))),
    "div": _always(_divide),
    "dot_general": _bilinear,
    "eq": _always(lambda x, y: (x.re == y.re) & (x.im == y.im)),
    "exp": _always(_exponential),
    "fft": lambda eqn: lambda x: transform(x, Complex, eqn),
    "imag": _always(lambda x: x.im),
    "integer_pow": _integer_power,
    "log": _always(_logarithm),
    "logistic": _always(
        lambda x: _divide(_one(x), Complex(*map(jnp.add, _one(x), _exponential(Complex(-x.re, -x.im)))))
    ),
    "mul": _always(_multiply),
    "ne": _always(lambda x, y: (x.re != y.re) | (x.im != y.im)),
    "pow": _always(_power),
    "real": _always(lambda x: x.re),
    "rsqrt": _always(lambda x: _divide(_one(x), _square_root(x))),
    "sign": _always(_sign),
    "sin": _always(lambda x: Complex(jnp.sin(x.re) * jnp.cosh(x.im), jnp.cos(x.re) * jnp.sinh(x.im))),
    "sinh": _always(lambda x: Complex(jnp.sinh(x.re) * jnp.cos(x.im), jnp.cosh(x.re) * jnp.sin(x.im))),
    "sqrt": _always(_square_root),
    "square": _always(lambda x: _multiply(x, x)),
    "tan": _always(_tangent),
    "tanh": _always(_hyperbolic_tangent),
}
"""Primitive name -> what makes, from an equation, the function of parts that does its work."""
