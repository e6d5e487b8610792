"""Known values: equations whose operands are known at conversion are computed, by numpy or by JAX itself.

numpy computes what a primitive's facts say how to. All else is done by JAX, equation by equation on the CPU, as it does
outside of ``jit``; so the numbers are those that the user sees. What it may cost is bounded, in elements and in steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx._compat import ShapedArray, bind, neutral
from jax2onnx.program.graph import has_effect
from jax2onnx.program.program import Const
from jax2onnx.program.represent import from_form, is_special, represented
from jax2onnx.program.shapes import is_static

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.program.program import Atom, Eqn, Var

__all__ = ["LARGEST", "MOST_ELEMENTS", "MOST_STEPS", "Known", "holds_nothing", "is_constant"]

LARGEST = 2**16
"""Constants of up to this many elements are stored, however small what they are made of is."""

MOST_ELEMENTS = 2**24
"""Arrays of up to this many elements are computed, and read."""

MOST_STEPS = 2.0**31
"""All that is computed of one program takes no more than about this many steps: elements, or multiplications."""

_STEPS_OF_CALL = 2.0**21
"""What one equation costs whatever its size, since JAX compiles it."""

_STEPS_OF_ITERATION = 2.0**10
"""What one equation in a body costs whatever its size."""

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
"""Floating dtypes that numpy computes with."""


class _NotComputedError(Exception):
    """An equation is not computed at conversion; the message says why."""


@dataclass(slots=True, eq=False)
class Known:
    """The values of one program that were computed.

    Attributes:
        refused: equations of known operands that were not computed, and why.
    """

    refused: dict[Eqn, str] = field(default_factory=dict)
    _values: dict[Var, Any] = field(default_factory=dict)
    _steps: float = MOST_STEPS

    def __contains__(self, atom: Atom) -> bool:
        return isinstance(atom, Const) or atom in self._values or is_empty(atom)

    def array(self, atom: Atom) -> Any:
        """Return a known value as a numpy array."""
        if isinstance(atom, Const):
            return np.asarray(atom.value, atom.aval.dtype)
        if is_empty(atom):
            return np.empty(atom.aval.shape, atom.aval.dtype)
        return self._values[atom]

    def const(self, atom: Atom) -> Atom:
        """Return a known value as a constant."""
        return atom if isinstance(atom, Const) else Const(atom.aval, self.array(atom))

    def has_computed(self, atom: Atom) -> bool:
        """Return whether a value is the result of an equation that was computed."""
        return atom in self._values

    def forget(self, atom: Atom) -> None:
        """Drop the array of a value that nobody will ask for again."""
        if atom in self._values:
            self._values[atom] = None

    def learn(self, eqn: Eqn) -> bool:
        """Compute the results of an equation if its operands are known; return whether they are known then."""
        if holds_nothing(eqn):
            return True
        # Of most equations an operand is not known: that is asked first.
        if not all(operand in self for operand in eqn.inputs):
            return eqn.facts.decided is not None and self._is_decided(eqn)
        if not is_constant(eqn):
            return False
        results = self._by_numpy(eqn)
        if results is None:
            try:
                results = self._by_jax(eqn)
            except _NotComputedError as reason:
                self.refused[eqn] = str(reason)
                return False
        self._values.update(zip(eqn.outputs, results, strict=True))
        return True

    def _is_decided(self, eqn: Eqn) -> bool:
        """Note the result of an equation that the operands which are known decide; return whether they do."""
        (output,) = eqn.outputs
        is_plain = is_constant(eqn) and all(map(_is_numpys, [output.aval, *[operand.aval for operand in eqn.inputs]]))
        if eqn.facts.decided is None or not is_plain or (eqn.origin is not None and is_special(eqn.origin)):
            return False
        number = eqn.facts.decided(eqn.params, *[self.array(x) if x in self else None for x in eqn.inputs])
        if number is None:
            return False
        self._values[output] = np.full(output.aval.shape, number, output.aval.dtype)
        return True

    def _by_numpy(self, eqn: Eqn) -> list[Any] | None:
        """Return the results of an equation of which a fact says how numpy computes them; else None."""
        function = eqn.facts.fold
        if function is None or eqn.params.get("out_dtype") is not None:
            return None
        avals = [output.aval for output in eqn.outputs]
        if not all(map(_is_numpys, [*avals, *[operand.aval for operand in eqn.inputs]])):
            return None
        if eqn.origin is not None and is_special(eqn.origin):
            return None
        operands = map(self.array, eqn.inputs)
        with np.errstate(all="ignore"):
            found = function(eqn.params, *operands)
            if found is None:
                return None
            values = [found] if len(avals) == 1 else found
            arrays = [np.asarray(value).astype(aval.dtype) for value, aval in zip(values, avals, strict=True)]
        return [array.reshape(aval.shape) for array, aval in zip(arrays, avals, strict=True)]

    def _by_jax(self, eqn: Eqn) -> list[Any]:
        """Return the results that JAX computes of an equation.

        Raises:
            _NotComputedError: JAX cannot, or it may take too long.
        """
        if eqn.origin is None or eqn.origin.primitive.name != eqn.primitive:
            raise _NotComputedError("it is not an operation of JAX")
        _check_sizes(eqn)
        steps = _steps(eqn) + _STEPS_OF_CALL
        if steps > self._steps:
            raise _NotComputedError(f"it may take more than {MOST_STEPS:.0e} steps")
        iterations = int(self._steps / steps)
        self._steps -= steps
        operands = list(map(self.array, eqn.inputs))
        return _evaluate(eqn, operands, iterations)


def is_constant(eqn: Eqn) -> bool:
    """Return whether the results of an equation are constants wherever its operands are."""
    if eqn.facts.size or has_effect(eqn) or (eqn.origin is not None and eqn.origin.effects):
        return False
    avals = [atom.aval for atom in (*eqn.inputs, *eqn.outputs)]
    return all(isinstance(aval, ShapedArray) and is_static(*aval.shape) for aval in avals)


def is_empty(atom: Atom) -> bool:
    """Return whether a value is an array without elements at any size of symbolic dims: it is known, an input too.

    Kernels of runtimes, and the shape inference of onnx before 1.20, often have no such arrays in mind.
    """
    aval = atom.aval
    return isinstance(aval, ShapedArray) and 0 in aval.shape and is_static(*aval.shape)


def holds_nothing(eqn: Eqn) -> bool:
    """Return whether all that an equation does is to make arrays without elements."""
    if not all(map(is_empty, eqn.outputs)):
        return False
    return not has_effect(eqn) and (eqn.origin is None or not eqn.origin.effects)


def _is_numpys(aval: Any) -> bool:
    """Return whether numpy computes with arrays of this abstract value as JAX does."""
    dtype = aval.dtype
    is_exact = isinstance(dtype, np.dtype) and dtype.kind in "iub"
    return (is_exact or str(dtype) in _FLOATS) and math.prod(aval.shape) <= MOST_ELEMENTS


def _check_sizes(eqn: Eqn) -> None:
    """Raise an error if an operand or a result of an equation is too large."""
    for atom in (*eqn.inputs, *eqn.outputs):
        if math.prod(atom.aval.shape) > MOST_ELEMENTS:
            raise _NotComputedError(f"{atom.aval.str_short()} has more than {MOST_ELEMENTS} elements")


def _steps(eqn: Eqn) -> float:
    """Return about how many steps computing an equation takes, or one iteration of it if nobody knows how many."""
    bodies = [sum(map(_steps_inside, body.program.eqns)) for body in eqn.bodies]
    sizes = [math.prod(atom.aval.shape) for atom in (*eqn.inputs, *eqn.outputs)]
    own = sum(bodies) if eqn.facts.work is None else eqn.facts.work(eqn, bodies)
    total: float = sum(sizes) + own
    return total


def _steps_inside(eqn: Eqn) -> float:
    """Return about how many steps an equation takes in a body: any number where nobody knows how many iterations."""
    if eqn.facts.bounded is not None or not is_constant(eqn):
        return math.inf
    return _steps(eqn) + _STEPS_OF_ITERATION


def _evaluate(eqn: Eqn, operands: Sequence[Any], iterations: int) -> list[Any]:
    """Return what JAX computes of an equation's operands, which have the form of a border, as the results have."""
    avals = [variable.aval for variable in eqn.origin.invars]
    given = [atom.aval for atom in (*eqn.origin.invars, *eqn.origin.outvars)]
    cpu = jax.local_devices(backend="cpu")[0]
    try:
        with jax.ensure_compile_time_eval(), neutral(given), jax.default_device(cpu), eqn.origin.ctx.manager:
            arrays = [from_form(jax.numpy.asarray(x), aval) for x, aval in zip(operands, avals, strict=True)]
            if eqn.facts.bounded is None:
                done = True
                results = bind(eqn.origin.primitive, arrays, eqn.params)
            else:
                function = eqn.facts.bounded(eqn, iterations)
                results, done = jax.jit(function)(*arrays)
            computed = list(map(represented, results))
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise _NotComputedError(f"JAX cannot compute it here: {lines[0]}") from error
    if not done:
        raise _NotComputedError(f"it takes more than {iterations} iterations")
    for result, output in zip(computed, eqn.outputs, strict=True):
        if result.dtype != output.aval.dtype or result.shape != output.aval.shape:
            raise _NotComputedError("JAX computes it in another dtype here")
    return computed
