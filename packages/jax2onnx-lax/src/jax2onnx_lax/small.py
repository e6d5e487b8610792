"""Which operands of a primitive have to be exact where they are small: the rules of facts ``small``.

A *need* of a result passes to the operands (the default), or ends; it begins where a small number becomes a large one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx.plugin import Const, Facts, Need

if TYPE_CHECKING:
    from jax2onnx.plugin import Atom, BoundLowerings, Eqn

__all__ = ["register"]

_Pairs: TypeAlias = "Sequence[tuple[Atom, Need]]"

_ALL = Need()
_ORDER = Need(sums=False)
_LARGE = 5e-4


def stop(_eqn: Eqn, _need: Need) -> _Pairs:
    """A small operand gives no small result: ``exp``, ``cos``."""
    return ()


def sink(eqn: Eqn, _need: Need) -> _Pairs:
    """Small operands become large results, of their own: ``log``, ``rsqrt``, a pole."""
    return [(atom, _ALL) for atom in eqn.inputs]


def of_order(eqn: Eqn, _need: Need) -> _Pairs:
    """The order of small numbers decides: ``sort``, ``argmax``, ``ceil``."""
    return [(atom, _ORDER) for atom in eqn.inputs]


def of_comparison(eqn: Eqn, _need: Need) -> _Pairs:
    """A comparison with a number that is not small needs nothing."""
    for number in map(_smallest, eqn.inputs):
        if number is not None and number >= _LARGE:
            return ()
    return [(atom, _ORDER) for atom in eqn.inputs]


def of_sum(eqn: Eqn, need: Need) -> _Pairs:
    """A constant hides what is smaller than itself."""
    for number in map(_smallest, eqn.inputs):
        if number is not None:
            floor = max(need.floor, number)
            return [(atom, replace(need, floor=floor)) for atom in eqn.inputs]
    return [(atom, need) for atom in eqn.inputs] if need.sums else ()


def of_sums(eqn: Eqn, need: Need) -> _Pairs:
    """Products of arrays add many numbers."""
    return [(atom, need) for atom in eqn.inputs] if need.sums else ()


def of_product(eqn: Eqn, need: Need) -> _Pairs:
    """The product of a number with itself is its square; a constant factor moves the floor."""
    x, y = eqn.inputs
    if x is y:
        return of_square(eqn, need)
    for number in map(_largest, eqn.inputs):
        if number:
            need = replace(need, floor=need.floor / number)
    return [(x, need), (y, need)]


def of_square(eqn: Eqn, need: Need) -> _Pairs:
    """Return the need of the root: sums of squares are norms."""
    return [(eqn.inputs[0], Need(math.sqrt(need.floor), sums=False))]


def of_quotient(eqn: Eqn, need: Need) -> _Pairs:
    """A denominator is a sink; beside a small one, so is the numerator."""
    x, y = eqn.inputs
    number = _largest(y)
    if number is None:
        return [(x, replace(need, floor=0.0)), (y, _ALL)]
    return [(x, replace(need, floor=need.floor * number))]


def of_integer_power(eqn: Eqn, need: Need) -> _Pairs:
    """A negative power is a denominator."""
    power = eqn.params["y"]
    if power < 0:
        return [(eqn.inputs[0], _ALL)]
    if power == 0:
        return ()
    return [(eqn.inputs[0], Need(need.floor ** (1 / power), sums=need.sums and power == 1))]


def of_root(eqn: Eqn, _need: Need) -> _Pairs:
    """A root makes a small number less small."""
    return [(eqn.inputs[0], _ALL)]


def of_power(eqn: Eqn, _need: Need) -> _Pairs:
    """A power may be a root; the power 0 of a negative number is 1, and that of almost 0 is NaN."""
    base, exponent = eqn.inputs
    lowest = _smallest(base)
    if lowest is not None and np.all(_array(base) > 0):
        return ()
    return [(base, _ALL), (exponent, _ORDER)]


def of_maximum(eqn: Eqn, need: Need) -> _Pairs:
    """A positive constant hides what is smaller than itself."""
    for atom in eqn.inputs:
        number = _smallest(atom)
        if number is not None and np.all(_array(atom) > 0):
            need = replace(need, floor=max(need.floor, number))
    return [(atom, need) for atom in eqn.inputs]


def of_clamp(eqn: Eqn, need: Need) -> _Pairs:
    """A positive lower bound hides what is smaller than itself."""
    low, x, _ = eqn.inputs
    number = _smallest(low)
    if number is not None and np.all(_array(low) > 0):
        need = replace(need, floor=max(need.floor, number))
    return [(x, need)]


def of_conversion(eqn: Eqn, need: Need) -> _Pairs:
    """A bool is a comparison with 0, an integer has no small numbers."""
    kind = np.dtype(eqn.params["new_dtype"]).kind
    if kind == "b":
        return of_order(eqn, need)
    return [] if kind in "iu" else [(eqn.inputs[0], need)]


def of_select(eqn: Eqn, need: Need) -> _Pairs:
    """The choice itself is no number."""
    return [(atom, need) for atom in eqn.inputs[1:]]


def _array(atom: Atom) -> Any:
    assert isinstance(atom, Const)
    return np.asarray(atom.value)


def _magnitudes(atom: Atom) -> np.ndarray[Any, Any] | None:
    """Return the magnitudes of the numbers in a constant; None for what is none."""
    array = _array(atom) if isinstance(atom, Const) else None
    return np.abs(array.astype(np.float64)) if array is not None and array.size else None


def _smallest(atom: Atom) -> float | None:
    """Return the smallest magnitude in a constant; None for what is none."""
    magnitudes = _magnitudes(atom)
    return None if magnitudes is None else float(magnitudes.min())


def _largest(atom: Atom) -> float | None:
    magnitudes = _magnitudes(atom)
    return None if magnitudes is None else float(magnitudes.max())


_STOP = ("acos", "acosh", "cos", "cosh", "erfc", "exp", "exp2", "is_finite", "logistic", "round")
_SINKS = ("atan2", "digamma", "lgamma", "log", "log2", "polygamma", "rsqrt", "zeta")
_ORDERED = ("approx_top_k", "argmax", "argmin", "bitcast_convert_type", "ceil", "eq_to", "floor", "le_to", "lt_to",
            "nextafter", "sign", "sort", "top_k")  # fmt: skip
_COMPARISONS = ("eq", "ge", "gt", "le", "lt", "ne")
_SUMS = ("conv_general_dilated", "dot_general", "ragged_dot_general")
_RULES = {
    **dict.fromkeys(_STOP, stop),
    **dict.fromkeys(_SINKS, sink),
    **dict.fromkeys(_ORDERED, of_order),
    **dict.fromkeys(_COMPARISONS, of_comparison),
    **dict.fromkeys(_SUMS, of_sums),
    "add": of_sum,
    "add_any": of_sum,
    "cbrt": of_root,
    "clamp": of_clamp,
    "convert_element_type": of_conversion,
    "div": of_quotient,
    "integer_pow": of_integer_power,
    "max": of_maximum,
    "mul": of_product,
    "pow": of_power,
    "rem": of_quotient,
    "select_n": of_select,
    "sqrt": of_root,
    "square": of_square,
    "sub": of_sum,
}
"""Every other primitive passes a need of its result to all its operands."""


def register(registry: BoundLowerings) -> None:
    """Register the rules."""
    registry.facts({name: Facts(small=rule) for name, rule in _RULES.items()})
