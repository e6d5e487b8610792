"""Compute arithmetic and elementary functions of complex numbers, in JAX, with real and imaginary parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Complex
from jax2onnx_lax.elementwise import repeated_product

Array: TypeAlias = jax.Array


def conjugate(x: Any) -> Complex:
    """Return the conjugate of a complex or real array."""
    return Complex(x.re, -x.im) if isinstance(x, Complex) else Complex(x, jnp.zeros_like(x))


def add(x: Complex, y: Complex) -> Complex:
    """Return the sum."""
    return Complex(x.re + y.re, x.im + y.im)


def multiply(x: Complex, y: Complex) -> Complex:
    """Return the product."""
    return Complex(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)


def infinite(x: Complex) -> Array:
    """Return where a part is infinite; then the number is, whatever its other part."""
    return jnp.isinf(x.re) | jnp.isinf(x.im)


def within(x: Complex, size: float) -> Complex:
    """Return ``x``, and a number of about this size in the direction of an infinite one."""
    which = infinite(x)
    re, im = (jnp.where(which, jnp.where(jnp.isinf(p), jnp.sign(p) * size, 0), p) for p in x)
    return Complex(re, im)


def divide(x: Complex, y: Complex) -> Complex:
    """Return the quotient as XLA does: by Smith's algorithm; if both parts are NaN, after annex G of the C standard.

    So a part of the quotient that is zero has JAX's sign, which is a side of the branch cuts of logarithms and roots.
    """
    (a, b), (c, d) = x, y
    turned = jnp.abs(c) < jnp.abs(d)
    large, small = jnp.where(turned, d, c), jnp.where(turned, c, d)
    ratio = small / large
    size = large + small * ratio
    along, across = jnp.where(turned, b, a), jnp.where(turned, a, b)
    re = (along + across * ratio) / size
    im = jnp.where(turned, b * ratio - a, b - a * ratio) / size
    return select(jnp.isnan(re) & jnp.isnan(im), _quotient_at_the_ends(x, y), Complex(re, im))


def _quotient_at_the_ends(x: Complex, y: Complex) -> Complex:
    """Return the quotient of zero and infinite numbers; NaN for all others."""
    over, under = infinite(x), infinite(y)
    factor = jnp.where(over & ~under, jnp.inf, jnp.where(under & ~over, 0, jnp.nan))
    zero, inverse = (y.re == 0) & (y.im == 0), 1 / y.re
    (a, b), (c, d) = within(x, 1), within(y, 1)
    re, im = (a * c + b * d) * factor, (b * c - a * d) * factor
    return Complex(jnp.where(zero, x.re * inverse, re), jnp.where(zero, x.im * inverse, im))


def square(x: Complex) -> Complex:
    """Return the square; a real part of zero is a positive zero."""
    re = (x.re - x.im) * (x.re + x.im)
    return Complex(jnp.where(re == 0, 0, re), 2 * (x.re * x.im))


def one(x: Complex) -> Complex:
    """Return ones of the shape of ``x``."""
    return Complex(jnp.ones_like(x.re), jnp.zeros_like(x.im))


def absolute(x: Complex) -> Array:
    """Return the absolute value; it is infinite where a part is, also beside NaN."""
    return jnp.where(infinite(x), jnp.inf, size_of_numbers(x))


def size_of_numbers(x: Complex) -> Array:
    """Return the absolute value, NaN where a part is: so it enters the logarithm and the root."""
    a, b = jnp.abs(x.re), jnp.abs(x.im)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    ratio = small / jnp.where(large == 0, 1, large)
    return jnp.where(large == jnp.inf, jnp.inf, large * jnp.sqrt(1 + ratio * ratio))


def sign(x: Complex) -> Complex:
    """Return the number of size one in the same direction; zero for zero."""
    size = absolute(x)
    zero = size == 0
    size = jnp.where(zero, 1, size)
    return Complex(jnp.where(zero, x.re, x.re / size), jnp.where(zero, x.im, x.im / size))


def scaled(x: Complex, factor: float) -> Complex:
    """Return the product with a real number."""
    return Complex(x.re * factor, x.im * factor)


# The sign of a part that is zero is a side of the branch cuts of logarithms and roots. The functions below have XLA's:
# a part that is zero since an operand's is, is a positive zero, whatever the sign of the operand's.


def stretched(x: Array, factor: Array) -> Array:
    """Return the product; a zero gives one when the factor is infinite."""
    return jnp.where(x == 0, 0, x * factor)


def exponential(x: Complex) -> Complex:
    """Return e to the power of ``x``; a part can be finite where ``exp(x.re)`` is not."""
    root = jnp.exp(x.re / 2)
    real = x.im == 0
    re = root * jnp.where(real, root, root * jnp.cos(x.im))
    return Complex(re, jnp.where(real, 0, root * (root * jnp.sin(x.im))))


def cosine(x: Complex) -> Complex:
    """Return the cosine; it overflows where ``cosh(x.im)`` does."""
    return Complex(jnp.cos(x.re) * jnp.cosh(x.im), stretched(-jnp.sin(x.re), jnp.sinh(x.im)))


def sine(x: Complex) -> Complex:
    """Return the sine; it overflows where ``cosh(x.im)`` does."""
    return Complex(stretched(jnp.sin(x.re), jnp.cosh(x.im)), jnp.cos(x.re) * jnp.sinh(x.im))


def hyperbolic_cosine(x: Complex) -> Complex:
    """Return the hyperbolic cosine; a part can be finite where ``exp(x.re)`` is not, as JAX's."""
    return Complex(_times_cosh(jnp.cos(x.im), x.re), _times_sinh(jnp.sin(x.im), x.re))


def hyperbolic_sine(x: Complex) -> Complex:
    """Return the hyperbolic sine; a part can be finite where ``exp(x.re)`` is not, as JAX's."""
    return Complex(_times_sinh(jnp.cos(x.im), x.re), _times_cosh(jnp.sin(x.im), x.re))


def _times_cosh(x: Array, y: Array) -> Array:
    """Return ``x cosh(y)`` without computing ``cosh(y)``."""
    half = jnp.cosh(y / 2)
    return jnp.where(x == 0, 0, 2 * (x * half) * half - x)


def _times_sinh(x: Array, y: Array) -> Array:
    """Return ``x sinh(y)`` without computing ``sinh(y)``."""
    product = 2 * (x * jnp.sinh(y / 2)) * jnp.cosh(y / 2)
    return jnp.where((x == 0) | (product == 0), 0, product)


def exponential_less_one(x: Complex) -> Complex:
    """Return ``exp(x) - 1``, exact near zero."""
    half = jnp.sin(x.im / 2)
    re = jnp.expm1(x.re) * jnp.cos(x.im) - 2 * half * half
    return Complex(jnp.where(re == 0, 0, re), jnp.where(x.im == 0, 0, jnp.exp(x.re) * jnp.sin(x.im)))


def logarithm(x: Complex) -> Complex:
    """Return the principal logarithm."""
    a, b = jnp.abs(x.re), jnp.abs(x.im)
    large, small = jnp.maximum(a, b), jnp.minimum(a, b)
    # Near the unit circle log(|x|) has lost the digits that |x| does not hold.
    near = 0.5 * jnp.log1p((large - 1) * (large + 1) + small * small)
    size = size_of_numbers(x)
    return Complex(jnp.where((size > 0.5) & (size < 2), near, jnp.log(size)), jnp.arctan2(x.im, x.re))


def logarithm_of_one_plus(x: Complex) -> Complex:
    """Return ``log(1 + x)``, exact near zero."""
    far = logarithm(Complex(1 + x.re, x.im))
    near = 0.5 * jnp.log1p(x.re * (2 + x.re) + x.im * x.im)
    return Complex(jnp.where(absolute(x) < 0.5, near, far.re), far.im)


def square_root(x: Complex, below: Array | None = None) -> Complex:
    """Return the principal square root; its imaginary part is negative where ``below`` holds."""
    below = x.im < 0 if below is None else below
    eighth = scaled(x, 0.125)  # the absolute value of x itself may be too large
    root = 2 * jnp.sqrt(size_of_numbers(eighth) + jnp.abs(eighth.re))
    other = jnp.where(jnp.isinf(x.im), root, jnp.abs(x.im) / jnp.where(root == 0, 1, 2 * root))
    right = x.re >= 0
    return Complex(jnp.where(right, root, other), jnp.where(below, -1, 1) * jnp.where(right, other, root))


def reciprocal_root(x: Complex) -> Complex:
    """Return one by the square root; on the negative axis the sign of the zero beside counts.

    It is zero where a part is infinite, also beside NaN.
    """
    return divide(one(x), square_root(within(x, math.inf), (x.im < 0) | (1 / x.im < 0)))


def hyperbolic_tangent(x: Complex) -> Complex:
    """Return the hyperbolic tangent; that of a real number is real, also of NaN."""
    outside = jnp.abs(x.re) > 20
    a = jnp.where(outside, 0, x.re)
    sinh, cosh, sin, cos = jnp.sinh(a), jnp.cosh(a), jnp.sin(x.im), jnp.cos(x.im)
    size = sinh * sinh + cos * cos
    turn = sin * cos
    far = jnp.where(jnp.isinf(x.re) & jnp.isnan(turn), 0, 0 * turn)
    return Complex(
        jnp.where(outside, jnp.sign(x.re), sinh * cosh / size),
        jnp.where(x.im == 0, 0, jnp.where(outside, far, turn / size)),
    )


# The inverse functions after Kahan, "Branch cuts for complex elementary functions" (1987). On their cuts they are,
# as in XLA, the limits from above or the right for either zero; only for the tangents' the sign of the zero counts.


def _roots(x: Complex) -> tuple[Complex, Complex]:
    """Return the square roots of ``1 - x`` and ``1 + x``."""
    return square_root(Complex(1 - x.re, -x.im)), square_root(Complex(1 + x.re, x.im))


def _large(x: Complex, value: Array) -> Array:
    """Return the value, infinite where ``x`` is."""
    return jnp.where(infinite(x), jnp.inf, value)


def _sizable(x: Complex) -> Complex:
    return within(x, float(np.finfo(x.re.dtype).max) / 16)


def _also_nan(x: Complex, value: Array) -> Array:
    """Return the value, NaN where a part of ``x`` is."""
    return jnp.where(jnp.isnan(x.re) | jnp.isnan(x.im), jnp.nan, value)


def _beside(x: Complex, value: Array) -> Array:
    """Return the positive value for ``x`` above the real axis, its negative below."""
    return jnp.where(x.im < 0, -value, value)


def _height(x: Complex, minus: Complex, plus: Complex) -> Array:
    """Return the imaginary part of the inverse sine."""
    return _beside(x, _large(x, jnp.abs(jnp.arcsinh(minus.re * plus.im - minus.im * plus.re))))


def arcsine(x: Complex) -> Complex:
    """Return the inverse sine."""
    near = _sizable(x)
    minus, plus = _roots(near)
    angle = jnp.arctan2(near.re, minus.re * plus.re - minus.im * plus.im)
    return Complex(_also_nan(x, angle), _height(x, minus, plus))


def arccosine(x: Complex) -> Complex:
    """Return the inverse cosine."""
    minus, plus = _roots(_sizable(x))
    return Complex(_also_nan(x, 2 * jnp.arctan2(minus.re, plus.re)), -_height(x, minus, plus))


def hyperbolic_arccosine(x: Complex) -> Complex:
    """Return the inverse hyperbolic cosine."""
    near = _sizable(x)
    minus, plus = square_root(Complex(near.re - 1, near.im)), square_root(Complex(near.re + 1, near.im))
    re = _large(x, jnp.arcsinh(minus.re * plus.re + minus.im * plus.im))
    return Complex(re, _also_nan(x, _beside(x, 2 * jnp.arctan2(jnp.abs(minus.im), plus.re))))


_FAR = {"float32": 2.0**48, "float64": 2.0**106}
"""Beyond this size, the inverse of a tangent is a quarter turn to JAX."""


def hyperbolic_arctangent(x: Complex) -> Complex:
    """Return the inverse hyperbolic tangent.

    For NaN, and so far out that ``1 + x * x`` is ``x * x``, JAX has a quarter turn as its imaginary part,
    on whose side a zero's sign does not count.
    """
    a = jnp.abs(x.re)
    scale = jnp.maximum(jnp.abs(1 - a), jnp.abs(x.im))
    near = scale <= _FAR[x.re.dtype.name]
    scale = jnp.where(scale == 0, 1, scale)
    c, d = (1 - a) / scale, x.im / scale
    re = jnp.where(infinite(x), 0, jnp.log1p(4 * (a / scale) / scale / (c * c + d * d)) / 4)
    im = (jnp.arctan2(x.im, 1 + x.re) + jnp.arctan2(x.im, 1 - x.re)) / 2
    quarter = jnp.where(x.im >= 0, math.pi / 2, -math.pi / 2).astype(im.dtype)
    im = jnp.where(near, im, quarter)
    return Complex(jnp.where(x.re < 0, -re, re), im)


def rotated(function: Callable[[Complex], Complex]) -> Callable[[Complex], Complex]:
    """Return ``x -> -i function(i x)``, which makes circular functions of hyperbolic ones and the reverse."""

    def rotated_function(x: Complex) -> Complex:
        result = function(Complex(-x.im, x.re))
        return Complex(result.im, -result.re)

    return rotated_function


def direction(y: Complex, x: Complex) -> Complex:
    """Return ``-i log((x + i y) / sqrt(x**2 + y**2))``: the angle of two coordinates that are complex themselves."""
    size = square_root(add(multiply(x, x), multiply(y, y)))
    result = logarithm(divide(Complex(x.re - y.im, x.im + y.re), size))
    return Complex(result.im, -result.re)


def power(x: Complex, y: Complex | Array) -> Complex:
    """Return ``x`` to the power of ``y``, which may be an array of integers."""
    if not isinstance(y, Complex):
        y = Complex(y.astype(x.re.dtype), jnp.zeros_like(x.im))
    result = exponential(multiply(y, logarithm(x)))
    # Zero has no power but those to positive real exponents: the others are NaN, as the formula makes them.
    # Positive infinity has those to all real ones; to negative ones they are zero.
    real = (x.im == 0) & (y.im == 0)
    up, down = real & (y.re > 0), real & (y.re < 0)
    zero = ((x.re == 0) & up) | ((x.re == jnp.inf) & down)
    endless = (x.re == jnp.inf) & up
    whole = ((y.re == 0) & (y.im == 0)) | ((x.re == 1) & (x.im == 0))
    re = jnp.where(whole, 1, jnp.where(zero, 0, jnp.where(endless, jnp.inf, result.re)))
    return Complex(re, jnp.where(whole | zero | endless, 0, result.im))


def integer_power(x: Complex, exponent: int) -> Complex:
    """Return ``x`` to a whole power, by repeated squaring."""
    if exponent == 0:
        return one(x)
    result = repeated_product(x, abs(exponent), multiply)
    return divide(one(x), result) if exponent < 0 else result


def less(x: Complex, y: Complex) -> Any:
    """Return where ``x`` is less by its real part, or by its imaginary part if those are equal."""
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


def clamp(low: Complex, x: Complex, high: Complex) -> Complex:
    """Return ``x`` between bounds; XLA compares their real parts alone here, unlike in ``max`` and ``min``."""
    least = select(low.re >= x.re, low, x)
    return select(least.re <= high.re, least, high)


ELEMENTARY: dict[str, Callable[..., Any]] = {
    "abs": absolute,
    "acos": arccosine,
    "acosh": hyperbolic_arccosine,
    "asin": arcsine,
    "asinh": rotated(arcsine),
    "atan": rotated(hyperbolic_arctangent),
    "atan2": direction,
    "atanh": hyperbolic_arctangent,
    "clamp": clamp,
    "conj": conjugate,
    "cos": cosine,
    "cosh": hyperbolic_cosine,
    "div": divide,
    "eq": lambda x, y: (x.re == y.re) & (x.im == y.im),
    "exp": exponential,
    "exp2": lambda x: exponential(multiply(Complex(math.log(2), 0.0), x)),  # of infinite ones NaN, as JAX's is
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
    "rsqrt": reciprocal_root,
    "sign": sign,
    "sin": sine,
    "sinh": hyperbolic_sine,
    "sqrt": square_root,
    "square": square,
    "tan": rotated(hyperbolic_tangent),
    "tanh": hyperbolic_tangent,
}
"""Primitive name -> the function of parts that does its work."""
