"""Stacked weights: where a model reads an array by its rows alone, each row is an initializer of its own.

A program keeps the weights of its layers in one array, and takes those of a layer by ``w[2]``. Fusions and runtimes
look for weights among initializers, and a runtime would make a copy of each row. An array in a file stays there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import ints_at, shape_at, sizes_of, slice_steps
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["unstack"]

_Place: TypeAlias = tuple[int, int]
"""From which row to which, without that."""
_Part: TypeAlias = tuple[ir.Value, _Place]


def unstack(home: Home) -> None:
    """Rewrite the reading of rows, for ``w[6, 5, 4]`` of which nothing else is read.

    ``Gather(w, 2, axis=0)`` becomes ``w.2 [5, 4]``, and ``Slice(w, starts=[2], ends=[4], axes=[0])`` ``w.2 [2, 5, 4]``.
    A ``Split`` becomes as many. The nodes are left without users.
    """
    for source in list(home.graph.initializers.values()):
        sizes = home.sizes(source)
        if not sizes or source.is_graph_output():
            continue
        known = _all_rows(source)
        if not known or not _are_apart(known):
            continue
        parts = {place: home.rows(source, *place) for place in sorted({place for _, place in known})}
        if len(parts) > 1:
            for (start, _), part in parts.items():
                home.name_alone(part, f"{source.name}.{start}")
        for result, place in known:
            part = parts[place]
            sizes = sizes_of(result.shape)
            assert sizes is not None
            result.replace_all_uses_with(part if part.shape == result.shape else home.reshaped(part, sizes))


def _all_rows(source: ir.Value) -> list[_Part]:
    """Return what is read of an array, nothing if one of its users does something else than to read rows."""
    known: list[_Part] = []
    for use in source.uses():
        rows = _rows(use.node, source)
        if rows is None:
            return []
        known += rows
    return known


def _rows(node: ir.Node, source: ir.Value) -> list[_Part] | None:
    """Return the results of a node with the rows of an array that they are, None if it does something else."""
    sizes = shape_at(node, 0)
    read = _READS.get(standard(node))
    if read is None or sizes is None or node.inputs[0] is not source:
        return None
    if any(result.is_graph_output() or sizes_of(result.shape) is None for result in node.outputs):
        return None
    first = sizes[0]
    assert isinstance(first, int)
    places = read(node, first)
    if places is None or any(start >= stop for start, stop in places):
        return None
    return list(zip(node.outputs, places, strict=True))


def _of_gather(node: ir.Node, length: int) -> list[_Place] | None:
    indices = ints_at(node, 1)
    if indices is None or len(indices) != 1 or node.attributes.get_int("axis", 0) != 0:
        return None
    start = indices[0] % length if -length <= indices[0] < length else length
    return [(start, min(start + 1, length))]


def _of_slice(node: ir.Node, length: int) -> list[_Place] | None:
    starts, ends = ints_at(node, 1), ints_at(node, 2)
    if starts is None or ends is None or ints_at(node, 3) != [0] or slice_steps(node) not in ([], [1]):
        return None
    start, stop, _ = slice(starts[0], ends[0]).indices(length)
    return [(start, stop)]


def _of_split(node: ir.Node, _: int) -> list[_Place] | None:
    if node.attributes.get_int("axis", 0) != 0:
        return None
    counts = [0 if sizes is None else sizes[0] for sizes in (sizes_of(result.shape) for result in node.outputs)]
    return list(itertools.pairwise(itertools.accumulate(counts, initial=0)))


_READS: dict[str, Callable[[ir.Node, int], list[_Place] | None]] = {
    "Gather": _of_gather,
    "Slice": _of_slice,
    "Split": _of_split,
}
"""Operator -> from where to where on the first axis of an array of this length its results are."""


def _are_apart(parts: Sequence[_Part]) -> bool:
    """Return whether no row is in two different parts."""
    places = sorted({place for _, place in parts})
    return all(one[1] <= other[0] for one, other in itertools.pairwise(places))
