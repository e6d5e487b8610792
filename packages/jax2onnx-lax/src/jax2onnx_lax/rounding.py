"""Where the rounding errors of primitives arise, if it is not in each result for itself; ``check`` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.plugin import BoundLowerings

_UNIT = ("erf", "erfc", "logistic", "tanh")
"""Functions that go to 1. The kernels of onnxruntime are accurate to a unit in the last place of 1."""
_TERMS = (
    "conv_general_dilated", "cumlogsumexp", "cumsum", "dot_general", "ragged_dot_general", "reduce",
    "reduce_sum", "reduce_window", "reduce_window_sum", "scatter-add", "scatter-sub",
)  # fmt: skip
"""Sums: a small result of large terms has the errors of these."""
_EXTREMA = ("reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min")
"""XLA on a CPU passes over NaN in them from a few hundred numbers on."""
_ORDER = ("approx_top_k", "top_k")
"""XLA orders NaN by its sign, which is that of the operation that made it: ``inf - inf`` is negative on a CPU."""
_ROWS = ("fft",)
_ROOTS = ("digamma", "lgamma")
"""Functions with zeros at numbers that are not 0: JAX's own result there is as large as the rounding of the operand."""
_MATRIX = (
    "cholesky", "cholesky_update", "eig", "eigh", "geqrf", "geqp3", "hessenberg", "householder_product", "lu", "qr",
    "schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve",
)  # fmt: skip
"""Factorisations and solutions: backward stable, that is, exact for a matrix nearby."""


def _angle(eqn: Any) -> Callable[..., Any] | None:
    """Return by which steps JAX computes ``atan2`` of complex numbers: rounding decides between pi and -pi."""
    if not np.issubdtype(eqn.invars[0].aval.dtype, np.complexfloating):
        return None

    def angle(y: Any, x: Any) -> Any:
        turned = jnp.log((x + 1j * y) / jnp.sqrt(x * x + y * y))
        return lax.complex(jnp.imag(turned), -jnp.real(turned))

    return angle


FACTS = {
    "atan2": Facts(steps=_angle),
    **dict.fromkeys(_UNIT, Facts(rounding="unit")),
    **dict.fromkeys(_ROOTS, Facts(rounding="terms")),
    **dict.fromkeys(_TERMS, Facts(rounding="terms")),
    **dict.fromkeys(_EXTREMA, Facts(rounding="extremum")),
    **dict.fromkeys(_ORDER, Facts(rounding="order")),
    **dict.fromkeys(_ROWS, Facts(rounding="rows")),
    **dict.fromkeys(_MATRIX, Facts(rounding="matrix")),
}

_FINITE = Facts(vanishes=jnp.isfinite)
_NOT_ZERO = Facts(vanishes=lambda x: x != 0)

VANISHING = {
    **dict.fromkeys(("erfc", "exp", "exp2", "logistic"), _FINITE),
    **dict.fromkeys(("convert_element_type", "reduce_precision", "square"), _NOT_ZERO),
    "integer_pow": Facts(vanishes=lambda x: (x != 0) & jnp.isfinite(x)),
    "mul": Facts(vanishes=lambda x, y: (x != 0) & (y != 0)),
    "div": Facts(vanishes=lambda x, y: (x != 0) & jnp.isfinite(y)),
    "pow": Facts(vanishes=lambda x, y: (x != 0) & jnp.isfinite(x) & jnp.isfinite(y)),
}
"""Primitives whose result may be smaller than any normal number, though the operands are not."""


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(FACTS)
    registry.facts(VANISHING)
