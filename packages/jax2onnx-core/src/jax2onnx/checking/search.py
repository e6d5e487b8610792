"""Search: the first value of a model that differs from JAX's, and who is at fault for it, on one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import unchecked
from jax2onnx.checking.blame import blamed, changes, close
from jax2onnx.checking.evaluate import Evaluator, NoValueError
from jax2onnx.checking.finding import Finding
from jax2onnx.checking.kernels import Coarse
from jax2onnx.checking.pieces import NotRunError
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.checking.scope import Scope, at_start
from jax2onnx.checking.walk import Suspect, Walk
from jax2onnx.errors import CheckError
from jax2onnx.program.represent import represented

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.checking.comparison import Comparison
    from jax2onnx.checking.inputs import Batch
    from jax2onnx.checking.links import Links
    from jax2onnx.checking.pieces import Space

__all__ = ["Result", "Search", "operands"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a search found.

    Attributes:
        suspect: the first value that differs; None if no value alone is at fault.
        finding: who is at fault.
        proven: whether the outputs agree once JAX's value is in the place of this one.
        unknown: equations of which JAX computes no value here, and why.
    """

    suspect: Suspect | None
    finding: Finding
    proven: bool = False
    unknown: tuple[str, ...] = ()


class Search:
    """The search for the first value that differs, on one batch."""

    def __init__(
        self, comparison: Comparison, links: Links, batch: Batch, libraries: Sequence[Any], *, differ: bool
    ) -> None:
        self._comparison = comparison
        self._differ = differ
        self._libraries = libraries
        self._links = links
        self._batch = batch
        self._expected = comparison.expected(batch)
        self._candidates: list[Suspect] = []
        reference = comparison.reference
        self._walk = Walk(
            links,
            Evaluator(batch.sizes),
            reference.coarse,
            reference.local,
            self._judge,
            comparison.rtol,
            comparison.atol,
            libraries,
        )

    def result(self) -> Result:
        """Return what is at fault."""
        return replace(self._result(), unknown=tuple(dict.fromkeys(self._walk.unknown)))

    def _result(self) -> Result:
        assert self._links.trail.root is not None
        start = operands(self._links, self._batch)
        scope = at_start(self._links.trail.root, start)
        found = self._walked(scope)
        if found is None and self._differ and self._walk.coarse != Coarse():
            # Kernels that are known to lose digits explain a value of their own, and not what is made of it.
            self._walk.coarse = Coarse()
            found = self._walked(at_start(self._links.trail.root, start))
        if found is not None:
            return found
        if not self._differ:
            return Result(suspect=None, finding=Finding("none", certain=True, node=None, evidence=()))
        return self._without_suspect(scope)

    def _walked(self, scope: Scope) -> Result | None:
        """Return what is at fault for a value; None if no value is known to be wrong."""
        try:
            found = self._walk.through(scope)
        except NoValueError as error:
            finding = Finding("unknown", certain=False, node=None, evidence=(str(error),))
            return Result(suspect=None, finding=finding)
        if found is not None:
            return self._told(found, proven=True)
        certain = [one for one in self._candidates if _finding(one).certain]
        return self._told(certain[0], proven=False) if certain else None

    def _told(self, suspect: Suspect, *, proven: bool) -> Result:
        return Result(suspect=suspect.innermost, finding=_finding(suspect), proven=proven)

    def _judge(self, suspect: Suspect) -> bool:
        """Return whether the search ends at a suspect."""
        if suspect.inner is None:
            suspect.finding = blamed(self._walk, suspect)
        if suspect.scope.around is not None:
            return _finding(suspect).certain
        if self._differ and self._proves(suspect):
            return True
        self._candidates.append(suspect)
        return False

    def _proves(self, suspect: Suspect) -> bool:
        """Return whether the outputs agree once JAX's values are in the place of an equation's results."""
        run = suspect.scope.run
        inputs = set(run.program.inputs)
        scope = Scope(run, suspect.scope.known, inputs | set(suspect.eqn.outputs))
        form = self._links.given
        cuts = scope.cuts(form, None)
        names = [output.name for output in form.model.graph.output]
        missing = [name for name in names if name not in cuts or form.spaces[None].producer(name) is None]
        results = {name: cuts[name] for name in names if name in cuts}
        try:
            if missing:
                piece = form.spaces[None].piece(missing, cuts, self._libraries)
                results.update(zip(missing, piece.run({name: cuts[name] for name in piece.inputs}), strict=True))
        except NotRunError:
            return False
        return self._agrees([results[name] for name in names])

    def _agrees(self, outputs: Sequence[Array]) -> bool:
        try:
            self._comparison.compared(self._batch, self._expected, outputs)
        except CheckError:
            return False
        return True

    def _without_suspect(self, scope: Scope) -> Result:
        """Return what is at fault where no value alone is."""
        if not self._walk.unknown and not self._program_agrees(scope):
            return Result(suspect=None, finding=Finding("program", certain=True, node=None, evidence=()), proven=False)
        feeds = self._comparison.reference.feeds(self._batch.arrays, self._comparison.runner.input_names)
        try:
            plain = Runner(self._links.given.model, self._libraries, optimised=False).run(feeds)
        except RUNTIME_ERRORS:
            plain = None
        if plain is not None and self._agrees(plain):
            return self.optimised()
        if not self._links.same:
            for _, node, what in changes(self._links):
                return Result(
                    suspect=None,
                    finding=Finding("model", certain=False, node=node, evidence=(), what=what),
                    proven=False,
                )
        if self._candidates:
            return self._told(self._candidates[0], proven=False)
        return Result(suspect=None, finding=Finding("unknown", certain=False, node=None, evidence=()), proven=False)

    def optimised(self) -> Result:
        """Return the first value that the optimiser of onnxruntime spoils, if that is all that is wrong."""
        told = ("the whole model without optimisation: agrees with JAX",)
        space = self._links.given.spaces[None]
        inputs = self._inputs()
        for node in space.nodes:
            names = [name for name in node.output if name]
            if any(self._spoils(space, names, inputs, read=read) for read in (True, False)):
                return Result(suspect=None, finding=Finding("optimiser", certain=True, node=node, evidence=told))
        return Result(suspect=None, finding=Finding("optimiser", certain=True, node=None, evidence=told))

    def _spoils(self, space: Space, names: Sequence[str], inputs: Mapping[str, Array], *, read: bool) -> bool:
        """Return whether values computed from the inputs are others if onnxruntime optimises what computes them."""
        try:
            piece = space.piece(names, inputs, self._libraries, read=read)
            feeds = {name: inputs[name] for name in piece.inputs}
            plain = piece.run(feeds, optimised=False)
        except NotRunError:
            return False
        try:
            return not all(map(close, piece.run(feeds), plain))
        except NotRunError:
            return True

    def _inputs(self) -> dict[str, Array]:
        """Return the inputs of the model, by name."""
        reference, runner = self._comparison.reference, self._comparison.runner
        feeds = reference.feeds(self._batch.arrays, runner.input_names)
        return dict(zip(runner.input_names, feeds, strict=True))

    def _program_agrees(self, scope: Scope) -> bool:
        """Return whether the traced program computes what the callable does."""
        known = scope.known
        program = scope.run.program
        if not all(atom in known for atom in program.outputs if hasattr(atom, "aval") and not hasattr(atom, "value")):
            return True
        outputs = [self._walk.evaluator.read(known, atom) for atom in program.outputs]
        if [a.shape for a in outputs] != [a.shape for a in self._expected]:
            return True  # images that the model has channels-first
        return self._agrees(outputs)


def _finding(suspect: Suspect) -> Finding:
    found = suspect.innermost.finding
    assert found is not None
    return found


def operands(links: Links, batch: Batch) -> list[Array]:
    """Return what the program takes: arrays of the model, inputs, state."""
    trail = links.trail
    with unchecked():
        return [represented(value) for value in (*trail.params.values(), *batch.arrays, *trail.updated.values())]
