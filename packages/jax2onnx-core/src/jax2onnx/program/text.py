"""Text: a flat program as a person reads it, for debugging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx._printable import counted
from jax2onnx.program.program import Var

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jax2onnx.program.program import Atom, Eqn, Program

__all__ = ["describe"]


def describe(program: Program) -> str:
    """Return a program as text: one line per equation, its bodies indented below it."""
    lines = _Writer().program(program)
    return "\n".join(lines)


class _Writer:
    """Names the values of a program, and of the bodies in it, by number."""

    def __init__(self) -> None:
        self._numbers: dict[Var, int] = {}

    def program(self, program: Program) -> Iterator[str]:
        inputs = map(self._typed, program.inputs)
        yield "in  " + " ".join(inputs)
        for eqn in program.eqns:
            yield from self._equation(eqn)
        outputs = map(self._atom, program.outputs)
        yield "out " + " ".join(outputs)

    def _equation(self, eqn: Eqn) -> Iterator[str]:
        results = " ".join(map(self._typed, eqn.outputs))
        operands = ", ".join(map(self._atom, eqn.inputs))
        params = " ".join(_params(eqn))
        notes = ", ".join(_notes(eqn))
        line = f"{results} = {eqn.primitive}({operands}) {params}  # {notes}"
        yield line.rstrip(" #")
        for number, body in enumerate(eqn.bodies):
            yield f"  body {number}:"
            for inner in self.program(body.program):
                yield f"    {inner}"

    def _typed(self, var: Var) -> str:
        return f"{self._atom(var)}:{var.aval.str_short()}"

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, Var):
            number = self._numbers.setdefault(atom, len(self._numbers))
            return f"v{number}"
        is_scalar = atom.aval.shape == ()
        return f"{atom.value}" if is_scalar else f"const:{atom.aval.str_short()}"


def _params(eqn: Eqn) -> Iterator[str]:
    """Yield the params but for jaxprs that are shown as bodies, and tuples of such."""
    bodies = {id(body.jaxpr) for body in eqn.bodies}
    for name, value in eqn.params.items():
        parts = value if isinstance(value, tuple) else (value,)
        if not parts or not bodies.issuperset(map(id, parts)):
            yield f"{name}={value}"


def _notes(eqn: Eqn) -> Iterator[str]:
    if eqn.fused is not None:
        yield f"replaces {counted(len(eqn.fused.interior), 'equation')}"
    if eqn.where is not None:
        yield eqn.where
