"""Fuse: find whole functions again in the flat program.

A fusion gives the function itself. It is traced with the installed jax at example inputs, and its graph is searched for
in the program by structure alone; that binds the function's inputs. Then it is traced again at the inputs found, and
only if everything is equal (shapes, dtypes, literals, parameters) do its equations become one. Failing to find a
function leaves its primitives: the model is longer, never wrong.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from jax2onnx._compat import user_frame
from jax2onnx.fusion.match import Search, escapes, interior, owned
from jax2onnx.fusion.prefilter import Glances
from jax2onnx.fusion.reference import exact, kwargs_key
from jax2onnx.fusion.repeats import Call, Place, Region
from jax2onnx.plugin.fusions import Candidate
from jax2onnx.program.graph import Graph, live
from jax2onnx.program.program import Eqn, Fused, Program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from jax2onnx.fusion.reference import Structure
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.program import Atom, Var


@dataclass(frozen=True, slots=True)
class Found:
    """A function that was found. ``equations`` counts those it replaces; ``where`` is the user's line."""

    fused: Fused
    equations: int
    where: str | None

    @property
    def name(self) -> str:
        """The function's name."""
        return self.fused.fusion.name

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """How it was called."""
        return self.fused.kwargs


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A place that has a function's structure but is not that function.

    Attributes:
        name: the function's name.
        kwargs: the configuration that was compared.
        reason: the first difference.
        where: the user's line.
        anchor: the equation that would be the function's last.
        matched: how many equations were equal before the difference.
        complete: whether all were, so that something else stands against it.
    """

    name: str
    kwargs: Mapping[str, Any]
    reason: str
    where: str | None
    anchor: Eqn
    matched: int
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Declined:
    """A function that was found, and whose emit rule declined it."""

    fused: Fused
    reason: str
    where: str | None


Record: TypeAlias = Found | NearMiss | Declined


def fuse(
    program: Program,
    fusions: Iterable[Fusion],
    facts: FactTable,
    *,
    opset: int,
    exclude: frozenset[str] = frozenset(),
    explain: list[Record] | None = None,
) -> Program:
    """Return the program with found functions as one equation each, and without dead equations.

    Args:
        program: the flat program; it is not changed.
        fusions: what to look for; where several fit, the largest wins.
        facts: what is registered about primitives.
        opset: the opset asked for; fusions that cannot be emitted with it are not tried.
        exclude: names of fusions that are not tried.
        explain: a list that receives what was found and what was nearly found, in program order.
    """
    program = live(program)
    tried = [f for f in fusions if f.name not in exclude]
    able = [f for f in tried if min(f.emit) <= opset]
    if explain is not None:
        explain.extend(_newer(program, tried, facts, opset))
    if not able or not program.eqns:
        return program
    records: list[Record] | None = None if explain is None else []
    found = _Fuser(program, able, facts, records).run()
    if explain is not None and records is not None:
        explain.extend(reversed(records))
    if not found:
        return program
    return live(Program(program.inputs, [found.get(i, e) for i, e in enumerate(program.eqns)], program.outputs))


def _newer(program: Program, fusions: Sequence[Fusion], facts: FactTable, opset: int) -> Iterator[NearMiss]:
    """Yield what a newer opset would find."""
    if all(min(f.emit) <= opset for f in fusions):
        return
    records: list[Record] = []
    for position, eqn in sorted(_Fuser(program, fusions, facts, records).run().items()):
        assert eqn.fused is not None
        needed = min(eqn.fused.fusion.emit)
        if needed > opset:
            yield NearMiss(
                eqn.primitive,
                eqn.fused.kwargs,
                f"it needs opset {needed}; this is opset {opset}",
                _where(eqn),
                program.eqns[position],
                len(eqn.fused.interior),
                complete=True,
            )


def _where(eqn: Eqn) -> str | None:
    return None if eqn.source is None else user_frame(eqn.source)


_PLACES = 4
"""How many places are kept for a structure and the shape of its result, the latest ones."""


class _Fuser:
    def __init__(
        self, program: Program, fusions: Sequence[Fusion], facts: FactTable, explain: list[Record] | None
    ) -> None:
        self._program = program
        self._facts = facts
        self._explain = explain
        self._graph = Graph(program)
        self._users = self._graph.users(program)
        self._glances = Glances(self._graph, fusions, facts)
        self._places: dict[tuple[Structure, Any], deque[Place]] = {}
        self._consumed: set[int] = set()

    def run(self) -> dict[int, Eqn]:
        """Return the fused equations by the position of the equation they replace."""
        found: dict[int, Eqn] = {}
        for i in range(len(self._program.eqns) - 1, -1, -1):
            if i in self._consumed:
                continue
            eqn = self._program.eqns[i]
            matches = (self._match(s, i, r) for r in eqn.outputs if r in self._users for s in self._glances.at(eqn, r))
            fused = next((m for m in matches if m is not None), None)
            if fused is not None:
                found[i] = fused
        return found

    def _match(self, shape: Structure, anchor: int, result: Var) -> Eqn | None:
        eqn = self._program.eqns[anchor]
        if len(shape.pattern.outputs) > 1:
            if result is not next(o for o in eqn.outputs if o in self._users):
                return None
            result = eqn.outputs[shape.pattern.anchor.index]
        places = self._places.setdefault((shape, result.aval.shape), deque(maxlen=_PLACES))
        for place in places:
            met = place.region.at(self._program.eqns, anchor)
            if met is not None:
                return self._fused(shape, place, met, anchor)
        found = self._place(shape, anchor, result)
        if found is None:
            return None
        places.appendleft(found)
        return self._fused(shape, found, None, anchor)

    def _place(self, shape: Structure, anchor: int, result: Var) -> Place | None:
        """Look for a function at a place, unless it has not even the structure."""
        eqns = self._program.eqns
        env = Search(shape.pattern, self._graph, exact=False).run(eqns[anchor], result)
        if env is None or not all(i in env for i in shape.pattern.inputs):
            return None
        bound = [env[i] for i in shape.pattern.inputs]
        around = set[int]().union(*interior(self._graph, shape.pattern, env))
        misses: list[tuple[Mapping[str, Any], str, int]] = []
        for kwargs in self._configurations(shape, bound, around, result):
            pattern = exact(shape.fusion.reference, [a.aval for a in bound], kwargs_key(kwargs), self._facts)
            if isinstance(pattern, str):
                misses.append((kwargs, pattern, 0))
                continue
            search = Search(pattern, self._graph, exact=True, bound=dict(zip(pattern.inputs, bound, strict=True)))
            matched = search.run(eqns[anchor], result)
            if matched is None:
                misses.append((kwargs, search.difference, search.reached))
                continue
            found, passed = interior(self._graph, pattern, matched)
            call = Call(
                kwargs,
                tuple(matched[i] for i in pattern.inputs),
                tuple(pattern.nodes[o].index for o in pattern.outputs),
                frozenset(anchor - i for i in found),
                frozenset(anchor - i for i in passed),
            )
            return Place(Region(eqns, anchor, found | passed), call, misses)
        return Place(Region(eqns, anchor, around), None, misses)

    def _configurations(
        self, shape: Structure, bound: Sequence[Atom], around: AbstractSet[int], result: Var
    ) -> Iterable[Mapping[str, Any]]:
        read = shape.fusion.kwargs
        if shape.kwargs is not None or not callable(read):
            return (shape.kwargs or {},)
        equations = tuple(self._program.eqns[i] for i in sorted(around))
        return read(Candidate(tuple(bound), result.aval, equations))

    def _fused(self, shape: Structure, place: Place, met: Sequence[Atom] | None, anchor: int) -> Eqn | None:
        """Return the equation that stands for those found, unless a value inside is used outside.

        ``met`` are the variables that stand for the place's here; None at the place itself.
        """
        eqn = self._program.eqns[anchor]
        for kwargs, reason, reached in place.misses:
            self._missed(shape, kwargs, reason, eqn, reached)
        call = place.call
        if call is None:
            return None
        found, passed = {anchor - back for back in call.found}, {anchor - back for back in call.passed}
        inside = owned(self._graph, self._users, found, passed)
        results = [eqn.outputs[index] for index in call.results]
        if escapes(self._graph, self._users, inside, anchor, results):
            self._missed(shape, call.kwargs, "a value inside is used outside", eqn, len(inside), complete=True)
            return None
        self._consumed |= inside
        fused = Fused(shape.fusion, call.kwargs, tuple(self._program.eqns[i] for i in sorted(found | passed)))
        if self._explain is not None:
            self._explain.append(Found(fused, len(inside), _where(eqn)))
        inputs = list(call.inputs) if met is None else [place.region.there(a, met) for a in call.inputs]
        return Eqn(shape.fusion.name, inputs, results, dict(call.kwargs), eqn.source, fused=fused)

    def _missed(
        self,
        shape: Structure,
        kwargs: Mapping[str, Any],
        reason: str,
        eqn: Eqn,
        matched: int,
        *,
        complete: bool = False,
    ) -> None:
        if self._explain is not None and shape.pattern.size > 1:
            self._explain.append(NearMiss(shape.fusion.name, kwargs, reason, _where(eqn), eqn, matched, complete))
