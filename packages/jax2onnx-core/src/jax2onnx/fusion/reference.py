"""References: the function of a fusion, traced by the installed JAX, as a graph that is searched for in a program."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic, trace_context
from jax2onnx.program.flatten import flatten
from jax2onnx.program.graph import Graph, live
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.program import Atom, Eqn, Program, Var

__all__ = ["NoTrace", "Node", "Operand", "Pattern", "describe_error", "trace_pattern"]

_KwargsKey: TypeAlias = tuple[tuple[str, Any], ...]
_AvalKey: TypeAlias = tuple[Any, ...]


_USUAL_ERRORS = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, InconclusiveDimensionOperation)
"""What functions raise at shapes and dtypes that they do not take."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An equation of a reference, from the side of one of its outputs.

    Attributes:
        eqn: the equation.
        operands: its operands.
        index: which of its outputs it is.
    """

    eqn: Eqn
    operands: tuple[Operand, ...]
    index: int

    @property
    def primitive(self) -> str:
        """The equation's primitive."""
        return self.eqn.primitive

    @property
    def output(self) -> Var:
        """The output."""
        return self.eqn.outputs[self.index]

    def same_operation(self, eqn: Eqn) -> bool:
        """Return whether an equation has the primitive, the number of operands and an output of this index."""
        if self.eqn.primitive != eqn.primitive:
            return False
        return len(self.operands) == len(eqn.inputs) and self.index < len(eqn.outputs)

    def gives(self, eqn: Eqn, atom: Atom) -> bool:
        """Return whether a value is an equation's output of this index."""
        return self.index < len(eqn.outputs) and eqn.outputs[self.index] is atom


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """An operand of a reference's equation.

    Attributes:
        atom: the value.
        scalar: whether a broadcast of it may stand in the program.
        node: what computes it; None for an input or a constant.
    """

    atom: Atom
    scalar: bool
    node: Node | None

    def read(self, atom: Atom, graph: Graph, *, sizes: bool) -> Atom | None:
        """Return what is compared with this operand where an atom of a program stands; None if it cannot be it.

        ``sizes`` is for a search that ignores dtypes and literals: a size of a dimension may stand for a constant, as
        programs compute sizes of symbolic dims, and a converted scalar for the scalar.
        """
        if self.scalar:
            atom = graph.scalars.get(atom, atom)
        if self._fits(atom, graph, sizes=sizes):
            return atom
        if sizes and self.scalar and atom in graph.unconverted:
            atom = graph.unconverted[atom]
            if self._fits(atom, graph, sizes=sizes):
                return atom
        return None

    def _fits(self, atom: Atom, graph: Graph, *, sizes: bool) -> bool:
        if self.node is not None:
            return graph.maker.get(atom) == self.node.primitive
        if isinstance(self.atom, Const):
            return isinstance(atom, Const) or (sizes and atom in graph.sizes)
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A traced reference.

    Attributes:
        program: the reference as a program.
        anchor: its last equation, from the side of the first result.
        results: which outputs of the anchor the reference returns.
        distinctive: those primitives of its equations that occur in few functions.
        form: all that a loose search sees of it.
    """

    program: Program
    anchor: Node
    results: tuple[int, ...]
    distinctive: frozenset[str]
    form: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class NoTrace:
    """Why there is no trace of a reference.

    Attributes:
        reason: what stands against it.
        is_usual: whether this is how functions say that they do not take some shapes or dtypes.
    """

    reason: str
    is_usual: bool


def trace_pattern(
    reference: Callable[..., Any],
    avals: Iterable[Any],
    kwargs: Mapping[str, Any],
    facts: FactTable,
    *,
    loose: bool,
) -> Pattern | NoTrace:
    """Trace a reference at abstract values, with its static configuration, or return why that fails.

    ``loose`` is for a search that ignores dtypes: a scalar that is converted to another dtype is the same scalar to it.
    A reference may raise anything at types or a configuration that it does not take: the function is then not there.
    """
    types = tuple(map(_aval_key, avals))
    configuration = tuple(sorted(kwargs.items()))
    try:
        return _trace(reference, types, configuration, facts, trace_context(), loose=loose)
    except Exception as error:  # noqa: BLE001 - a library's function: the program of the user is exported without it
        return _no_trace(error)


def _no_trace(error: Exception) -> NoTrace:
    return NoTrace(f"the reference does not trace here: {describe_error(error)}", isinstance(error, _USUAL_ERRORS))


def describe_error(error: Exception) -> str:
    """Return the class of an error and the first line of its message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _aval_key(aval: Any) -> _AvalKey:
    """Return what tracing depends on in an abstract value.

    The scopes of symbolic dims come first: JAX refuses to compare dims of different scopes, as a dictionary would do.
    """
    scopes = tuple(id(d.scope) for d in aval.shape if is_symbolic(d))
    return scopes, tuple(aval.shape), aval.dtype, bool(aval.weak_type)


# A failure is cached as well: a place whose types a reference refuses is met as often as any other.
@functools.lru_cache(maxsize=4096)
def _trace(
    reference: Callable[..., Any],
    avals: tuple[_AvalKey, ...],
    kwargs: _KwargsKey,
    facts: FactTable,
    _context: Any,
    *,
    loose: bool,
) -> Pattern | NoTrace:
    specs = [jax.ShapeDtypeStruct(shape, dtype, weak_type=weak) for _, shape, dtype, weak in avals]
    function = functools.partial(reference, **dict(kwargs))
    try:
        program = _program(function, specs, facts)
    except Exception as error:  # noqa: BLE001 - as in trace_pattern
        return _no_trace(error)
    graph = Graph(program, through_converts=loose)
    producers = [graph.producer.get(output) for output in program.outputs]
    if not producers or None in producers:
        return NoTrace("the reference computes nothing here", is_usual=True)
    if len(set(producers)) > 1:
        return NoTrace("the reference does not return one array, or results of one equation", is_usual=True)
    return _pattern(program, graph)


def _program(function: Callable[..., Any], specs: Sequence[Any], facts: FactTable) -> Program:
    """Return the program of a reference. The user's comes from the same passes, so the same function is equal in both.

    What a reference warns of is not about the user's program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jaxpr = jax.make_jaxpr(function)(*specs)
    return live(flatten(jaxpr, facts))


def _pattern(program: Program, graph: Graph) -> Pattern:
    nodes: dict[Atom, Node] = {}
    distinctive: set[str] = set()
    form: list[Any] = []
    numbers: dict[Atom, int] = {}
    for variable in program.inputs:
        numbers[variable] = len(numbers)
    for eqn in program.eqns:
        operands: list[Operand] = []
        operand_forms: list[Any] = []
        for atom in eqn.inputs:
            read = graph.resolve(eqn, atom)
            scalar = eqn.facts.elementwise and read.aval.shape == ()
            operands.append(Operand(read, scalar, nodes.get(read)))
            operand_forms.append((numbers.get(read), scalar))
        for index, output in enumerate(eqn.outputs):
            nodes[output] = Node(eqn, tuple(operands), index)
            numbers[output] = len(numbers)
            form.append((eqn.primitive, index, *operand_forms))
        if eqn.outputs and not eqn.facts.common:
            distinctive.add(eqn.primitive)
    results = tuple(nodes[output].index for output in program.outputs)
    anchor = nodes[program.outputs[0]]
    return Pattern(program, anchor, results, frozenset(distinctive), tuple(form))
