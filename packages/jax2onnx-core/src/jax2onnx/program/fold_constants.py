"""Constants: small equations whose operands are known are computed at conversion.

Indexing with Python numbers, ranges, strided slices and the weights of an interpolation leave chains of such equations
in a jaxpr; computed here, what uses them sees constants. How a primitive is computed is one of its facts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import is_symbolic
from jax2onnx.program.program import Atom, Const, Eqn, Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LARGEST", "fold"]

LARGEST = 2**16
"""Constants of up to this many elements are computed."""

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
"""Floating dtypes of constants that are computed."""


def fold(program: Program) -> Program:
    """Return the program without the equations whose results are known."""
    # What a fusion replaced still names the variables themselves.
    named: set[Atom] = set()
    for eqn in program.eqns:
        if eqn.fused is not None:
            named.update(eqn.inputs)
    known: dict[Atom, Atom] = {}
    kept: list[Eqn] = []
    for eqn in program.eqns:
        if eqn.fused is not None:
            if not _fold_fused(eqn, known):
                kept.append(eqn)
            continue
        inputs = eqn.inputs if known.keys().isdisjoint(eqn.inputs) else [known.get(a, a) for a in eqn.inputs]
        value = _result(eqn, inputs)
        if value is not None:
            known[eqn.outputs[0]] = value
        if value is None or eqn.outputs[0] in named:
            kept.append(eqn if inputs is eqn.inputs else replace(eqn, inputs=inputs))
    return Program(program.inputs, kept, [known.get(a, a) for a in program.outputs])


def _fold_fused(eqn: Eqn, known: dict[Atom, Atom]) -> bool:
    """Compute a whole function of constants into ``known``; return whether that was possible."""
    assert eqn.fused is not None
    if not all(isinstance(known.get(a, a), Const) for a in eqn.inputs):
        return False
    inside = dict(known)
    for inner in eqn.fused.interior:
        value = _result(inner, [inside.get(a, a) for a in inner.inputs])
        if value is not None:
            inside[inner.outputs[0]] = value
    if not inside.keys() >= set(eqn.outputs):
        return False
    known.update((output, inside[output]) for output in eqn.outputs)
    return True


def _result(eqn: Eqn, operands: Sequence[Atom]) -> Atom | None:
    """Return the result of an equation with one result if it is a small constant or its operand, else None."""
    facts = eqn.facts
    if len(eqn.outputs) != 1:
        return None
    aval = eqn.outputs[0].aval
    if facts.unit is not None and _is_exact(aval):
        for operand, other in (operands, operands[::-1]):
            if _is_scalar(other, facts.unit) and operand.aval.shape == aval.shape:
                return operand
    if facts.fold is None or eqn.params.get("out_dtype") is not None:
        return None
    return _computed(facts.fold, eqn.params, operands, aval)


def _computed(rule: Any, params: Mapping[str, Any], operands: Sequence[Atom], aval: Any) -> Const | None:
    arrays = []
    for operand in operands:
        if not isinstance(operand, Const):
            return None
        arrays.append(operand)
    if not all(_is_foldable(a) for a in (aval, *(c.aval for c in arrays))):
        return None
    with np.errstate(all="ignore"):
        value = rule(params, *(np.asarray(c.value, c.aval.dtype) for c in arrays))
        return None if value is None else Const(aval, np.asarray(value).astype(aval.dtype).reshape(aval.shape))


def _is_exact(aval: Any) -> bool:
    """Return whether numpy and any runtime agree on arrays of this abstract value to the last bit."""
    dtype = getattr(aval, "dtype", None)  # a token has none
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"


def _is_foldable(aval: Any) -> bool:
    """Return whether arrays of this abstract value are small and of a dtype that is computed."""
    if any(is_symbolic(d) for d in aval.shape) or math.prod(aval.shape) > LARGEST:
        return False
    return _is_exact(aval) or str(getattr(aval, "dtype", None)) in _FLOATS


def _is_scalar(atom: Atom, value: int) -> bool:
    return isinstance(atom, Const) and atom.aval.shape == () and int(atom.value) == value
