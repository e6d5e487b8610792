"""Halve: a program and its weights, in the precision that the user asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.program.keep import KeepList
from jax2onnx.program.precision import (
    HALVES,
    SMALLEST,
    choose,
    computed_in_half,
    rounded,
    survives,
    weights,
)
from jax2onnx.program.program import Const, Program
from jax2onnx.program.retype import retype

if TYPE_CHECKING:
    from jax2onnx.program.facts import FactTable

__all__ = ["Halved", "halve", "widen"]

_FULL = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class Halved:
    """A program in half precision.

    Attributes:
        program: the program.
        params: its weights: in half where equations in half read them, else in float32, rounded to half or not.
        warnings: what the user is told of weights that half cannot hold.
        keep: what was to stay in float32, and did.
    """

    program: Program
    params: Mapping[str, Any]
    warnings: tuple[str, ...]
    keep: KeepList


def halve(
    program: Program,
    params: Mapping[str, Any],
    facts: FactTable,
    *,
    dtype: np.dtype[Any],
    keep: Sequence[str],
    outputs: Sequence[str],
    computes: bool,
) -> Halved:
    """Return a prepared program, and its weights, in half precision.

    Args:
        program: the program; its first inputs are the weights.
        params: name -> array of the weights.
        facts: facts about primitives.
        dtype: float16 or bfloat16.
        keep: what stays in float32: see :class:`~jax2onnx.program.keep.KeepList`.
        outputs: the names of the program's outputs.
        computes: whether the runtime has kernels for half; else weights are rounded and everything is in float32.
    """
    named = dict(zip(program.inputs, params.items(), strict=False))
    listed = KeepList(keep)
    asked = {var for var, (name, _) in named.items() if listed.has_name(name)}
    lossy = {
        var
        for var, (_, array) in named.items()
        if var not in asked and var.aval.dtype == _FULL and not survives(array, dtype)
    }
    choice = choose(program, frozenset(named), frozenset(asked | lossy), dtype=dtype, keep=listed, outputs=outputs)
    read = weights(program, choice)
    if computes:
        program = retype(program, choice.eqns, list(named), facts, sources=[_FULL], to=dtype)
    held = {}
    for var, (name, array) in named.items():
        held[name] = array
        if var.aval.dtype == dtype:
            held[name] = np.asarray(array).astype(dtype)
        elif var in read and var.aval.ndim > 1 and var.aval.size >= SMALLEST:
            held[name] = rounded(array, dtype)
    for atom in read:
        if isinstance(atom, Const) and atom.aval.size >= SMALLEST and survives(np.asarray(atom.value), dtype):
            atom.value = rounded(np.asarray(atom.value), dtype)
    told = [_told(named[var][0], dtype) for var in named if var in lossy]
    return Halved(program, held, tuple(told), listed)


def widen(
    program: Program,
    params: Mapping[str, Any],
    facts: FactTable,
    *,
    halves: Sequence[np.dtype[Any]],
    keep: Sequence[str],
) -> Halved:
    """Return a prepared program that computes in float32 what it computes in half; weights are the same numbers.

    Inputs and outputs keep their dtype. What loops carry does too.
    """
    listed = KeepList(keep)
    named = dict(zip(program.inputs, params.items(), strict=False))
    chosen = computed_in_half(program, listed)
    program = retype(program, chosen, list(named), facts, sources=halves, to=_FULL)
    held = {}
    for var, (name, array) in named.items():
        is_wider = var.aval.dtype == _FULL and str(array.dtype) in HALVES
        held[name] = np.asarray(array).astype(np.float32) if is_wider else array
    return Halved(program, held, (), listed)


def _told(name: str, dtype: np.dtype[Any]) -> str:
    return f"{name} has numbers that {dtype} cannot hold; it, and what multiplies it, stay in float32"
