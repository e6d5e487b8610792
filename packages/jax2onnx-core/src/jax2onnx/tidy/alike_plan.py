"""What is computed alike: how nodes that are alike, of pieces of arrays, become one node of the arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from jax2onnx.tidy.alike_kinds import ELEMENTWISE, fit, nodes_of, number_of, operands_of, signature
from jax2onnx.tidy.alike_leaves import Cut, Joined, Known, Same, Values, constants, pieces, size_at
from jax2onnx.tidy.match_nodes import input_at, ints_at
from jax2onnx.tidy.operators import REDUCTIONS
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import onnx_ir as ir

__all__ = ["Pack", "Plan", "Planner", "Taken", "key_of"]

_DEEPEST = 40
_ATTEMPTS = 200
"""How many times nodes that are alike are looked at, for each node that joins values."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One node in the place of nodes that are alike.

    Attributes:
        values: the results of the nodes.
        end: the axis along which these lie next to each other in the result of the one node, counted from the last.
        operands: the operands of the one node.
        keeps_dims: whether it is a reduction that keeps dims where the nodes drop them.
        signs: where some of the nodes are sums and some are differences, the sign of the second term of each.
    """

    values: Values
    end: int
    operands: tuple[Plan, ...]
    keeps_dims: bool = False
    signs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """Results of nodes in whose place one comes, in another order, or some of them."""

    pack: Pack
    places: tuple[int, ...]


Plan: TypeAlias = "Same | Known | Cut | Joined | Pack | Taken"


@dataclass(slots=True)
class Planner:
    """Finds out how values can be computed next to each other.

    Attributes:
        places: the places of nodes in the graph.
        seed: the node that joins the values.
        packs: what is computed at once, by its values.
        claimed: the nodes in whose place another one comes, with the values that this computes.
        found: what was found for values that are not computed at once, by values and axis.
        attempts: how many times nodes that are alike were looked at.
        counts: how often the seed reads each value.
    """

    places: dict[ir.Node, int]
    seed: ir.Node
    packs: dict[Values, Pack] = field(default_factory=dict)
    claimed: dict[ir.Node, Values] = field(default_factory=dict)
    found: dict[tuple[Values, int], Plan | None] = field(default_factory=dict)
    attempts: int = 0
    counts: Counter[ir.Value | None] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.counts.update(self.seed.inputs)

    def plan(self, values: Values, end: int, depth: int) -> Plan | None:
        """Return how to compute values next to each other along an axis, counted from the last; None if in no way."""
        known = self.packs.get(values)
        if known is not None:
            return known if known.end == end else None
        taken = self._taken(values, end)
        if taken is not None:
            return taken
        key = (values, end)
        if key not in self.found:
            pack = None
            leaf: Plan | None = (constants(values, end) or pieces(values, end)) if fit(values, end) else None
            alike = len({signature(value) for value in values}) == 1
            if leaf is None and alike and depth < _DEEPEST and self.attempts < _ATTEMPTS and fit(values, end):
                pack = self._pack(values, end, depth)
            if pack is not None:
                return pack
            rank = len(values[0].shape or ())
            if leaf is None and rank >= end and fit(values, end):
                leaf = Joined(values, rank - end)
            self.found[key] = leaf
        return self.found[key]

    def _taken(self, values: Values, end: int) -> Taken | None:
        """Return how to take values out of one pack, of which each is one number along the axis."""
        nodes = nodes_of(values)
        others = {self.claimed.get(node, ()) for node in nodes}
        pack = self.packs.get(next(iter(others))) if len(others) == 1 else None
        if pack is None or pack.end != end or len(nodes) < len(values):
            return None
        if any(size_at(value, end) != 1 for value in pack.values):
            return None
        return Taken(pack, tuple(pack.values.index(value) for value in values))

    def _pack(self, values: Values, end: int, depth: int) -> Pack | None:
        nodes = [value.producer() for value in values]
        first = nodes[0]
        if signature(values[0]) is None or first is None or len(set(values)) < 2:
            return None
        if any(node is None or node in self.claimed or node not in self.places for node in nodes):
            return None
        if any(value.is_graph_output() for value in values):
            return None
        marked = len(self.claimed), len(self.packs)
        self.attempts += 1
        for node in nodes:
            assert node is not None
            self.claimed[node] = values
        pack = self._reduced(values, end, depth) if standard(first) in REDUCTIONS else None
        if standard(first) in ELEMENTWISE:
            pack = self._elementwise(values, end, depth)
        if pack is None:
            _forget(self.claimed, marked[0])
            _forget(self.packs, marked[1])
            return None
        self.packs[values] = pack
        return pack

    def _elementwise(self, values: Values, end: int, depth: int) -> Pack | None:
        sizes = [size_at(value, end) for value in values]
        plans: list[Plan] = []
        nodes = nodes_of(values)
        kinds = [standard(node) for node in nodes]
        signs = tuple(-1 if kind == "Sub" else 1 for kind in kinds) if len({*kinds}) > 1 else ()
        for place, operands in enumerate(operands_of(nodes)):
            alone = place > 0 and standard(nodes[0]) == "Clip"
            plan = self._operand(operands, sizes, end, depth, alone=alone)
            if plan is None:
                return None
            plans.append(plan)
        if all(isinstance(plan, Same) for plan in plans):
            return None
        return Pack(values, end, tuple(plans), signs=signs)

    def _operand(
        self, operands: Values, sizes: Sequence[int | None], end: int, depth: int, *, alone: bool
    ) -> Plan | None:
        own = [size_at(value, end) for value in operands]
        if len(set(operands)) == 1 and own[0] == 1:
            return Same(operands[0])
        numbers = [number_of(value) for value in operands]
        if None not in numbers and len({*map(repr, numbers)}) == 1 and len({value.dtype for value in operands}) == 1:
            return Same(operands[0])
        if alone or own != list(sizes):
            return None
        return self.plan(operands, end, depth + 1)

    def _reduced(self, values: Values, end: int, depth: int) -> Pack | None:
        nodes = nodes_of(values)
        sources = tuple(value for node in nodes if (value := node.inputs[0]) is not None)
        axes = [ints_at(node, 1) if input_at(node, 1) is not None else None for node in nodes]
        shape, rank = sources[0].shape, len(values[0].shape or ())
        if axes[0] is None or not axes[0] or any(own != axes[0] for own in axes) or shape is None:
            return None
        reduced = {axis % len(shape) for axis in axes[0]}
        keeps = nodes[0].attributes.get_int("keepdims", 1) == 1
        before, keeps_dims = end, False
        if not keeps and rank >= end:
            left = [axis for axis in range(len(shape)) if axis not in reduced]
            before = len(shape) - left[rank - end]
        elif not keeps and len(shape) == end and shape[0] == 1 and all(dim == 1 for dim in values[0].shape or ()):
            keeps_dims = True
        elif not keeps:
            before = end + len(reduced)
        if before <= len(shape) and len(shape) - before in reduced:
            return None
        plan = self.plan(sources, before, depth + 1)
        if plan is None:
            return None
        same = Same(nodes[0].inputs[1]) if nodes[0].inputs[1] is not None else None
        return None if same is None else Pack(values, end, (plan, same), keeps_dims)

    def is_worth_it(self, plan: Pack) -> bool:
        """Return whether what is planned takes fewer nodes, and no node is needed before it is computed."""
        packs = self.used(plan)
        claimed = {node for pack in packs for node in nodes_of(pack.values)}
        cost = -len(claimed)
        leaves: set[Hashable] = set()
        for pack in packs:
            cost += 1 + (len(pack.signs) > 0 and not isinstance(pack.operands[1], Known))
            for operand in pack.operands:
                key = key_of(operand)
                if key not in leaves:
                    leaves.add(key)
                    cost += _cost(operand, claimed)
        for pack in packs:
            taken = [operand.pack for operand in pack.operands if isinstance(operand, Taken)]
            if any(self.last(other) >= self.last(pack) for other in taken):
                return False
            outside = self.outside(pack, claimed)
            if outside is None or (outside and not _can_be_taken(pack)):
                return False
            cost += len(outside)
        return cost < 0

    def used(self, plan: Pack) -> list[Pack]:
        """Return the packs that a pack is computed of, and itself."""
        found: dict[Values, Pack] = {}
        pending = [plan]
        while pending:
            pack = pending.pop()
            if pack.values not in found:
                found[pack.values] = pack
                pending += [operand for operand in pack.operands if isinstance(operand, Pack)]
                pending += [operand.pack for operand in pack.operands if isinstance(operand, Taken)]
        return [*found.values()]

    def outside(self, pack: Pack, claimed: set[ir.Node]) -> list[ir.Value] | None:
        """Return the values of a pack that others read, too; None if one of them is read before all are computed."""
        last = self.last(pack)
        found = []
        is_seed = self.is_seed(pack)
        for value in dict.fromkeys(pack.values):
            is_read = False
            for user, _ in value.uses():
                if user is self.seed and is_seed:
                    continue
                if user in claimed and self._is_packed(value, user, pack):
                    continue
                if user not in self.places or self.places[user] <= last:
                    return None
                is_read = True
            if is_read:
                found.append(value)
        return found

    def is_seed(self, pack: Pack) -> bool:
        """Return whether the seed reads all values of a pack, next to each other, and nowhere else."""
        inputs, count = self.seed.inputs, len(pack.values)
        if any(self.counts.get(value) != often for value, often in Counter(pack.values).items()):
            return False
        start = inputs.index(pack.values[0])
        return inputs[start : start + count] == pack.values

    def _is_packed(self, value: ir.Value, user: ir.Node, pack: Pack) -> bool:
        """Return whether the node in the place of a user reads the pack wherever the user reads the value."""
        outer = self.packs.get(self.claimed[user])
        if outer is None:
            return False
        for place, operand in enumerate(user.inputs):
            if operand is value:
                planned = outer.operands[place]
                planned = planned.pack if isinstance(planned, Taken) else planned
                if not isinstance(planned, Pack) or planned.values != pack.values:
                    return False
        return True

    def last(self, pack: Pack) -> int:
        """Return the place of the last of the nodes in whose place one comes."""
        return max(self.places[node] for node in nodes_of(pack.values))


def _can_be_taken(pack: Pack) -> bool:
    """Return whether each value can be taken out of a pack by one node."""
    return len(pack.values[0].shape or ()) >= pack.end - 1


def _forget(table: dict[Any, Any], size: int) -> None:
    """Remove what was put into a table after it had a size."""
    while len(table) > size:
        table.popitem()


def key_of(plan: Plan) -> Hashable:
    """Return what is equal for operands that are computed once."""
    if isinstance(plan, Taken):
        return (plan.pack.values, plan.places)
    return (plan.source, plan.axis, plan.places) if isinstance(plan, Cut) else id(plan)


def _cost(plan: Plan, claimed: set[ir.Node]) -> int:
    """Return how many nodes an operand takes that is not computed by a node in the place of others.

    Several slices of one array may become one ``Split`` in a runtime. They go if nothing else reads them.
    """
    if isinstance(plan, Cut):
        unread = all(user in claimed for value in plan.values for user, _ in value.uses())
        return (0 if plan.is_all else 1) - unread
    return 1 if isinstance(plan, Joined | Taken) else 0
