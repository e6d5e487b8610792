"""Outline: a marked call becomes a call of an ONNX function, defined once for equal bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from jax2onnx.lowering.builder import Scope
from jax2onnx.lowering.dims import Dims, find_sources
from jax2onnx.output.names import prefixed_if_taken
from jax2onnx.plugin.context import graph_input
from jax2onnx.tidy.subgraphs import bodies, every_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.lowering.builder import Ops
    from jax2onnx.plugin.functions import Mark
    from jax2onnx.program.program import Eqn, Program


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function of the model, and what a call passes after its operands: arrays and named dimensions."""

    function: ir.Function
    hoisted: tuple[Any, ...]


class Outliner:
    """Defines the functions of one model.

    Args:
        opset: the opset that their bodies use.
        run: emits a prepared program into the current graph.
    """

    def __init__(self, opset: int, run: Callable[[Program, Sequence[ir.Value]], Sequence[ir.Value]]) -> None:
        self._opset = opset
        self._run = run
        self._by_program: dict[Program, _Definition] = {}
        self._by_body: dict[Any, ir.Function] = {}
        self.functions: dict[tuple[str, str], ir.Function] = {}

    def call(self, eqn: Eqn, operands: Sequence[ir.Value], op: Ops) -> Sequence[ir.Value]:
        """Emit the call of a function, defining it where it is new."""
        program = eqn.bodies[0].program
        definition = self._by_program.get(program)
        if definition is None:
            definition = self._define(eqn.params["mark"], program, eqn.params["inputs"], op)
            self._by_program[program] = definition
        extra = [Dims(op).named(h) if isinstance(h, str) else op.constant(h) for h in definition.hoisted]
        function = definition.function
        return op.call(function.domain, function.name, [*operands, *extra], len(eqn.outputs))

    def _define(self, mark: Mark, program: Program, names: Sequence[str], op: Ops) -> _Definition:
        inputs = [graph_input(v.aval, name) for v, name in zip(program.inputs, names, strict=True)]
        scope = Scope(function=True)
        shapes = [(value, v.aval.shape) for value, v in zip(inputs, program.inputs, strict=True)]
        scope.sources.update(find_sources(shapes))
        with op.within(scope):
            outputs = op.distinct(self._run(program, inputs))
        own_names = prefixed_if_taken([str(v.name) for v, _ in scope.hoisted], names, "_")
        for (value, _), own in zip(scope.hoisted, own_names, strict=True):
            value.name = own
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
        domains = {n.domain: 1 for n in _all(nodes)} | {"": self._opset}
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
