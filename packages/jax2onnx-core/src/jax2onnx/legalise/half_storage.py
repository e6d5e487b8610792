"""Half storage: weights of float32 whose numbers are numbers of float16 or bfloat16 are stored as these.

    MatMul(x, w)                                  w: float32[512, 512]

becomes

    wide = Cast(stored, to=float32)               stored: float16[512, 512]
    MatMul(x, wide)

Weights that differ in their first dim only share the cast:

    wide = Cast(stored, to=float32)               stored: float16[1024, 512]
    w, v = Split(wide, [512, 512], axis=0)

No number changes. A runtime computes such nodes once, when it loads the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.legalise.schema import schema
from jax2onnx.tidy.subgraphs import every_node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jax2onnx.legalise.targets import Target

__all__ = ["computes_in", "store_in_half"]

_SMALLEST = 256
_LARGE = 1 << 15
"""Elements of a weight that may have a cast of its own."""
_ENOUGH, _WANTED = 0.97, 0.9
_NODES = 0.1

Array = np.ndarray[Any, Any]
_Weight: TypeAlias = tuple[ir.DataType, ir.Value]
_Group: TypeAlias = tuple[ir.DataType, list[ir.Value]]
"""Values that are stored as one array, and its dtype."""


_PRODUCTS = ("MatMul", "Conv")


def computes_in(dtype: ir.DataType, opset: int, target: Target | None) -> bool:
    """Return whether a runtime multiplies arrays of a dtype, without casts; None stands for what ONNX specifies."""
    for op_type in _PRODUCTS:
        found = schema("", op_type, opset)
        if found is None or not found.allows(found.call((dtype, dtype), (dtype,)).bound):
            return False
        if target is not None and not target.supports(op_type, opset, [dtype, dtype]):
            return False
    return True


def store_in_half(model: ir.Model, dtypes: Sequence[ir.DataType]) -> None:
    """Store the weights of a model in half, in place, where no number changes: in the first dtype that has them all.

    Those that take the most room come first. What remains once nearly all bytes are stored in half, or for which the
    model would get a tenth more nodes, stays as it is. As many of the largest as there are nodes for have a cast each:
    a runtime that splits an array when it loads the model has all of it twice until then.
    """
    found = sorted(_weights(model.graph, dtypes), key=lambda one: -_size([(one[0], [one[1]])]))
    budget = max(2, int(_NODES * sum(1 for _ in every_node(model.graph))))
    before: list[ir.Node] = []
    for dtype, group in _plan(found, budget):
        before += _stored(model.graph, group, dtype)
    if not before:
        return
    first = next(iter(model.graph), None)
    if first is None:
        model.graph.extend(before)
    else:
        model.graph.insert_before(first, before)


def _plan(found: Sequence[_Weight], budget: int) -> list[_Group]:
    """Return which weights are stored together: the largest alone, as long as the others fit into the budget too."""
    plan = _within(_groups(found), [], budget)
    stored = _size(plan)
    large = [one for one in found if _size([(one[0], [one[1]])]) >= _LARGE]
    for count in range(1, min(budget, len(large)) + 1):
        alone = [(dtype, [value]) for dtype, value in large[:count]]
        other = _within(_groups(found[count:]), alone, budget)
        if _cost(other) > budget or _size(other) < stored:
            break
        plan = other
    return plan


def _within(groups: Sequence[_Group], first: Sequence[_Group], budget: int) -> list[_Group]:
    """Return the groups that are stored; the first are so in any case."""
    total = _size(groups) + _size(first)
    plan = list(first)
    for one in sorted(groups, key=lambda one: -_size([one])):
        stored = _size(plan)
        fits = _cost([*plan, one]) <= budget
        if stored < _ENOUGH * total and (fits or stored < _WANTED * total):
            plan.append(one)
    return plan


def _cost(groups: Iterable[_Group]) -> int:
    """Return how many nodes give groups of weights."""
    return sum(1 if len(group) == 1 else 2 for _, group in groups)


def _size(groups: Iterable[_Group]) -> int:
    return sum(value.const_value.size for _, group in groups for value in group if value.const_value is not None)


def _groups(weights: Iterable[_Weight]) -> list[_Group]:
    """Return the weights, those together that differ in their first dim only."""
    groups: defaultdict[tuple[ir.DataType, tuple[int, ...]], list[ir.Value]] = defaultdict(list)
    for dtype, value in weights:
        assert value.const_value is not None
        groups[dtype, tuple(value.const_value.shape.numpy())[1:]].append(value)
    return [(dtype, group) for (dtype, _), group in groups.items()]


def _weights(graph: ir.Graph, dtypes: Sequence[ir.DataType]) -> list[_Weight]:
    """Return the weights that half holds, each with its dtype."""
    found: list[_Weight] = []
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < _SMALLEST or not tensor.shape:
            continue
        if value.is_graph_output() or value.is_graph_input():
            continue
        array = tensor.numpy()
        dtype = next((dtype for dtype in dtypes if _holds(array, dtype.numpy())), None)
        if dtype is not None:
            found.append((dtype, value))
    return found


def _holds(array: Array, dtype: np.dtype[Any]) -> bool:
    """Return whether each number is one of the dtype."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        flat = array.ravel()
        for start in range(0, flat.size, 1 << 20):
            part = flat[start : start + (1 << 20)]
            if not np.array_equal(part.astype(dtype).astype(np.float32).view(np.uint32), part.view(np.uint32)):
                return False
    return True


def _stored(graph: ir.Graph, group: Sequence[ir.Value], dtype: ir.DataType) -> list[ir.Node]:
    """Store weights as one array; return the nodes that give them in float32."""
    arrays = [value.const_value.numpy() for value in group if value.const_value is not None]
    joined = np.concatenate([array.astype(dtype.numpy()) for array in arrays]) if len(group) > 1 else arrays[0]
    named = str(group[0].name)
    suffix = f"[{dtype.name.lower()}]"
    name = named + suffix if len(group) == 1 else f"{named}, …{suffix}"
    held = _initializer(graph, name, joined.astype(dtype.numpy()))
    cast = ir.node("Cast", [held], {"to": int(ir.DataType.FLOAT)})
    wide = cast.outputs[0]
    wide.dtype = ir.DataType.FLOAT
    wide.shape = ir.Shape(joined.shape)
    for value in group:
        del graph.initializers[str(value.name)]
    results = [wide]
    nodes = [cast]
    if len(group) > 1:
        sizes = np.array([len(array) for array in arrays], np.int64)
        lengths = _initializer(graph, f"{name}.sizes", sizes)
        results = [ir.Value(type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(a.shape)) for a in arrays]
        nodes.append(ir.node("Split", [wide, lengths], {"axis": 0}, outputs=results))
    for value, result in zip(group, results, strict=True):
        value.replace_all_uses_with(result)
        result.name = value.name
    return nodes


def _initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.initializers[name] = value
    return value
