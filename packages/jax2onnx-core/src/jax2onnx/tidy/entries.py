"""Entries: what is taken at known places of one array, or of what was taken of it at known places, is taken at once.

A solver takes the factors of a matrix apart, whose entries were put in order one step before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import Dim, is_used_once, new_node, replace, same_dims, shape_at, tensor_at
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from jax2onnx.tidy.initializers import Home

__all__ = ["join_entries", "take_at_once"]

_MOST = 4096
"""Indices of more entries are not joined: they would be stored in two forms."""


def _places(node: ir.Node) -> tuple[np.ndarray[Any, Any], int] | None:
    """Return the known places that a ``Gather`` takes, from 0 on, and the axis; None if they are not known."""
    tensor, shape = tensor_at(node, 1), shape_at(node, 0)
    if tensor is None or shape is None or tensor.size > _MOST:
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    size, places = shape[axis], tensor.numpy()
    if not isinstance(size, int):
        return None
    return np.where(places < 0, places + size, places), axis


@rewrites("Gather", beside={"Split"})
def join_entries(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Split(Gather(x[9], [0, 4]), 2), Split(Gather(x, [1, 2, 5]), 2)`` to ``Split(Gather(x, ...), 4)``."""
    found: dict[tuple[ir.Value, int], list[tuple[ir.Node, ir.Node, np.ndarray[Any, Any]]]] = {}
    for node in nodes:
        value = node.inputs[0]
        if value is None or not is_used_once(node.outputs[0]):
            continue
        known = _places(node)
        ((split, _),) = node.outputs[0].uses()
        if known is None or known[0].ndim != 1 or not _cuts(split, node, known[1]):
            continue
        found.setdefault((value, known[1]), []).append((node, split, known[0]))
    for (value, axis), several in found.items():
        if len(several) > 1:
            _join_some(value, axis, several, home)


def _cuts(split: ir.Node, node: ir.Node, axis: int) -> bool:
    """Return whether a node cuts what another has taken along an axis into pieces of known sizes."""
    shape = node.outputs[0].shape
    if standard(split) != "Split" or split.graph is not node.graph or shape is None:
        return False
    if split.attributes.get_int("axis", 0) % len(shape) != axis:
        return False
    return all(
        value.shape is not None and isinstance(value.shape[axis], int) and not value.is_graph_output()
        for value in split.outputs
    )


def _join_some(
    value: ir.Value, axis: int, several: Sequence[tuple[ir.Node, ir.Node, np.ndarray[Any, Any]]], home: Home
) -> None:
    first = several[0][0]
    places = np.concatenate([one for _, _, one in several])
    taken = _taken(first, value, places, axis, home)
    pieces = [piece for _, split, _ in several for piece in split.outputs]
    sizes = [size for one in pieces if one.shape is not None and isinstance(size := one.shape[axis], int)]
    results = [ir.Value(type=piece.type, shape=piece.shape) for piece in pieces]
    split = ir.Node(
        "",
        "Split",
        [taken.outputs[0], home.ints(sizes)],
        [ir.AttrInt64("axis", axis)],
        outputs=results,
        metadata_props=dict(first.metadata_props),
    )
    first.prepend([taken, split])
    for piece, result in zip(pieces, results, strict=True):
        piece.replace_all_uses_with(result)
    for node, old, _ in several:
        assert node.graph is not None
        node.graph.remove([old, node], safe=True)


def _taken(origin: ir.Node, value: ir.Value, places: np.ndarray[Any, Any], axis: int, home: Home) -> ir.Node:
    """Return a node that takes some places along an axis of a value."""
    assert value.shape is not None
    shape = ir.Shape([*value.shape[:axis], *places.shape, *value.shape[axis + 1 :]])
    node = new_node("Gather", [value, home.constant(places.astype(np.int64))], shape, origin)
    node.attributes.add(ir.AttrInt64("axis", axis))
    return node


@rewrites("Gather")
def take_at_once(nodes: Sequence[ir.Node], home: Home) -> None:
    """Take of an array itself what is taken of a part of it; nodes without users stay."""
    for node in nodes:
        _compose(node, home)


def _compose(node: ir.Node, home: Home) -> None:
    """Rewrite ``Gather(Reshape(Gather(x[9], [2, 0, 4, 1]), [4, 1]), [3, 0])`` to ``Reshape(Gather(x, [1, 2]), ...)``.

    It is done where nothing else reads what was taken first, or only nodes that take known places of it.
    """
    known = _places(node)
    before = node.inputs[0]
    rearranged = False
    while (one := None if before is None else before.producer()) is not None and standard(one) in RESHAPES:
        if one.graph is not node.graph or not is_used_once(before):
            return
        before, rearranged = one.inputs[0], True
    first = one
    if known is None or before is None or first is None or standard(first) != "Gather":
        return
    if not is_used_once(before) and (rearranged or not _is_only_taken(before)):
        return
    inner, value, shape, result = _places(first), first.inputs[0], shape_at(node, 0), node.outputs[0]
    if inner is None or value is None or value.shape is None or shape is None or result.shape is None:
        return
    (places, axis), (given, given_axis) = known, inner
    lead, tail = value.shape[:given_axis], value.shape[given_axis + 1 :]
    if shape[axis] != given.size or not _are_wide(shape[:axis], lead) or not _are_wide(shape[axis + 1 :], tail):
        return
    wanted = given.ravel()[places]
    if ir.Shape([*lead, *wanted.shape, *tail]) == result.shape:
        node.replace_input_with(0, value)
        node.replace_input_with(1, home.constant(wanted.astype(np.int64)))
        node.attributes.add(ir.AttrInt64("axis", given_axis))
        return
    target = [dim if isinstance(dim, int) else -1 for dim in result.shape]
    if not rearranged or target.count(-1) > 1 or 0 in target or result.is_graph_output():
        return
    taken = _taken(node, value, wanted, given_axis, home)
    reshaped = new_node("Reshape", [taken.outputs[0], home.ints(target)], result.shape, node)
    node.prepend([taken, reshaped])
    replace(node, reshaped.outputs[0])


def _is_only_taken(value: ir.Value) -> bool:
    """Return whether all that reads a value are nodes that take known places of it."""
    users = value.uses()
    taken = all(standard(user) == "Gather" and place == 0 and _places(user) is not None for user, place in users)
    return taken and not value.is_graph_output()


def _are_wide(dims: Iterable[Dim], others: Iterable[Dim]) -> bool:
    """Return whether dims are known to be others, but for those of size 1."""
    return same_dims([dim for dim in dims if dim != 1], [dim for dim in others if dim != 1])
