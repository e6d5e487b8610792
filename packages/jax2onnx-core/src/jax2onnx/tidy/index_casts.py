"""Casts of indices: places of the largest numbers are read as they are, and joined before they are cast."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_dead
from jax2onnx.tidy.match_nodes import become, is_used_once, new_node, shape_at, tensor_at
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_index_casts"]

_WIDE, _NARROW = ir.DataType.INT64, ir.DataType.INT32
_PLACES = frozenset({"ArgMax", "ArgMin"})
_MOST = 2**31
_FEW = 1024
"""Up to how many numbers a constant is looked at."""


def _look_up(node: ir.Node, home: Home) -> None:
    """Rewrite ``Gather(x, Cast(ArgMax(y[8]), to=int32))`` to ``Gather(x, ArgMax(y))``.

    Likewise ``Gather(x, Add(Mul(Cast(ArgMax(y)), 4), Cast(ArgMax(z))))``: indices are of either dtype.
    """
    indices = node.inputs[1]
    if indices is None or indices.dtype != _NARROW or indices.const_value is not None:
        return
    if _limit(indices) is None:
        return
    made = indices.producer()
    node.replace_input_with(1, _wide(indices, home, node))
    _forget(made)


def _limit(value: ir.Value | None) -> int | None:
    """Return a number that some integers, made of places and constants, do not reach; None if they are made of others.

    Nor does what is computed in between reach it.
    """
    node = None if value is None else value.producer()
    tensor = None if value is None else value.const_value
    if value is None or node is None or tensor is not None:
        return None if tensor is None else _limit_of_constant(tensor)
    kind = standard(node)
    if kind == "Cast":
        return _limit_of_places(node)
    if kind not in {"Add", "Mul"} or not is_used_once(value):
        return None
    limits = [_limit(operand) for operand in node.inputs]
    if None in limits:
        return None
    found = sum(filter(None, limits)) if kind == "Add" else math.prod(filter(None, limits))
    return found if found < _MOST else None


def _limit_of_constant(tensor: ir.TensorProtocol) -> int | None:
    if tensor.dtype != _NARROW or not 0 < tensor.size <= _FEW or tensor.numpy().min() < 0:
        return None
    return int(tensor.numpy().max()) + 1


def _limit_of_places(cast: ir.Node) -> int | None:
    """Return the size of the axis whose places are cast."""
    source = cast.inputs[0]
    node = None if source is None else source.producer()
    shape = None if node is None else shape_at(node, 0)
    if node is None or shape is None or standard(node) not in _PLACES or cast.outputs[0].dtype != _NARROW:
        return None
    size = shape[node.attributes.get_int("axis", 0)]
    return size if isinstance(size, int) and 0 < size < _MOST else None


def _wide(value: ir.Value, home: Home, user: ir.Node) -> ir.Value:
    """Return integers, of which a limit is known, in 64 bits."""
    if value.const_value is not None:
        return home.constant(value.const_value.numpy().astype(np.int64))
    node = value.producer()
    assert node is not None
    if standard(node) == "Cast":
        assert node.inputs[0] is not None
        return node.inputs[0]
    operands = [_wide(operand, home, user) for operand in node.inputs if operand is not None]
    wide = new_node(node.op_type, operands, value.shape, node)
    wide.outputs[0].type = ir.TensorType(_WIDE)
    user.prepend(wide)
    return wide.outputs[0]


def _join(node: ir.Node, home: Home) -> None:
    """Rewrite ``Concat(Cast(i, to=int32), Cast(j, to=int32), 0)`` to ``Cast(Concat(i, j, 0), to=int32)``."""
    casts = [cast for value in node.inputs if (cast := _cast_of(value)) is not None]
    constants = sum(tensor_at(node, place) is not None for place in range(len(node.inputs)))
    if len({*casts}) < 2 or len(casts) + constants != len(node.inputs) or node.outputs[0].dtype != _NARROW:
        return
    operands: list[ir.Value | None] = []
    for value in node.inputs:
        cast = _cast_of(value)
        if cast is not None:
            operands.append(cast.inputs[0])
        elif value is not None and value.const_value is not None:
            operands.append(home.constant(value.const_value.numpy().astype(np.int64)))
    joined = new_node("Concat", operands, node.outputs[0].shape, node)
    joined.outputs[0].type = ir.TensorType(_WIDE)
    joined.attributes.update(node.attributes)
    node.prepend(joined)
    become(node, "Cast", joined.outputs[0])
    node.attributes.add(ir.AttrInt64("to", int(_NARROW)))
    _forget(*casts)


def _cast_of(value: ir.Value | None) -> ir.Node | None:
    """Return the node that casts integers of 64 bits to 32 for one user only, None if there is none."""
    node = None if value is None else value.producer()
    source = None if node is None else node.inputs[0] if node.inputs else None
    if node is None or source is None or standard(node) != "Cast" or source.dtype != _WIDE:
        return None
    return node if is_used_once(value) else None


def _forget(*nodes: ir.Node | None) -> None:
    """Remove nodes whose results nothing uses any more, and those before them."""
    for node in nodes:
        if node is not None and node.graph is not None and standard(node) != "ArgMax" and is_dead(node):
            before = [value.producer() for value in node.inputs if value is not None]
            node.graph.remove(node, safe=True)
            _forget(*before)


_RULES: dict[str, Callable[[ir.Node, Home], None]] = {
    "Concat": _join,
    "Gather": _look_up,
    "GatherElements": _look_up,
}

shorten_index_casts = by_rules(_RULES)
"""Leave out casts of indices. The nodes that this leaves without users stay."""
