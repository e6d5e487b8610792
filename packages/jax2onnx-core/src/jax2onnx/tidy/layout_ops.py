"""Layout operators: nodes that give the same in any layout of their arrays, once their axes are renumbered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.layout_views import compose, inverse
from jax2onnx.tidy.match_nodes import input_at, ints_at, rank_of
from jax2onnx.tidy.operators import ALONG_AXIS, BROADCASTING, REDUCTIONS, UNARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.layout_views import Perm

__all__ = ["drivers", "renumber", "result_perm"]


def drivers(node: ir.Node) -> dict[int, ir.Value]:
    """Return the inputs, by place, that have the layout which a node runs in; none if it runs in one layout only."""
    find = _DRIVERS.get(node.op_type)
    if find is None or node.domain:
        return {}
    if None in map(rank_of, node.outputs):
        return {}
    inputs: dict[int, ir.Value] = {}
    for index in find(node):
        value = node.inputs[index]
        if value is not None:
            inputs[index] = value
    return inputs


def _first(_node: ir.Node) -> list[int]:
    return [0]


def _first_if_constant(node: ir.Node) -> list[int]:
    """Return the first input, if the axes or pads that the second one holds are left out or known."""
    if input_at(node, 1) is None or ints_at(node, 1) is not None:
        return [0]
    return []


def _first_if_padded(node: ir.Node) -> list[int]:
    """Return the first input, if the pads are known and for all axes."""
    if input_at(node, 3) is not None:
        return []
    return _first_if_constant(node)


def _first_if_vector(node: ir.Node) -> list[int]:
    """Return the first input, if the indices are one list of numbers: they then take one axis of it to one axis."""
    return [0] if ints_at(node, 1) is not None and rank_of(node.inputs[1]) == 1 else []


def _all_of_full_rank(node: ir.Node) -> list[int]:
    """Return the inputs that have the result's rank, if all ranks are known; the others are broadcast."""
    ranks = list(map(rank_of, node.inputs))
    if None in ranks:
        return []
    full = rank_of(node.outputs[0])
    return [index for index, rank in enumerate(ranks) if rank == full]


_DRIVERS: dict[str, Callable[[ir.Node], list[int]]] = {
    **dict.fromkeys((*UNARY, *ALONG_AXIS), _first),
    **dict.fromkeys((*BROADCASTING, "Concat"), _all_of_full_rank),
    **dict.fromkeys(REDUCTIONS, _first_if_constant),
    "Gather": _first_if_vector,
    "Pad": _first_if_padded,
}


def result_perm(node: ir.Node, perm: Perm) -> Perm:
    """Return which transposes a node's results become if it runs on arrays of which its inputs are ``perm`` transposes.

    That is ``perm``, but for reductions that drop axes: for ``ReduceMax(x, [1, 2], keepdims=0)`` and ``perm = (0, 2, 3,
    1)``, axes 0 and 1 of the new arrays stay, in this order: ``(0, 1)``.
    """
    if node.op_type not in REDUCTIONS or node.attributes.get_int("keepdims", 1) == 1:
        return perm
    kept = list(perm)
    for axis in _reduced(node, len(perm)):
        kept.remove(perm[axis])
    order = sorted(kept)
    return tuple(map(order.index, kept))


def _reduced(node: ir.Node, rank: int) -> Iterable[int]:
    """Return the axes that a reduction reduces."""
    axes = ints_at(node, 1)
    if axes:
        return axes
    if node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return ()
    return range(rank)


def renumber(node: ir.Node, perm: Perm, home: Home) -> None:
    """Replace a node's axes by those of the arrays of which its inputs were ``perm`` transposes.

    For ``perm = (0, 2, 3, 1)``, ``Softmax(x, axis=-1)`` becomes ``Softmax(x, axis=1)``.
    """
    if node.op_type in ALONG_AXIS or node.op_type == "Gather":
        axis = node.attributes.get_int("axis", ALONG_AXIS.get(node.op_type, 0))
        node.attributes.add(ir.AttrInt64("axis", perm[axis]))
    elif node.op_type in REDUCTIONS:
        axes = ints_at(node, 1)
        if axes:
            renumbered = sorted(perm[axis] for axis in axes)
            node.replace_input_with(1, home.ints(renumbered))
    elif node.op_type == "Pad":
        pads = ints_at(node, 1)
        assert pads is not None
        order = inverse(perm)
        before = compose(order, pads[: len(perm)])
        after = compose(order, pads[len(perm) :])
        node.replace_input_with(1, home.ints(before + after))
