"""Which primitives give very large numbers: the rules of facts ``large``, and products: the facts ``multiplies``.

By default a result may be large where an operand may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.plugin import Const, Facts

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings, Eqn

__all__ = ["register"]

_HIGH_POWER = 4


def grows(_eqn: Eqn, _large: Sequence[bool]) -> bool:
    """Ordinary operands give large results: ``exp``, ``sinh``."""
    return True


def levels(_eqn: Eqn, _large: Sequence[bool]) -> bool:
    """Large operands give ordinary results: ``log``, ``tanh``."""
    return False


def of_integer_power(eqn: Eqn, large: Sequence[bool]) -> bool:
    """Squares and cubes of ordinary numbers are ordinary."""
    power = int(eqn.params["y"])
    return power < 0 or power >= _HIGH_POWER or (power > 0 and large[0])


def of_quotient(eqn: Eqn, large: Sequence[bool]) -> bool:
    """A reciprocal may be large; a quotient of ordinary numbers, such as a mean or what is normalised, is not."""
    return isinstance(eqn.inputs[0], Const) or any(large)


def of_bounds(eqn: Eqn, large: Sequence[bool]) -> bool:
    """A number between ordinary bounds is ordinary."""
    low, _, high = eqn.inputs
    return large[1] and not (_is_ordinary(low) and _is_ordinary(high))


def of_choice(_eqn: Eqn, large: Sequence[bool]) -> bool:
    """The choice itself is no number."""
    return any(large[1:])


def _is_ordinary(atom: object) -> bool:
    return isinstance(atom, Const) and bool(np.all(np.abs(np.asarray(atom.value).astype(np.float64)) < 1e3))


_GROW = ("cosh", "exp", "exp2", "expm1", "lgamma", "pow", "sinh")
_LEVEL = ("acosh", "asinh", "atan", "atan2", "cos", "erf", "erfc", "is_finite", "log", "log1p", "logistic",
          "sign", "sin", "tanh")  # fmt: skip
_PRODUCTS = ("conv_general_dilated", "dot_general", "mul", "ragged_dot_general")


def register(registry: BoundLowerings) -> None:
    """Register the rules."""
    rules = {
        **dict.fromkeys(_GROW, grows),
        **dict.fromkeys(_LEVEL, levels),
        "clamp": of_bounds,
        "div": of_quotient,
        "integer_pow": of_integer_power,
        "select_n": of_choice,
    }
    registry.facts({name: Facts(large=rule) for name, rule in rules.items()})
    registry.facts({name: Facts(multiplies=True) for name in _PRODUCTS})
