"""Evaluate: what JAX computes of each equation of a prepared program, at concrete sizes, on numpy arrays.

All arrays have the form of a border: complex numbers are pairs, random keys their words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import Literal, bind, bind_equation, is_symbolic, open_jaxpr, scan_counts, unchecked
from jax2onnx.checking.inputs import nudge
from jax2onnx.checking.sizes import Assignment, concrete
from jax2onnx.program.program import Atom, Body, Const, Eqn, Program, Var
from jax2onnx.program.represent import from_form, represented

if TYPE_CHECKING:
    from collections.abc import Collection

    from jax2onnx.checking.rounding import Rounding

__all__ = ["Evaluator", "Iteration", "NoValueError"]

Array = np.ndarray[Any, Any]


class NoValueError(Exception):
    """JAX computes no value of an equation here; the message says why."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """One evaluation of a body.

    Attributes:
        body: the body.
        operands: what it is given.
        number: which iteration this is; None where there is one only.
    """

    body: Body
    operands: Sequence[Array]
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates equations.

    Attributes:
        sizes: the sizes of the symbolic dims.
    """

    sizes: Assignment

    def equation(self, eqn: Eqn, operands: Sequence[Array], rounding: Rounding | None = None) -> list[Array]:
        """Return the results of an equation, rounded in a way if one is given.

        Raises:
            NoValueError: JAX computes none.
        """
        if eqn.fused is not None:
            values = {atom: array for atom, array in zip(eqn.inputs, operands, strict=True) if isinstance(atom, Var)}
            self._run(eqn.fused.interior_of(eqn.inputs), values, rounding)
            return [values[var] for var in eqn.outputs]
        if eqn.is_call:
            return self.program(eqn.bodies[0].program, operands, rounding)
        if rounding is not None and eqn.primitive in {"cond", "scan", "while"} and eqn.bodies:
            results = self._by_bodies(eqn, operands, rounding)
            if results is not None:
                return results
        return self._by_jax(eqn, operands, rounding)

    def program(self, program: Program, operands: Sequence[Array], rounding: Rounding | None = None) -> list[Array]:
        """Return the results of a program."""
        values = dict(zip(program.inputs, operands, strict=True))
        self._run(program.eqns, values, rounding)
        return [self.read(values, atom) for atom in program.outputs]

    def nearby(
        self, program: Program, known: Mapping[Var, Array], wanted: Sequence[Var], rounding: Rounding
    ) -> list[Array]:
        """Return values of a program, computed from known ones that are nudged, in a way of rounding."""
        variables = list(known)
        values = dict(zip(variables, map(np.asarray, nudge(list(known.values()), rounding.seed)), strict=True))
        self._run(needed(program, known, wanted), values, rounding)
        return [values[var] for var in wanted]

    def read(self, values: Mapping[Var, Array], atom: Atom) -> Array:
        """Return the array of a value or constant."""
        if isinstance(atom, Const):
            value = atom.value
            return represented(value) if isinstance(value, jax.Array) else np.asarray(value, atom.aval.dtype)
        return values[atom]

    def iterations(self, eqn: Eqn, operands: Sequence[Array]) -> Iterator[Iteration]:
        """Yield the evaluations of the bodies of an equation, one after the other; none for bodies of other kinds."""
        if eqn.is_call:
            yield Iteration(eqn.bodies[0], operands)
        elif eqn.primitive == "cond" and "branches" in eqn.params and len(eqn.bodies) == len(eqn.params["branches"]):
            index = int(np.clip(int(operands[0]), 0, len(eqn.bodies) - 1))
            yield Iteration(eqn.bodies[index], operands[1:])
        elif eqn.primitive == "scan" and len(eqn.bodies) == 1:
            yield from self._scan(eqn, operands)
        elif eqn.primitive == "while" and len(eqn.bodies) == 2:
            yield from self._while(eqn, operands)

    def _scan(self, eqn: Eqn, operands: Sequence[Array], rounding: Rounding | None = None) -> Iterator[Iteration]:
        fixed, carried = scan_counts(eqn.params)
        body, length = eqn.bodies[0], self._length(eqn)
        carry = list(operands[fixed : fixed + carried])
        for number in range(length):
            place = length - 1 - number if eqn.params["reverse"] else number
            given = [*operands[:fixed], *carry, *[array[place] for array in operands[fixed + carried :]]]
            yield Iteration(body, given, number)
            carry = self.program(body.program, given, rounding)[:carried]

    def _while(self, eqn: Eqn, operands: Sequence[Array]) -> Iterator[Iteration]:
        test, body, split, start = self._while_parts(eqn)
        carry = list(operands[start:])
        number = 0
        while True:
            yield Iteration(test, [*operands[:split], *carry], number)
            if not np.any(self.program(test.program, [*operands[:split], *carry])[0]):
                return
            given = [*operands[split:start], *carry]
            yield Iteration(body, given, number)
            carry = self.program(body.program, given)
            number += 1

    def _while_parts(self, eqn: Eqn) -> tuple[Body, Body, int, int]:
        by_jaxpr = {id(body.jaxpr): body for body in eqn.bodies}
        test, body = by_jaxpr.get(id(eqn.params["cond_jaxpr"])), by_jaxpr.get(id(eqn.params["body_jaxpr"]))
        if test is None or body is None or test.program.outputs[0].aval.shape:
            raise NoValueError("a batch of loops")
        split = eqn.params["cond_nconsts"]
        return test, body, split, split + eqn.params["body_nconsts"]

    def _length(self, eqn: Eqn) -> int:
        return concrete((eqn.params["length"],), self.sizes)[0]

    def _by_bodies(self, eqn: Eqn, operands: Sequence[Array], rounding: Rounding) -> list[Array] | None:
        """Return the results of control flow, its bodies rounded in a way; None for loops that are too long."""
        if eqn.primitive == "cond":
            for chosen in self.iterations(eqn, operands):
                return self.program(chosen.body.program, chosen.operands, rounding)
            return None
        if eqn.primitive == "scan":
            length = self._length(eqn)
            if not length or length * len(eqn.bodies[0].program.eqns) > _BUDGET:
                return None
            _, carried = scan_counts(eqn.params)
            rows = [
                self.program(step.body.program, step.operands, rounding) for step in self._scan(eqn, operands, rounding)
            ]
            if eqn.params["reverse"]:
                stacked = [np.stack(column[::-1]) for column in list(zip(*rows, strict=True))[carried:]]
            else:
                stacked = [np.stack(column) for column in list(zip(*rows, strict=True))[carried:]]
            return [*rows[-1][:carried], *stacked]
        return self._rounded_while(eqn, operands, rounding)

    def _rounded_while(self, eqn: Eqn, operands: Sequence[Array], rounding: Rounding) -> list[Array] | None:
        try:
            test, body, split, start = self._while_parts(eqn)
        except NoValueError:
            return None
        carry = list(operands[start:])
        left = _BUDGET
        while self.program(test.program, [*operands[:split], *carry])[0]:
            left -= len(body.program.eqns) + 1
            if left < 0:
                return None
            carry = self.program(body.program, [*operands[split:start], *carry], rounding)
        return carry

    def _run(self, eqns: Sequence[Eqn], values: dict[Var, Array], rounding: Rounding | None) -> None:
        for eqn in eqns:
            operands = [self.read(values, atom) for atom in eqn.inputs]
            values.update(zip(eqn.outputs, self.equation(eqn, operands, rounding), strict=True))

    def _by_jax(self, eqn: Eqn, operands: Sequence[Array], rounding: Rounding | None) -> list[Array]:
        origin = eqn.origin
        if origin is None:
            raise NoValueError(f"{eqn.primitive} is no equation of JAX")
        avals = [variable.aval for variable in origin.invars]
        if eqn.facts.size and "dim" in eqn.params:
            size = concrete((eqn.params["dim"],), self.sizes)[0]
            return [np.asarray(size, eqn.outputs[0].aval.dtype)]
        params = _substituted(eqn.params, self.sizes)
        bound = SimpleNamespace(
            primitive=origin.primitive, params=params, ctx=origin.ctx, source_info=origin.source_info
        )
        try:
            with unchecked():
                arrays = [from_form(jnp.asarray(array), aval) for array, aval in zip(operands, avals, strict=True)]
                if rounding is None:
                    results = bind_equation(bound, arrays)
                else:
                    results = rounding.results(bound, eqn.facts, arrays)
                computed = [represented(result) for result in results]
        except MemoryError:
            raise
        except Exception as error:  # what JAX and the primitives of other libraries raise is of any class
            raise NoValueError(f"JAX cannot compute {eqn.primitive} here: {type(error).__name__}: {error}") from error
        for array, var in zip(computed, eqn.outputs, strict=True):
            if array.dtype != var.aval.dtype or array.shape != concrete(var.aval.shape, self.sizes):
                raise NoValueError(f"JAX computes another type of {eqn.primitive} here")
        return computed


_BUDGET = 2000
"""How many equations of a loop are rounded one by one."""


def needed(program: Program, known: Collection[Var], wanted: Sequence[Var]) -> list[Eqn]:
    """Return the equations that lead from known values to wanted ones."""
    waiting = {var for var in wanted if var not in known}
    found: list[Eqn] = []
    for eqn in reversed(program.eqns):
        if waiting.intersection(eqn.outputs):
            found.append(eqn)
            waiting.update(atom for atom in eqn.inputs if isinstance(atom, Var) and atom not in known)
    return found[::-1]


def _substituted(value: Any, sizes: Assignment) -> Any:
    """Return params with sizes in the place of symbolic dims, those in jaxprs too."""
    if not sizes:
        return value
    if is_symbolic(value):
        return concrete((value,), sizes)[0]
    if isinstance(value, Mapping):
        return {name: _substituted(part, sizes) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [_substituted(part, sizes) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if hasattr(value, "eqns"):
        return _concrete_jaxpr(value, sizes)
    return value


def _concrete_jaxpr(jaxpr: Any, sizes: Assignment) -> Any:
    """Return a jaxpr at concrete sizes."""
    inner, consts = open_jaxpr(jaxpr)
    specs = [jax.ShapeDtypeStruct(concrete(v.aval.shape, sizes), v.aval.dtype) for v in inner.invars]

    def run(*arguments: Any) -> list[Any]:
        values = dict(zip([*inner.constvars, *inner.invars], [*consts, *arguments], strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for eqn in inner.eqns:
            if eqn.primitive.name == "dim_as_value":
                size = concrete((eqn.params["dim"],), sizes)[0]
                values[eqn.outvars[0]] = jnp.asarray(size, eqn.outvars[0].aval.dtype)
                continue
            with eqn.ctx.manager:
                results = bind(eqn.primitive, list(map(read, eqn.invars)), _substituted(eqn.params, sizes))
            values.update(zip(eqn.outvars, results, strict=True))
        return list(map(read, inner.outvars))

    return jax.make_jaxpr(run)(*specs)
