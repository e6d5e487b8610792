"""Layout: run regions of a graph in the layout that needs the fewest transposes.

Transposes are not moved one by one. A walk keeps for each value the *view* that it is of another value: which transpose
of which. Nodes that work in any layout run on what is viewed, and a transpose is only written where a node needs the
value itself. A region connected by views is rewritten if it then has fewer transposes than before::

    a = Transpose(x[N, 8, 8, 3], [0, 3, 1, 2])          a = Transpose(x[N, 8, 8, 3], [0, 3, 1, 2])
    b = Conv(a, v) [N, 4, 8, 8]                         b = Conv(a, v) [N, 4, 8, 8]
    c = Transpose(b, [0, 2, 3, 1]) [N, 8, 8, 4]
    d = Relu(c)                                         d = Relu(b) [N, 4, 8, 8]
    e = Transpose(d, [0, 3, 1, 2]) [N, 4, 8, 8]
    f = Conv(e, w) [N, 2, 8, 8]                         f = Conv(d, w) [N, 2, 8, 8]
    y = Transpose(f, [0, 2, 3, 1])                      y = Transpose(f, [0, 2, 3, 1])
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jax2onnx.tidy.layout_ops import drivers, result_perm
from jax2onnx.tidy.layout_rewrite import Rewriter
from jax2onnx.tidy.layout_views import View, Views, inverse, view_of
from jax2onnx.tidy.match_nodes import is_transpose, rank_of
from jax2onnx.tidy.operators import BROADCASTING
from jax2onnx.tidy.subgraphs import reads, standard

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.layout_views import Perm

__all__ = ["settle"]

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def settle(graph: ir.Graph, home: Home) -> bool:
    """Rewrite the regions of one graph that need fewer transposes in another layout; return whether there were any."""
    existing = set(map(view_of, filter(is_transpose, graph)))
    if not existing:
        return False
    plan = _Planner(graph, existing).plan()
    if plan:
        Rewriter(graph, home, plan).rewrite()
    return bool(plan)


@dataclass(slots=True)
class _Region:
    """Nodes connected by views.

    Regions that turn out to be connected are joined to one: a tree, whose root holds the numbers.

    Attributes:
        parent: the region that this one has been joined to.
        saved: how many transposes fewer there would be if the region were rewritten.
        follows_conv: whether a transpose in it follows a convolution.
    """

    parent: _Region | None = None
    saved: int = 0
    follows_conv: bool = False

    def root(self) -> _Region:
        region = self
        while region.parent is not None:
            region = region.parent
        return region

    def join(self, other: _Region) -> None:
        a = self.root()
        b = other.root()
        if a is b:
            return
        b.parent = a
        a.saved += b.saved
        a.follows_conv |= b.follows_conv

    def pays(self) -> bool:
        """Return whether to rewrite: for fewer transposes, or to bring biases and activations next to convolutions."""
        root = self.root()
        return root.saved > 0 or (root.saved == 0 and root.follows_conv)


@dataclass(slots=True)
class _Planner:
    """A walk through a graph that decides which nodes to run in another layout, without changing them.

    Attributes:
        graph: the graph.
        existing: what its transposes compute.
        views: what values would become if the graph were rewritten.
        regions: the region of each of these values.
        written: the transposes that the rewritten graph would have, each with a region that needs it.
        choices: the permutation for which each node would run, and its region.
    """

    graph: ir.Graph
    existing: set[View]
    views: Views = field(default_factory=Views)
    regions: dict[ir.Value, _Region] = field(default_factory=dict)
    written: dict[View, _Region] = field(default_factory=dict)
    choices: dict[ir.Node, tuple[Perm, _Region]] = field(default_factory=dict)

    def plan(self) -> dict[ir.Node, Perm]:
        """Return the nodes to be rewritten, with the permutation of each one's inputs."""
        for node in self.graph:
            if is_transpose(node):
                self._view(node)
                continue
            perm = self._choose(node)
            if perm is not None:
                self._run_in(node, perm)
                continue
            for _, _, value in reads(node):
                self._need(value)
        for value in self.graph.outputs:
            self._need(value)
        chosen = self.choices.items()
        return {node: perm for node, (perm, region) in chosen if region.pays()}

    def _view(self, transpose: ir.Node) -> None:
        """Plan to make a transpose a view."""
        view = view_of(transpose)
        producer = view.base.producer()
        region = _Region(saved=1)
        region.follows_conv = producer is not None and standard(producer) in _CONVOLUTIONS
        self._connect(view.base, region)
        self.regions[transpose.outputs[0]] = region
        self.views[transpose.outputs[0]] = self.views.resolve(view)
        self.choices[transpose] = view.perm, region

    def _run_in(self, node: ir.Node, perm: Perm) -> None:
        """Plan to run a node on arrays of which its inputs are ``perm`` transposes."""
        region = _Region()
        order = inverse(perm)
        leading = drivers(node)
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            if index in leading:
                self._connect(value, region)
                self._write(self.views.resolve(View(value, order)), region)
                continue
            self._need(value)
            # An operand of fewer dims gets dims of size 1 in front, and is then transposed.
            if node.op_type in BROADCASTING and not {1}.issuperset(value.shape or ()):
                self._write(View(value, order), region)
        self.choices[node] = perm, region
        out = result_perm(node, perm)
        for value in node.outputs:
            self.regions[value] = region
            self.views[value] = View(value, out)

    def _choose(self, node: ir.Node) -> Perm | None:
        """Return the permutation for which a node runs with the fewest new transposes, None for the layout it has."""
        if self.views.keys().isdisjoint(node.inputs):
            return None
        inputs = drivers(node).values()
        perms = [self.views[value].perm for value in inputs if value in self.views]
        ranks = {*map(len, perms), *map(rank_of, inputs)}
        if not perms or len(ranks) > 1:
            return None
        unchanged = tuple(range(len(perms[0])))
        # The first of the cheapest is taken, so the layout that the node has comes last.
        options = [perm for perm in perms if perm != unchanged]
        best = min([*options, unchanged], key=functools.partial(self._cost, inputs))
        return None if best == unchanged else best

    def _cost(self, inputs: Iterable[ir.Value], perm: Perm) -> int:
        """Return how many transposes a node would need that neither exist nor are planned."""
        order = inverse(perm)
        needed = {self.views.resolve(View(value, order)) for value in inputs}
        added = needed - self.existing - self.written.keys()
        return sum(not view.is_free for view in added)

    def _connect(self, value: ir.Value, region: _Region) -> None:
        if value in self.regions:
            self.regions[value].join(region)

    def _need(self, value: ir.Value) -> None:
        """Count the transpose that computes a value itself."""
        if value in self.views:
            self._write(self.views[value], self.regions[value])

    def _write(self, view: View, region: _Region) -> None:
        """Count the transpose that computes a view, once for all who need it."""
        if view.is_free:
            return
        if view in self.written:
            self.written[view].join(region)
            return
        self.written[view] = region
        region.root().saved -= 1
