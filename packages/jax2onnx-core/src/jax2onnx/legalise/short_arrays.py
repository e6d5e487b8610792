"""Short arrays: windows over arrays that may be shorter than a window, at sizes that are known at run time only.

The result is empty then. onnxruntime refuses some of them ("Invalid input shape"), and makes one window of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAY_BE_SHORT", "lengthen"]

MAY_BE_SHORT = "jax2onnx.may_be_short"
"""Key in the ``meta`` of a node that slides windows over its first operand, which may be too short for one."""

_WINDOWED = frozenset({"AveragePool", "Conv", "ConvInteger", "MaxPool"})
"""The operators that have windows. Few nodes have one; to look into ``meta`` makes one for a node."""
_TO_END = np.iinfo(np.int64).max


def lengthen(graph: ir.Graph) -> None:
    """Lengthen what is too short for a window to one, and take that out of the result again.

    For ``x[N, 3, L]`` with a window of 4, ``Conv(x, w)`` becomes

        missing = Max(4 - Shape(x, start=2), 0)
        y = Slice(Conv(Pad(x, [0, 0, 0, 0, 0, missing]), w), starts=missing, ends=end, axes=[2])

    Nothing is missing at ordinary sizes, and all is taken. Otherwise there is one window, of which nothing is taken.

    Args:
        graph: changed in place; graphs within are not.
    """
    for node in [node for node in graph if node.op_type in _WINDOWED]:
        if MAY_BE_SHORT in node.meta:
            _lengthen(graph, node)


def _lengthen(graph: ir.Graph, node: ir.Node) -> None:
    x, result = node.inputs[0], node.outputs[0]
    assert x is not None
    assert x.shape is not None
    rank = x.shape.rank() - 2
    before: list[ir.Node] = []
    needed = _needed(before, node, rank)
    sizes = _add(before, "Shape", [x], _ints(rank), start=2)
    lacking = _add(before, "Sub", [needed, sizes], _ints(rank))
    missing = _add(before, "Max", [lacking, _constant(before, [0] * rank)], _ints(rank))
    pads = _add(before, "Concat", [_constant(before, [0] * (4 + rank)), missing], _ints(4 + 2 * rank), axis=0)
    longer = ir.Value(type=x.type)
    node.replace_input_with(0, _add(before, "Pad", [x, pads], longer))
    after: list[ir.Node] = []
    ends, axes = _constant(after, [_TO_END] * rank), _constant(after, list(range(2, 2 + rank)))
    taken = ir.Value(type=result.type, shape=result.shape, name=result.name)
    result.replace_all_uses_with(taken, replace_graph_outputs=True)
    if result.name is not None:
        result.name = f"{result.name}_of_windows"
    result.shape = None  # no expression of the dims says how large it is
    _add(after, "Slice", [result, missing, ends, axes], taken)
    for inserted in (*before, *after):
        inserted.metadata_props.update(node.metadata_props)
    graph.insert_before(node, before)
    graph.insert_after(node, after)


def _needed(nodes: list[ir.Node], node: ir.Node, rank: int) -> ir.Value:
    """Emit the least size of each spatial dim of which a window is filled, padding included; at least 1."""
    ones = [1] * rank
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return _constant(nodes, ones)
    steps = node.attributes.get_ints("dilations", ones)
    pads = node.attributes.get_ints("pads", [0] * 2 * rank)
    padding = [low + high for low, high in zip(pads[:rank], pads[rank:], strict=True)]
    size = _window(node)
    if size is not None:
        extents = [(count - 1) * step + 1 for count, step in zip(size, steps, strict=True)]
        return _constant(nodes, [max(1, extent - pad) for extent, pad in zip(extents, padding, strict=True)])
    kernel = node.inputs[1]
    assert kernel is not None
    sizes = _add(nodes, "Shape", [kernel], _ints(rank), start=2)
    spread = _add(nodes, "Mul", [sizes, _constant(nodes, list(steps))], _ints(rank))
    # Each window begins with one element, and each further one is a step away.
    rest = [1 - step - pad for step, pad in zip(steps, padding, strict=True)]
    unpadded = _add(nodes, "Add", [spread, _constant(nodes, rest)], _ints(rank))
    return _add(nodes, "Max", [unpadded, _constant(nodes, ones)], _ints(rank))


def _window(node: ir.Node) -> Sequence[int] | None:
    """Return the size of the windows; None if it is known at run time only."""
    if "kernel_shape" in node.attributes:
        return node.attributes["kernel_shape"].as_ints()
    kernel = node.inputs[1]
    assert kernel is not None
    assert kernel.shape is not None
    known = [size for size in kernel.shape[2:] if isinstance(size, int)]
    return known if len(known) == kernel.shape.rank() - 2 else None


def _add(nodes: list[ir.Node], op_type: str, inputs: list[ir.Value], result: ir.Value, **attributes: int) -> ir.Value:
    nodes.append(ir.node(op_type, inputs, attributes, outputs=[result]))
    return result


def _constant(nodes: list[ir.Node], numbers: list[int]) -> ir.Value:
    value = _ints(len(numbers))
    nodes.append(ir.node("Constant", [], {"value": ir.tensor(np.asarray(numbers, np.int64))}, outputs=[value]))
    return value


def _ints(count: int) -> ir.Value:
    return ir.Value(type=ir.TensorType(DataType.INT64), shape=ir.Shape([count]))
