"""Fuse: find whole functions again in the flat program.

A fusion gives the function itself. It is traced with the installed jax at example inputs, and its graph is searched for
in the program by structure alone; that binds the function's inputs. Then it is traced again at the inputs found, and
only if everything is equal (shapes, dtypes, literals, parameters) do its equations become one. Failing to find a
function leaves its primitives: the model is longer, never wrong.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import trace_context, user_frame
from jax2onnx._glance import Kinds, plausible
from jax2onnx._graph import PLUMBING, Graph, live
from jax2onnx._match import Search, escapes, interior
from jax2onnx._reference import exact, kwargs_key, same_type, structure
from jax2onnx.program import Const, Eqn, Fused, Program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from jax2onnx._match import Bindings
    from jax2onnx._reference import KwargsKey, Pattern
    from jax2onnx.program import Atom, Var
    from jax2onnx.registry import Fusion


class Decline(Exception):  # noqa: N818 - not an error: the primitives are lowered instead
    """Raised by an emit rule that has no better form than the primitives, with the reason."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place in the program that has a function's structure: what a fusion's ``kwargs`` reads configurations from.

    Attributes:
        bound: what the function's inputs are bound to.
        result: the abstract value (``.shape``, ``.dtype``) of the result, the first one of several.
        equations: the equations found, in program order.
    """

    bound: tuple[Atom, ...]
    result: Any
    equations: tuple[Eqn, ...]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Abstract values of what the function's inputs are bound to."""
        return tuple(a.aval for a in self.bound)

    @property
    def values(self) -> tuple[np.ndarray[Any, Any] | None, ...]:
        """For each input, its value if it is known at conversion, else None."""
        return tuple(np.asarray(a.value) if isinstance(a, Const) else None for a in self.bound)

    def params(self, primitive: str) -> list[dict[str, Any]]:
        """Return the params of the equations of one primitive, in program order."""
        return [e.params for e in self.equations if e.primitive == primitive]


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
    *,
    opset: int,
    exclude: frozenset[str] = frozenset(),
    explain: list[Record] | None = None,
) -> Program:
    """Return the program with found functions as one equation each, and without dead equations.

    Args:
        program: the flat program; it is not changed.
        fusions: what to look for; where several fit, the largest wins.
        opset: the opset asked for; fusions that cannot be emitted with it are not tried.
        exclude: names of fusions that are not tried.
        explain: a list that receives what was found and what was nearly found, in program order.
    """
    program = live(program)
    tried = [f for f in fusions if f.name not in exclude]
    able = [f for f in tried if min(f.emit) <= opset]
    if explain is not None:
        explain.extend(_newer(program, tried, opset))
    if not able or not program.eqns:
        return program
    records: list[Record] | None = None if explain is None else []
    found = _Fuser(program, able, records).run()
    if explain is not None and records is not None:
        explain.extend(reversed(records))
    if not found:
        return program
    return live(Program(program.inputs, [found.get(i, e) for i, e in enumerate(program.eqns)], program.outputs))


def _newer(program: Program, fusions: Sequence[Fusion], opset: int) -> Iterator[NearMiss]:
    """Yield what a newer opset would find."""
    if all(min(f.emit) <= opset for f in fusions):
        return
    records: list[Record] = []
    for position, eqn in sorted(_Fuser(program, fusions, records).run().items()):
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


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """One structure to look for: a fusion's reference, traced at one example with one configuration."""

    fusion: Fusion
    pattern: Pattern
    kwargs: Mapping[str, Any] | None
    """The configuration it stands for; None if the fusion's ``kwargs`` reads it off the candidate."""


class _Fuser:
    def __init__(self, program: Program, fusions: Sequence[Fusion], explain: list[Record] | None) -> None:
        self._program = program
        self._fusions = fusions
        self._explain = explain
        self._graph = Graph(program)
        self._users = self._graph.users(program)
        self._present = {e.primitive for e in program.eqns}
        self._kinds = Kinds(self._graph)
        self._by_anchor: dict[Any, dict[str, list[_Shape]]] = {}
        self._plausible: dict[tuple[Any, ...], list[_Shape]] = {}
        self._latest: dict[tuple[_Shape, Any], tuple[Pattern, Mapping[str, Any]]] = {}
        self._consumed: set[int] = set()

    def run(self) -> dict[int, Eqn]:
        """Return the fused equations by the position of the equation they replace."""
        found: dict[int, Eqn] = {}
        for i in range(len(self._program.eqns) - 1, -1, -1):
            if i in self._consumed:
                continue
            eqn = self._program.eqns[i]
            matches = (self._match(s, i, r) for r in eqn.outputs if r in self._users for s in self._shapes(eqn, r))
            fused = next((m for m in matches if m is not None), None)
            if fused is not None:
                found[i] = fused
        return found

    def _shapes(self, eqn: Eqn, result: Var) -> list[_Shape]:
        """Return the structures that may end in a result of an equation, largest first, by a glance at its operands."""
        dtype = result.aval.dtype
        anchors = self._anchors(dtype)
        if eqn.primitive not in anchors:
            return []
        key = (eqn.primitive, len(eqn.outputs), dtype, *map(self._kinds.of, eqn.inputs))
        shapes = self._plausible.get(key)
        if shapes is None:
            shapes = [s for s in anchors[eqn.primitive] if plausible(s.pattern, self._graph, eqn)]
            self._plausible[key] = shapes
        return shapes

    def _anchors(self, dtype: Any) -> dict[str, list[_Shape]]:
        """Return the structures whose result has a dtype, by their last primitive."""
        anchors = self._by_anchor.get(dtype)
        if anchors is None:
            anchors = self._by_anchor[dtype] = {}
            shapes = [s for f in self._fusions if _tried(f, dtype) for s in _structures(f, dtype, self._present)]
            for shape in sorted(shapes, key=lambda s: -s.pattern.size):
                anchors.setdefault(shape.pattern.anchor.primitive, []).append(shape)
        return anchors

    def _match(self, shape: _Shape, anchor: int, result: Var) -> Eqn | None:
        eqn = self._program.eqns[anchor]
        if len(shape.pattern.outputs) > 1:
            if result is not next(o for o in eqn.outputs if o in self._users):
                return None
            result = eqn.outputs[shape.pattern.anchor.index]
        again = self._again(shape, anchor, result)
        if again is not None:
            return again
        env = Search(shape.pattern, self._graph, exact=False).run(eqn, result)
        if env is None or not all(i in env for i in shape.pattern.inputs):
            return None
        bound = [env[i] for i in shape.pattern.inputs]
        avals = [a.aval for a in bound]
        for kwargs in self._configurations(shape, bound, env, result):
            pattern = exact(shape.fusion.reference, avals, kwargs_key(kwargs))
            if isinstance(pattern, str):
                self._missed(shape, kwargs, pattern, eqn, 0)
                continue
            search = Search(pattern, self._graph, exact=True, bound=dict(zip(pattern.inputs, bound, strict=True)))
            matched = search.run(eqn, result)
            if matched is None:
                self._missed(shape, kwargs, search.difference, eqn, search.reached)
                continue
            fused = self._fused(shape.fusion, pattern, kwargs, matched, anchor)
            if fused is None:
                inside = len(interior(self._graph, self._users, pattern, matched)[0])
                self._missed(shape, kwargs, "a value inside is used outside", eqn, inside, complete=True)
                continue
            self._latest[shape, result.aval.shape] = pattern, kwargs
            return fused
        return None

    def _again(self, shape: _Shape, anchor: int, result: Var) -> Eqn | None:
        """Search for exactly what was found elsewhere, with a result of this shape and at inputs of the same types."""
        latest = self._latest.get((shape, result.aval.shape))
        if latest is None:
            return None
        pattern, kwargs = latest
        matched = Search(pattern, self._graph, exact=True).run(self._program.eqns[anchor], result)
        if matched is None or not all(i in matched and same_type(i.aval, matched[i].aval) for i in pattern.inputs):
            return None
        return self._fused(shape.fusion, pattern, kwargs, matched, anchor)

    def _fused(
        self, fusion: Fusion, pattern: Pattern, kwargs: Mapping[str, Any], matched: Bindings, anchor: int
    ) -> Eqn | None:
        """Return the equation that stands for those found, unless a value inside is used outside."""
        eqn = self._program.eqns[anchor]
        inside, shared = interior(self._graph, self._users, pattern, matched)
        results = [eqn.outputs[pattern.nodes[o].index] for o in pattern.outputs]
        if escapes(self._graph, self._users, inside, anchor, results):
            return None
        self._consumed |= inside
        fused = Fused(fusion, kwargs, tuple(self._program.eqns[i] for i in sorted(inside | shared)))
        if self._explain is not None:
            self._explain.append(Found(fused, len(inside), _where(eqn)))
        return Eqn(fusion.name, [matched[i] for i in pattern.inputs], results, dict(kwargs), eqn.source, fused)

    def _configurations(
        self, shape: _Shape, bound: Sequence[Atom], env: Mapping[Atom, Atom], result: Var
    ) -> Iterable[Mapping[str, Any]]:
        read = shape.fusion.kwargs
        if shape.kwargs is not None or not callable(read):
            return (shape.kwargs or {},)
        inside, shared = interior(self._graph, self._users, shape.pattern, env)
        equations = tuple(self._program.eqns[i] for i in sorted(inside | shared))
        return read(Candidate(tuple(bound), result.aval, equations))

    def _missed(
        self,
        shape: _Shape,
        kwargs: Mapping[str, Any],
        reason: str,
        eqn: Eqn,
        matched: int,
        *,
        complete: bool = False,
    ) -> None:
        if self._explain is not None and shape.pattern.size > 1:
            self._explain.append(NearMiss(shape.fusion.name, kwargs, reason, _where(eqn), eqn, matched, complete))


def _tried(fusion: Fusion, dtype: Any) -> bool:
    if fusion.dtypes:
        return str(dtype) in fusion.dtypes
    return dtype is not None and jnp.issubdtype(dtype, np.floating)


def _structures(fusion: Fusion, dtype: Any, present: AbstractSet[str]) -> Iterator[_Shape]:
    """Trace a fusion's examples, unless the first one has nothing at all in common with the program."""
    if not fusion.primitives <= present or (fusion.library and fusion.library not in sys.modules):
        return
    configurations: Sequence[Mapping[str, Any] | None] = (None,) if callable(fusion.kwargs) else fusion.kwargs
    context = trace_context()
    for kwargs in configurations:
        seen: set[Any] = set()
        for example in range(len(fusion.examples)):
            pattern = _structure(fusion, example, kwargs_key(kwargs or {}), dtype, context)
            if isinstance(pattern, str):
                continue
            telling = pattern.primitives - PLUMBING
            if telling and telling.isdisjoint(present):
                break
            if pattern.anchor.aval.dtype == dtype and telling <= present and pattern.form not in seen:
                seen.add(pattern.form)
                yield _Shape(fusion, pattern, kwargs)


@functools.lru_cache(maxsize=4096)
def _structure(fusion: Fusion, example: int, kwargs: KwargsKey, dtype: Any, _context: Any) -> Pattern | str:
    """Trace one of a fusion's examples; on failure, say why."""
    avals = [jax.ShapeDtypeStruct(a, dtype) if isinstance(a, tuple) else a for a in fusion.examples[example]]
    return structure(fusion.reference, avals, kwargs)
