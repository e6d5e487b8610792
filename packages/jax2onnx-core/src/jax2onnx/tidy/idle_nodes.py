"""Idle nodes: remove nodes whose results nothing uses, and find those that return their input as it is."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.tidy.initializers import is_parameter
from jax2onnx.tidy.match_nodes import (
    drop,
    ints_at,
    is_known,
    is_transpose,
    permutation,
    producer_at,
    same_shape,
    shape_at,
    slice_steps,
    tensor_at,
)
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import bodies, standard
from jax2onnx.tidy.unread_results import drop_unread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = [
    "MAYBE_IDLE",
    "drop_neutral",
    "is_dead",
    "is_idle",
    "remove_dead",
    "remove_unused",
    "skip_expands",
    "unused_initializers",
]


_MOST_ONES = 2**10
"""How many numbers are looked at whether all are 1."""


def remove_dead(graph: ir.Graph) -> None:
    """Remove the nodes whose results nothing uses, in subgraphs too, and results of choices and loops."""
    # From the last node to the first: the dead users of a node are gone when it is reached.
    for node in reversed(graph):
        if is_dead(node):
            _empty(node)
            graph.remove(node, safe=True)
        elif node.attributes.data:
            for body in bodies(drop_unread(node)):
                remove_dead(body)


def _empty(node: ir.Node) -> None:
    """Remove all that is in the bodies of a node: it would count as a user of values around it."""
    for body in bodies(node):
        body.outputs.clear()
        for inner in reversed(body):
            _empty(inner)
            body.remove(inner, safe=True)


def unused_initializers(model: ir.Model) -> set[str]:
    """Return the names of the initializers that nothing reads."""
    return {
        name
        for name, value in model.graph.initializers.items()
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input()
    }


def remove_unused(model: ir.Model, keep: Collection[str]) -> None:
    """Remove the nodes of a model and of its functions whose results nothing uses, and such initializers.

    Args:
        model: the model.
        keep: the names of initializers that stay although nothing reads them.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        remove_dead(graph)
    for name in unused_initializers(model).difference(keep):
        del model.graph.initializers[name]


def is_dead(node: ir.Node) -> bool:
    """Return whether nothing uses what a node computes."""
    for value in node.outputs:  # noqa: SIM110 - runs for every node; a loop takes half the time
        if value.uses() or value.is_graph_output():
            return False
    return True


def skip_expands(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Add(Expand(x[4], [N, 4]), y[N, 4])`` to ``Add(x, y)``, for every operator that broadcasts.

    ``Add(Expand(x[1, 4], [3, 4]), y[4])`` stays: without the ``Expand`` its result would be of shape ``[1, 4]``.
    """
    for index in range(len(node.inputs)):
        expand = producer_at(node, index)
        if expand is None or expand.op_type != "Expand" or expand.domain:
            continue
        operands = [shape_at(node, place) for place in range(len(node.inputs))]
        operands[index] = shape_at(expand, 0)
        if _broadcast_to(operands, node.outputs[0].shape):
            node.replace_input_with(index, expand.inputs[0])


def _broadcast_to(operands: list[ir.Shape | None], result: ir.Shape | None) -> bool:
    """Return whether each dim of a result is known to be that of an operand, in the same place from the last."""
    if result is None:
        return False
    backwards = [tuple(shape or ())[::-1] for shape in (result, *operands)]
    places = itertools.zip_longest(*backwards)
    return all(is_known(dim) and dim in dims for dim, *dims in places)


def is_idle(node: ir.Node) -> bool:
    """Return whether a node returns its first input as it is, such as ``Mul(x[N, 4], 1) [N, 4]``."""
    returns_input = _IDLE.get(standard(node))
    return returns_input is not None and returns_input(node)


@rewrites("Div", "Mul", "Sub")
def drop_neutral(nodes: Sequence[ir.Node], _home: Home) -> bool:
    """Rewrite ``Mul(1, x[N, 4]) [N, 4]``, ``Div(x[3], [1, 1, 1])`` and ``Sub(x, 0)`` to ``x``; even -0 stays.

    Beside ``Sub(x, 10)``, the latter may be computed at once with it, which is better.

    Returns:
        Whether a node was removed.
    """
    changed = False
    for node in nodes:
        kept = _besides_neutral(node)
        if kept is not None:
            drop(node, kept)
            changed = True
    return changed


def _besides_neutral(node: ir.Node) -> int | None:
    """Return which operand is the result, since the other one is neutral; None if none is."""
    kind = node.op_type
    if kind == "Sub":
        return 0 if _is_number(node, 1, 0) and _keeps_shape(node) else None
    if kind == "Mul" and _holds_ones(node, 0) and same_shape(node.inputs[1], node.outputs[0]):
        return 1
    return 0 if _holds_ones(node, 1) and _keeps_shape(node) else None


def _holds_ones(node: ir.Node, place: int) -> bool:
    """Return whether an operand is few numbers that all are 1."""
    tensor = tensor_at(node, place)
    is_small = tensor is not None and 0 < tensor.size <= _MOST_ONES and not is_parameter(node.inputs[place])
    return is_small and tensor is not None and bool((tensor.numpy() == 1).all())


def _is_number(node: ir.Node, place: int, number: float) -> bool:
    """Return whether an operand holds one number, this one; 0 is not -0.

    A parameter of the user's is none: it can be given other numbers in the model.
    """
    tensor = tensor_at(node, place)
    if tensor is None or tensor.size != 1 or is_parameter(node.inputs[place]):
        return False
    array = tensor.numpy()
    return bool(array.item() == number) and not (array.dtype.kind == "f" and bool(np.signbit(array).any()))


def _keeps_shape(node: ir.Node) -> bool:
    return same_shape(node.inputs[0], node.outputs[0])


def _keeps_dtype(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype == node.attributes["to"].as_int()


def _keeps_axes(node: ir.Node) -> bool:
    if not is_transpose(node):
        return False
    perm = permutation(node)
    return list(perm) == sorted(perm)


def _keeps_values(node: ir.Node) -> bool:
    """Return whether a product or quotient is by 1, which may be of any rank that does not add dims to the result."""
    return _is_number(node, 1, 1) and _keeps_shape(node)


def _takes_everything(node: ir.Node) -> bool:
    # The shape alone does not say it: a slice of all elements in reverse keeps it too.
    steps = slice_steps(node)
    if steps is None or not {1}.issuperset(steps):
        return False
    return _keeps_shape(node)


def _pads_nothing(node: ir.Node) -> bool:
    pads = ints_at(node, 1) or [1]
    return not any(pads)


def _has_one_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


_IDLE: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _keeps_dtype,
    "Concat": _has_one_input,
    "Div": _keeps_values,
    "Expand": _keeps_shape,
    "Flatten": _keeps_shape,
    "Identity": _has_one_input,
    "Max": _has_one_input,
    "Min": _has_one_input,
    "Mul": _keeps_values,
    "Pad": _pads_nothing,
    "Reshape": _keeps_shape,
    "Slice": _takes_everything,
    "Squeeze": _keeps_shape,
    "Transpose": _keeps_axes,
    "Unsqueeze": _keeps_shape,
}

MAYBE_IDLE = frozenset(_IDLE)
"""Operators of nodes that may be idle."""
