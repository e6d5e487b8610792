"""Pieces: parts of a model as models of their own, run in onnxruntime or in onnx's reference evaluator.

A piece computes some values of a model from others, which become its inputs. The bodies of loops and functions have
pieces too: a value of a body may come from the graphs around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.frontend.remedies import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["NotRunError", "Piece", "Space", "spaces"]

Array = np.ndarray[Any, Any]
Key = tuple[str, str] | None

_READ = ".read"
"""What is added to the name of a value that a further node returns."""


class NotRunError(Exception):
    """A piece cannot be run; the message says why."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A node, and its place: nodes of bodies come before the node that has the body."""

    node: onnx.NodeProto
    place: int


@dataclass(slots=True)
class Piece:
    """A part of a model.

    Attributes:
        model: it, as a model.
        inputs: the values that it takes, by their names in the whole model.
        nodes: its nodes, as the whole model has them.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    nodes: tuple[onnx.NodeProto, ...]
    libraries: Sequence[Any] = ()
    _runners: dict[bool, Runner] = field(default_factory=dict)

    def run(self, feeds: Mapping[str, Array], *, optimised: bool = True) -> list[Array]:
        """Return its outputs in onnxruntime.

        Raises:
            NotRunError: onnxruntime refuses.
        """
        try:
            if optimised not in self._runners:
                self._runners[optimised] = Runner(self.model, self.libraries, optimised=optimised)
            return self._runners[optimised].run([feeds[name] for name in self.inputs])
        except RUNTIME_ERRORS as error:
            raise NotRunError(f"onnxruntime refuses it: {first_line(error)[:300]}") from error

    def refer(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return its outputs in onnx's reference evaluator.

        Raises:
            NotRunError: the evaluator does not have all of it.
        """
        try:
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(self.model).run(None, {name: feeds[name] for name in self.inputs})
        except MemoryError:
            raise
        except Exception as error:  # the evaluator raises whatever numpy and its operators do
            raise NotRunError(f"onnx's reference evaluator cannot run it: {type(error).__name__}") from error
        return list(map(np.asarray, found))


class Space:
    """The nodes among which names are unique: those of a model's graph with its bodies, or of a function."""

    def __init__(self, model: onnx.ModelProto, root: onnx.GraphProto | onnx.FunctionProto) -> None:
        self._model = model
        self.root = root
        self._producers: dict[str, _Placed] = {}
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.nodes: list[onnx.NodeProto] = []
        self._functions = {(f.domain, f.name): f for f in model.functions}
        self._opsets = root.opset_import if isinstance(root, onnx.FunctionProto) else model.opset_import
        self._add(root)

    def __contains__(self, name: str) -> bool:
        return name in self._producers or name in self.initializers

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that computes a value."""
        placed = self._producers.get(name)
        return None if placed is None else placed.node

    def place(self, name: str) -> int:
        """Return when a value is computed, in the order of the model."""
        placed = self._producers.get(name)
        return -1 if placed is None else placed.place

    def piece(
        self, wanted: Sequence[str], given: Mapping[str, Array], libraries: Sequence[Any] = (), *, read: bool = False
    ) -> Piece:
        """Return the piece that computes values from given ones.

        With ``read``, further nodes read these values, and return them: onnxruntime removes no node whose result is one
        of a model.

        Raises:
            NotRunError: a value is needed that is neither given nor computed.
        """
        nodes, inputs, stored = self._needed(wanted, given)
        names = [f"{name}{_READ}" for name in wanted] if read else wanted
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        taken = [
            helper.make_tensor_value_info(name, int(ir.DataType.from_numpy(given[name].dtype)), given[name].shape)
            for name in inputs
        ]
        graph = helper.make_graph([], "piece", taken, outputs)
        graph.node.extend(nodes)
        if read:
            graph.node.extend(helper.make_node("Max", [name], [f"{name}{_READ}"]) for name in wanted)
        graph.initializer.extend(stored)
        model = helper.make_model(graph, opset_imports=self._opsets, ir_version=self._model.ir_version)
        model.functions.extend(self._called(nodes))
        known = {entry.domain for entry in model.opset_import}
        extra = {f.domain for f in model.functions} - known
        model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in extra)
        return Piece(model, tuple(inputs), tuple(nodes), libraries)

    def _needed(
        self, wanted: Sequence[str], given: Mapping[str, Array]
    ) -> tuple[list[onnx.NodeProto], list[str], list[onnx.TensorProto]]:
        found: dict[int, onnx.NodeProto] = {}
        inputs: dict[str, None] = {}
        stored: dict[str, onnx.TensorProto] = {}
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in self.initializers:
                stored[name] = self.initializers[name]
            elif name in given and name not in wanted:
                inputs[name] = None
            elif name in self._producers:
                placed = self._producers[name]
                if placed.place not in found:
                    found[placed.place] = placed.node
                    waiting += reads(placed.node)
            else:
                raise NotRunError(f"{name} is not computed here")
        return [found[place] for place in sorted(found)], list(inputs), list(stored.values())

    def _called(self, nodes: Iterable[onnx.NodeProto]) -> list[onnx.FunctionProto]:
        called: dict[tuple[str, str], onnx.FunctionProto] = {}
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            key = (node.domain, node.op_type)
            if key in self._functions and key not in called:
                called[key] = self._functions[key]
                waiting += called[key].node
            waiting += [inner for body in bodies_of(node) for inner in body.node]
        return [function for key, function in self._functions.items() if key in called]

    def _add(self, graph: onnx.GraphProto | onnx.FunctionProto) -> None:
        if isinstance(graph, onnx.GraphProto):
            self.initializers.update((tensor.name, tensor) for tensor in graph.initializer)
        for node in graph.node:
            for body in bodies_of(node):
                self._add(body)
            placed = _Placed(node, len(self.nodes))
            self.nodes.append(node)
            self._producers.update(dict.fromkeys(filter(None, node.output), placed))


def spaces(model: onnx.ModelProto) -> dict[Key, Space]:
    """Return the space of the graph, under None, and those of the functions, by domain and name."""
    found: dict[Key, Space] = {None: Space(model, model.graph)}
    for function in model.functions:
        found[function.domain, function.name] = Space(model, function)
    return found


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def reads(node: onnx.NodeProto) -> list[str]:
    """Return what a node and its bodies read from outside of these."""
    found = list(filter(None, node.input))
    for body in bodies_of(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        for inner in body.node:
            found += [name for name in reads(inner) if name not in own]
            own.update(inner.output)
        found += [value.name for value in body.output if value.name not in own]
    return found


def array_of(tensor: onnx.TensorProto) -> Array:
    """Return the array of a tensor."""
    return np.asarray(numpy_helper.to_array(tensor))
