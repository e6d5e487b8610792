"""Local rewrites: nodes that do nothing, chains of reshapes, of transposes around reshapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.initializers import Home, constant
from jax2onnx.tidy.layout_ops import BROADCASTING, REDUCTIONS
from jax2onnx.tidy.subgraphs import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


def simplify(graph: ir.Graph, home: Home) -> None:
    """Remove nodes that do nothing, and make chains of reshapes one."""
    for node in list(graph):
        if node.domain or len(node.outputs) != 1 or not node.inputs or node.inputs[0] is None:
            continue
        source = node.inputs[0]
        if node.op_type in RESHAPES:
            source = _keep_dims(node, _merge_reshapes(node, source, home))
        elif node.op_type in BROADCASTING:
            _skip_expands(node)
        elif node.op_type == "Pad":
            _pad_all_axes(node, home)
        elif node.op_type == "Transpose":
            source = _reshape_first(graph, node, home) or source
        if node.op_type in _IDLE and _IDLE[node.op_type](node, source):
            drop(graph, node, source)


def shorten_reshape(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    """Let a reshape start from what the reshapes before it started from, and remove it if it does nothing."""
    source = node.inputs[0]
    if source is not None and _reshapes_nothing(node, source := _merge_reshapes(node, source, home)):
        drop(graph, node, source)


def remove_dead(graph: ir.Graph) -> None:
    """Remove the nodes whose results nothing uses, in subgraphs too."""
    for node in reversed(graph):
        for value in node.outputs:
            if value.uses() or value.is_graph_output():
                break
        else:
            graph.remove(node, safe=True)
            continue
        for body in bodies(node):
            remove_dead(body)


def drop(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    """Let every user of a node's result use ``source``; one that has to be a value of its own is its ``Identity``."""
    out = node.outputs[0]
    if out.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not graph or source.is_graph_output():
            node.op_type = "Identity"
            node.replace_input_with(0, source)
            node.resize_inputs(1)
            node.attributes.clear()
            return
        out.replace_all_uses_with(source, replace_graph_outputs=True)
        source.name, out.name = out.name, source.name
    else:
        out.replace_all_uses_with(source)
    graph.remove(node, safe=True)


def same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Tell whether the shapes are known to be equal."""
    return a.shape is not None and b.shape is not None and same_dims(a.shape, b.shape)


def same_dims(a: Iterable[int | ir.SymbolicDim], b: Iterable[int | ir.SymbolicDim]) -> bool:
    """Tell whether two shapes, or parts of such, are known to be equal."""
    first, second = tuple(a), tuple(b)
    return first == second and all(isinstance(x, int) or x.value is not None for x in first)


def _reshapes_nothing(node: ir.Node, source: ir.Value) -> bool:
    return same_shape(node.outputs[0], source)


def _is_same_cast(node: ir.Node, source: ir.Value) -> bool:
    return source.dtype is not None and node.attributes["to"].as_int() == source.dtype


def _permutes_nothing(node: ir.Node, source: ir.Value) -> bool:
    perm = node.attributes.get("perm")
    del source
    return perm is not None and list(perm.as_ints()) == sorted(perm.as_ints())


def _takes_everything(node: ir.Node, source: ir.Value) -> bool:
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else [1]
    return steps is not None and all(s == 1 for s in steps) and same_shape(node.outputs[0], source)


def _pads_nothing(node: ir.Node, source: ir.Value) -> bool:
    del source
    return not any(constant(node.inputs[1]) or [1])


def _has_one_input(node: ir.Node, source: ir.Value) -> bool:
    del source
    return len(node.inputs) == 1


def _by_one(node: ir.Node, source: ir.Value) -> bool:
    other = node.inputs[1].const_value if node.inputs[1] is not None else None
    if other is None or other.size != 1 or not same_shape(node.outputs[0], source):
        return False
    return bool(np.all(other.numpy() == 1))


_IDLE: dict[str, Callable[[ir.Node, ir.Value], bool]] = {
    "Cast": _is_same_cast,
    "Concat": _has_one_input,
    "Div": _by_one,
    "Expand": _reshapes_nothing,
    "Flatten": _reshapes_nothing,
    "Identity": _has_one_input,
    "Max": _has_one_input,
    "Min": _has_one_input,
    "Mul": _by_one,
    "Pad": _pads_nothing,
    "Reshape": _reshapes_nothing,
    "Slice": _takes_everything,
    "Squeeze": _reshapes_nothing,
    "Transpose": _permutes_nothing,
    "Unsqueeze": _reshapes_nothing,
}


def _merge_reshapes(node: ir.Node, source: ir.Value, home: Home) -> ir.Value:
    """Let a reshape start from what the reshapes before it started from; return what it starts from."""
    first = source
    while (before := first.producer()) is not None and before.op_type in RESHAPES and not before.domain:
        if before.inputs[0] is None or before.graph is not node.graph:
            break
        first = before.inputs[0]
    shape = node.outputs[0].shape
    if first is source or shape is None or _has_zero(first.shape) or _has_zero(shape):
        return source
    if same_shape(first, node.outputs[0]):
        node.replace_input_with(0, first)
        return first
    if sum(not isinstance(d, int) for d in shape) > 1 or node.op_type != "Reshape":
        return source
    node.replace_input_with(0, first)
    node.replace_input_with(1, home.ints([d if isinstance(d, int) else -1 for d in shape]))
    allow_zero = node.attributes.get("allowzero")
    if allow_zero is not None:
        del node.attributes["allowzero"]
    return first


def _reshape_first(graph: ir.Graph, node: ir.Node, home: Home) -> ir.Value | None:
    """Let dims of size 1 that come or go between two transposes do so before, and make the transposes one.

    Returns what the transpose then starts from, None if there is nothing to do.
    """
    reshaped = node.inputs[0]
    middle = reshaped
    while middle is not None and (made := middle.producer()) is not None and made.op_type in RESHAPES:
        if made.domain or made.graph is not graph or len(middle.uses()) != 1 or middle.is_graph_output():
            return None
        middle = made.inputs[0]
    first = middle.producer() if middle is not None and middle is not reshaped else None
    if first is None or not _permutes(first) or not _permutes(node) or first.graph is not graph:
        return None
    origin = first.inputs[0]
    if origin is None or origin.shape is None or reshaped is None or reshaped.shape is None:
        return None
    inner, outer = first.attributes["perm"].as_ints(), node.attributes["perm"].as_ints()
    before, after = [a for a in inner if origin.shape[a] != 1], [i for i, d in enumerate(reshaped.shape) if d != 1]
    if not same_dims([origin.shape[a] for a in before], [reshaped.shape[i] for i in after]):
        return None
    axes, moved = dict(zip(after, before, strict=True)), iter(sorted(before))
    sources = [next(moved) if i in axes else None for i in outer]
    shape = ir.Shape([1 if a is None else origin.shape[a] for a in sources])
    reshape = _reshape_ones(origin, shape, home)
    if reshape is None:
        return None
    reshape.metadata_props.update(node.metadata_props)
    graph.insert_before(node, reshape)
    perm = [sources.index(axes[i]) if i in axes else place for place, i in enumerate(outer)]
    node.attributes["perm"] = ir.AttrInt64s("perm", perm)
    node.replace_input_with(0, reshape.outputs[0])
    shorten_reshape(graph, reshape, home)
    return node.inputs[0]


def _permutes(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and not node.domain and "perm" in node.attributes


def _reshape_ones(source: ir.Value, shape: ir.Shape, home: Home) -> ir.Node | None:
    """Return a node that reshapes to a shape which has the same dims but for those of size 1."""
    assert source.shape is not None
    gone, new = ([i for i, d in enumerate(s) if d == 1] for s in (source.shape, shape))
    if not gone or not new:
        node = ir.Node("", "Squeeze" if gone else "Unsqueeze", [source, home.ints(gone or new)])
    elif not _has_zero(shape) and sum(not isinstance(d, int) for d in shape) <= 1:
        node = ir.Node("", "Reshape", [source, home.ints([d if isinstance(d, int) else -1 for d in shape])])
    else:
        return None
    node.outputs[0].type, node.outputs[0].shape = source.type, shape
    return node


def _keep_dims(node: ir.Node, source: ir.Value) -> ir.Value:
    """Let a reduction keep the dims that a reshape after it brings back; return what the reshape starts from."""
    reduction, shape = source.producer(), node.outputs[0].shape
    if reduction is None or reduction.op_type not in REDUCTIONS or len(reduction.inputs) < 2 or shape is None:
        return source
    keepdims, axes = reduction.attributes.get("keepdims"), constant(reduction.inputs[1])
    whole = reduction.inputs[0].shape if reduction.inputs[0] is not None else None
    if keepdims is None or keepdims.as_int() == 1 or not axes or whole is None or len(source.uses()) != 1:
        return source
    kept = ir.Shape([1 if i in {a % len(whole) for a in axes} else d for i, d in enumerate(whole)])
    if kept != shape or source.is_graph_output():
        return source
    reduction.attributes["keepdims"] = ir.AttrInt64("keepdims", 1)
    source.shape = kept
    return source


def _skip_expands(node: ir.Node) -> None:
    """Let an operator that broadcasts do what an ``Expand`` before it does, if the operands give the shape without."""
    out = node.outputs[0].shape
    for index, value in enumerate(node.inputs):
        expand = value.producer() if value is not None else None
        if expand is None or expand.op_type != "Expand" or expand.domain or out is None:
            continue
        operands = [expand.inputs[0] if i == index else v for i, v in enumerate(node.inputs)]
        if all(any(_gives(v, place, dim) for v in operands) for place, dim in enumerate(reversed(out), 1)):
            node.replace_input_with(index, expand.inputs[0])


def _gives(value: ir.Value | None, place: int, dim: int | ir.SymbolicDim) -> bool:
    """Tell whether a value's dim, counted from the last, is known to be ``dim``."""
    if value is None or value.shape is None or len(value.shape) < place:
        return False
    return value.shape[-place] == dim and (isinstance(dim, int) or dim.value is not None)


def _pad_all_axes(node: ir.Node, home: Home) -> None:
    """Say padding for all axes: onnxruntime's own layout pass mistakes the ``axes`` input."""
    if len(node.inputs) < 4 or node.inputs[3] is None or node.outputs[0].shape is None:
        return
    pads, axes, rank = constant(node.inputs[1]), constant(node.inputs[3]), len(node.outputs[0].shape)
    if pads is None or axes is None:
        return
    full = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        full[axis % rank], full[rank + axis % rank] = pads[place], pads[len(axes) + place]
    node.replace_input_with(1, home.ints(full))
    node.resize_inputs(3 if node.inputs[2] is not None else 2)


def _has_zero(shape: ir.Shape | None) -> bool:
    return shape is None or any(d == 0 for d in shape)


def turn_vector_products(graph: ir.Graph) -> None:
    """Multiply a vector by a matrix instead of the transpose of the matrix by the vector.

    onnxruntime makes the latter a ``FusedMatMul``, which reads a vector on the right wrongly or crashes.
    """
    for node in graph:
        left, right = node.inputs if node.op_type == "MatMul" and not node.domain else (None, None)
        if left is None or right is None or right.shape is None or len(right.shape) != 1:
            continue
        made, cast = left.producer(), None
        if made is not None and made.op_type == "Cast" and made.inputs[0] is not None:
            made, cast = made.inputs[0].producer(), made
        matrix = made.inputs[0] if made is not None and _swaps_last_two(made) else None
        if matrix is None:
            continue
        if cast is not None:
            again = ir.Node("", "Cast", [matrix], list(cast.attributes.values()))
            again.outputs[0].type, again.outputs[0].shape = left.type, matrix.shape
            graph.insert_before(node, again)
            matrix = again.outputs[0]
        node.replace_input_with(0, right)
        node.replace_input_with(1, matrix)


def _swaps_last_two(node: ir.Node) -> bool:
    perm = list(node.attributes["perm"].as_ints()) if node.op_type == "Transpose" and not node.domain else []
    last = len(perm) - 1
    return len(perm) > 1 and perm == [*range(last - 1), last, last - 1]
