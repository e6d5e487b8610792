"""Matching: the questions that every rewrite asks about nodes and their inputs, and the removal of a matched node."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "FLOATS",
    "Dim",
    "become",
    "drop",
    "input_at",
    "ints_at",
    "is_known",
    "is_transpose",
    "is_used_once",
    "new_node",
    "permutation",
    "producer_at",
    "rank_of",
    "replace",
    "same_dims",
    "same_shape",
    "scalar_at",
    "shape_at",
    "sizes_of",
    "slice_steps",
    "sole_producer",
    "target_dims",
    "tensor_at",
]

Dim: TypeAlias = int | ir.SymbolicDim
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
"""The dtypes of floats that every runtime computes in."""


def input_at(node: ir.Node | None, index: int) -> ir.Value | None:
    """Return an input, None if it is left out."""
    if node is None or index >= len(node.inputs):
        return None
    return node.inputs[index]


def producer_at(node: ir.Node, index: int) -> ir.Node | None:
    """Return the node that computes an input, in this graph or an outer one."""
    value = node.inputs[index]
    return None if value is None else value.producer()


def sole_producer(user: ir.Node | None, index: int, *op_types: str) -> ir.Node | None:
    """Return the node that computes an input, if it is of one of some types and nothing else needs its result.

    It is a standard operator in the graph of ``user``: a rewrite may change it, or leave it without users.
    """
    producer = None if user is None else producer_at(user, index)
    if user is None or producer is None or producer.op_type not in op_types:
        return None
    if producer.domain or producer.graph is not user.graph:
        return None
    return producer if is_used_once(user.inputs[index]) else None


def is_used_once(value: ir.Value | None) -> bool:
    """Return whether one input of one node is all that needs a value."""
    if value is None or value.is_graph_output():
        return False
    return len(value.uses()) == 1


def tensor_at(node: ir.Node, index: int) -> ir.TensorProtocol | None:
    """Return the tensor that an input holds, None if it is left out or computed."""
    value = input_at(node, index)
    return None if value is None else value.const_value


def ints_at(node: ir.Node, index: int) -> list[int] | None:
    """Return the integers that an input holds, None if it is left out or computed."""
    tensor = tensor_at(node, index)
    if tensor is None:
        return None
    numbers: list[int] = tensor.numpy().ravel().tolist()
    return numbers


def scalar_at(node: ir.Node, index: int) -> float | None:
    """Return the number that an input of rank 0 holds, None if it is left out, computed or of another rank."""
    tensor = tensor_at(node, index)
    if tensor is None or tensor.shape.rank() > 0:
        return None
    return float(tensor.numpy())


def slice_steps(node: ir.Node) -> list[int] | None:
    """Return the steps of a ``Slice``, an empty list if they are left out, None if they are computed."""
    if len(node.inputs) > 4:
        return ints_at(node, 4)
    return []


def is_transpose(node: ir.Node) -> bool:
    """Return whether a node is a ``Transpose`` that states its permutation."""
    return node.op_type == "Transpose" and not node.domain and "perm" in node.attributes


def permutation(transpose: ir.Node) -> tuple[int, ...]:
    """Return which axis of the input each axis of a transpose's result is."""
    return tuple(transpose.attributes["perm"].as_ints())


def shape_at(node: ir.Node, index: int) -> ir.Shape | None:
    """Return an input's shape, None if it is not known."""
    value = input_at(node, index)
    return None if value is None else value.shape


def rank_of(value: ir.Value | None) -> int | None:
    """Return a value's number of dims, None if it is not known."""
    if value is None or value.shape is None:
        return None
    return value.shape.rank()


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Return whether the shapes of two values are known to be equal."""
    if a is None or b is None:
        return False
    if a.shape is None or b.shape is None:
        return False
    return same_dims(a.shape, b.shape)


def same_dims(a: Iterable[Dim], b: Iterable[Dim]) -> bool:
    """Return whether two shapes, or parts of shapes, are known to be equal."""
    dims = tuple(a)
    return dims == tuple(b) and all(map(is_known, dims))


def is_known(dim: Dim) -> bool:
    """Return whether a dim is a number or has a name: two dims without name compare equal, but may differ."""
    return isinstance(dim, int) or dim.value is not None


def sizes_of(dims: Iterable[Dim] | None) -> tuple[int, ...] | None:
    """Return dims as numbers, None if they are not known or one of them is symbolic."""
    if dims is None:
        return None
    sizes = []
    for dim in dims:
        if not isinstance(dim, int):
            return None
        sizes.append(dim)
    return tuple(sizes)


def target_dims(before: Sequence[Dim], new: Sequence[int], after: Sequence[Dim]) -> list[int] | None:
    """Return the dims for a ``Reshape`` that gives an array new ones between others, None if they cannot be said.

    0 keeps a dim that has the same place, and -1 is what is left.
    """
    if 0 in (*before, *after) or sum(not isinstance(dim, int) for dim in after) > 1:
        return None
    kept = [dim if isinstance(dim, int) else 0 for dim in before]
    return [*kept, *new, *(dim if isinstance(dim, int) else -1 for dim in after)]


def new_node(
    op_type: str, inputs: Sequence[ir.Value | None], shape: ir.Shape | None, origin: ir.Node | None
) -> ir.Node:
    """Return a node whose result has the type of the first input and a shape, with the metadata of ``origin``."""
    assert inputs[0] is not None
    result = ir.Value(type=inputs[0].type, shape=shape)
    metadata = {} if origin is None else dict(origin.metadata_props)
    return ir.Node("", op_type, inputs, outputs=[result], metadata_props=metadata)


def copied(node: ir.Node, given: Mapping[ir.Value, ir.Value]) -> ir.Node:
    """Return a copy of a node that reads other values, with results of the same types."""
    operands = [value if value is None else given.get(value, value) for value in node.inputs]
    results = [ir.Value(type=value.type, shape=value.shape) for value in node.outputs]
    return ir.Node(
        node.domain,
        node.op_type,
        operands,
        node.attributes.values(),
        outputs=results,
        metadata_props=dict(node.metadata_props),
    )


def become(node: ir.Node, op_type: str, operand: ir.Value | None) -> None:
    """Make a node compute an operator of one operand, without attributes."""
    node.op_type = op_type
    node.replace_input_with(0, operand)
    node.resize_inputs(1)
    node.attributes.clear()


def drop(node: ir.Node, index: int = 0) -> None:
    """Remove a node and give one of its inputs to the users of its result.

    An output of a graph is computed by a node of this graph, and no value is two outputs. Where the input would break
    this rule, the node becomes its ``Identity``.
    """
    source = node.inputs[index]
    result = node.outputs[0]
    assert source is not None
    if result.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not node.graph or source.is_graph_output():
            become(node, "Identity", source)
            return
        source.name, result.name = result.name, source.name
    replace(node, source)


def replace(node: ir.Node, value: ir.Value) -> None:
    """Remove a node and give ``value`` to the users of its result; what is known of one is known of the other."""
    assert node.graph is not None
    result = node.outputs[0]
    if value.shape is None:
        value.shape = result.shape
    result.replace_all_uses_with(value, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
