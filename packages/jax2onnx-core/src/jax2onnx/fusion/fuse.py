"""Fuse: find whole functions in a flat program, and put one equation in the place of each.

A fusion gives the function itself, the *reference*. The program is read from its last equation to its first. So a
function is met at its last equation, the *anchor*, before the functions that are inside it. At each anchor:

1. The prefilter lists the *structures* that may end there, the largest first. A structure is a reference that is traced
   at example inputs.
2. If the same equations stand before another anchor where the structure was looked for, that outcome is copied.
3. Otherwise a *loose* search unifies the structure with the program, backwards from the anchor. It ignores shapes,
   dtypes, literals and parameters. It binds the inputs of the reference to values of the program.
4. The reference is traced again at the types of these values, for each configuration in turn.
5. An *exact* search unifies this trace with the program. Everything must be equal.
6. If no value inside is used outside, one equation that stands for the function takes the place of the anchor. The
   other equations of the function are dead then, and are removed.

An example: the reference ``silu`` and a program of four equations::

    silu(x):  y = logistic x     program(a):  0: b = sin a
              z = mul x y                     1: c = logistic b
                                              2: d = mul c b
                                              3: e = add d b

No structure ends in ``add``: nothing is done at 3. At 2, the prefilter sees a ``mul`` of a ``logistic`` and something.
The loose search binds z to d. In the given order, y would be b; but b comes from ``sin``, not from ``logistic``. In the
swapped order, x is b and y is c. The operand of ``logistic`` has to be x, so b, and it is. The trace at the type of b
has the same two equations, so the exact search succeeds. Only 2 reads c. So 2 becomes ``d = silu b``, and 1 is dead.

A function that is found is never a wrong one. Step 5 alone decides, and it compares all that changes numbers with a
trace of the function itself. Step 2 copies its decision only to equations that are equal in all of this. The other
steps choose what is compared. Where they overlook a function, or a search gives up, the primitives stay: the model is
longer, never wrong.

The cost is linear in the number of equations, because the work at an anchor is bounded by the references alone. The
prefilter looks ``DEPTH`` equations deep. A search takes at most ``MAX_STEPS_PER_NODE`` steps for each equation of the
reference. At most ``_PLACES`` places are compared for each structure.

Three things are cached:

- Traces of references: by function, types of the inputs, configuration, facts and JAX's settings. The process keeps the
  last 4096.
- What the prefilter lists: by fusions, primitives of the program, facts and JAX's settings. The process keeps the last
  64 of these keys.
- Places that were searched: by structure and shape of the result. The last ``_PLACES`` are kept while one program is
  fused.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from jax2onnx.fusion.match import Search
from jax2onnx.fusion.prefilter import Prefilter
from jax2onnx.fusion.records import Found, NearMiss, Record
from jax2onnx.fusion.reference import NoTrace, describe_error, trace_pattern
from jax2onnx.fusion.repeats import Call, Place
from jax2onnx.plugin.fusions import Candidate
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.program.graph import Graph, live
from jax2onnx.program.program import Eqn, Fused, Program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jax2onnx.fusion.structures import Structure
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.program import Atom, Var

__all__ = ["fuse"]

_PLACES = 4
"""How many places are kept for a structure and the shape of its result, the latest ones."""


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
    able = [f for f in tried if min(f.emit) <= max(opset, MIN_OPSET)]
    fuser = _Fuser(program, able, facts)
    found = fuser.run()
    if explain is not None:
        if len(able) < len(tried):
            explain.extend(_newer_functions(program, tried, facts, opset))
        explain.extend(reversed(fuser.records))
    if not found:
        return program
    eqns = [found.get(i, eqn) for i, eqn in enumerate(program.eqns)]
    return live(Program(program.inputs, eqns, program.outputs))


def _newer_functions(
    program: Program,
    fusions: Sequence[Fusion],
    facts: FactTable,
    opset: int,
) -> Iterator[NearMiss]:
    """Yield the functions that would be found if a newer opset was asked for."""
    found = _Fuser(program, fusions, facts).run()
    for anchor, eqn in sorted(found.items()):
        assert eqn.fused is not None
        needed = min(eqn.fused.fusion.emit)
        if needed > max(opset, MIN_OPSET):
            yield NearMiss(
                name=eqn.primitive,
                kwargs=eqn.fused.kwargs,
                reason=f"it needs opset {needed}; this is opset {opset}",
                anchor=program.eqns[anchor],
                matched=len(eqn.fused.interior),
                complete=True,
            )


class _Fuser:
    """Looks for functions in one program; ``records`` is what was found and missed, from the last equation on."""

    def __init__(
        self,
        program: Program,
        fusions: Sequence[Fusion],
        facts: FactTable,
    ) -> None:
        self.records: list[Record] = []
        self._eqns = program.eqns
        self._facts = facts
        self._graph = Graph(program)
        self._users = self._graph.users(program)
        self._prefilter = Prefilter(self._graph, fusions, facts)
        self._places: dict[tuple[Structure, Any], deque[Place]] = {}
        self._replaced: set[int] = set()

    def run(self) -> dict[int, Eqn]:
        """Return the equations that stand for functions, by the positions of the anchors."""
        found: dict[int, Eqn] = {}
        for anchor in reversed(range(len(self._eqns))):
            if anchor in self._replaced:
                continue
            fused = self._largest(anchor)
            if fused is not None:
                found[anchor] = fused
        return found

    def _largest(self, anchor: int) -> Eqn | None:
        """Return the equation that stands for the largest function that ends at an anchor."""
        eqn = self._eqns[anchor]
        used = [output for output in eqn.outputs if output in self._users]
        for result in used:
            for structure in self._prefilter.candidates(eqn, result):
                first = result
                results = structure.pattern.results
                if len(results) > 1:
                    if result is not used[0]:
                        continue  # a function of several results is looked for once, not from each of them
                    first = eqn.outputs[results[0]]
                fused = self._match(structure, anchor, first)
                if fused is not None:
                    return fused
        return None

    def _match(self, structure: Structure, anchor: int, result: Var) -> Eqn | None:
        """Return the equation that stands for a function, if it ends at an anchor."""
        key = structure, result.aval.shape
        places = self._places.setdefault(key, deque(maxlen=_PLACES))
        for place in places:
            counterparts = place.counterparts(self._eqns, anchor)
            if counterparts is not None:
                return self._outcome(structure, place, anchor, counterparts)
        searched = self._search(structure, anchor, result)
        if searched is None:
            return None
        places.appendleft(searched)
        return self._outcome(structure, searched, anchor, {})

    def _search(self, structure: Structure, anchor: int, result: Var) -> Place | None:
        """Look for a function at an anchor; return None if not even the structure is there."""
        eqns = self._eqns
        inputs = structure.pattern.program.inputs
        loose = Search(structure.pattern, self._graph)
        if not loose.run(eqns[anchor], result):
            return None
        if not loose.bindings.keys() >= set(inputs):
            return None
        bound = tuple(loose.bindings[v] for v in inputs)
        _, inside = loose.positions()
        candidate = Candidate(bound, result.aval, tuple(eqns[i] for i in inside))
        misses: list[NearMiss] = []
        try:
            configurations = tuple(structure.configurations(candidate))
        except Exception as error:  # noqa: BLE001 - a function that is not recognised costs the user nothing but nodes
            reason = f"its configuration cannot be read here: {describe_error(error)}"
            misses.append(NearMiss(structure.fusion.name, {}, reason, eqns[anchor], matched=len(inside)))
            configurations = ()
        for kwargs in configurations:
            outcome = self._compare(structure.fusion, kwargs, bound, anchor, result, structural=len(inside))
            if not isinstance(outcome, NearMiss):
                call, inside = outcome
                return Place(eqns, anchor, inside, misses, call)
            misses.append(outcome)
        return Place(eqns, anchor, inside, misses, None)

    def _compare(
        self,
        fusion: Fusion,
        kwargs: Mapping[str, Any],
        bound: Sequence[Atom],
        anchor: int,
        result: Var,
        *,
        structural: int,
    ) -> tuple[Call, list[int]] | NearMiss:
        """Compare everything with one configuration of a function, traced at the inputs that were found.

        ``structural`` is how many equations the structure has here.
        """
        eqn = self._eqns[anchor]
        avals = [atom.aval for atom in bound]
        pattern = trace_pattern(fusion.reference, avals, kwargs, self._facts, loose=False)
        if isinstance(pattern, NoTrace):
            # Where shapes or dtypes are not the function's, nothing equal is there.
            equal = 0 if pattern.is_usual else structural
            return NearMiss(fusion.name, kwargs, pattern.reason, eqn, matched=equal)
        search = Search(pattern, self._graph, bound)
        if not search.run(eqn, result):
            return NearMiss(fusion.name, kwargs, search.difference, eqn, search.matched)
        matched, inside = search.positions()
        call = Call(
            kwargs=kwargs,
            inputs=bound,
            results=pattern.results,
            matched=[anchor - i for i in matched],
        )
        return call, inside

    def _outcome(
        self,
        structure: Structure,
        place: Place,
        anchor: int,
        counterparts: Mapping[Atom, Atom],
    ) -> Eqn | None:
        """Return the equation that stands for the function of a place, unless a value inside is used outside.

        ``counterparts`` are what stands for the place's variables at this anchor; none are given at the place itself.
        """
        fusion = structure.fusion
        call = place.call
        eqn = self._eqns[anchor]
        for miss in place.misses:
            self._note(structure, replace(miss, anchor=eqn))
        if call is None:
            return None
        inside = place.positions(anchor)
        matched = {anchor - offset for offset in call.matched}
        replaced = self._replaceable(matched, inside)
        results = [eqn.outputs[i] for i in call.results]
        values = chain.from_iterable(self._eqns[i].outputs for i in replaced)
        if self._used_outside(set(values).difference(results), replaced):
            miss = NearMiss(
                name=fusion.name,
                kwargs=call.kwargs,
                reason="a value inside is used outside",
                anchor=eqn,
                matched=len(replaced),
                complete=True,
            )
            self._note(structure, miss)
            return None
        self._replaced |= replaced
        inputs = [counterparts.get(atom, atom) for atom in call.inputs]
        interior = [self._eqns[i] for i in inside]
        fused = Fused(fusion, call.kwargs, tuple(interior), tuple(inputs))
        self.records.append(Found(fused, len(replaced)))
        return Eqn(fusion.name, inputs, results, dict(call.kwargs), eqn.source, fused=fused)

    def _replaceable(self, matched: set[int], inside: Sequence[int]) -> set[int]:
        """Return the equations that go with a function: those matched, and auxiliary ones that nothing else reads.

        An auxiliary equation that something else reads stays: it costs next to nothing.
        """
        replaced = set(matched)
        for position in reversed(inside):
            if position in matched:
                continue
            if not self._used_outside(self._eqns[position].outputs, replaced):
                replaced.add(position)
        return replaced

    def _used_outside(self, values: Iterable[Var], inside: set[int]) -> bool:
        """Return whether an equation outside reads one of some values."""
        return any(not inside.issuperset(self._users.get(value, ())) for value in values)

    def _note(self, structure: Structure, miss: NearMiss) -> None:
        # Whatever has the primitive is nearly a function of one equation: that is not worth a line.
        if len(structure.pattern.program.eqns) > 1:
            self.records.append(miss)
