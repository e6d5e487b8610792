"""Alike: what is computed of each piece of an array by nodes that are alike is computed of the array at once.

Programs that write ``jnp.stack([f(x[0]), f(x[1]), f(x[2])])``, or update an array element by element, say each node as
often as there are pieces. A runtime takes about as long for a node of one number as for one of a hundred.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.alike_kinds import nodes_of, signature
from jax2onnx.tidy.alike_leaves import Cut, Joined, Known, Same, Values, piece, size_at
from jax2onnx.tidy.alike_plan import Pack, Plan, Planner, Taken, key_of
from jax2onnx.tidy.idle_nodes import is_dead
from jax2onnx.tidy.match_nodes import drop, ints_at, shape_at
from jax2onnx.tidy.operators import REDUCTIONS
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import graph_of, standard
from jax2onnx.tidy.sums_of_products import UNSIGNED

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["compute_alike"]


@rewrites("Concat")
def compute_alike(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Concat(Exp(x[0:1]), Exp(x[2:3]))`` to ``Exp(Gather(x, [0, 2]))``, for all elementwise nodes.

    Reductions along other axes are computed at once, too. It is done if that takes fewer nodes.
    """
    seeds = [node for node in nodes if len(node.inputs) > 1]
    if not seeds:
        return
    graph = graph_of(seeds[0])
    places = {node: place for place, node in enumerate(graph)}
    for node in seeds:
        if node.graph is graph:  # it may have been one of those that were alike
            _pack_operands(node, places, home)


def _pack_operands(concat: ir.Node, places: dict[ir.Node, int], home: Home) -> None:
    """Put one value in the place of each run of operands that are computed alike."""
    shape = concat.outputs[0].shape
    axis = concat.attributes.get_int("axis", 0)
    if shape is None or len(shape) == 0:
        return
    end = len(shape) - axis % len(shape)
    emitters: list[_Emitter] = []
    operands: list[ir.Value | int] = []
    runs = itertools.groupby(range(len(concat.inputs)), lambda place: _likeness(concat.inputs[place]))
    for _, run in runs:
        numbers = list(run)
        values = tuple(value for number in numbers if (value := concat.inputs[number]) is not None)
        packed = _packed(values, end, concat, places, home) if len(values) > 1 else None
        operands += numbers if packed is None else [packed[0]]
        emitters += [] if packed is None else [packed[1]]
    if emitters:
        _join(concat, [concat.inputs[operand] if isinstance(operand, int) else operand for operand in operands])
    for emitter in emitters:
        emitter.remove(emitter.planner.claimed)


def _join(concat: ir.Node, operands: Sequence[ir.Value | None]) -> None:
    """Join other operands; one alone takes the place of the result."""
    concat.resize_inputs(len(operands))
    for index, operand in enumerate(operands):
        concat.replace_input_with(index, operand)
    if len(operands) == 1:
        drop(concat)


def _likeness(value: ir.Value | None) -> Hashable:
    """Return what is equal for values that may be computed at once."""
    if value is None or value.const_value is not None:
        return None
    part = piece(value)
    return signature(value) if part is None else (id(part[0]), part[1])


def _packed(
    values: Values, end: int, concat: ir.Node, places: dict[ir.Node, int], home: Home
) -> tuple[ir.Value, _Emitter] | None:
    """Return a value that holds some values next to each other, None if that takes no fewer nodes than there are."""
    planner = Planner(places, concat)
    emitter = _Emitter(planner, home)
    plan = planner.plan(values, end, 0)
    if isinstance(plan, Cut):
        alone = [value for value in values if len(value.uses()) == 1]
        return (emitter.cut(plan, concat), emitter) if len(alone) > 1 or plan.is_all else None
    if not isinstance(plan, Pack) or not planner.is_worth_it(plan):
        return None
    return emitter.emit(plan), emitter


@dataclass(slots=True)
class _Emitter:
    """Puts nodes in the place of those that are alike."""

    planner: Planner
    home: Home
    made: dict[Hashable, ir.Value] = field(default_factory=dict)

    def emit(self, plan: Pack) -> ir.Value:
        """Return the value of a plan; what reads the values of a pack otherwise reads pieces of it."""
        packs = self.planner.used(plan)
        claimed = {node for pack in packs for node in nodes_of(pack.values)}
        outside = {pack.values: self.planner.outside(pack, claimed) or [] for pack in packs}
        result = self._value(plan, plan)
        for pack in packs:
            self._hand_out(pack, outside[pack.values], claimed)
        return result

    def remove(self, nodes: Iterable[ir.Node]) -> None:
        """Remove those of some nodes whose results nothing reads."""
        for node in sorted(nodes, key=self.planner.places.__getitem__, reverse=True):
            if is_dead(node) and node.graph is not None:
                node.graph.remove(node, safe=True)
                del self.planner.places[node]

    def _value(self, plan: Plan, user: Pack) -> ir.Value:
        if isinstance(plan, Same):
            return plan.value
        if isinstance(plan, Known):
            return self.home.constant(plan.array)
        key = plan.values if isinstance(plan, Pack) else key_of(plan)
        if isinstance(plan, Pack) and key in self.made:
            return self.made[key]
        if isinstance(plan, Pack):
            self.made[key] = self._node(plan)
            return self.made[key]
        return self._taken(plan, user) if isinstance(plan, Taken) else self._leaf(plan, user)

    def _taken(self, plan: Taken, user: Pack) -> ir.Value:
        """Return values that were computed at once, in another order."""
        source = self._value(plan.pack, user)
        axis = len(source.shape or ()) - plan.pack.end
        return self.cut(Cut(source, axis, plan.places, plan.pack.values), self._last(user))

    def _node(self, pack: Pack) -> ir.Value:
        first = pack.values[0].producer()
        assert first is not None
        operands = [self._value(operand, pack) for operand in pack.operands]
        if standard(first) in REDUCTIONS:
            shape, axes = shape_at(first, 0), ints_at(first, 1)
            assert shape is not None
            assert axes is not None
            operands[1] = self.home.ints([axis - len(shape) if axis >= 0 else axis for axis in axes])
        if pack.signs:
            operands[1] = self._signed(operands[1], pack)
        operator = "Add" if pack.signs else first.op_type
        node = ir.Node("", operator, operands, outputs=[ir.Value(type=first.outputs[0].type)])
        node.attributes.update(first.attributes)
        node.metadata_props.update(first.metadata_props)
        if all(UNSIGNED in one.meta for one in nodes_of(pack.values)):
            node.meta[UNSIGNED] = True
        if pack.keeps_dims:
            node.attributes.add(ir.AttrInt64("keepdims", 1))
        node.outputs[0].shape = _shape_of(pack)
        self._insert(node, pack)
        return node.outputs[0]

    def _signed(self, value: ir.Value, pack: Pack) -> ir.Value:
        """Return a value times the sign that each place of a pack has: ``x - y`` is ``x + y * -1``."""
        sizes = [size_at(one, pack.end) or 1 for one in pack.values]
        dtype = value.dtype
        assert dtype is not None
        signs = np.repeat(np.asarray(pack.signs, dtype.numpy()), sizes).reshape(-1, *[1] * (pack.end - 1))
        tensor = value.const_value
        if tensor is not None and not self.home.is_function:
            return self.home.constant(tensor.numpy() * signs)
        node = ir.Node("", "Mul", [value, self.home.constant(signs)])
        node.metadata_props.update(self._last(pack).metadata_props)
        node.outputs[0].type, node.outputs[0].shape = value.type, _times(value.shape, signs.shape)
        self._insert(node, pack)
        return node.outputs[0]

    def _insert(self, node: ir.Node, pack: Pack) -> None:
        """Insert a node before the last of those that it replaces, whose operands are all computed there."""
        self._last(pack).prepend(node)

    def _last(self, pack: Pack) -> ir.Node:
        return max(nodes_of(pack.values), key=self.planner.places.__getitem__)

    def cut(self, plan: Cut, user: ir.Node) -> ir.Value:
        """Return pieces of an array, cut before a node."""
        source = plan.source
        if plan.is_all:
            return source
        dims = list(source.shape or ())
        dims[plan.axis] = len(plan.places)
        if plan.is_range:
            bounds = ([plan.places[0]], [plan.places[-1] + 1], [plan.axis])
            node = ir.Node("", "Slice", [source, *map(self.home.ints, bounds)])
        else:
            node = ir.Node("", "Gather", [source, self.home.ints(plan.places)])
            node.attributes.add(ir.AttrInt64("axis", plan.axis))
        node.metadata_props.update(user.metadata_props)
        node.outputs[0].type, node.outputs[0].shape = source.type, ir.Shape(dims)
        user.prepend(node)
        return node.outputs[0]

    def _leaf(self, plan: Cut | Joined, user: Pack) -> ir.Value:
        if isinstance(plan, Cut):
            return self.cut(plan, self._last(user))
        source = plan.values[0]
        dims = list(source.shape or ())
        dims[plan.axis] = sum(size_at(value, len(dims) - plan.axis) or 0 for value in plan.values)
        node = ir.Node("", "Concat", plan.values)
        node.attributes.add(ir.AttrInt64("axis", plan.axis))
        node.outputs[0].type, node.outputs[0].shape = source.type, ir.Shape(dims)
        self._insert(node, user)
        return node.outputs[0]

    def _hand_out(self, pack: Pack, values: Sequence[ir.Value], claimed: set[ir.Node]) -> None:
        """Give pieces of what is computed at once to those that read one of the values."""
        packed = self.made[pack.values]
        rank = len(pack.values[0].shape or ())
        last = self._last(pack)
        start, is_seed, wanted = 0, self.planner.is_seed(pack), {*values}
        for value in pack.values:
            size = size_at(value, pack.end) or 1
            if value in wanted:
                wanted.remove(value)
                if rank >= pack.end:
                    axis = rank - pack.end
                    bounds = ([start], [start + size], [axis])
                    node = ir.Node("", "Slice", [packed, *map(self.home.ints, bounds)])
                else:
                    node = ir.Node("", "Gather", [packed, self.home.constant(np.asarray(start, np.int64))])
                    node.attributes.add(ir.AttrInt64("axis", 0))
                node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
                last.append(node)
                for user, place in list(value.uses()):
                    if user not in claimed and not (user is self.planner.seed and is_seed):
                        user.replace_input_with(place, node.outputs[0])
            start += size


def _times(shape: ir.Shape | None, sizes: Sequence[int]) -> ir.Shape | None:
    """Return the shape of an array times an array of which but the first dim is 1."""
    if shape is None:
        return None
    dims = [*[1] * (len(sizes) - len(shape)), *shape]
    dims[len(dims) - len(sizes)] = sizes[0]
    return ir.Shape(dims)


def _shape_of(pack: Pack) -> ir.Shape:
    """Return the shape of values next to each other."""
    dims = list(pack.values[0].shape or ())
    total = sum(size_at(value, pack.end) or 1 for value in pack.values)
    if len(dims) >= pack.end:
        dims[len(dims) - pack.end] = total
    else:
        dims = [total, *[1] * (pack.end - 1 - len(dims)), *dims]
    return ir.Shape(dims)
