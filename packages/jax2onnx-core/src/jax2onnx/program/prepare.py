"""Prepare: everything that happens to a program, and to all bodies in it, before the first node is emitted.

Each stage goes through the whole tree of programs before the next begins.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import jax

from jax2onnx._compat import neutral, unchecked
from jax2onnx.program.absorb_transposes import absorb_transposes
from jax2onnx.program.flatten import Keep, Note, flatten
from jax2onnx.program.fold_constants import fold
from jax2onnx.program.graph import live
from jax2onnx.program.program import Eqn, Program
from jax2onnx.program.prune_calls import CallPruner
from jax2onnx.program.ranges import use_ranges
from jax2onnx.program.signed_zeros import mark_signs
from jax2onnx.program.small_results import mark_small
from jax2onnx.program.together import compute_together

if TYPE_CHECKING:
    from jax2onnx.program.facts import FactTable

__all__ = ["FindFunctions", "Preparer"]


class FindFunctions(Protocol):
    """Finds whole functions in a program: ``fusion.fuse.fuse`` with the fusions of an export."""

    def __call__(self, program: Program, /, *, exclude: frozenset[str], derived: bool) -> Program:
        """Look for all functions but those named in ``exclude``; ``derived`` programs are not the user's own."""


@dataclass(slots=True)
class Preparer:
    """Prepares the programs of one export.

    Attributes:
        facts: what is registered about primitives.
        find_functions: finds whole functions; None where they are to stay primitives.
        keep: finds the calls that become calls of ONNX functions.
        notes: receives what there is to tell of programs that are flattened or folded here.
    """

    facts: FactTable
    find_functions: FindFunctions | None
    keep: Keep
    notes: list[Note] = field(default_factory=list)
    _pruner: CallPruner = field(default_factory=CallPruner)

    def prepare_jaxpr(
        self,
        jaxpr: Any,
        *,
        caller: Any = None,
        source: Any = None,
        signed: bool = False,
        small: bool = False,
        derived: bool = False,
    ) -> Program:
        """Return the prepared program of a closed jaxpr; for ``caller`` and ``source`` see ``flatten``."""
        with unchecked():
            program = flatten(jaxpr, self.facts, keep=self.keep, caller=caller, source=source, notes=self.notes)
        return self.prepare(program, signed=signed, small=small, derived=derived)

    def prepare(
        self,
        program: Program,
        *,
        exclude: frozenset[str] = frozenset(),
        signed: bool = False,
        small: bool = False,
        derived: bool = False,
    ) -> Program:
        """Return the prepared form of a flat program, which is not changed.

        Args:
            program: a flat program.
            exclude: names of functions that are not looked for.
            signed: whether the sign of a zero among its results matters to those who read them.
            small: whether small numbers among its results have to be exact for those who read them.
            derived: whether a rule made it, so that reports of what was found leave it out.
        """
        # The functions that are looked for are traced under the settings under which the program was traced.
        with neutral() if derived else unchecked():
            found = self._find(program, exclude=exclude, derived=derived)
        pruned = self._pruner.prune(found)
        note = None if derived else self.notes.append
        folded = _through_tree(pruned, functools.partial(fold, note=note))
        joined = self._together(folded)
        if joined is not folded:
            folded = _through_tree(joined, functools.partial(fold, note=note))
        guarded = use_ranges(folded)
        marked = mark_signs(guarded, outputs=signed)
        return mark_small(marked, outputs=small)

    def _together(self, program: Program) -> Program:
        """Return the program with independent equations computed by one; the same one if there are none."""
        changed = False

        def flat(function: Callable[..., Any], avals: Sequence[Any], source: Any) -> Program:
            nonlocal changed
            changed = True
            with neutral():
                traced = jax.make_jaxpr(function)(*[jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals])
                return flatten(traced, self.facts, keep=self.keep, source=source, notes=[])

        joined = _through_tree(program, functools.partial(compute_together, flatten=flat))
        return joined if changed else program

    def _find(self, program: Program, *, exclude: frozenset[str], derived: bool) -> Program:
        """Return the program with whole functions, and without equations that nobody needs."""
        if self.find_functions is None:
            return _through_tree(program, live)
        find = functools.partial(self.find_functions, exclude=exclude, derived=derived)
        found = _through_tree(program, find)
        return _through_tree(found, absorb_transposes)


def _through_tree(program: Program, stage: Callable[[Program], Program]) -> Program:
    """Apply a stage to a program and then to the bodies that are left in it, once to each program."""
    done: dict[Program, Program] = {}

    def apply(one: Program) -> Program:
        if one not in done:
            result = stage(one)
            eqns = [apply_inside(eqn) if eqn.bodies else eqn for eqn in result.eqns]
            done[one] = Program(result.inputs, eqns, result.outputs)
        return done[one]

    def apply_inside(eqn: Eqn) -> Eqn:
        bodies = [replace(body, program=apply(body.program)) for body in eqn.bodies]
        return replace(eqn, bodies=tuple(bodies))

    return apply(program)
