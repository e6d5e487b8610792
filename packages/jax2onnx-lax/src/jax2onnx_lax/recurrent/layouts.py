"""How primitives that move elements move those of linear functions, whose rows are made of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jax2onnx.plugin import Const, is_static
from jax2onnx_lax.recurrent.terms import Batch, Linear, UnlikeCellError, library_of

__all__ = ["LAYOUTS", "Layout", "joined", "widened"]

Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to move elements.

    Attributes:
        key: what tells it from others.
        shape: the shape of its result.
        axes: returns where the axes of sequences are in the result, given where they are in the operand.
        rows: returns the rows of the result, given those of the operand and its axes of sequences.
    """

    key: tuple[Any, ...]
    shape: Shape
    axes: Callable[[tuple[int, ...]], tuple[int, ...]]
    rows: Callable[[Any, tuple[int, ...]], Any]

    def __call__(self, linear: Linear) -> Linear:
        """Move the elements of a linear function's result."""
        if linear.batch is None:
            return Linear(self.shape, None, {None: self._of_parameters(linear)})
        rows = {source: self.rows(array, linear.batch) for source, array in linear.rows.items()}
        return Linear(self.shape, self.axes(linear.batch), rows, linear.full)

    def _of_parameters(self, linear: Linear) -> Any:
        """Return parameters that are moved; those that are the same for all sequences may stay so."""
        try:
            return self.rows(linear.rows[None], _repeating(linear))
        except UnlikeCellError:
            return self.rows(linear.rows[None], ())


def _repeating(linear: Linear) -> tuple[int, ...]:
    """Return the axes along which parameters are the same."""
    array = linear.rows[None]
    return tuple(axis for axis, dim in enumerate(linear.shape) if array.shape[1 + axis] == 1 and not _is_one(dim))


def _is_one(dim: Any) -> bool:
    return is_static(dim) and bool(dim == 1)


def widened(array: Any, shape: Shape, axes: Sequence[int]) -> Any:
    """Return rows in which elements that are the same along some axes are repeated."""
    if not is_static(*[shape[axis] for axis in axes]):
        raise UnlikeCellError
    wide = list(array.shape)
    for axis in axes:
        wide[1 + axis] = int(shape[axis])
    return library_of(array).broadcast_to(array, tuple(wide))


def _slice(old: Shape, starts: Sequence[int], limits: Sequence[Any], strides: Sequence[int]) -> Layout:
    whole = [
        start == 0 and limit == dim and stride == 1
        for start, limit, stride, dim in zip(starts, limits, strides, old, strict=True)
    ]
    dims = [
        dim if is_whole else len(range(start, limit, stride))
        for start, limit, stride, dim, is_whole in zip(starts, limits, strides, old, whole, strict=True)
    ]

    def axes(batch: tuple[int, ...]) -> tuple[int, ...]:
        if not all(whole[axis] for axis in batch):
            raise UnlikeCellError
        return batch

    def rows(array: Any, _: tuple[int, ...]) -> Any:
        cut = [slice(None)]
        for axis, is_whole in enumerate(whole):
            repeats = array.shape[1 + axis] == 1 and not _is_one(old[axis])
            same = is_whole or repeats
            cut.append(slice(None) if same else slice(starts[axis], limits[axis], strides[axis]))
        return array[tuple(cut)]

    return Layout(("slice", *starts, *limits, *strides), tuple(dims), axes, rows)


def _of_slice(eqn: Any) -> list[Layout]:
    params, old = eqn.params, tuple(eqn.inputs[0].aval.shape)
    strides = params["strides"] or [1] * len(old)
    return [_slice(old, params["start_indices"], params["limit_indices"], strides)]


def _of_split(eqn: Any) -> list[Layout]:
    old, axis = tuple(eqn.inputs[0].aval.shape), eqn.params["axis"]
    found, start = [], 0
    for size in map(int, eqn.params["sizes"]):
        starts, limits = [0] * len(old), list(old)
        starts[axis], limits[axis] = start, start + size
        found.append(_slice(old, starts, limits, [1] * len(old)))
        start += size
    return found


def _of_reshape(eqn: Any) -> list[Layout]:
    if eqn.params.get("dimensions") is not None:
        raise UnlikeCellError
    return [_reshape(tuple(eqn.inputs[0].aval.shape), tuple(eqn.outputs[0].aval.shape))]


def _reshape(old: Shape, new: Shape) -> Layout:
    """Return the reshape that keeps axes of sequences: between them, as many elements are before as after."""

    def axes(batch: tuple[int, ...]) -> tuple[int, ...]:
        places, start, at = [], 0, 0
        for axis in batch:
            between = math.prod(old[start:axis])
            count = 1
            while not (at < len(new) and new[at] == old[axis] and count == between):
                if at == len(new) or not is_static(new[at], between):
                    raise UnlikeCellError
                count *= new[at]
                at += 1
            places.append(at)
            start, at = axis + 1, at + 1
        if not is_static(*old[start:], *new[at:]) or math.prod(old[start:]) != math.prod(new[at:]):
            raise UnlikeCellError
        return tuple(places)

    def rows(array: Any, batch: tuple[int, ...]) -> Any:
        places = axes(batch)
        wide = widened(array, old, [axis for axis in range(len(old)) if axis not in batch])
        return wide.reshape(array.shape[0], *[1 if axis in places else int(dim) for axis, dim in enumerate(new)])

    return Layout(("reshape", *new), new, axes, rows)


def _of_squeeze(eqn: Any) -> list[Layout]:
    old = tuple(eqn.inputs[0].aval.shape)
    return [_without(old, [axis % len(old) for axis in eqn.params["dimensions"]])]


def _without(old: Shape, dropped: Sequence[int]) -> Layout:
    kept = [axis for axis in range(len(old)) if axis not in dropped]

    def axes(batch: tuple[int, ...]) -> tuple[int, ...]:
        if not set(batch).isdisjoint(dropped):
            raise UnlikeCellError
        return tuple(kept.index(axis) for axis in batch)

    def rows(array: Any, _: tuple[int, ...]) -> Any:
        return array.reshape(array.shape[0], *[array.shape[1 + axis] for axis in kept])

    return Layout(("squeeze", *dropped), tuple(old[axis] for axis in kept), axes, rows)


def _of_unstack(eqn: Any) -> list[Layout]:
    old, axis = tuple(eqn.inputs[0].aval.shape), eqn.params["axis"]
    found = []
    for place in range(len(eqn.outputs)):
        starts, limits = [0] * len(old), list(old)
        starts[axis], limits[axis] = place, place + 1
        one = _slice(old, starts, limits, [1] * len(old))
        rest = _without(one.shape, [axis])
        found.append(_both(one, rest))
    return found


def _both(one: Layout, other: Layout) -> Layout:
    return Layout(
        (one.key, other.key),
        other.shape,
        lambda batch: other.axes(one.axes(batch)),
        lambda array, batch: other.rows(one.rows(array, batch), one.axes(batch)),
    )


def _of_transpose(eqn: Any) -> list[Layout]:
    order = tuple(eqn.params["permutation"])
    shape = tuple(eqn.outputs[0].aval.shape)

    def axes(batch: tuple[int, ...]) -> tuple[int, ...]:
        places = tuple(order.index(axis) for axis in batch)
        if list(places) != sorted(places):
            raise UnlikeCellError
        return places

    def rows(array: Any, _: tuple[int, ...]) -> Any:
        return array.transpose(0, *[1 + axis for axis in order])

    return [Layout(("transpose", *order), shape, axes, rows)]


def _of_broadcast(eqn: Any) -> list[Layout]:
    old, new = tuple(eqn.inputs[0].aval.shape), tuple(eqn.outputs[0].aval.shape)
    places = tuple(eqn.params["broadcast_dimensions"])

    def axes(batch: tuple[int, ...]) -> tuple[int, ...]:
        if any(new[places[axis]] != old[axis] for axis in batch):
            raise UnlikeCellError
        return tuple(places[axis] for axis in batch)

    def rows(array: Any, _: tuple[int, ...]) -> Any:
        dims = [1] * len(new)
        for axis, place in enumerate(places):
            dims[place] = array.shape[1 + axis]
        return array.reshape(array.shape[0], *dims)

    return [Layout(("broadcast", *places, *new), new, axes, rows)]


def _of_gather(eqn: Any) -> list[Layout]:
    """Return a window at a known place, which indexing makes of arrays with symbolic dims."""
    old, numbers = tuple(eqn.inputs[0].aval.shape), eqn.params["dimension_numbers"]
    indices = eqn.inputs[1]
    one = isinstance(indices, Const) and indices.aval.ndim == 1
    if not one or numbers.operand_batching_dims or len(numbers.offset_dims) != eqn.outputs[0].aval.ndim:
        raise UnlikeCellError
    starts, limits = [0] * len(old), list(eqn.params["slice_sizes"])
    for axis, start in zip(numbers.start_index_map, np.asarray(indices.value).tolist(), strict=True):
        starts[axis] = start
        if start or limits[axis] != old[axis]:
            limits[axis] = start + limits[axis]
            if start < 0 or not is_static(old[axis], limits[axis]) or limits[axis] > old[axis]:
                raise UnlikeCellError
    window = _slice(old, starts, limits, [1] * len(old))
    dropped = numbers.collapsed_slice_dims
    return [_both(window, _without(window.shape, dropped)) if dropped else window]


def _of_expansion(eqn: Any) -> list[Layout]:
    return [_reshape(tuple(eqn.inputs[0].aval.shape), tuple(eqn.outputs[0].aval.shape))]


LAYOUTS: dict[str, Callable[[Any], list[Layout]]] = {
    "broadcast_in_dim": _of_broadcast,
    "expand_dims": _of_expansion,
    "gather": _of_gather,
    "reshape": _of_reshape,
    "slice": _of_slice,
    "split": _of_split,
    "squeeze": _of_squeeze,
    "transpose": _of_transpose,
    "unstack": _of_unstack,
}
"""Primitive -> how it moves elements: one layout for each result."""


def joined(parts: Sequence[Linear], axis: int, shape: Shape) -> Linear:
    """Return linear functions side by side."""
    batches: set[Batch] = {part.batch for part in parts} - {None}
    if len(batches) > 1 or any(axis in (batch or ()) for batch in batches):
        raise UnlikeCellError
    batch = next(iter(batches), None)
    others = [other for other in range(len(shape)) if other != axis and other not in (batch or ())]
    wide = [_side_by_side(part, batch, axis, others) for part in parts]
    sources = list(dict.fromkeys(source for rows in wide for source in rows))
    rows = {}
    for source in sources:
        size = 1 if source is None else source.size
        given = [part.get(source) for part in wide]
        shapes = [next(iter(part.values())).shape[1:] for part in wide]
        library = library_of(*[array for array in given if array is not None])
        zeros = [library.zeros((size, *dims), "float32") for dims in shapes]
        pieces = [zero if array is None else array for array, zero in zip(given, zeros, strict=True)]
        rows[source] = library.concatenate(pieces, 1 + axis)
    return Linear(shape, batch, rows, frozenset.intersection(*[part.full for part in parts]))


def _side_by_side(part: Linear, batch: Batch, axis: int, others: Sequence[int]) -> dict[Any, Any]:
    """Return the rows of a part with all dims but those of sequences as they are; if all are 1, they stay so."""
    if any(array.shape[1 + place] != 1 for array in part.rows.values() for place in batch or ()):
        raise UnlikeCellError
    axes = [axis, *[other for other in others if is_static(part.shape[other])]]
    if any(not is_static(part.shape[other]) for other in others) and batch is not None:
        raise UnlikeCellError
    return {source: widened(array, part.shape, axes) for source, array in part.rows.items()}
