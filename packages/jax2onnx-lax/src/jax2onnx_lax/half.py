"""Which primitives are computed in float16 or bfloat16 where a user asks for that: the facts ``half``.

Products of arrays are, and what moves, selects, adds or bends their results. What sums, divides, takes roots or
exponentials is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import Facts

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

__all__ = ["register"]

_COMPUTES = ("conv_general_dilated", "dot_general")
_FOLLOWS = (
    *("broadcast_in_dim", "concatenate", "dynamic_slice", "expand_dims", "gather", "pad", "reshape", "rev", "slice"),
    *("split", "squeeze", "tile", "transpose"),
    *("abs", "add", "add_any", "clamp", "erf", "integer_pow", "logistic", "max", "min", "mul", "neg", "select_n"),
    *("square", "sub", "tanh"),
    *("reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min"),
)
_BITS = ("bitcast_convert_type", "nextafter", "random_bits", "reduce_precision")

FACTS = {
    **{name: Facts(half="computes") for name in _COMPUTES},
    **{name: Facts(half="follows") for name in _FOLLOWS},
    **{name: Facts(half="bits") for name in _BITS},
}


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(FACTS)
