"""Reshaped pieces: what is cut, reshaped piece by piece and joined again is the array, reshaped.

Keys of random numbers are such arrays: a hash takes both words of a key apart, and joins two words to a new key.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import new_node, replace, shape_at, sizes_of, sole_producer, tensor_at
from jax2onnx.tidy.operators import BROADCASTING, RESHAPES
from jax2onnx.tidy.reshapes import shorten_reshape
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["join_reshaped", "reshape_after"]

_PAIRED = (BROADCASTING | {"BitShift"}) - {"PRelu"}


@rewrites("Concat")
def join_reshaped(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Concat(Reshape(a, [3, 1, 1]), Reshape(b, [3, 1, 1]), axis=2)``, of ``a, b = Split(x[3, 2], axis=1)``.

    It becomes ``Reshape(x, [3, 1, 2])``. Where the pieces are in another order, and constant indices choose from what
    is joined, they choose from ``x``. The nodes that this leaves without users stay.
    """
    for node in nodes:
        _join(node, home)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A result of a split, maybe reshaped, of which the rows are joined to those of others.

    Attributes:
        split: the node that cuts it.
        index: which of its results it is.
    """

    split: ir.Node
    index: int


def _join(node: ir.Node, home: Home) -> None:
    result = node.outputs[0]
    shape = sizes_of(result.shape)
    if shape is None or 0 in shape:
        return
    axis = node.attributes.get_int("axis", 0) % len(shape)
    pieces = [_piece_of(value, axis) for value in node.inputs]
    operands: list[ir.Value | None] = []
    for split, run in itertools.groupby(range(len(pieces)), lambda place: _split_of(pieces[place])):
        places = list(run)
        values = [node.inputs[place] for place in places]
        order = [piece.index for place in places if (piece := pieces[place]) is not None]
        if split is None or len(values) < 2 or order != list(range(len(split.outputs))):
            operands += values
            continue
        total = sum(_size(value, axis) for value in values)
        operands.append(_reshaped(split.inputs[0], (*shape[:axis], total, *shape[axis + 1 :]), node, home))
    if len(operands) == 1 and operands[0] is not None and not result.is_graph_output():
        users = [user for user, _ in result.uses() if standard(user) in RESHAPES]
        replace(node, operands[0])
        for user in users:
            shorten_reshape(user, home)
    elif 1 < len(operands) < len(pieces):
        node.resize_inputs(len(operands))
        for place, value in enumerate(operands):
            node.replace_input_with(place, value)
    elif len(operands) == len(pieces):
        _choose_from_whole(node, axis, pieces, home)


def _split_of(piece: _Piece | None) -> ir.Node | None:
    return None if piece is None else piece.split


def _size(value: ir.Value | None, axis: int) -> int:
    assert value is not None
    assert value.shape is not None
    size = value.shape[axis]
    assert isinstance(size, int)
    return size


def _piece_of(value: ir.Value | None, axis: int) -> _Piece | None:
    """Return which piece an operand of a ``Concat`` is, if as many rows are before its axis as before the split's."""
    shape = None if value is None else sizes_of(value.shape)
    while value is not None and (node := value.producer()) is not None and standard(node) in RESHAPES:
        value = node.inputs[0]
    split = None if value is None else value.producer()
    if value is None or split is None or shape is None or standard(split) != "Split":
        return None
    source = sizes_of(shape_at(split, 0))
    if source is None or any(sizes_of(piece.shape) is None for piece in split.outputs):
        return None
    cut = split.attributes.get_int("axis", 0) % len(source)
    if math.prod(source[:cut]) != math.prod(shape[:axis]):
        return None
    return _Piece(split, split.outputs.index(value))


def _reshaped(source: ir.Value | None, shape: Sequence[int], node: ir.Node, home: Home) -> ir.Value | None:
    """Return an array of another shape, before the node that reads it."""
    while source is not None and (before := source.producer()) is not None and standard(before) in RESHAPES:
        source = before.inputs[0]
    if source is None or source.shape == shape:
        return source
    reshape = new_node("Reshape", [source, home.ints(shape)], ir.Shape(shape), node)
    node.prepend(reshape)
    return reshape.outputs[0]


def _choose_from_whole(node: ir.Node, axis: int, pieces: Sequence[_Piece | None], home: Home) -> None:
    """Replace a ``Concat`` of pieces of one array by this array, in lookups, if nothing else reads it.

    Rewrite ``Gather(Concat(b, a), [0])``, of ``a[2], b[1] = Split(x[3])``, to ``Gather(x, [2])``.
    """
    shape = sizes_of(node.outputs[0].shape)
    splits = {id(_split_of(piece)) for piece in pieces}
    first = pieces[0]
    if shape is None or first is None or len(splits) > 1 or node.outputs[0].is_graph_output():
        return
    row = math.prod(shape[:axis]) * math.prod(shape[axis + 1 :])
    sizes = [math.prod(sizes_of(piece.shape) or ()) for piece in first.split.outputs]
    users = [user for user, _ in node.outputs[0].uses()]
    wanted = [indices for user in users if (indices := _looked_up(user, node.outputs[0], axis)) is not None]
    if any(size % row for size in sizes) or len(wanted) < len(users):
        return
    starts = [0, *itertools.accumulate(size // row for size in sizes)]
    order = np.concatenate([np.arange(starts[p.index], starts[p.index + 1]) for p in pieces if p is not None])
    whole = (*shape[:axis], starts[-1], *shape[axis + 1 :])
    for user, indices in zip(users, wanted, strict=True):
        user.replace_input_with(0, _reshaped(first.split.inputs[0], whole, node, home))
        user.replace_input_with(1, home.constant(order[indices]))


def _looked_up(user: ir.Node, value: ir.Value, axis: int) -> np.ndarray[Any, Any] | None:
    """Return the constant indices by which a ``Gather`` chooses from a value along an axis, None if it is none."""
    if standard(user) != "Gather" or user.inputs[0] is not value or value.shape is None:
        return None
    tensor = tensor_at(user, 1)
    if tensor is None or user.attributes.get_int("axis", 0) % len(value.shape) != axis:
        return None
    indices = tensor.numpy()
    size = value.shape[axis]
    return indices if isinstance(size, int) and np.all((-size <= indices) & (indices < size)) else None


@rewrites(*_PAIRED, beside=RESHAPES)
def reshape_after(nodes: Sequence[ir.Node], _home: Home) -> None:
    """Rewrite ``Add(Squeeze(x[3, 1], 1), Squeeze(y[3, 1], 1))`` to ``Squeeze(Add(x, y), 1)``.

    Numbers may be operands too: ``Where(Squeeze(m[3, 1]), Squeeze(x[3, 1]), 2)`` becomes ``Squeeze(Where(m, x, 2))``.
    """
    for node in nodes:
        if len(node.inputs) > 1:
            _reshape_result(node)


def _reshape_result(node: ir.Node) -> None:
    result = node.outputs[0]
    arrays = [place for place, value in enumerate(node.inputs) if value is None or value.shape != ()]
    reshapes = [sole_producer(node, place, *RESHAPES) for place in arrays]
    first = reshapes[0] if len(reshapes) > 1 else None
    if first is None or result.shape is None:
        return
    source = sizes_of(shape_at(first, 0))
    if source is None or not source or result.shape != first.outputs[0].shape:
        return
    for reshape in reshapes:
        if reshape is None or shape_at(reshape, 0) != source or reshape.outputs[0].shape != result.shape:
            return
    operands = list(node.inputs)
    for place, reshape in zip(arrays, reshapes, strict=True):
        assert reshape is not None
        operands[place] = reshape.inputs[0]
    before = new_node(node.op_type, operands, ir.Shape(source), node)
    before.outputs[0].type = result.type
    before.attributes.update(node.attributes)
    node.prepend(before)
    # The node becomes the reshape: its result keeps its name, and stays an output if it is one.
    node.op_type = first.op_type
    node.attributes.clear()
    node.attributes.update(first.attributes)
    node.resize_inputs(len(first.inputs))
    for place, value in enumerate((before.outputs[0], *first.inputs[1:])):
        node.replace_input_with(place, value)
