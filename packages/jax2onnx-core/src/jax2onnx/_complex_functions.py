"""Arithmetic and elementary functions of complex numbers, on their real and imaginary parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array


class Complex(NamedTuple):
    """A complex array."""

    re: Any
    im: Any


def conjugate(x: Any) -> Complex:
    """Return the conjugate of a complex or real array."""
    return Complex(x.re, -x.im) if isinstance(x, Complex) else Complex(x, jnp.zeros_like(x))


def add(x: Complex, y: Complex) -> Complex:
    """Return the sum."""
    return Complex(x.re + y.re, x.im + y.im)


def multiply(x: Complex, y: Complex) -> Complex:
    """Return the product."""
    return Complex(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)


def divide(x: Complex, y: Complex) -> Complex:
    """Return the quotient."""
    scale = jnp.maximum(jnp.abs(y.re), jnp.abs(y.im))
    c, d = y.re / scale, y.im / scale
    size = c * c + d * d
    return Complex((x.re * c + x.im * d) / size / scale, (x.im * c - x.re * d) / size / scale)


def one(x: Complex) -> Complex:
    """Return ones of the shape of ``x``."""
    return Complex(jnp.ones_like(x.re), jnp.zeros_like(x.im))


def absolute(x: Complex) -> Array:
    """Return the absolute value."""
    a, b = jnp.abs(x.re), jnp.abs(x.im)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    ratio = small / jnp.where(large == 0, 1, large)
    size = large * jnp.sqrt(1 + ratio * ratio)
    return jnp.where(jnp.isinf(a) | jnp.isinf(b), jnp.inf, size)


def sign(x: Complex) -> Complex:
    """Return the number of size one in the same direction; zero for zero."""
    size = absolute(x)
    zero = size == 0
    size = jnp.where(zero, 1, size)
    return Complex(jnp.where(zero, x.re, x.re / size), jnp.where(zero, x.im, x.im / size))


def scaled(x: Complex, factor: float) -> Complex:
    """Return the product with a real number."""
    return Complex(x.re * factor, x.im * factor)


def exponential(x: Complex) -> Complex:
    """Return e to the power of ``x``."""
    size = jnp.exp(x.re)
    return Complex(jnp.where(x.im == 0, size, size * jnp.cos(x.im)), jnp.where(x.im == 0, x.im, size * jnp.sin(x.im)))


def exponential_less_one(x: Complex) -> Complex:
    """Return ``exp(x) - 1``, exact near zero."""
    half = jnp.sin(x.im / 2)
    re = jnp.expm1(x.re) * jnp.cos(x.im) - 2 * half * half
    return Complex(re, jnp.where(x.im == 0, x.im, jnp.exp(x.re) * jnp.sin(x.im)))


def logarithm(x: Complex) -> Complex:
    """Return the principal logarithm."""
    a, b = jnp.abs(x.re), jnp.abs(x.im)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    # Near the unit circle log(|x|) has lost the digits that |x| does not hold.
    near = 0.5 * jnp.log1p((large - 1) * (large + 1) + small * small)
    size = absolute(x)
    return Complex(jnp.where((size > 0.5) & (size < 2), near, jnp.log(size)), jnp.arctan2(x.im, x.re))


def logarithm_of_one_plus(x: Complex) -> Complex:
    """Return ``log(1 + x)``, exact near zero."""
    far = logarithm(Complex(1 + x.re, x.im))
    near = 0.5 * jnp.log1p(x.re * (2 + x.re) + x.im * x.im)
    return Complex(jnp.where(absolute(x) < 0.5, near, far.re), far.im)


def square_root(x: Complex) -> Complex:
    """Return the principal square root."""
    root = jnp.sqrt((absolute(x) / 2) + jnp.abs(x.re) / 2)
    other = jnp.abs(x.im) / jnp.where(root == 0, 1, 2 * root)
    right = x.re >= 0
    return Complex(jnp.where(right, root, other), jnp.where(x.im < 0, -1, 1) * jnp.where(right, other, root))


def hyperbolic_tangent(x: Complex) -> Complex:
    """Return the hyperbolic tangent."""
    outside = jnp.abs(x.re) > 20
    a = jnp.where(outside, 0, x.re)
    sinh, cosh, sin, cos = jnp.sinh(a), jnp.cosh(a), jnp.sin(x.im), jnp.cos(x.im)
    size = sinh * sinh + cos * cos
    return Complex(
        jnp.where(outside, jnp.sign(x.re), sinh * cosh / size), jnp.where(outside, 0 * x.im, sin * cos / size)
    )


# The inverse functions after Kahan, "Branch cuts for complex elementary functions" (1987).


def _roots(x: Complex) -> tuple[Complex, Complex]:
    """Return the square roots of ``1 - x`` and ``1 + x``."""
    return square_root(Complex(1 - x.re, -x.im)), square_root(Complex(1 + x.re, x.im))


def arcsine(x: Complex) -> Complex:
    """Return the inverse sine."""
    minus, plus = _roots(x)
    re = jnp.arctan2(x.re, minus.re * plus.re - minus.im * plus.im)
    return Complex(re, jnp.arcsinh(minus.re * plus.im - minus.im * plus.re))


def arccosine(x: Complex) -> Complex:
    """Return the inverse cosine."""
    minus, plus = _roots(x)
    im = jnp.arcsinh(plus.re * minus.im - plus.im * minus.re)
    return Complex(2 * jnp.arctan2(minus.re, plus.re), im)


def hyperbolic_arccosine(x: Complex) -> Complex:
    """Return the inverse hyperbolic cosine."""
    minus, plus = square_root(Complex(x.re - 1, x.im)), square_root(Complex(x.re + 1, x.im))
    return Complex(jnp.arcsinh(minus.re * plus.re + minus.im * plus.im), 2 * jnp.arctan2(minus.im, plus.re))


def hyperbolic_arctangent(x: Complex) -> Complex:
    """Return the inverse hyperbolic tangent."""
    distance = (1 - x.re) * (1 - x.re) + x.im * x.im
    im = jnp.arctan2(2 * x.im, (1 - x.re) * (1 + x.re) - x.im * x.im)
    return Complex(jnp.log1p(4 * x.re / distance) / 4, im / 2)


def turned(function: Callable[[Complex], Complex]) -> Callable[[Complex], Complex]:
    """Return ``x -> -i function(i x)``, which makes circular functions of hyperbolic ones and the reverse."""

    def rotated(x: Complex) -> Complex:
        result = function(Complex(-x.im, x.re))
        return Complex(result.im, -result.re)

    return rotated


def direction(y: Complex, x: Complex) -> Complex:
    """Return ``-i log((x + i y) / sqrt(x**2 + y**2))``: the angle of two coordinates that are complex themselves."""
    size = square_root(add(multiply(x, x), multiply(y, y)))
    result = logarithm(divide(Complex(x.re - y.im, x.im + y.re), size))
    return Complex(result.im, -result.re)


def power(x: Complex, y: Complex) -> Complex:
    """Return ``x`` to the power of ``y``."""
    result = exponential(multiply(y, logarithm(x)))
    zero = (x.re == 0) & (x.im == 0)
    at_zero = jnp.where((y.re == 0) & (y.im == 0), 1.0, 0.0).astype(x.re.dtype)
    return Complex(jnp.where(zero, at_zero, result.re), jnp.where(zero, 0, result.im))


def integer_power(x: Complex, exponent: int) -> Complex:
    """Return ``x`` to a whole power, by repeated squaring."""
    result, factor, left = one(x), x, abs(exponent)
    while left:
        if left & 1:
            result = multiply(result, factor)
        left >>= 1
        if left:
            factor = multiply(factor, factor)
    return divide(one(x), result) if exponent < 0 else result


def less(x: Complex, y: Complex) -> Any:
    """Tell which is less by its real part, and by its imaginary part if those are equal."""
    return (x.re < y.re) | ((x.re == y.re) & (x.im < y.im))


def select(which: Array, x: Complex, y: Complex) -> Complex:
    """Return ``x`` where the predicate holds, else ``y``."""
    return Complex(jnp.where(which, x.re, y.re), jnp.where(which, x.im, y.im))


def maximum(x: Complex, y: Complex) -> Complex:
    """Return the greater in the order of :func:`less`."""
    return select(less(y, x), x, y)


def minimum(x: Complex, y: Complex) -> Complex:
    """Return the lesser in the order of :func:`less`."""
    return select(less(x, y), x, y)


ELEMENTARY: dict[str, Callable[..., Any]] = {
    "abs": absolute,
    "acos": arccosine,
    "acosh": hyperbolic_arccosine,
    "asin": arcsine,
    "asinh": turned(arcsine),
    "atan": turned(hyperbolic_arctangent),
    "atan2": direction,
    "atanh": hyperbolic_arctangent,
    "conj": conjugate,
    "cos": lambda x: Complex(jnp.cos(x.re) * jnp.cosh(x.im), -jnp.sin(x.re) * jnp.sinh(x.im)),
    "cosh": lambda x: Complex(jnp.cosh(x.re) * jnp.cos(x.im), jnp.sinh(x.re) * jnp.sin(x.im)),
    "div": divide,
    "eq": lambda x, y: (x.re == y.re) & (x.im == y.im),
    "exp": exponential,
    "exp2": lambda x: exponential(scaled(x, math.log(2))),
    "expm1": exponential_less_one,
    "imag": lambda x: x.im,
    "log": logarithm,
    "log1p": logarithm_of_one_plus,
    "log2": lambda x: scaled(logarithm(x), 1 / math.log(2)),
    "logistic": lambda x: divide(one(x), add(one(x), exponential(Complex(-x.re, -x.im)))),
    "max": maximum,
    "min": minimum,
    "mul": multiply,
    "ne": lambda x, y: (x.re != y.re) | (x.im != y.im),
    "one_minus_square": lambda x: multiply(Complex(1 - x.re, -x.im), Complex(1 + x.re, x.im)),
    "pow": power,
    "real": lambda x: x.re,
    "rsqrt": lambda x: divide(one(x), square_root(x)),
    "sign": sign,
    "sin": lambda x: Complex(jnp.sin(x.re) * jnp.cosh(x.im), jnp.cos(x.re) * jnp.sinh(x.im)),
    "sinh": lambda x: Complex(jnp.sinh(x.re) * jnp.cos(x.im), jnp.cosh(x.re) * jnp.sin(x.im)),
    "sqrt": square_root,
    "square": lambda x: multiply(x, x),
    "tan": turned(hyperbolic_tangent),
    "tanh": hyperbolic_tangent,
}
"""Primitive name -> the function of parts that does its work."""
