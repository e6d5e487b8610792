"""Large numbers: find the values of a program that may be so large that a small number times one is not small.

``exp`` and powers give such numbers; sums, products and layers of ordinary ones do not. The plugin that owns a
primitive says which it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.program.program import Atom, Eqn, Program, Var

__all__ = ["large_values", "operands_of"]


def large_values(program: Program) -> set[Var]:
    """Return the values that may be large, of a program and of all bodies in it."""
    found: set[Var] = set()
    _walk(program, found)
    return found


def _walk(program: Program, found: set[Var]) -> None:
    known: dict[Var, Eqn] = {}
    for eqn in program.eqns:
        for output in eqn.outputs:
            known[output] = eqn
        if eqn.bodies:
            _walk_bodies(eqn, found)
        elif _is_large(eqn, found, known):
            found.update(eqn.outputs)


def _is_large(eqn: Eqn, found: set[Var], known: Mapping[Var, Eqn]) -> bool:
    large = [atom in found for atom in eqn.inputs]
    if eqn.fused is not None:
        return any(large) and not any(inner.primitive in _NORMALISING for inner in eqn.fused.interior)
    rule = eqn.facts.large
    return any(large) if rule is None else rule(eqn, large, known)


_NORMALISING = frozenset({"div", "rsqrt"})
"""Whole functions with these, such as layer normalisation and softmax, give ordinary numbers."""


def _walk_bodies(eqn: Eqn, found: set[Var]) -> None:
    """Take large operands into the bodies, and large results out of them; those of a loop come in again."""
    known = -1
    while len(found) != known:
        known = len(found)
        for body in eqn.bodies:
            program = body.program
            _add(program.inputs, operands_of(eqn, program) or eqn.inputs, found)
            _walk(program, found)
            if len(program.outputs) == len(eqn.outputs):
                _add(eqn.outputs, program.outputs, found)
        if eqn.facts.carried is None:
            return
        first, count = eqn.facts.carried(eqn.params)
        program = eqn.bodies[-1].program
        start = first - len(eqn.inputs) + len(program.inputs)
        _add(program.inputs[start : start + count], program.outputs[:count], found)


def _add(values: Sequence[Var], sources: Sequence[Atom], found: set[Var]) -> None:
    """Add the values whose sources are large; all of them, where it is not known which stands for which."""
    if len(values) != len(sources):
        found.update(values if any(atom in found for atom in sources) else ())
        return
    found.update(value for value, atom in zip(values, sources, strict=True) if atom in found)


def operands_of(eqn: Eqn, program: Program) -> Sequence[Atom] | None:
    """Return an equation's operands that the inputs of one of its bodies stand for; None if that is not known."""
    count = len(program.inputs)
    before = len(eqn.inputs) - count
    if eqn.facts.carried is None:
        return eqn.inputs[before:] if before in {0, 1} else None
    if program is eqn.bodies[-1].program:
        return eqn.inputs[before:]
    # The condition of a loop has constants of its own, which come first.
    carried = eqn.facts.carried(eqn.params)[1]
    return [*eqn.inputs[: count - carried], *eqn.inputs[len(eqn.inputs) - carried :]]
