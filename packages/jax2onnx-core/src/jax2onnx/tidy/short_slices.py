"""Short slices: in loops, few elements at known places are looked up, as onnxruntime takes longer to cut them.

A ``Slice`` takes as long as a ``Gather`` of about 30 rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import ints_at, new_node, sizes_of
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.spans import slice_bounds
from jax2onnx.tidy.subgraphs import graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["look_up_short_slices"]

_FEW = 16
"""So many rows are looked up faster than they are cut."""
_MERGED = "jax2onnx.merged"
"""What the nodes that are added here have, which stand before all others that may read them."""


@rewrites("Slice")
def look_up_short_slices(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Slice(x[2, 4], 1, 4, axes=1)`` to ``Gather(x, [1, 2, 3], axis=1)`` in the body of a loop."""
    graph = graph_of(nodes[0])
    if graph is home.graph:
        return
    for node in nodes:
        bounds, sizes = slice_bounds(node), sizes_of(node.inputs[0].shape if node.inputs[0] is not None else None)
        if bounds is None or sizes is None:
            continue
        if len(bounds) > 1:
            _look_up_element(node, bounds, sizes, home)
            continue
        for axis, (start, end) in bounds.items():
            if 0 < (end - start) * math.prod(sizes[:axis]) <= _FEW:
                _become_gather(node, home.ints([*range(start, end)]), axis)


def _become_gather(node: ir.Node, index: ir.Value, axis: int) -> None:
    node.op_type = "Gather"
    node.replace_input_with(1, index)
    node.resize_inputs(2)
    node.attributes.clear()
    node.attributes.add(ir.AttrInt64("axis", axis))


def _look_up_element(node: ir.Node, bounds: dict[int, tuple[int, int]], sizes: tuple[int, ...], home: Home) -> None:
    """Rewrite ``Squeeze(Slice(x[3, 4, 4], [1, 2], [2, 3], axes=[1, 2]), [1, 2])`` to ``Gather(y, 6, axis=1)``.

    There, ``y`` is ``Reshape(x, [3, 16])``, which all entries of the matrices are taken of. Without the ``Squeeze`` it
    becomes ``Gather(Reshape(x, [3, 1, 16]), [6], axis=2)``.
    """
    axes = sorted(bounds)
    first, last = axes[0], axes[-1]
    before = math.prod(sizes[:first])
    is_entry = all(end == start + 1 for start, end in bounds.values())
    if axes != list(range(first, last + 1)) or not is_entry or not 0 < before <= _FEW:
        return
    place = np.ravel_multi_index([bounds[axis][0] for axis in axes], sizes[first : last + 1])
    count = math.prod(sizes[first : last + 1])
    users = [user for user, _ in node.outputs[0].uses()]
    squeezes = [user for user in users if standard(user) == "Squeeze" and ints_at(user, 1) == axes]
    if node.outputs[0].is_graph_output() or len(squeezes) < len(users):
        ones = [1] * (last - first)
        node.replace_input_with(0, _merged(node, (*sizes[:first], *ones, count, *sizes[last + 1 :]), home))
        _become_gather(node, home.ints([int(place)]), last)
        return
    source = _merged(node, (*sizes[:first], count, *sizes[last + 1 :]), home)
    for squeeze in squeezes:
        squeeze.replace_input_with(0, source)
        _become_gather(squeeze, home.constant(np.asarray(place, np.int64)), first)


def _merged(node: ir.Node, sizes: tuple[int, ...], home: Home) -> ir.Value:
    """Return the array that a slice is cut from with other dims, which another slice may have needed before."""
    source = node.inputs[0]
    assert source is not None
    for user, place in source.uses():
        if standard(user) == "Reshape" and place == 0 and user.graph is node.graph and user.meta.get(_MERGED) == sizes:
            return user.outputs[0]
    reshape = new_node("Reshape", [source, home.ints(sizes)], ir.Shape(sizes), node)
    reshape.meta[_MERGED] = sizes
    node.prepend(reshape)
    return reshape.outputs[0]
