"""Traces of the references of fusions, as graphs to be found in a program; cached for the life of the process."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic, trace_context
from jax2onnx.program.flatten import flatten
from jax2onnx.program.graph import Graph, live
from jax2onnx.program.program import Var

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.program import Atom, Body, Eqn

KwargsKey: TypeAlias = tuple[tuple[str, Any], ...]
AvalKey: TypeAlias = tuple[Any, ...]

REFERENCE_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
    InconclusiveDimensionOperation,
)
"""What a reference may raise at shapes, dtypes or a configuration that it does not take (warnings made errors too)."""


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """An operand of a reference's equation.

    Attributes:
        atom: the value.
        scalar: whether a broadcast of it may stand in the program.
        maker: the primitive that computes it; None for an input or a constant.
    """

    atom: Atom
    scalar: bool
    maker: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An equation of a reference, from the side of one of its outputs."""

    primitive: str
    operands: tuple[Operand, ...]
    params: Mapping[str, Any]
    bodies: tuple[Body, ...]
    commutes: bool
    index: int
    aval: Any


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A traced reference. ``size`` counts its equations; several outputs are all results of one of them."""

    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    nodes: Mapping[Var, Node]
    size: int
    telling: frozenset[str]
    """The primitives of its equations that tell which function they belong to."""
    form: tuple[Any, ...]
    """All that a search sees which ignores shapes and literals."""

    @property
    def output(self) -> Var:
        """The first output."""
        return self.outputs[0]

    @property
    def anchor(self) -> Node:
        """The equation that computes the outputs."""
        return self.nodes[self.output]


def kwargs_key(kwargs: Mapping[str, Any]) -> KwargsKey:
    """Return static keyword arguments in hashable form."""
    return tuple(sorted(kwargs.items()))


def aval_key(aval: Any) -> AvalKey:
    """Return what tracing depends on in an abstract value; scopes of dims come first, as dims of two do not compare."""
    scopes = tuple(id(d.scope) for d in aval.shape if is_symbolic(d))
    return scopes, tuple(aval.shape), aval.dtype, bool(aval.weak_type)


def same_type(a: Any, b: Any) -> bool:
    """Tell whether tracing sees no difference between two abstract values of one scope of dims."""
    return a is b or bool(a.dtype == b.dtype and a.shape == b.shape and a.weak_type == b.weak_type)


def exact(reference: Callable[..., Any], avals: Sequence[Any], kwargs: KwargsKey, facts: FactTable) -> Pattern | str:
    """Trace at the inputs found, for a comparison of everything; on failure, return why."""
    return _traced(reference, tuple(map(aval_key, avals)), kwargs, facts, trace_context(), loose=False)


@functools.lru_cache(maxsize=4096)
def _traced(
    reference: Callable[..., Any],
    avals: tuple[AvalKey, ...],
    kwargs: KwargsKey,
    facts: FactTable,
    _context: Any,
    *,
    loose: bool,
) -> Pattern | str:
    specs = [jax.ShapeDtypeStruct(shape, dtype, weak_type=weak) for _, shape, dtype, weak in avals]
    try:
        jaxpr = jax.make_jaxpr(functools.partial(reference, **dict(kwargs)))(*specs)
    except REFERENCE_ERRORS as error:
        return f"the reference does not trace here: {type(error).__name__}: {error}"
    program = live(flatten(jaxpr, facts))
    graph = Graph(program, through_converts=loose)
    outputs = tuple(o for o in program.outputs if isinstance(o, Var) and o in graph.producer)
    if len(outputs) < max(1, len(program.outputs)):
        return "the reference computes nothing here"
    if len({graph.producer[o] for o in outputs}) > 1:
        return "the reference does not return one array, or results of one equation"
    nodes = {
        var: Node(
            eqn.primitive,
            tuple(_operand(graph, eqn, atom) for atom in eqn.inputs),
            eqn.params,
            eqn.bodies,
            eqn.facts.commutes,
            index,
            var.aval,
        )
        for eqn in program.eqns
        for index, var in enumerate(eqn.outputs)
    }
    inputs = tuple(program.inputs)
    telling = frozenset(e.primitive for e in program.eqns if e.outputs and not e.facts.common)
    return Pattern(inputs, outputs, nodes, len(program.eqns), telling, _form(inputs, nodes))


def _form(inputs: Sequence[Var], nodes: Mapping[Var, Node]) -> tuple[Any, ...]:
    numbers: dict[Atom, int] = {v: i for i, v in enumerate((*inputs, *nodes))}
    return tuple((n.primitive, n.index, *((numbers.get(o.atom), o.scalar) for o in n.operands)) for n in nodes.values())


def _operand(graph: Graph, eqn: Eqn, atom: Atom) -> Operand:
    resolved = graph.resolve(eqn, atom)
    return Operand(resolved, eqn.facts.elementwise and resolved.aval.shape == (), graph.maker.get(resolved))


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One structure to look for: a fusion's reference, traced at one example with one configuration."""

    fusion: Fusion
    pattern: Pattern
    kwargs: Mapping[str, Any] | None
    """The configuration it stands for; None if the fusion's ``kwargs`` reads it off the candidate."""


def structures(fusion: Fusion, dtype: Any, present: AbstractSet[str], facts: FactTable) -> Iterator[Structure]:
    """Trace a fusion's examples, unless the first one has nothing at all in common with the program."""
    if not fusion.primitives <= present:
        return
    configurations: Sequence[Mapping[str, Any] | None] = (None,) if callable(fusion.kwargs) else fusion.kwargs
    context = trace_context()
    for kwargs in configurations:
        seen: set[Any] = set()
        for example in range(len(fusion.examples)):
            pattern = _example(fusion, example, kwargs_key(kwargs or {}), dtype, facts, context)
            if isinstance(pattern, str):
                continue
            if pattern.telling and pattern.telling.isdisjoint(present):
                break
            if pattern.anchor.aval.dtype == dtype and pattern.telling <= present and pattern.form not in seen:
                seen.add(pattern.form)
                yield Structure(fusion, pattern, kwargs)


@functools.lru_cache(maxsize=4096)
def _example(  # noqa: PLR0917 - the key of a cache
    fusion: Fusion, example: int, kwargs: KwargsKey, dtype: Any, facts: FactTable, context: Any
) -> Pattern | str:
    """Trace one of a fusion's examples, for a search that ignores shapes and literals; on failure, return why."""
    avals = [jax.ShapeDtypeStruct(a, dtype) if isinstance(a, tuple) else a for a in fusion.examples[example]]
    return _traced(fusion.reference, tuple(map(aval_key, avals)), kwargs, facts, context, loose=True)
