"""What may be done apart from a scan, for all its steps at once: which equations, and in how much memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx.plugin import InconclusiveDimensionOperation, is_static, open_jaxpr
from jax2onnx_lax.hash_equations import MOVED, SCALAR, opened_call

if TYPE_CHECKING:
    from jax2onnx_lax.scan_steps import Step

__all__ = ["FREE", "Memory", "can_be_traced", "is_loop", "opened"]

_MOST_BYTES = 2**24
"""How much what is done apart may take in all; JAX holds a single step's."""
_WIDER = 4
"""How many times as large as the largest value of a step another one may be, where sizes are symbolic."""
FREE = frozenset(
    {"broadcast_in_dim", "copy", "dim_as_value", "expand_dims", "iota", "reshape", "squeeze", "stop_gradient"}
)
"""Primitives that are often no nodes."""
_APART = MOVED | SCALAR | {"dim_as_value", "dot_general"}
"""Primitives that are the same for all steps at once."""
_OPENED = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


@dataclass(frozen=True, slots=True)
class Memory:
    """How much memory the values of all steps may take.

    Attributes:
        constants: how many inputs of a step are the same in all steps.
        length: how many steps there are.
        largest: how many bytes the largest value of those beside takes in a step where all symbolic dims are 1.
        widths: the products of the symbolic dims of what is held for all steps anyway.
    """

    constants: int
    length: Any
    largest: int
    widths: frozenset[Any]

    @classmethod
    def of(cls, jaxpr: Any, constants: int, carries: int, length: Any, beside: Iterable[Any]) -> Memory:
        """Return the memory of a scan.

        Args:
            jaxpr: that of a step.
            constants: how many inputs are the same in all steps.
            carries: how many inputs, after these, are carried.
            length: how many steps there are.
            beside: the variables of a step with which others are compared.
        """
        largest = max((_bytes_of(v.aval) for v in beside), default=0)
        held = (*jaxpr.invars[constants + carries :], *jaxpr.outvars[carries:])
        return cls(constants, length, largest, frozenset({1, *(_width_of(v.aval) for v in held)}))

    def may_be_apart(self, step: Step) -> bool:
        """Return whether the equation is the same for all steps at once, and its values may be held for all steps."""
        if step.name not in _APART:
            return False
        made = [v.aval for v in step.eqn.outvars]
        read = [v.aval for v in step.eqn.invars]
        if not all(isinstance(aval.dtype, np.dtype) for aval in (*made, *read)):
            return False
        shared = range(self.constants)
        varying = [aval for aval, number in zip(read, step.reads, strict=True) if number not in shared]
        return all(map(self._may_hold, (*made, *varying)))

    def _may_hold(self, aval: Any) -> bool:
        """Return whether a value may be held for all steps; those of known sizes are counted in all.

        One with a symbolic dim that nothing else has which is held for all steps may not:
        the caches of all words of a text take the square of its length.
        """
        if is_static(self.length, *aval.shape):
            return True
        return _bytes_of(aval) <= _WIDER * self.largest and any(_is_at_most(_width_of(aval), w) for w in self.widths)

    def is_enough_for(self, steps: Sequence[Step]) -> bool:
        """Return whether what steps make, of known sizes, takes little memory for all steps."""
        made = [v.aval for step in steps for v in step.eqn.outvars]
        known = [aval for aval in made if is_static(self.length, *aval.shape)]
        return not known or int(self.length) * sum(map(_bytes_of, known)) <= _MOST_BYTES


def _bytes_of(aval: Any) -> int:
    """Return how many bytes a value takes where all symbolic dims are 1."""
    return int(math.prod(dim for dim in aval.shape if is_static(dim)) * aval.dtype.itemsize)


def _width_of(aval: Any) -> Any:
    """Return the product of a value's symbolic dims."""
    return math.prod(dim for dim in aval.shape if not is_static(dim))


def _is_at_most(width: Any, other: Any) -> bool:
    """Return whether JAX knows that a product of symbolic dims is not larger than another."""
    try:
        return bool(width <= other)
    except InconclusiveDimensionOperation:
        return False


def can_be_traced(function: Callable[..., Any], avals: Sequence[Any]) -> bool:
    """Return whether JAX decides the comparisons of sizes that arise where all steps are done at once."""
    if all(is_static(*aval.shape) for aval in avals):
        return True
    try:
        jax.eval_shape(function, *[jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals])
    except InconclusiveDimensionOperation:
        return False
    return True


def is_loop(length: Any) -> bool:
    """Return whether there are several steps, or as many as a symbolic dim has, of which JAX knows that it is not 0."""
    try:
        return bool(length >= 2) if is_static(length) else bool(length >= 1)
    except InconclusiveDimensionOperation:
        return False


def opened(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, of an equation that only calls it; else None."""
    called = opened_call(eqn)
    if called is not None:
        return called
    inner = eqn.params.get(_OPENED.get(eqn.primitive.name, ""))
    return None if inner is None else open_jaxpr(inner)
