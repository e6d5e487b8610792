"""Conditioning: which equation of a program magnifies rounding errors most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.checking.evaluate import Evaluator, NoValueError
from jax2onnx.checking.inputs import nudge
from jax2onnx.checking.rounding import Rounding
from jax2onnx.program.program import Const, Eqn, Program, Var

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Amplifier", "amplifier"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Amplifier:
    """An equation that magnifies errors.

    Attributes:
        eqn: the equation.
        before: the largest relative change of an operand, if every number is rounded a little differently.
        after: that of a result.
    """

    eqn: Eqn
    before: float
    after: float

    def __str__(self) -> str:
        return (
            f"where every number is rounded a little differently, its operands change by {self.before:.1e} of their "
            f"size, and its result by {self.after:.1e}"
        )


def amplifier(program: Program, evaluator: Evaluator, operands: Sequence[Array]) -> Amplifier | None:
    """Return the equation of a program that magnifies relative errors most; None if none can be evaluated."""
    rounding = Rounding(2, loose=True)
    exact: dict[Var, Array] = dict(zip(program.inputs, operands, strict=True))
    rounded = dict(zip(program.inputs, map(np.asarray, nudge(operands, rounding.seed)), strict=True))
    worst: Amplifier | None = None
    for eqn in program.eqns:
        try:
            results = evaluator.equation(eqn, [evaluator.read(exact, atom) for atom in eqn.inputs])
            others = evaluator.equation(eqn, [evaluator.read(rounded, atom) for atom in eqn.inputs], rounding)
        except (NoValueError, KeyError):
            continue
        exact.update(zip(eqn.outputs, results, strict=True))
        rounded.update(zip(eqn.outputs, others, strict=True))
        inputs = [atom for atom in eqn.inputs if not isinstance(atom, Const)]
        before = max((_change(exact[atom], rounded[atom]) for atom in inputs), default=0.0)
        after = max(map(_change, results, others), default=0.0)
        if before > 0 and (worst is None or after / before > worst.after / worst.before):
            worst = Amplifier(eqn, before, after)
    return worst


def _change(a: Array, b: Array) -> float:
    """Return the largest change of a number relative to its size; 0 for what is not of floats."""
    if a.shape != b.shape or not a.size or a.dtype.kind in "biu":
        return 0.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        change = np.abs(x - y) / np.abs(x)
    return float(np.max(change, initial=0.0, where=np.isfinite(change)))
