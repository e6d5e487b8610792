"""Idioms: replace a few nodes by the one ONNX operator that gives the same result on every input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    FLOATS,
    become,
    drop,
    input_at,
    ints_at,
    new_node,
    producer_at,
    same_shape,
    scalar_at,
    shape_at,
    sizes_of,
    sole_producer,
    tensor_at,
)
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten"]

_INDEXED = frozenset({"Gather", "GatherElements", "ScatterElements"})


def _sum_of_squares(node: ir.Node, _home: Home) -> None:
    """Rewrite ``ReduceSum(Mul(x[N, 4], x), axes)`` to ``ReduceSumSquare(x, axes)``, for float32."""
    product = sole_producer(node, 0, "Mul")
    if product is None or node.outputs[0].dtype != ir.DataType.FLOAT:
        return
    if product.inputs[0] is product.inputs[1]:
        node.op_type = "ReduceSumSquare"
        node.replace_input_with(0, product.inputs[0])


def _norm(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Sqrt(ReduceSumSquare(x[N, 4], axes))`` to ``ReduceL2(x, axes)``."""
    squares = sole_producer(node, 0, "ReduceSumSquare")
    if squares is not None:
        squares.op_type = "ReduceL2"
        drop(node)


def _mean(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Div(ReduceSum(x[N, 4, 8], [1, 2]), 32)`` to ``ReduceMean(x, [1, 2])``."""
    total = sole_producer(node, 0, "ReduceSum")
    if total is None or not same_shape(total.outputs[0], node.outputs[0]):
        return
    count = _count_reduced(total)
    if count and count == scalar_at(node, 1):
        total.op_type = "ReduceMean"
        drop(node)


def _count_reduced(total: ir.Node) -> int | None:
    """Return how many floats a sum adds for each of its results, None if that is not known."""
    shape = shape_at(total, 0)
    axes = ints_at(total, 1)
    if shape is None or not axes or total.outputs[0].dtype not in FLOATS:
        return None
    sizes = sizes_of(shape[axis] for axis in axes)
    return None if sizes is None else math.prod(sizes)


def _scaled(node: ir.Node, home: Home) -> None:
    """Rewrite ``Mul(LayerNormalization(x[N, 4], ones[4]), scale[4])`` to ``LayerNormalization(x, scale)``.

    The same for ``RMSNormalization``.
    """
    for place in (0, 1):
        norm = sole_producer(node, place, "LayerNormalization", "RMSNormalization")
        if norm is None or input_at(norm, 2) is not None:
            continue
        ones, scale = tensor_at(norm, 1), _per_feature(norm, node, 1 - place, home)
        if scale is not None and ones is not None and np.all(ones.numpy() == 1):
            _become(node, norm, [norm.inputs[0], scale])
            return


def _offset(node: ir.Node, home: Home) -> None:
    """Rewrite ``Add(LayerNormalization(x[N, 4], scale[4]), offset[4])`` to one with the offset."""
    for place in (0, 1):
        norm = sole_producer(node, place, "LayerNormalization")
        offset = None if norm is None else _per_feature(norm, node, 1 - place, home)
        if norm is not None and offset is not None and input_at(norm, 2) is None:
            _become(node, norm, [*norm.inputs, offset])
            return


def _become(node: ir.Node, norm: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    """Make the node that reads a normalisation the normalisation, where all inputs are computed before it."""
    for attribute in norm.attributes.values():
        node.attributes.add(attribute)
    node.op_type = norm.op_type
    node.metadata_props.update(norm.metadata_props)
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)


def _per_feature(norm: ir.Node, user: ir.Node, place: int, home: Home) -> ir.Value | None:
    """Return an operand of the node that reads a normalisation, as the latter takes it; None if it cannot.

    It has a number for each feature, and may be computed: ``1 + scale``.
    """
    value, size = user.inputs[place], sizes_of(shape_at(norm, 1))
    if value is None or value.shape is None or size is None or not same_shape(norm.outputs[0], user.outputs[0]):
        return None
    if value.dtype != norm.outputs[0].dtype:
        return None
    if value.shape == size:
        return value
    if len(size) != 1 or sizes_of(value.shape) != (*[1] * (value.shape.rank() - 1), *size):
        return None
    if home.sizes(value) is not None:
        return home.reshaped(value, size)
    reshape = sole_producer(user, place, "Reshape", "Unsqueeze")
    if reshape is not None and shape_at(reshape, 0) == size:
        return reshape.inputs[0]
    return _flat(value, user, size[0], home)


def _flat(value: ir.Value, user: ir.Node, size: int, home: Home) -> ir.Value:
    """Return a value reshaped to one axis, before the node that uses it."""
    assert user.graph is not None
    flat = new_node("Reshape", [value, home.ints([size])], ir.Shape([size]), user)
    user.graph.insert_before(user, flat)
    return flat.outputs[0]


def _is_nan(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Not(Equal(x[N, 4], x))`` to ``IsNaN(x)``."""
    equal = sole_producer(node, 0, "Equal")
    value = input_at(equal, 0)
    if value is None or value is not input_at(equal, 1):
        return
    if value.dtype in FLOATS:
        node.op_type = "IsNaN"
        node.replace_input_with(0, value)


def _is_infinite(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Equal(Abs(x[N, 4]), inf)`` to ``IsInf(x)``."""
    place, bound = _constant_operand(node)
    magnitude = sole_producer(node, 1 - place, "Abs")
    if magnitude is None or bound != math.inf:
        return
    value = magnitude.outputs[0]
    if value.dtype in FLOATS and same_shape(value, node.outputs[0]):
        become(node, "IsInf", magnitude.inputs[0])


def _constant_operand(node: ir.Node) -> tuple[int, float | None]:
    """Return which of two inputs is a constant number, and this number; 0 and None if neither is."""
    number = scalar_at(node, 1)
    if number is not None:
        return 1, number
    return 0, scalar_at(node, 0)


def _between(node: ir.Node, home: Home) -> None:
    """Rewrite ``Min(Max(x[N, 4], -1), 2)`` to ``Clip(x, -1, 2)``, and ``Min(Relu(x), 2)`` to ``Clip(x, 0, 2)``.

    ``Max`` and ``Min`` with 0 stay as they are: they order -0 and 0, which ``Clip`` does not.
    """
    result = node.outputs[0]
    place, high = _constant_operand(node)
    if not high or len(node.inputs) != 2 or result.dtype != ir.DataType.FLOAT:
        return
    bounded = sole_producer(node, 1 - place, "Relu", "Max")
    if bounded is None or not same_shape(bounded.outputs[0], result):
        return
    source, low = _bounded_below(bounded, high, home)
    if source is None:
        return
    operands = (source, low, node.inputs[place])
    node.op_type = "Clip"
    node.resize_inputs(3)
    for index, operand in enumerate(operands):
        node.replace_input_with(index, operand)


def _bounded_below(node: ir.Node, high: float, home: Home) -> tuple[ir.Value | None, ir.Value | None]:
    """Return ``x`` and -1 for ``Max(x, -1)``, ``x`` and 0 for ``Relu(x)``, None twice if that is above ``high``."""
    if node.op_type == "Relu" and high > 0:
        zero = np.zeros((), np.float32)
        return node.inputs[0], home.constant(zero)
    place, low = _constant_operand(node)
    source = input_at(node, 1 - place)
    # Clip passes over a bound that is NaN.
    if not low or math.isnan(low) or math.isnan(high) or low > high or len(node.inputs) != 2:
        return None, None
    if not same_shape(source, node.outputs[0]):
        return None, None
    return source, node.inputs[place]


def _count_from_end(node: ir.Node, home: Home) -> None:
    """Rewrite ``Clip(Where(Less(i, 0), Add(i, 5), i), 0, 4)`` to ``Clip(i, -5, 4)``, where ``i[N]`` are indices.

    The result may only be used as indices into axes of size 5: JAX adds the size to negative indices, ONNX's operators
    count those from the end themselves. ``Equal(Where(...), Clip(...))``, which finds indices that are in bounds,
    becomes ``Equal(i, Clip(...))``.
    """
    wrapped = node.inputs[0]
    top = scalar_at(node, 2)
    if wrapped is None or wrapped.dtype is None or top is None:
        return
    size = top + 1
    indices = _wrapped_indices(node, size)
    tests = _tests_of_bounds(node)
    if indices is None or tests is None:
        return
    for user, place in node.outputs[0].uses():
        if user not in tests and not _indexes(user, place, size):
            return
    lowest = np.asarray(int(-size)).astype(wrapped.dtype.numpy())
    node.replace_input_with(0, indices)
    node.replace_input_with(1, home.constant(lowest))
    for test in tests:
        test.replace_input_with(test.inputs.index(wrapped), indices)


def _wrapped_indices(clip: ir.Node, size: float) -> ir.Value | None:
    """Return ``i`` if ``Where(Less(i, 0), Add(i, size), i)`` is clipped to be at least 0."""
    choice = producer_at(clip, 0)
    if choice is None or standard(choice) != "Where" or choice.graph is not clip.graph:
        return None
    if scalar_at(clip, 1) != 0:
        return None
    indices = choice.inputs[2]
    below = sole_producer(choice, 0, "Less")
    if below is None or below.inputs[0] is not indices or scalar_at(below, 1) != 0:
        return None
    total = sole_producer(choice, 1, "Add")
    if total is None:
        return None
    place, added = _constant_operand(total)
    if total.inputs[1 - place] is not indices or added != size:
        return None
    return indices


def _tests_of_bounds(clip: ir.Node) -> list[ir.Node] | None:
    """Return the nodes that compare indices before and after ``clip``, None if others use the indices before it."""
    wrapped = clip.inputs[0]
    clipped = clip.outputs[0]
    if wrapped is None or wrapped.is_graph_output() or clipped.is_graph_output():
        return None
    tests = []
    for user, _ in wrapped.uses():
        if user is clip:
            continue
        if standard(user) != "Equal" or {*user.inputs} != {wrapped, clipped}:
            return None
        tests.append(user)
    return tests


def _indexes(node: ir.Node, place: int, size: float) -> bool:
    """Return whether the operand at a place is indices into an axis of a size."""
    if node.op_type not in _INDEXED or node.domain or place != 1:
        return False
    shape = shape_at(node, 0)
    axis = node.attributes.get_int("axis", 0)
    return shape is not None and shape[axis] == size


def _choose_once(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Where(m[4, 4], Where(m, x[4, 4], y), 0)`` to ``Where(m, x, 0)``.

    Between the two there may be a choice by another condition: ``Where(m, Where(c, NaN, Where(m, x, y)), 0)``.
    """
    mask = node.inputs[0]
    for place in (1, 2):
        user, index = node, place
        choice = sole_producer(node, place, "Where")
        if choice is not None and choice.inputs[0] is not mask:
            inner = [(i, sole_producer(choice, i, "Where")) for i in (1, 2)]
            masked = [(i, other) for i, other in inner if other is not None and other.inputs[0] is mask]
            user, (index, choice) = choice, masked[0] if masked else (0, None)
        if choice is None or choice.inputs[0] is not mask:
            continue
        if same_shape(choice.inputs[place], choice.outputs[0]):
            user.replace_input_with(index, choice.inputs[place])


_RULES: dict[str, Callable[[ir.Node, Home], None]] = {
    "Add": _offset,
    "Clip": _count_from_end,
    "Div": _mean,
    "Equal": _is_infinite,
    "Min": _between,
    "Mul": _scaled,
    "Not": _is_nan,
    "ReduceSum": _sum_of_squares,
    "Sqrt": _norm,
    "Where": _choose_once,
}

shorten = by_rules(_RULES)
"""Replace idioms by single operators. The nodes that this leaves without users stay."""
