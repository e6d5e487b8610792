"""Text: a flat program as a person reads it, for debugging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jax2onnx._compat import user_frame
from jax2onnx.program.program import Atom, Const, Eqn, Program, Var

__all__ = ["describe"]


def describe(program: Program) -> str:
    """Return a program as text: one line per equation, its bodies indented below it."""
    return "\n".join(_Writer().program(program))


class _Writer:
    """Names the values of a program, and of the bodies in it, by number."""

    def __init__(self) -> None:
        self._numbers: dict[Var, int] = {}

    def program(self, program: Program) -> Iterator[str]:
        yield f"in  {' '.join(self._typed(v) for v in program.inputs)}"
        for eqn in program.eqns:
            yield from self._equation(eqn)
        yield f"out {' '.join(self._atom(a) for a in program.outputs)}"

    def _equation(self, eqn: Eqn) -> Iterator[str]:
        results = " ".join(self._typed(v) for v in eqn.outputs)
        operands = ", ".join(self._atom(a) for a in eqn.inputs)
        held = {id(b.jaxpr) for b in eqn.bodies}
        params = [f"{name}={value}" for name, value in eqn.params.items() if not _is_held(value, held)]
        notes = [f"replaces {len(eqn.fused.interior)} equations"] if eqn.fused is not None else []
        frame = None if eqn.source is None else user_frame(eqn.source)
        if frame is not None:
            notes.append(frame)
        yield f"{results} = {eqn.primitive}({operands}) {' '.join(params)}  # {', '.join(notes)}".rstrip(" #")
        for number, body in enumerate(eqn.bodies):
            yield f"  body {number}:"
            for line in self.program(body.program):
                yield f"    {line}"

    def _typed(self, var: Var) -> str:
        return f"{self._atom(var)}:{var.aval.str_short()}"

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, Const):
            return f"{atom.value}" if atom.aval.shape == () else f"const:{atom.aval.str_short()}"
        return f"v{self._numbers.setdefault(atom, len(self._numbers))}"


def _is_held(value: Any, jaxprs: set[int]) -> bool:
    """Return whether a param is a jaxpr that is shown as a body, or a tuple of such."""
    parts = value if isinstance(value, tuple) and value else (value,)
    return all(id(part) in jaxprs for part in parts)
