"""Outline: a marked call becomes a call of an ONNX function, defined once for equal bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from jax2onnx.lowering.builder import Scope
from jax2onnx.lowering.dims import find_sources
from jax2onnx.output.names import apart
from jax2onnx.plugin.functions import JITTED, Mark, input_names, parse_mark
from jax2onnx.program.graph import has_effect, live
from jax2onnx.program.program import Eqn, Program
from jax2onnx.tidy.subgraphs import bodies, every_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jax2onnx.lowering.driver import LoweringContext
    from jax2onnx.program.program import Atom


CALL = "onnx_function"
"""The primitive of equations that call a function: ``name`` is its mark, ``program`` its flat program, ``inputs`` the
names of what it takes."""


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function of the model, and what a call passes after its operands: arrays and named dimensions."""

    function: ir.Function
    hoisted: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Pruned:
    """What is left of a function of which a caller reads some results: its program, and which operands it takes."""

    program: Program
    used: tuple[int, ...]


class Outliner:
    """Defines the functions of one model."""

    def __init__(self, ctx: LoweringContext) -> None:
        self._ctx = ctx
        self._pruned: dict[tuple[int, tuple[bool, ...]], _Pruned] = {}
        self._by_program: dict[int, _Definition] = {}
        self._by_body: dict[Any, ir.Function] = {}
        self.functions: dict[tuple[str, str], ir.Function] = {}

    def prune(self, program: Program) -> Program:
        """Return the program with marked calls that take only operands they use and give only results that are read.

        So a state that a framework's module hands through its functions costs nothing where nobody reads it.
        """
        if not any(e.primitive in JITTED for e in program.eqns):
            return program
        wanted: set[Atom] = set(program.outputs)
        kept: list[Eqn] = []
        for eqn in reversed(program.eqns):
            if eqn.primitive in JITTED:
                call = self._call(eqn, tuple(v in wanted for v in eqn.outputs))
            else:
                call = eqn if not wanted.isdisjoint(eqn.outputs) or has_effect(eqn) else None
            if call is not None:
                wanted.update(call.inputs)
                kept.append(call)
        return Program(program.inputs, kept[::-1], program.outputs)

    def _call(self, eqn: Eqn, read: tuple[bool, ...]) -> Eqn | None:
        """A call of the function with only the results that are read, or None if none is."""
        if not any(read):
            return None
        inner = self._ctx.program(eqn.params["jaxpr"], eqn)
        key = (id(inner), read)
        if key not in self._pruned:
            outputs = [o for o, r in zip(inner.outputs, read, strict=True) if r]
            program = self.prune(live(Program(inner.inputs, inner.eqns, outputs)))
            needed: set[Atom] = {*program.outputs, *(a for e in program.eqns for a in e.inputs)}
            used = tuple(i for i, v in enumerate(inner.inputs) if v in needed)
            self._pruned[key] = _Pruned(Program([inner.inputs[i] for i in used], program.eqns, outputs), used)
        pruned = self._pruned[key]
        results = [v for v, r in zip(eqn.outputs, read, strict=True) if r]
        operands = [eqn.inputs[i] for i in pruned.used]
        names = input_names(eqn.params["jaxpr"])
        params = {"name": eqn.params["name"], "program": pruned.program, "inputs": [names[i] for i in pruned.used]}
        return Eqn(CALL, operands, results, params, eqn.source)

    def call(self, eqn: Eqn, operands: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """Emit the call of a function, defining it where it is new."""
        program = eqn.params["program"]
        mark = parse_mark(eqn.params["name"])
        assert mark is not None
        definition = self._by_program.get(id(program))
        if definition is None:
            definition = self._by_program[id(program)] = self._define(mark, program, eqn.params["inputs"])
        op = self._ctx.op
        extra = [self._ctx.named_dim(h) if isinstance(h, str) else op.constant(h) for h in definition.hoisted]
        function = definition.function
        return op.call(function.domain, function.name, [*operands, *extra], len(eqn.outputs))

    def _define(self, mark: Mark, program: Program, names: Sequence[str]) -> _Definition:
        ctx = self._ctx
        inputs = [ctx.input(v.aval, name) for v, name in zip(program.inputs, names, strict=True)]
        scope = Scope(function=True)
        shapes = [(value, v.aval.shape) for value, v in zip(inputs, program.inputs, strict=True)]
        scope.sources.update(find_sources(shapes))
        outer, ctx.op.scope = ctx.op.scope, scope
        try:
            outputs = ctx.distinct(ctx.run(program, inputs))
        finally:
            ctx.op.scope = outer
        for value, own in zip(scope.hoisted, apart([str(v.name) for v, _ in scope.hoisted], names, "_"), strict=True):
            value[0].name = own
        inputs += [value for value, _ in scope.hoisted]
        function = self._share(mark, inputs, outputs, scope.nodes)
        return _Definition(function, tuple(what for _, what in scope.hoisted))

    def _share(
        self, mark: Mark, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], nodes: Sequence[ir.Node]
    ) -> ir.Function:
        """Return the function with this body, a known one if there is one."""
        body = (str(mark), _body_key(inputs, outputs, nodes))
        known = self._by_body.get(body)
        if known is not None:
            return known
        name, count = mark.name, 1
        while (mark.namespace, name) in self.functions:
            name = f"{mark.name}_{count}"
            count += 1
        domains = {n.domain: 1 for n in _all(nodes)} | {"": self._ctx.opset}
        graph = ir.Graph(inputs, outputs, nodes=nodes, name=name, opset_imports=domains)
        function = ir.Function(mark.namespace, name, graph=graph, attributes=[])
        self.functions[mark.namespace, name] = self._by_body[body] = function
        return function


def _all(nodes: Iterable[ir.Node]) -> Iterable[ir.Node]:
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from every_node(body)


def _body_key(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], nodes: Iterable[ir.Node]) -> Any:
    """What two equal bodies have in common: operators, wiring, attributes and the inputs' types."""
    numbers: dict[ir.Value | None, int] = {None: -1}

    def number(value: ir.Value | None) -> int:
        return numbers.setdefault(value, len(numbers))

    def graph_key(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], nodes: Iterable[ir.Node]) -> Any:
        heads = tuple((number(v), v.dtype, _rank(v)) for v in inputs)
        rows = tuple(
            (
                n.domain,
                n.op_type,
                tuple(number(v) for v in n.inputs),
                tuple((k, attribute_key(a)) for k, a in sorted(n.attributes.items())),
                tuple(number(v) for v in n.outputs),
            )
            for n in nodes
        )
        return heads, rows, tuple(number(v) for v in outputs)

    def attribute_key(attribute: ir.Attr) -> Any:
        if attribute.type == ir.AttributeType.GRAPH:
            graph = attribute.as_graph()
            return graph_key(graph.inputs, graph.outputs, graph)
        if attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            return (tensor.dtype, tuple(tensor.shape), tensor.tobytes())
        return (attribute.type, attribute.value)

    return graph_key(inputs, outputs, nodes)


def _rank(value: ir.Value) -> Any:
    shape = value.shape
    return None if shape is None else tuple(d if isinstance(d, int) else -1 for d in shape)
