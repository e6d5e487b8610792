"""Retype: a program of which some equations compute in another dtype, with conversions at their borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx.program.program import Atom, Const, Eqn, Program, Var

if TYPE_CHECKING:
    from jax2onnx.program.facts import FactTable

__all__ = ["retype"]

DType: TypeAlias = "np.dtype[Any]"


def retype(
    program: Program,
    eqns: frozenset[int],
    weights: Sequence[Var],
    facts: FactTable,
    *,
    sources: Sequence[DType],
    to: DType,
) -> Program:
    """Return the program with some equations in another dtype; weights that they read become inputs of that dtype.

    The variables of the program are changed. Inputs that are no weights, outputs, and what is at the border of a body
    keep their dtype.

    Args:
        program: a prepared program.
        eqns: the identities of the equations, also of those in bodies.
        weights: the inputs whose dtype may change.
        facts: facts about primitives.
        sources: the dtypes in the place of which these equations have another.
        to: the other dtype.
    """
    retyper = _Retyper(eqns, tuple(sources), to, facts)
    read = {atom for eqn in program.eqns if id(eqn) in eqns for atom in eqn.inputs}
    for var in weights:
        if var in read:
            retyper.change(var)
    return retyper.program(program)


@dataclass(slots=True)
class _Retyper:
    """Writes programs of which some equations have another dtype.

    Attributes:
        eqns: the identities of the equations.
        sources: the dtypes that they have.
        to: the dtype that they get.
        facts: facts about primitives.
        before: the variables whose dtype is another one, with the dtype that they had.
        done: program -> what became of it; bodies may be shared.
    """

    eqns: frozenset[int]
    sources: tuple[DType, ...]
    to: DType
    facts: FactTable
    before: dict[Atom, DType] = field(default_factory=dict)
    done: dict[int, Program] = field(default_factory=dict)

    def is_source(self, atom: Atom) -> bool:
        """Return whether a value has a dtype that is to change."""
        return getattr(atom.aval, "dtype", None) in self.sources

    def change(self, var: Var) -> None:
        """Change the dtype of a variable."""
        if self.is_source(var):
            self.before[var] = var.aval.dtype
            var.aval = var.aval.update(dtype=self.to)

    def program(self, program: Program) -> Program:
        """Return the program with conversions at the borders."""
        if id(program) not in self.done:
            writer = _Writer(self)
            for eqn in program.eqns:
                writer.equation(eqn)
            outputs = [writer.as_before(atom, None) for atom in program.outputs]
            self.done[id(program)] = Program(program.inputs, writer.eqns, outputs)
        return self.done[id(program)]

    def constant(self, atom: Atom) -> Atom:
        """Return a constant in the other dtype; any other value as it is."""
        if not isinstance(atom, Const) or not self.is_source(atom):
            return atom
        value = np.asarray(atom.value).astype(self.to)
        return Const(atom.aval.update(dtype=self.to), value)

    def params(self, eqn: Eqn) -> dict[str, Any]:
        """Return the params with the dtype that the results have."""
        return {name: self.to if self._names_source(value) else value for name, value in eqn.params.items()}

    def _names_source(self, value: Any) -> bool:
        return isinstance(value, np.dtype) and value in self.sources

    def inside(self, eqn: Eqn) -> Eqn:
        """Return an equation that a fused one replaces, in the other dtype."""
        for var in eqn.outputs:
            self.change(var)
        inputs = [self.constant(atom) for atom in eqn.inputs]
        return replace(eqn, inputs=inputs, params=self.params(eqn), origin=None)


@dataclass(slots=True)
class _Writer:
    """Writes one program."""

    retyper: _Retyper
    eqns: list[Eqn] = field(default_factory=list)
    converted: dict[tuple[Atom, DType], Var] = field(default_factory=dict)

    def equation(self, eqn: Eqn) -> None:
        """Write an equation, and the conversions of its operands before it."""
        if id(eqn) in self.retyper.eqns:
            self._changed(eqn)
        else:
            self._unchanged(eqn)

    def _changed(self, eqn: Eqn) -> None:
        retyper = self.retyper
        inputs = [self._after(atom, eqn) for atom in eqn.inputs]
        for var in eqn.outputs:
            retyper.change(var)
        new = replace(eqn, inputs=inputs, params=retyper.params(eqn), origin=None)
        if eqn.fused is not None:
            interior = tuple(retyper.inside(part) for part in eqn.fused.interior_of(inputs))
            new.fused = replace(eqn.fused, interior=interior, reads=tuple(inputs))
        self.eqns.append(new)

    def _unchanged(self, eqn: Eqn) -> None:
        inputs = [self.as_before(atom, eqn) for atom in eqn.inputs]
        bodies = [replace(body, program=self.retyper.program(body.program)) for body in eqn.bodies]
        new = replace(eqn, inputs=inputs, bodies=tuple(bodies))
        if eqn.fused is not None:
            new.fused = replace(eqn.fused, interior=tuple(eqn.fused.interior_of(inputs)), reads=tuple(inputs))
        self.eqns.append(new)

    def as_before(self, atom: Atom, eqn: Eqn | None) -> Atom:
        """Return a value in the dtype that it had."""
        before = self.retyper.before.get(atom)
        return atom if before is None else self._converted(atom, before, eqn)

    def _after(self, atom: Atom, eqn: Eqn) -> Atom:
        """Return a value in the other dtype if it has one of the dtypes that change."""
        if isinstance(atom, Const):
            return self.retyper.constant(atom)
        return self._converted(atom, self.retyper.to, eqn) if self.retyper.is_source(atom) else atom

    def _converted(self, atom: Atom, dtype: DType, eqn: Eqn | None) -> Var:
        if (atom, dtype) not in self.converted:
            result = Var(atom.aval.update(dtype=dtype, weak_type=False))
            name = "convert_element_type"
            params = {"new_dtype": dtype, "weak_type": False, "sharding": None}
            source = None if eqn is None else eqn.source
            self.eqns.append(Eqn(name, [atom], [result], params, source, self.retyper.facts.of(name)))
            self.converted[atom, dtype] = result
        return self.converted[atom, dtype]
