"""Arrays: forms of ``Pad``, ``Split`` and others that OpenVINO reads otherwise than ONNX, or not at all."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.nodes import Maker, chosen_by_mask, drop, finish, is_constant, replaced

__all__ = ["mend_pad", "mend_split", "refuse_empty_top", "refuse_weights"]


def mend_pad(graph: ir.Graph, node: ir.Node) -> str | None:
    """Pad by a choice: OpenVINO takes 0 for a value that is no constant, and reads a constant by way of float32.

    Rewrite ``Pad(x, pads, value)`` to ``Where(Cast(Pad(ones, pads, 0), to=bool), Pad(x, pads), value)``.
    """
    if node.attributes.get_string("mode", "constant") == "wrap":
        return "it has no padding of the mode wrap"
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or node.attributes.get_string("mode", "constant") != "constant" or _is_taken(value):
        return None
    x = node.inputs[0]
    assert x is not None
    make = Maker(graph, node)
    new = replaced(node)
    further = [node.inputs[1], None, *node.inputs[3:]]
    sizes = make.op("Shape", x, dtype=DataType.INT64, shape=None)
    one = ir.tensor(np.ones(1, np.int32))
    ones = make.op("ConstantOfShape", sizes, dtype=DataType.INT32, shape=x.shape, value=one)
    inside = make.op("Pad", ones, *further, dtype=DataType.INT32, shape=new.shape)
    padded = make.op("Pad", x, *further, dtype=x.dtype, shape=new.shape)
    if x.dtype in {DataType.INT32, DataType.UINT32}:
        operands = [make.cast(padded, DataType.INT32), make.cast(value, DataType.INT32)]
        chosen = chosen_by_mask(make, make.like("Neg", inside), operands, new.shape)
        finish(graph, node, new, "Cast", chosen, to=int(x.dtype))
    else:
        finish(graph, node, new, "Where", make.cast(inside, DataType.BOOL), padded, value)
    drop(graph, node)
    return None


def _is_taken(value: ir.Value) -> bool:
    """Return whether OpenVINO pads by a value: a constant that float32 holds, as int32 does if it is an integer."""
    constant = ir.convenience.get_const_tensor(value)
    if constant is None or constant.size != 1:
        return False
    number = constant.numpy().reshape(())
    if number.dtype.kind in "iu":
        return -(2**31) <= int(number) < 2**31 and int(np.float32(number)) == int(number)
    return True


def mend_split(graph: ir.Graph, node: ir.Node) -> str | None:
    """Take slices for the results of a ``Split``: OpenVINO refuses it where one is not used, or turns out not to be."""
    x = node.inputs[0]
    sizes = [value.shape[_axis(node, value)] if value.shape is not None else None for value in node.outputs]
    if x is None or not all(isinstance(size, int) for size in sizes):
        used = all(value.uses() or value.is_graph_output() for value in node.outputs)
        return None if used else "a part that is not used has a size that is not known"
    make = Maker(graph, node)
    axis = node.attributes.get_int("axis", 0)
    start = 0
    for index, size in enumerate(sizes):
        assert isinstance(size, int)
        value = node.outputs[index]
        if value.uses() or value.is_graph_output():
            new = replaced(node, index)
            finish(graph, node, new, "Slice", x, make.ints(start), make.ints(start + size), make.ints(axis))
        start += size
    drop(graph, node)
    return None


def _axis(node: ir.Node, value: ir.Value) -> int:
    assert value.shape is not None
    return node.attributes.get_int("axis", 0) % value.shape.rank()


def refuse_weights(graph: ir.Graph, node: ir.Node) -> str | None:
    """Refuse convolutions by what is computed with sizes that are not known."""
    del graph
    weights = node.inputs[1]
    if weights is None or is_constant(weights):
        return None
    if weights.shape is None or not all(isinstance(size, int) for size in weights.shape):
        return "the sizes of the kernel have to be known"
    return None


def refuse_empty_top(graph: ir.Graph, node: ir.Node) -> str | None:
    """Refuse the first 0 of an array."""
    del graph
    shape = node.outputs[0].shape
    if shape is not None and 0 in tuple(shape):
        return "there is no TopK of no elements"
    return None
