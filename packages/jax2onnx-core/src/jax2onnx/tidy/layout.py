"""Layout: run a region of a graph in the layout that needs the fewest transposes.

Transposes are not moved one by one. A walk keeps for each value the *view* that it is of another one (which transpose
of what), lets the nodes that work in any layout run on what is viewed, and writes a transpose down only where a node
needs the value itself. Where a region connected by views needs fewer of them so than before, it is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.layout_ops import BROADCASTING, Perm, drivers, inverse, rank_of, renumber, result
from jax2onnx.tidy.subgraphs import bodies, every_node

if TYPE_CHECKING:
    from jax2onnx.tidy.initializers import Home

_Key: TypeAlias = tuple[ir.Value, Perm]
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def settle(graph: ir.Graph, home: Home) -> bool:
    """Rewrite the regions of one graph that need fewer transposes in another layout; tell whether there were any."""
    if not any(_is_transpose(n) for n in graph):
        return False
    plan = _Planner(graph).plan()
    if plan:
        _Rewriter(graph, home, plan).rewrite()
    return bool(plan)


def compose(outer: Sequence[int], inner: Sequence[int]) -> Perm:
    """Return the permutation that is ``inner`` first, then ``outer``."""
    return tuple(inner[i] for i in outer)


def _is_transpose(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and not node.domain and "perm" in node.attributes


def _perm(node: ir.Node) -> Perm:
    return tuple(node.attributes["perm"].as_ints())


def _identity(perm: Sequence[int]) -> bool:
    return all(i == p for i, p in enumerate(perm))


def captured(node: ir.Node) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """Yield what nodes in a node's subgraphs read: the reading node, which input, the value."""
    for body in bodies(node):
        for inner in every_node(body):
            for index, value in enumerate(inner.inputs):
                if value is not None:
                    yield inner, index, value


@dataclass(slots=True)
class _Region:
    """Nodes connected by views: the transposes there are, and those there would be."""

    parent: _Region | None = None
    before: int = 0
    after: int = 0
    follows_conv: bool = False

    def root(self) -> _Region:
        region = self
        while region.parent is not None:
            region = region.parent
        return region

    def join(self, other: _Region) -> None:
        a, b = self.root(), other.root()
        if a is not b:
            a.before, a.after, b.parent = a.before + b.before, a.after + b.after, a
            a.follows_conv |= b.follows_conv

    def pays(self) -> bool:
        """Tell whether to rewrite: for fewer transposes, or to bring biases and activations next to convolutions."""
        return self.after < self.before or (self.after == self.before and self.follows_conv)


@dataclass(slots=True)
class _Planner:
    """Walks through a graph without changing it."""

    graph: ir.Graph
    views: dict[ir.Value, _Key] = field(default_factory=dict)
    regions: dict[ir.Value, _Region] = field(default_factory=dict)
    written: dict[_Key, _Region] = field(default_factory=dict)
    choices: dict[ir.Node, tuple[Perm, _Region]] = field(default_factory=dict)

    def plan(self) -> dict[ir.Node, Perm]:
        """Return the nodes to be rewritten, with the permutation of each one's inputs."""
        existing = {(n.inputs[0], _perm(n)) for n in self.graph if _is_transpose(n)}
        for node in self.graph:
            if _is_transpose(node) and node.inputs[0] is not None:
                self._transpose(node, node.inputs[0])
            elif (perm := self._choose(node, existing)) is not None:
                self._run_in(node, perm)
            else:
                self._opaque(node)
        for value in self.graph.outputs:
            self._need(value)
        return {n: p for n, (p, r) in self.choices.items() if r.root().pays()}

    def _view(self, value: ir.Value) -> _Key:
        known = self.views.get(value)
        if known is not None:
            return known
        rank = rank_of(value)
        return value, tuple(range(rank or 0))

    def _transpose(self, node: ir.Node, source: ir.Value) -> None:
        base, inner = self._view(source)
        perm = compose(_perm(node), inner) if source in self.views else _perm(node)
        producer = source.producer()
        region = _Region(before=1, follows_conv=producer is not None and producer.op_type in _CONVOLUTIONS)
        if source in self.regions:
            self.regions[source].join(region)
        self.choices[node] = _perm(node), region
        self.views[node.outputs[0]] = base, perm
        self.regions[node.outputs[0]] = region

    def _choose(self, node: ir.Node, existing: set[tuple[ir.Value | None, Perm]]) -> Perm | None:
        if self.views.keys().isdisjoint(node.inputs):
            return None
        inputs = [v for i in drivers(node) if (v := node.inputs[i]) is not None]
        options = list(dict.fromkeys(self.views[v][1] for v in inputs if v in self.views))
        options = [p for p in options if not _identity(p)]
        if not options or any(rank_of(v) != len(options[0]) for v in inputs):
            return None

        def cost(perm: Perm) -> int:
            keys = {self._key(v, perm) for v in inputs}
            return sum(
                not _identity(p) and b.const_value is None and (b, p) not in existing and (b, p) not in self.written
                for b, p in keys
            )

        best = min(options, key=cost)
        return best if cost(best) <= cost(tuple(range(len(best)))) else None

    def _key(self, value: ir.Value, perm: Perm) -> _Key:
        """Return what has to be transposed how so that ``value`` is its ``perm`` transpose."""
        base, inner = self._view(value)
        return base, compose(inverse(perm), inner)

    def _run_in(self, node: ir.Node, perm: Perm) -> None:
        region = _Region()
        leading = set(drivers(node))
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if index in leading:
                if value in self.regions:
                    self.regions[value].join(region)
                self._write(self._key(value, perm), region)
            else:
                self._need(value)
                if node.op_type in BROADCASTING and any(d != 1 for d in value.shape or ()):
                    self._write((value, inverse(perm)), region)
        self.choices[node] = perm, region
        out = result(node, perm)
        for value in node.outputs:
            self.regions[value] = region
            self.views[value] = value, out

    def _opaque(self, node: ir.Node) -> None:
        for value in node.inputs:
            if value is not None:
                self._need(value)
        for _, _, value in captured(node):
            self._need(value)

    def _need(self, value: ir.Value) -> None:
        if value in self.views:
            self._write(self.views[value], self.regions[value])

    def _write(self, key: _Key, region: _Region) -> None:
        if _identity(key[1]) or key[0].const_value is not None:
            return
        if key in self.written:
            self.written[key].join(region)
        else:
            region.root().after += 1
            self.written[key] = region


@dataclass(slots=True)
class _Rewriter:
    """Carries a plan out."""

    graph: ir.Graph
    home: Home
    plan: dict[ir.Node, Perm]
    views: dict[ir.Value, _Key] = field(default_factory=dict)
    written: dict[_Key, ir.Value] = field(default_factory=dict)

    def rewrite(self) -> None:
        """Rewrite the graph in place."""
        for node in list(self.graph):
            perm = self.plan.get(node)
            if perm is None:
                self._opaque(node)
            elif _is_transpose(node) and node.inputs[0] is not None:
                source = node.inputs[0]
                base, inner = self.views.get(source, (source, tuple(range(len(perm)))))
                self.views[node.outputs[0]] = base, compose(perm, inner)
            else:
                self._run_in(node, perm)
        for index, value in enumerate(self.graph.outputs):
            if value in self.views:
                self._output(index, value)
        for node in reversed([n for n in self.plan if _is_transpose(n)]):
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                self.graph.remove(node, safe=True)

    def _output(self, index: int, value: ir.Value) -> None:
        base, perm = self.views[value]
        if base is value and _identity(perm):
            return
        producer = base.producer()
        own = _identity(perm) and producer is not None and producer.graph is self.graph
        made = base if own else self.written.get((base, perm))
        if (_identity(perm) and not own) or made is None or made.is_graph_output():
            made = self._node("Identity", base, None) if _identity(perm) else self._node("Transpose", base, perm)
        self.graph.outputs[index] = made
        made.name, value.name = value.name, made.name

    def _opaque(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value in self.views:
                node.replace_input_with(index, self._value(*self.views[value]))
        for inner, index, value in list(captured(node)):
            if value in self.views:
                inner.replace_input_with(index, self._value(*self.views[value]))

    def _run_in(self, node: ir.Node, perm: Perm) -> None:
        leading = set(drivers(node))
        out = result(node, perm)
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if index in leading:
                base, inner = self.views.get(value, (value, tuple(range(len(perm)))))
                node.replace_input_with(index, self._value(base, compose(inverse(perm), inner)))
                continue
            if value in self.views:
                value = self._value(*self.views[value])  # noqa: PLW2901
            if node.op_type in BROADCASTING:
                value = self._placed(value, perm)  # noqa: PLW2901
            node.replace_input_with(index, value)
        renumber(node, perm, self.home)
        for value in node.outputs:
            self.views[value] = value, out
            if value.shape is not None:
                value.shape = ir.Shape([value.shape[i] for i in inverse(out)])

    def _placed(self, value: ir.Value, perm: Perm) -> ir.Value:
        """Return a value that is broadcast, for arrays whose dims are permuted."""
        shape = value.shape
        assert shape is not None
        if all(d == 1 for d in shape):
            return value
        full = [1] * (len(perm) - len(shape)) + list(shape)
        order = inverse(perm)
        if self.home.holds(value):
            sizes = [d for d in full if isinstance(d, int)]
            return self.home.derive(
                value, lambda a: np.transpose(np.reshape(a, sizes), order), [sizes[i] for i in order]
            )
        if len(full) != len(shape):
            lead = self.home.ints(list(range(len(full) - len(shape))))
            value = self._node("Unsqueeze", value, None, lead, shape=full)
        return self._value(value, order)

    def _value(self, base: ir.Value, perm: Perm) -> ir.Value:
        if _identity(perm):
            return base
        key = base, perm
        if key not in self.written:
            self.written[key] = self._node("Transpose", base, perm)
        return self.written[key]

    def _node(
        self,
        op_type: str,
        source: ir.Value,
        perm: Perm | None,
        *operands: ir.Value,
        shape: Sequence[int | ir.SymbolicDim] | None = None,
    ) -> ir.Value:
        producer = source.producer()
        metadata = {} if producer is None else dict(producer.metadata_props)
        attributes = [] if perm is None else [ir.AttrInt64s("perm", list(perm))]
        node = ir.Node("", op_type, [source, *operands], attributes, metadata_props=metadata)
        value = node.outputs[0]
        value.type = source.type
        if shape is not None:
            value.shape = ir.Shape(shape)
        elif source.shape is not None:
            value.shape = ir.Shape([source.shape[i] for i in perm] if perm is not None else source.shape)
        if producer is not None and producer.graph is self.graph:
            self.graph.insert_after(producer, node)
        else:
            self.graph.insert_before(self.graph.node(0), node)
        return value
