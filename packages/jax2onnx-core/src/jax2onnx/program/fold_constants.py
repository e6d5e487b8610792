"""Constants: small equations whose operands are known are computed at conversion.

Indexing with Python numbers, ranges, strided slices and the weights of an interpolation leave chains of such equations
in a jaxpr; computed here, what uses them sees constants. How a primitive is computed is one of its facts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from jax2onnx.program.program import Atom, Const, Eqn, Program, substitute
from jax2onnx.program.shapes import is_static

__all__ = ["LARGEST", "fold"]

LARGEST = 2**16
"""Constants of up to this many elements are computed."""

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
"""Floating dtypes of constants that are computed."""


def fold(program: Program) -> Program:
    """Return the program without the equations whose results are known."""
    read_by_fused = _read_by_fused(program)
    known: dict[Atom, Atom] = {}
    kept: list[Eqn] = []
    for eqn in program.eqns:
        if eqn.fused is not None:
            if not _fold_fused(eqn, known):
                kept.append(eqn)
            continue
        new = _with_known(eqn, known)
        value = _result(new)
        if value is not None:
            known[eqn.outputs[0]] = value
        if value is None or eqn.outputs[0] in read_by_fused:
            kept.append(new)
    outputs = substitute(program.outputs, known)
    return Program(program.inputs, kept, outputs)


def _read_by_fused(program: Program) -> set[Atom]:
    """Return the operands of whole functions: the equations that these replace still name the variables themselves."""
    read: set[Atom] = set()
    for eqn in program.eqns:
        if eqn.fused is not None:
            read.update(eqn.inputs)
    return read


def _with_known(eqn: Eqn, known: dict[Atom, Atom]) -> Eqn:
    if known.keys().isdisjoint(eqn.inputs):
        return eqn
    return replace(eqn, inputs=substitute(eqn.inputs, known))


def _fold_fused(eqn: Eqn, known: dict[Atom, Atom]) -> bool:
    """Compute a whole function of constants into ``known``; return whether that was possible."""
    assert eqn.fused is not None
    operands = substitute(eqn.inputs, known)
    if not all(isinstance(operand, Const) for operand in operands):
        return False
    inside = dict(known)
    for inner in eqn.fused.interior:
        value = _result(_with_known(inner, inside))
        if value is not None:
            inside[inner.outputs[0]] = value
    if not inside.keys() >= set(eqn.outputs):
        return False
    for output in eqn.outputs:
        known[output] = inside[output]
    return True


def _result(eqn: Eqn) -> Atom | None:
    """Return the result of an equation with one result if it is a small constant or its operand, else None."""
    if len(eqn.outputs) != 1:
        return None
    aval = eqn.outputs[0].aval
    facts = eqn.facts
    if facts.unit is not None and _is_exact(aval):
        operand = _operand_besides_unit(eqn, facts.unit)
        if operand is not None:
            return operand
    if facts.fold is None or eqn.params.get("out_dtype") is not None:
        return None
    return _computed(eqn, facts.fold, aval)


def _operand_besides_unit(eqn: Eqn, unit: int) -> Atom | None:
    """Return the operand that is the result, since the other one is a scalar ``unit``; None if there is none."""
    shape = eqn.outputs[0].aval.shape
    for operand, other in (eqn.inputs, eqn.inputs[::-1]):
        if _is_scalar(other, unit) and operand.aval.shape == shape:
            return operand
    return None


def _is_scalar(atom: Atom, value: int) -> bool:
    return isinstance(atom, Const) and atom.aval.shape == () and int(atom.value) == value


def _computed(eqn: Eqn, function: Any, aval: Any) -> Const | None:
    """Return what numpy computes of an equation's operands; None if one is no small constant."""
    arrays = []
    for operand in eqn.inputs:
        if not isinstance(operand, Const) or not _is_foldable(operand.aval):
            return None
        arrays.append(np.asarray(operand.value, operand.aval.dtype))
    if not _is_foldable(aval):
        return None
    with np.errstate(all="ignore"):
        value = function(eqn.params, *arrays)
        if value is None:
            return None
        result = np.asarray(value).astype(aval.dtype)
    return Const(aval, result.reshape(aval.shape))


def _is_exact(aval: Any) -> bool:
    """Return whether numpy and any runtime agree on arrays of this abstract value to the last bit."""
    dtype = getattr(aval, "dtype", None)  # a token has none
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"


def _is_foldable(aval: Any) -> bool:
    """Return whether arrays of this abstract value are small and of a dtype that is computed."""
    if not is_static(*aval.shape) or math.prod(aval.shape) > LARGEST:
        return False
    return _is_exact(aval) or str(aval.dtype) in _FLOATS
