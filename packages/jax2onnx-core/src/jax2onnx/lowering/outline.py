"""Outline: a marked call becomes a call of an ONNX function, defined once for equal bodies."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx_ir as ir

from jax2onnx._unique import free_name
from jax2onnx.legalise.ort_workarounds import CONFUSED_NAMES
from jax2onnx.lowering.dims import Dims, find_sources
from jax2onnx.lowering.scope import Scope
from jax2onnx.output.names import prefixed_if_taken
from jax2onnx.plugin.context import graph_input
from jax2onnx.tidy.subgraphs import every_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.lowering.builder import Ops
    from jax2onnx.plugin.marks import Mark
    from jax2onnx.program.program import Eqn, Program

    _Values: TypeAlias = Sequence[ir.Value]
    _Run: TypeAlias = Callable[[Program, _Values], _Values]

__all__ = ["Outliner"]


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function of the model, and what a call passes after its operands: arrays, and dimensions by name."""

    function: ir.Function
    passed: tuple[Any, ...]


class Outliner:
    """Defines the functions of one model.

    Args:
        opset: the opset that their bodies use.
        run: emits a prepared program into the current graph.
    """

    def __init__(self, opset: int, run: _Run) -> None:
        self._opset = opset
        self._run = run
        self._by_program: dict[Program, _Definition] = {}
        self._by_body: dict[Any, ir.Function] = {}
        self.functions: dict[tuple[str, str], ir.Function] = {}

    def call(self, eqn: Eqn, operands: _Values, op: Ops) -> _Values:
        """Emit the call of a function, defining it where it is new."""
        program = eqn.bodies[0].program
        if program not in self._by_program:
            self._by_program[program] = self._define(eqn, program, op)
        definition = self._by_program[program]
        arguments = list(operands)
        for passed in definition.passed:
            if isinstance(passed, str):
                arguments.append(Dims(op).value(passed))
            else:
                arguments.append(op.constant(passed))
        domain, name, _ = definition.function.identifier()
        return op.call(domain, name, arguments, outputs=len(eqn.outputs))

    def _define(self, eqn: Eqn, program: Program, op: Ops) -> _Definition:
        names = eqn.params["inputs"]
        avals = [v.aval for v in program.inputs]
        inputs = [graph_input(aval, name) for aval, name in zip(avals, names, strict=True)]
        scope = Scope(function=True)
        scope.sources.update(find_sources(inputs, avals))
        with op.within(scope):
            results = self._run(program, inputs)
            outputs = op.distinct(results)
        hoisted = []
        passed = []
        for value, what in scope.hoisted:
            hoisted.append(value)
            passed.append(what)
        _rename_taken(hoisted, names)
        inputs += hoisted
        mark = eqn.params["mark"]
        function = self._function(mark, inputs, outputs, scope.nodes, op)
        return _Definition(function, tuple(passed))

    def _function(
        self,
        mark: Mark,
        inputs: _Values,
        outputs: _Values,
        nodes: Sequence[ir.Node],
        op: Ops,
    ) -> ir.Function:
        """Return the function with this body; a function of the same mark with an equal body if there is one."""
        body = _BodyKey().graph(inputs, outputs, nodes)
        key = (str(mark), body)
        if key in self._by_body:
            return self._by_body[key]
        domain = mark.namespace
        taken = {name for other, name in op.domains.functions | op.domains.operators if other == domain}
        name = free_name(mark.name, taken | CONFUSED_NAMES)
        graph = ir.Graph(inputs, outputs, nodes=nodes, name=name)
        for node in every_node(graph):
            graph.opset_imports[node.domain] = op.domains.imports.get(node.domain, 1)
        graph.opset_imports[""] = self._opset
        function = ir.Function(domain, name, graph=graph, attributes=[])
        self.functions[domain, name] = function
        op.domains.functions.add((domain, name))
        self._by_body[key] = function
        return function


def _rename_taken(values: _Values, taken: Sequence[str]) -> None:
    """Put underscores before the names that are taken."""
    names = [str(value.name) for value in values]
    names = prefixed_if_taken(names, taken, "_")
    for value, name in zip(values, names, strict=True):
        value.name = name


class _BodyKey:
    """Writes a body as a key: operators, wiring, attributes and the inputs' types. Equal bodies have equal keys.

    Values are numbered in the order in which they occur.
    """

    def __init__(self) -> None:
        numbers = itertools.count()
        self._numbers: dict[ir.Value | None, int] = defaultdict(numbers.__next__, {None: -1})

    def graph(
        self,
        inputs: _Values,
        outputs: _Values,
        nodes: Iterable[ir.Node],
    ) -> Any:
        return (
            tuple(map(_input_type, inputs)),
            self._wires(inputs),
            tuple(map(self._node, nodes)),
            self._wires(outputs),
        )

    def _wires(self, values: Iterable[ir.Value | None]) -> Any:
        numbers = map(self._numbers.__getitem__, values)
        return tuple(numbers)

    def _node(self, node: ir.Node) -> Any:
        attributes = []
        for name, attribute in sorted(node.attributes.items()):
            key = self._attribute(attribute)
            attributes.append((name, key))
        return (
            node.domain,
            node.op_type,
            self._wires(node.inputs),
            tuple(attributes),
            self._wires(node.outputs),
        )

    def _attribute(self, attribute: ir.Attr) -> Any:
        if attribute.type == ir.AttributeType.GRAPH:
            graph = attribute.as_graph()
            return self.graph(graph.inputs, graph.outputs, graph)
        if attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            shape = tuple(tensor.shape)
            return (tensor.dtype, shape, tensor.tobytes())
        return (attribute.type, attribute.value)


def _input_type(value: ir.Value) -> Any:
    """Return the dtype and the dims of an input; the symbol of a symbolic dim is left out."""
    if value.shape is None:
        return value.dtype
    numbers = [dim if isinstance(dim, int) else -1 for dim in value.shape]
    return (value.dtype, *numbers)
