"""Stacked weights: where a model reads an array by its rows alone, each row is an initializer of its own.

A program keeps the weights of its layers in one array, and takes those of a layer by ``w[2]``. Fusions and runtimes
look for weights among initializers, and a runtime would make a copy of each row. An array in a file stays there.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import sizes_of
from jax2onnx.tidy.spans import Span, spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["unstack"]

_Part: TypeAlias = tuple[ir.Value, Span]
"""A value, and which rows it is."""


def unstack(home: Home) -> None:
    """Rewrite the reading of rows, for ``w[6, 5, 4]`` of which nothing else is read.

    ``Gather(w, 2, axis=0)`` becomes ``w.2 [5, 4]``, and ``Slice(w, starts=[2], ends=[4], axes=[0])`` ``w.2 [2, 5, 4]``.
    A ``Split`` becomes as many. The nodes are left without users.
    """
    for source in list(home.graph.initializers.values()):
        known = _all_rows(source)
        if not known or source.is_graph_output() or not home.holds(source) or not _are_apart(known):
            continue
        parts = {span: home.rows(source, span.start, span.end) for span in sorted({span for _, span in known})}
        if len(parts) > 1:
            for span, part in parts.items():
                home.name_alone(part, f"{source.name}.{span.start}")
        for result, span in known:
            part = parts[span]
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
    found = spans(node)
    if found is None or node.inputs[0] is not source:
        return None
    if any(result.is_graph_output() or sizes_of(result.shape) is None for result in node.outputs):
        return None
    if any(span.axis != 0 or span.start >= span.end for span in found):
        return None
    return list(zip(node.outputs, found, strict=True))


def _are_apart(parts: Sequence[_Part]) -> bool:
    """Return whether no row is in two different parts."""
    found = sorted({span for _, span in parts})
    return all(one.end <= other.start for one, other in itertools.pairwise(found))
