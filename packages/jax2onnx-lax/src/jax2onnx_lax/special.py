"""Compute special functions in JAX."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, special_function, telling
from jax2onnx_lax.transcendental import polynomial, rational, upcast

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

_JAX = ("igamma", "igammac", "igamma_grad_a", "random_gamma_grad", "regularized_incomplete_beta", "bessel_i0e")
"""Functions that JAX itself defines in plainer primitives."""


FACTS = dict.fromkeys(("digamma", "lgamma", "polygamma", "zeta"), Facts(zeros=telling))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.via_jax({name: _prepared(special_function(name)) for name in _JAX})
    registry.via_jax(
        {
            "lgamma": upcast(lgamma),
            "digamma": upcast(digamma),
            "zeta": _prepared(zeta),
            "polygamma": _prepared(polygamma),
            "bessel_i1e": upcast(bessel_i1e),
        }
    )


def _prepared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of operands of one shape; float16 and bfloat16 are computed in float32."""
    wide = upcast(function)

    def prepared(*operands: Any) -> Any:
        return wide(*jnp.broadcast_arrays(*operands))

    return prepared


# Rational approximations, fitted for this project in 90-digit arithmetic.
_LGAMMA = (  # lgamma(x) / ((x - 1) (x - 2)) on [0.5, 3], relative error 3e-16
    (
        0.013639323997773718, 5.883371644197541, 151.541033522187, 1039.660094099092, 2538.637594038781,
        2413.641751478063, 881.1413976703515, 106.64764045706973, 2.725928733544751,
    ),
    (
        1.5533587202827956, 68.34979617523419, 749.461944229406, 2941.95943181329, 4678.472660894115,
        3078.6804660238804, 785.5134315499743, 64.54924901356034, 1.0,
    ),
)  # fmt: skip
_I1E_SMALL = (  # exp(-x) I1(x) / x on [0, 8], relative error 7e-17
    (
        1.76360158610232e-10, 2.984628984683524e-08, 4.77269429201749e-07, 1.249165403716252e-05, 7.810148172720776e-05,
        0.0013891035272997202, 0.003408560002357155, 0.0518519494780936, 0.03471111370542942, 0.5,
    ),
    (
        9.085828466209683e-09, 3.3218017406322375e-07, 6.610114772113421e-06, 9.020989873523806e-05,
        0.0009115222426962081, 0.007005344292652924, 0.04096021530304547, 0.17822102090816974, 0.5481261263668747,
        1.0694222274108662, 1.0,
    ),
)  # fmt: skip
_I1E_LARGE = (  # sqrt(x) exp(-x) I1(x) as a function of 1 / x, x at least 8, relative error 2e-14
    (
        -1083.2278506566918, 5178.32546736172, -7067.985184001068, 3904.2440178937686, -1063.3296283667853,
        156.3736365382899, -12.067057638338103, 0.39894228040143787,
    ),
    (
        -678.7385902267305, 8316.353785740008, -14647.425744771417, 8880.977679398464, -2525.9381963642036,
        380.88553079649614, -29.872627867837675, 1.0,
    ),
)  # fmt: skip
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138,
    -236364091 / 2730,
)  # fmt: skip
"""B2, B4, …, B24."""
_SHIFT = 10
"""Steps of the recurrence that bring a positive operand to where the asymptotic series hold in float64."""


def lgamma(x: Any) -> Any:
    """Return the logarithm of the size of the gamma function."""
    reflected = x < 0.5
    z = jnp.where(reflected, 1 - x, x)
    value = _lgamma_right(z)
    # The sine of pi times the distance to the nearest integer; zero at the poles, of which the largest are too large
    # for their value on the right to be finite.
    right = jnp.minimum(value, float(np.finfo(x.dtype).max))
    reflection = math.log(math.pi) - lax.log(lax.sin(math.pi * _distance(x))) - right
    value = jnp.where(reflected, reflection, value)
    return jnp.where(lax.abs(x) == jnp.inf, jnp.inf, value)


def _distance(x: Any) -> Any:
    """Return the distance to the nearest integer."""
    size = lax.abs(x)
    part = size - lax.floor(size)
    return jnp.minimum(part, 1 - part)


def _lgamma_right(x: Any) -> Any:
    """Return lgamma of x of at least 0.5."""
    small = jnp.clip(x, 0.5, 3.0)
    near = (small - 1) * (small - 2) * rational(small, _LGAMMA)
    if x.dtype == jnp.float64:
        shifted = x < _SHIFT
        z = jnp.where(shifted, x + _SHIFT, jnp.maximum(x, _SHIFT))
        factors = jnp.where(shifted, x, 1.0)
        product = functools.reduce(lambda p, k: p * (factors + k), range(1, _SHIFT), factors)
        far = _stirling(z) - jnp.where(shifted, lax.log(product), 0.0)
    else:
        far = _stirling(jnp.maximum(x, 3.0))
    return jnp.where(x < 3, near, far)


def _stirling(z: Any) -> Any:
    """Return lgamma of large z by Stirling's series."""
    r = 1 / z
    terms = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI[:7], 1)]
    log = lax.log(z)
    return z * (log - 1) - log / 2 + math.log(2 * math.pi) / 2 + r * polynomial(r * r, terms[::-1])


def digamma(x: Any) -> Any:
    """Return the derivative of lgamma; at zero that is minus infinity, at the other poles NaN."""
    reflected = x < 0.5
    z = jnp.where(reflected, 1 - x, x)
    steps = _SHIFT if x.dtype == jnp.float64 else _SHIFT // 2
    shifted = z < steps
    start = jnp.where(shifted, z, 1.0)
    sums = functools.reduce(lambda s, k: s + 1 / (start + k), range(1, steps), 1 / start)
    far = jnp.where(shifted, z + steps, z)
    r = 1 / far
    terms = [b / (2 * k) for k, b in enumerate(_BERNOULLI[:7], 1)]
    value = lax.log(far) - r / 2 - r * r * polynomial(r * r, terms[::-1]) - jnp.where(shifted, sums, 0.0)
    # The cotangent has the period of the poles.
    part = x - lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)
    cot = lax.cos(math.pi * part) / lax.sin(math.pi * jnp.where(part == 0, 0.5, part))
    value = jnp.where(reflected, value - math.pi * cot, value)
    value = jnp.where((x < 0) & (part == 0), jnp.nan, value)
    return jnp.where(x == 0, -jnp.inf, value)


def zeta(x: Any, q: Any) -> Any:
    """Return Hurwitz's zeta function by the formula of Euler and Maclaurin, in XLA's order.

    The correction of the sum is NaN where it overflows, as XLA's is, although it is multiplied by 0 there.
    """
    shifted = q + _SHIFT
    total = functools.reduce(lambda s, k: s + lax.pow(q + k, -x), range(1, _SHIFT), lax.pow(q, -x))
    power = lax.pow(shifted, -x)
    inverse = 1 / (shifted * shifted)
    coefficients = [b / math.factorial(2 * k) for k, b in enumerate(_BERNOULLI, 1)]
    # The k-th one is multiplied by x (x + 1) … (x + 2k - 2) over shifted to the power of 2k - 1.
    correction = jnp.zeros_like(shifted)
    for k in range(len(coefficients) - 1, 0, -1):
        correction = (x + 2 * k) * (x + 2 * k - 1) * (inverse * (correction + coefficients[k]))
    correction = x / shifted * (coefficients[0] + correction)
    value = total + power * shifted / (x - 1) + power * (0.5 + correction)
    whole = x == lax.floor(x)
    value = jnp.where((x < 1) | ((q <= 0) & ~whole), jnp.nan, value)
    # At the poles JAX has no sign to choose but for even powers.
    even = whole & (x == 2 * lax.floor(x / 2)) & (lax.abs(x) < jnp.inf)
    value = jnp.where((q <= 0) & (q == lax.floor(q)), jnp.where(even, jnp.inf, jnp.nan), value)
    return jnp.where(x == 1, jnp.inf, value)


def polygamma(n: Any, x: Any) -> Any:
    """Return the n-th derivative of digamma, for whole n."""
    sign = jnp.where(n - 2 * lax.floor(n / 2) == 1, 1.0, -1.0)
    value = sign * lax.exp(lgamma(n + 1)) * zeta(n + 1, x)
    value = jnp.where(n == 0, digamma(x), value)
    return jnp.where((n < 0) | (n != lax.floor(n)), jnp.nan, value)


def bessel_i1e(x: Any) -> Any:
    """Return the exponentially scaled modified Bessel function of order one."""
    size = lax.abs(x)
    small = jnp.minimum(size, 8.0)
    large = jnp.maximum(size, 8.0)
    value = jnp.where(size < 8, small * rational(small, _I1E_SMALL), rational(1 / large, _I1E_LARGE) / lax.sqrt(large))
    return jnp.where(x < 0, -value, value)
