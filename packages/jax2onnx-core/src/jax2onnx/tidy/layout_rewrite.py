"""Layout rewriting: run the nodes of a plan in other layouts, and add the transposes that are needed then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_dead
from jax2onnx.tidy.layout_ops import drivers, renumber, result_perm
from jax2onnx.tidy.layout_views import View, Views, inverse, permuted, view_of
from jax2onnx.tidy.match_nodes import is_transpose, new_node, producer_at
from jax2onnx.tidy.operators import BROADCASTING
from jax2onnx.tidy.subgraphs import reads

if TYPE_CHECKING:
    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.layout_views import Perm

__all__ = ["Rewriter"]


@dataclass(slots=True)
class Rewriter:
    """A walk through a graph that runs the nodes of a plan in other layouts.

    Attributes:
        graph: the graph.
        home: where its constants live.
        plan: the nodes to run in another layout, with the permutation of each one's inputs.
        views: what values have become.
        written: the transposes that were added.
    """

    graph: ir.Graph
    home: Home
    plan: dict[ir.Node, Perm]
    views: Views = field(default_factory=Views)
    written: dict[View, ir.Value] = field(default_factory=dict)

    def rewrite(self) -> None:
        """Rewrite the graph in place."""
        for node in list(self.graph):
            perm = self.plan.get(node)
            if perm is None:
                self._keep(node)
            elif is_transpose(node):
                self.views[node.outputs[0]] = self.views.resolve(view_of(node))
            else:
                self._run_in(node, perm)
        for index, value in enumerate(self.graph.outputs):
            if value in self.views:
                self._return(index, value)
        for node in reversed(self.plan):
            if is_transpose(node) and is_dead(node):
                self.graph.remove(node, safe=True)

    def _keep(self, node: ir.Node) -> None:
        """Make a node, and those in its bodies, read the same values as before."""
        for reader, index, value in list(reads(node)):
            if value in self.views:
                operand = self._computed(self.views[value])
                reader.replace_input_with(index, operand)

    def _run_in(self, node: ir.Node, perm: Perm) -> None:
        """Run a node on arrays of which its inputs were ``perm`` transposes."""
        order = inverse(perm)
        leading = drivers(node)
        out = result_perm(node, perm)
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if index in leading:
                view = self.views.resolve(View(value, order))
                operand = self._computed(view)
            else:
                operand = self._computed(self.views[value]) if value in self.views else value
                if node.op_type in BROADCASTING:
                    operand = self._broadcast(operand, order)
            node.replace_input_with(index, operand)
        renumber(node, perm, self.home)
        for value in node.outputs:
            self.views[value] = View(value, out)
            if value.shape is not None:
                value.shape = permuted(value.shape, inverse(out))

    def _broadcast(self, value: ir.Value, order: Perm) -> ir.Value:
        """Return an operand that broadcasts to arrays whose dims are now in another order.

        For ``order = (0, 3, 1, 2)``, ``s[4]`` becomes ``Transpose(Unsqueeze(s, [0, 1, 2]), order) [1, 4, 1, 1]``.
        """
        shape = value.shape
        assert shape is not None
        if {1}.issuperset(shape):
            return value
        missing = range(len(order) - len(shape))
        full = ir.Shape([1] * len(missing) + list(shape))
        if self.home.holds(value):
            sizes = full.numpy()
            transposed = permuted(full, order).numpy()
            return self.home.derive(value, lambda array: array.reshape(sizes).transpose(order), transposed)
        if missing:
            axes = self.home.ints(missing)
            unsqueeze = new_node("Unsqueeze", [value, axes], full, value.producer())
            value = self._insert(unsqueeze)
        return self._computed(View(value, order))

    def _return(self, index: int, value: ir.Value) -> None:
        """Make an output of the value that ``value`` has become, with the name that ``value`` has."""
        view = self.views[value]
        if view.base is value and view.is_base:
            return
        result = self._existing(view)
        if result is None or result.is_graph_output():
            result = self._copy(view)
        if result.shape is None:  # as of a value whose shape the rule did not state
            result.shape = value.shape
        self.graph.outputs[index] = result
        result.name, value.name = value.name, result.name

    def _existing(self, view: View) -> ir.Value | None:
        """Return the value that is a view, if a node of this graph computes it already."""
        if not view.is_base:
            return self.written.get(view)
        producer = view.base.producer()
        if producer is None or producer.graph is not self.graph:
            return None
        return view.base

    def _computed(self, view: View) -> ir.Value:
        """Return the value that is a view, adding a transpose if there is none yet."""
        if view.is_base:
            return view.base
        if view not in self.written:
            self.written[view] = self._copy(view)
        return self.written[view]

    def _copy(self, view: View) -> ir.Value:
        """Return a new value that is a view."""
        producer = view.base.producer()
        if view.is_base:
            return self._insert(new_node("Identity", [view.base], view.shape, producer))
        node = new_node("Transpose", [view.base], view.shape, producer)
        node.attributes.add(ir.AttrInt64s("perm", view.perm))
        return self._insert(node)

    def _insert(self, node: ir.Node) -> ir.Value:
        """Insert a node after the one that computes its first input, or before all; return its result."""
        producer = producer_at(node, 0)
        if producer is not None and producer.graph is self.graph:
            producer.append(node)
        else:
            first = self.graph.node(0)
            first.prepend(node)
        return node.outputs[0]
