"""Walk: compare the values of a model with those of its program, one after the other, in the program's order.

Each value is computed from JAX's values before it, so that rounding does not add up. A value that differs is a suspect.
Loops, branches and functions whose results differ are entered, iteration by iteration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from jax2onnx.checking.compare import compare, finite_part
from jax2onnx.checking.evaluate import Evaluator, Iteration, NoValueError, needed
from jax2onnx.checking.pieces import Key, NotRunError, Piece, bodies_of
from jax2onnx.checking.rounding import roundings
from jax2onnx.checking.scope import Scope
from jax2onnx.errors import CheckError
from jax2onnx.program.program import Const, Eqn, Var

if TYPE_CHECKING:
    from jax2onnx.checking.finding import Finding
    from jax2onnx.checking.kernels import Coarse
    from jax2onnx.checking.links import Form, Links
    from jax2onnx.lowering.trail import Run

__all__ = ["Suspect", "Walk"]

Array = np.ndarray[Any, Any]
_MOST_STEPS = 256
"""How many iterations of a loop are entered."""


@dataclass(slots=True)
class Suspect:
    """A value of the model that differs from JAX's.

    Attributes:
        scope: where it is.
        eqn: the equation that computes it.
        var: the value of the program.
        piece: what computes it in the model from values that agree; None if there is no such piece.
        feeds: these values.
        expected: JAX's value.
        actual: the model's; None if onnxruntime refuses to compute it.
        message: how they differ.
        inner: the suspect in a body that explains this one.
        finding: who is at fault, once that is known.
    """

    scope: Scope
    eqn: Eqn
    var: Var
    piece: Piece
    feeds: Mapping[str, Array]
    expected: Array
    actual: Array | None
    message: str
    inner: Suspect | None = None
    finding: Finding | None = None

    @property
    def innermost(self) -> Suspect:
        """The suspect in the innermost body."""
        return self if self.inner is None else self.inner.innermost


@dataclass(slots=True)
class Walk:
    """Compares values.

    Attributes:
        links: which value is which.
        evaluator: evaluates equations in JAX.
        coarse: primitives of which the model has kernels with small absolute errors only.
        local: whether what is not finite may spread further in JAX.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of none.
        libraries: libraries of further operators.
        memory: how many bytes of JAX's values are kept.
        judge: is asked of each suspect whether the search ends there.
        unknown: equations of which JAX computes no value here, and why; the model's are taken.
        compared: how many values were compared.
    """

    links: Links
    evaluator: Evaluator
    coarse: Coarse
    local: bool
    judge: Callable[[Suspect], bool]
    rtol: float | None = None
    atol: float | None = None
    libraries: Sequence[Any] = ()
    memory: int = 2**30
    unknown: list[str] = field(default_factory=list)
    compared: int = 0
    _pieces: dict[Any, Piece] = field(default_factory=dict)

    def through(self, scope: Scope) -> Suspect | None:
        """Return the first suspect at which the search ends; None if there is none."""
        readers = _last_readers(scope.run.program.eqns)
        for number, eqn in enumerate(scope.run.program.eqns):
            found = self._equation(scope, eqn)
            if found is not None:
                return found
            self._forget(scope, readers, number)
        return None

    def differs(self, scope: Scope, var: Var, expected: Array, actual: Array) -> str | None:
        """Return how a value differs from JAX's beyond what rounding explains; None if it does not."""
        if self.local and expected.dtype == actual.dtype and expected.dtype.kind == "f":
            actual = finite_part(expected, actual)

        def nearby(loose: bool) -> list[list[Array]]:  # noqa: FBT001
            return self._nearby(scope, var, loose=loose)

        try:
            compare([expected], [actual], ["value"], rtol=self.rtol, atol=self.atol, nearby=nearby)
        except CheckError as error:
            return error.message
        return None

    def piece(self, form: Form, scope: Scope, var: Var) -> tuple[Piece, dict[str, Array]] | None:
        """Return the piece of a form of the model that computes a value from trusted ones, and these; None if none."""
        place = form.place(scope.run, var)
        if place is None:
            return None
        key, name = place
        cuts = scope.cuts(form, key)
        remembered = (id(form), scope.run, var, frozenset(scope.trusted)) if scope.around is not None else None
        if remembered is not None and remembered in self._pieces:
            found = self._pieces[remembered]
        else:
            try:
                found = form.spaces[key].piece([name], cuts, self.libraries)
            except NotRunError:
                return None
            if remembered is not None:
                self._pieces[remembered] = found
        return found, {name: cuts[name] for name in found.inputs}

    def _equation(self, scope: Scope, eqn: Eqn) -> Suspect | None:
        if not eqn.outputs:
            return None
        try:
            operands = [self._operand(scope, atom) for atom in eqn.inputs]
            results = self.evaluator.equation(eqn, operands)
        except NoValueError as reason:
            self._take_from_model(scope, eqn, str(reason))
            return None
        scope.known.update(zip(eqn.outputs, results, strict=True))
        suspects = [self._value(scope, eqn, var) for var in eqn.outputs]
        for suspect in filter(None, suspects):
            suspect.inner = self._inside(scope, eqn, operands)
            if self.judge(suspect):
                return suspect
            break
        return None

    def _operand(self, scope: Scope, atom: Any) -> Array:
        if isinstance(atom, Const) or atom in scope.known:
            return self.evaluator.read(scope.known, atom)
        # It was forgotten, and is computed anew.
        values = dict(scope.known)
        for eqn in needed(scope.run.program, values, [atom]):
            operands = [self.evaluator.read(values, one) for one in eqn.inputs]
            values.update(zip(eqn.outputs, self.evaluator.equation(eqn, operands), strict=True))
        return values[atom]

    def _value(self, scope: Scope, eqn: Eqn, var: Var) -> Suspect | None:
        """Compare one value; trust it if it agrees."""
        found = self.piece(self.links.given, scope, var)
        if found is None:
            return None
        piece, feeds = found
        expected = scope.known[var]
        self.compared += 1
        try:
            actual = piece.run(feeds)[0]
        except NotRunError as error:
            return Suspect(scope, eqn, var, piece, feeds, expected, None, str(error))
        message = self.differs(scope, var, expected, actual)
        if message is None:
            scope.trusted.add(var)
            return None
        return Suspect(scope, eqn, var, piece, feeds, expected, actual, message)

    def _take_from_model(self, scope: Scope, eqn: Eqn, reason: str) -> None:
        """Take the model's values for results that JAX computes no value of; what it lacks too stays unknown."""
        self.unknown.append(reason)
        for var in eqn.outputs:
            found = self.piece(self.links.given, scope, var) or self.piece(self.links.lowered, scope, var)
            if found is None:
                continue
            with contextlib.suppress(NotRunError):
                scope.known[var] = found[0].run(found[1])[0]
                scope.trusted.add(var)

    def _nearby(self, scope: Scope, var: Var, *, loose: bool) -> list[list[Array]]:
        eqns = needed(scope.run.program, scope.trusted & scope.known.keys(), [var])
        read = {atom for eqn in eqns for atom in eqn.inputs if isinstance(atom, Var)}
        frontier = {atom: scope.known[atom] for atom in read & scope.trusted & scope.known.keys()}
        results = []
        for rounding in roundings(self.coarse.under(loose=loose), loose=loose):
            try:
                results.append(self.evaluator.nearby(scope.run.program, frontier, [var], rounding))
            except (NoValueError, KeyError):
                continue
        return results

    def _inside(self, scope: Scope, eqn: Eqn, operands: Sequence[Array]) -> Suspect | None:
        """Return the suspect in the bodies of an equation at which the search ends."""
        inner = scope.run.inner.get(eqn, [])
        if eqn.fused is not None:
            for written in inner:
                known = {var: scope.known[var] for var in written.program.inputs if var in scope.known}
                found = self.through(Scope(written, known, set(known), scope, {}, scope.steps))
                if found is not None:
                    return found
            return None
        try:
            for step in self.evaluator.iterations(eqn, operands):
                if step.number is not None and step.number >= _MOST_STEPS:
                    break
                run = self._run_of(scope, eqn, step)
                if run is None:
                    continue
                found = self.through(self._entered(scope, eqn, run, step))
                if found is not None:
                    return found
        except NoValueError:
            return None
        return None

    def _run_of(self, scope: Scope, eqn: Eqn, step: Iteration) -> Run | None:
        """Return what a body became: of bodies that were written several times, the one of this iteration."""
        inner = [run for run in scope.run.inner.get(eqn, []) if run.program is step.body.program]
        runs = inner or self.links.trail.runs.get(step.body.program, [])
        if not runs:
            return None
        last = runs[-1]  # of the test of a loop, the one after an iteration
        return runs[step.number] if step.number is not None and step.number < len(runs) > 2 else last

    def _entered(self, scope: Scope, eqn: Eqn, run: Run, step: Iteration) -> Scope:
        known = dict(zip(run.program.inputs, step.operands, strict=True))
        steps = scope.steps
        if step.number is not None:
            steps = (*steps, f"iteration {step.number} of {eqn.primitive}")
        entered = Scope(run, known, set(known), scope, {}, steps)
        for form in (self.links.given, self.links.lowered, self.links.final):
            self._add_further(form, scope, eqn, entered, step.number or 0)
        return entered

    def _add_further(self, form: Form, scope: Scope, eqn: Eqn, entered: Scope, number: int) -> None:
        """Add the counter of a loop, and what the call of a function passes beside the operands."""
        place = next(filter(None, (form.place(scope.run, var) for var in eqn.outputs)), None)
        node = None if place is None else form.spaces[place[0]].producer(place[1])
        if place is None or node is None:
            return
        key = place[0]
        if node.op_type == "Loop" and not node.domain:
            for body in bodies_of(node):
                entered.further[id(form), key, body.input[0].name] = np.asarray(number, np.int64)
                entered.further[id(form), key, body.input[1].name] = np.ones((), np.bool_)
        if node.op_type == "Scan" and not node.domain:
            self._add_rows(form, scope, key, node, entered=entered, number=number)
        called = (node.domain, node.op_type)
        if called not in form.spaces:
            return
        function = form.spaces[called].root
        assert isinstance(function, onnx.FunctionProto)
        for formal, actual in list(zip(function.input, node.input, strict=False))[len(eqn.inputs) :]:
            value = self._outside(form, scope, key, actual)
            if value is not None:
                entered.further[id(form), called, formal] = value

    def _add_rows(
        self, form: Form, scope: Scope, key: Key, scan: onnx.NodeProto, *, entered: Scope, number: int
    ) -> None:
        """Add the rows that a step slices of arrays that no equation has: what all steps compute of rows alone."""
        numbers = {attribute.name: attribute for attribute in scan.attribute}
        count = numbers["num_scan_inputs"].i
        directions = numbers["scan_input_directions"].ints if "scan_input_directions" in numbers else [0] * count
        places = [form.place(entered.run, var) for var in entered.run.program.inputs]
        known = {place[1] for place in places if place is not None}
        (body,) = bodies_of(scan)
        for formal, actual, direction in zip(body.input[-count:], scan.input[-count:], directions, strict=True):
            rows = None if formal.name in known else self._outside(form, scope, key, actual)
            if rows is not None and number < len(rows):
                entered.further[id(form), key, formal.name] = rows[-1 - number if direction else number]

    def _outside(self, form: Form, scope: Scope, key: Key, name: str) -> Array | None:
        """Return a value outside of the body that is entered, None if what computes it does not run."""
        cuts = scope.cuts(form, key)
        try:
            return form.spaces[key].piece([name], cuts, self.libraries).run(cuts)[0]
        except NotRunError:
            return None

    def _forget(self, scope: Scope, readers: Mapping[Var, int], number: int) -> None:
        """Drop the oldest values that no equation reads any more, if all take too much memory."""
        size = sum(array.nbytes for array in scope.known.values())
        inputs = set(scope.run.program.inputs)
        for var in list(scope.known):
            if size <= self.memory:
                return
            if var not in inputs and readers.get(var, -1) <= number:
                size -= scope.known.pop(var).nbytes


def _last_readers(eqns: Sequence[Eqn]) -> dict[Var, int]:
    found: dict[Var, int] = {}
    for number, eqn in enumerate(eqns):
        found.update((atom, number) for atom in eqn.inputs if isinstance(atom, Var))
    return found
