"""Outline: a marked call becomes a call of an ONNX function, defined once for equal bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from jax2onnx.builder import Scope
from jax2onnx.dims import find_sources
from jax2onnx.functions import JITTED, Mark, parse_mark
from jax2onnx.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.lower import LoweringContext
    from jax2onnx.program import Atom, Eqn


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function of the model, and what a call passes: which operands, then arrays and named dimensions."""

    function: ir.Function
    used: tuple[int, ...]
    hoisted: tuple[Any, ...]


class Outliner:
    """Defines the functions of one model."""

    def __init__(self, ctx: LoweringContext) -> None:
        self._ctx = ctx
        self._by_jaxpr: dict[int, _Definition] = {}
        self._by_body: dict[Any, ir.Function] = {}
        self.functions: dict[tuple[str, str], ir.Function] = {}

    def call(self, eqn: Eqn, read: Callable[[Atom], ir.Value]) -> Sequence[ir.Value]:
        """Emit the call of the function that a marked equation stands for; only operands that it uses are read."""
        jaxpr = eqn.params["jaxpr"]
        program = self._ctx.program(jaxpr)
        mark = parse_mark(eqn.params["name"])
        assert mark is not None
        key = id(program)
        definition = self._by_jaxpr.get(key)
        if definition is None:
            definition = self._by_jaxpr[key] = self._define(mark, program)
        op = self._ctx.op
        passed = [read(eqn.inputs[i]) for i in definition.used]
        passed += [self._ctx.named_dim(h) if isinstance(h, str) else op.constant(h) for h in definition.hoisted]
        function = definition.function
        return op.call(function.domain, function.name, passed, len(eqn.outputs))

    def _define(self, mark: Mark, program: Program) -> _Definition:
        ctx = self._ctx
        used = self._used(program)
        inputs = [ctx.input(program.inputs[i].aval, f"input_{i}") for i in used]
        scope = Scope(function=True)
        shapes = [(v, program.inputs[i].aval.shape) for v, i in zip(inputs, used, strict=True)]
        scope.sources.update(find_sources(shapes))
        outer, ctx.op.scope = ctx.op.scope, scope
        try:
            body = Program([program.inputs[i] for i in used], program.eqns, program.outputs)
            outputs = ctx.distinct(ctx.run(body, inputs))
        finally:
            ctx.op.scope = outer
        inputs += [value for value, _ in scope.hoisted]
        function = self._share(mark, inputs, outputs, scope.nodes)
        return _Definition(function, used, tuple(what for _, what in scope.hoisted))

    def _used(self, program: Program) -> tuple[int, ...]:
        """Which inputs of a program matter, seen through the calls in it."""
        read: set[Atom] = set(program.outputs)
        for eqn in program.eqns:
            if eqn.primitive in JITTED:
                read.update(eqn.inputs[i] for i in self._used(self._ctx.program(eqn.params["jaxpr"])))
            else:
                read.update(eqn.inputs)
        return tuple(i for i, v in enumerate(program.inputs) if v in read)

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
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _all(attribute.as_graph())


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

