"""Which primitives give very large numbers: the rules of facts ``large``, and products: the facts ``multiplies``.

By default a result may be large where an operand may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx.plugin import Const, Facts

if TYPE_CHECKING:
    from jax2onnx.plugin import Atom, BoundLowerings, Eqn

_Known: TypeAlias = "Mapping[Any, Eqn]"
"""The equations of a program by their results."""

__all__ = ["register"]

_HIGH_POWER = 4


def grows(_eqn: Eqn, _large: Sequence[bool], _known: _Known) -> bool:
    """Ordinary operands give large results: ``cosh``, ``sinh``."""
    return True


def of_exponential(eqn: Eqn, _large: Sequence[bool], known: _Known) -> bool:
    """The exponential of a number minus the maximum is at most 1, as in a softmax."""
    operand = known.get(eqn.inputs[0])
    return operand is None or operand.primitive != "sub" or not _is_maximum(operand.inputs[1], known)


def _is_maximum(atom: Atom, known: _Known) -> bool:
    """Return whether a value is a maximum, in another shape or replaced where it is infinite."""
    eqn = known.get(atom)
    if eqn is None:
        return False
    if eqn.primitive in _REARRANGING or eqn.fused is not None:  # a maximum with 0 is jax.nn.relu
        return any(_is_maximum(operand, known) for operand in eqn.inputs)
    return eqn.primitive == "reduce_max"


def levels(_eqn: Eqn, _large: Sequence[bool], _known: _Known) -> bool:
    """Large operands give ordinary results: ``log``, ``tanh``."""
    return False


def of_integer_power(eqn: Eqn, large: Sequence[bool], _known: _Known) -> bool:
    """Squares and cubes of ordinary numbers are ordinary."""
    power = int(eqn.params["y"])
    return power < 0 or power >= _HIGH_POWER or (power > 0 and large[0])


def of_quotient(eqn: Eqn, large: Sequence[bool], _known: _Known) -> bool:
    """A reciprocal may be large; a quotient of ordinary numbers, such as a mean or what is normalised, is not."""
    return isinstance(eqn.inputs[0], Const) or any(large)


def of_bounds(eqn: Eqn, large: Sequence[bool], _known: _Known) -> bool:
    """A number between ordinary bounds is ordinary."""
    low, _, high = eqn.inputs
    return large[1] and not (_is_ordinary(low) and _is_ordinary(high))


def of_choice(_eqn: Eqn, large: Sequence[bool], _known: _Known) -> bool:
    """The choice itself is no number."""
    return any(large[1:])


def _is_ordinary(atom: object) -> bool:
    return isinstance(atom, Const) and bool(np.all(np.abs(np.asarray(atom.value).astype(np.float64)) < 1e3))


_GROW = ("cosh", "lgamma", "pow", "sinh")
_LEVEL = ("acosh", "asinh", "atan", "atan2", "cos", "erf", "erfc", "is_finite", "log", "log1p", "logistic",
          "sign", "sin", "tanh")  # fmt: skip
_EXPONENTIALS = ("exp", "exp2", "expm1")
_REARRANGING = ("broadcast_in_dim", "convert_element_type", "max", "reshape", "select_n", "squeeze", "stop_gradient")
_PRODUCTS = ("conv_general_dilated", "dot_general", "mul", "ragged_dot_general")


def register(registry: BoundLowerings) -> None:
    """Register the rules."""
    rules = {
        **dict.fromkeys(_GROW, grows),
        **dict.fromkeys(_LEVEL, levels),
        **dict.fromkeys(_EXPONENTIALS, of_exponential),
        "clamp": of_bounds,
        "div": of_quotient,
        "integer_pow": of_integer_power,
        "select_n": of_choice,
    }
    registry.facts({name: Facts(large=rule) for name, rule in rules.items()})
    registry.facts({name: Facts(multiplies=True) for name in _PRODUCTS})
