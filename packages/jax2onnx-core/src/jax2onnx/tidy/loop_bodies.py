"""Loop bodies: what every iteration computes alike is computed once, before the loop; what stands twice, once.

A body may read any value of the graphs around it, so that a node of theirs serves inside, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from jax2onnx.tidy.carries import carry_less
from jax2onnx.tidy.known_numbers import bounds_of
from jax2onnx.tidy.match_nodes import sizes_of
from jax2onnx.tidy.next_values import carry_next_values
from jax2onnx.tidy.operators import BROADCASTING, REDUCTIONS, UNARY
from jax2onnx.tidy.scanned_inputs import scan_once
from jax2onnx.tidy.subgraphs import bodies, standard

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["carry_repeated", "drop_carries", "lift_invariants", "remove_repeated_inside"]

_LOOPS = frozenset({"Loop", "Scan"})
_NEVER_FAILING = (
    BROADCASTING | UNARY | REDUCTIONS | {"BitShift", "Concat", "CumSum", "MatMul", "Squeeze", "Transpose", "Unsqueeze"}
) - {"Div", "Mod"}
"""Operators that may run where the loop makes no iteration: no numbers make them fail."""
_BY_SIZES = frozenset({"Expand", "Reshape", "Slice", "Split"})
"""Operators that may run there too, where their sizes are constants: only sizes could make them fail."""
_BY_INDICES = frozenset({"Gather", "GatherElements"})
"""Operators that fail where an index is out of bounds."""
_TRAPPING = frozenset({"Div", "Mod"})
"""Operators that fail where an integer is divided by 0."""
_VARYING = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
                      "RandomUniformLike", "Dropout"})  # fmt: skip
_SIMPLE = frozenset({ir.AttributeType.FLOAT, ir.AttributeType.INT, ir.AttributeType.STRING})
_LISTS = frozenset({ir.AttributeType.FLOATS, ir.AttributeType.INTS, ir.AttributeType.STRINGS})


def lift_invariants(graph: ir.Graph) -> None:
    """Move nodes out of the bodies of loops if no operand changes from iteration to iteration; inner loops first."""
    for node in list(graph):
        if not node.attributes.data:
            continue
        for body in bodies(node):
            lift_invariants(body)
            if standard(node) in _LOOPS:
                _lift(body, node)


def _lift(body: ir.Graph, loop: ir.Node) -> None:
    own = set(body.inputs)
    is_safe = _is_alone if _has_iterations(loop) else _is_safe
    for node in list(body):
        reads_own = not own.isdisjoint(node.inputs)
        if reads_own or not is_safe(node) or any(value.is_graph_output() for value in node.outputs):
            own.update(node.outputs)
            continue
        body.remove(node)
        # Names are unique within a graph only: it gets those of the other one.
        node.name = None
        for value in node.outputs:
            value.name = None
        loop.prepend(node)


def _has_iterations(loop: ir.Node) -> bool:
    """Return whether a loop is known to make an iteration: a ``Scan`` of arrays that have rows."""
    if standard(loop) != "Scan" or not loop.attributes.get_int("num_scan_inputs", 0):
        return False
    scanned, axes = loop.inputs[-1], loop.attributes.get_ints("scan_input_axes", [0])
    sizes = None if scanned is None else sizes_of(scanned.shape)
    return bool(sizes) and set(axes) == {0} and sizes is not None and sizes[0] > 0


def _is_alone(node: ir.Node) -> bool:
    """Return whether a node, of the standard operators, reads nothing but its operands."""
    return not node.domain and node.op_type not in _VARYING and not bodies(node) and None not in node.inputs


def _is_safe(node: ir.Node) -> bool:
    """Return whether a node may run where the loop makes no iteration, and reads nothing but its operands."""
    kind = standard(node)
    if kind in _TRAPPING:
        dtype = node.outputs[0].dtype
        return dtype is not None and dtype.is_floating_point()
    if None in node.inputs:
        return False
    if kind in _BY_SIZES:
        return all(value is not None and value.const_value is not None for value in node.inputs[1:])
    return kind in _NEVER_FAILING or (kind in _BY_INDICES and _is_in_range(node))


def _is_in_range(gather: ir.Node) -> bool:
    """Return whether the indices of a ``Gather`` or ``GatherElements`` are known to be within the size of its axis."""
    data, bounds = gather.inputs[0], bounds_of(gather.inputs[1])
    sizes = None if data is None else sizes_of(data.shape)
    if sizes is None or bounds is None:
        return False
    size = sizes[gather.attributes.get_int("axis", 0)]
    return -size <= bounds[0] and bounds[1] < size


def carry_repeated(graph: ir.Graph) -> None:
    """Carry to the next iteration what it would compute again."""
    carry_next_values(graph, _key, _is_safe)


def drop_carries(home: Home) -> None:
    """Leave out what loops carry though no iteration changes it, though they carry it twice, or for nobody."""
    carry_less(home, _key)


def remove_repeated_inside(graph: ir.Graph) -> None:
    """Rewrite nodes that compute what a node before them does, in their graph or around it, to its results.

    Graphs without loops and choices stay as they are. An array that a scan has twice is sliced once before.
    """
    _visit(graph, (), is_inside=False)


def _visit(graph: ir.Graph, around: tuple[Mapping[Hashable, ir.Node], ...], *, is_inside: bool) -> None:
    if not is_inside and not any(node.attributes.data and bodies(node) for node in graph):
        return
    seen: dict[Hashable, ir.Node] = {}
    for node in list(graph):
        inner = bodies(node) if node.attributes.data else []
        if inner:
            scan_once(node)
        for body in inner:
            _visit(body, (*around, seen), is_inside=True)
        key = None if inner else _key(node, node.inputs)
        if key is None:
            continue
        first = next((table[key] for table in (seen, *around) if key in table), None)
        if first is None:
            seen[key] = node
        elif _may_go(node, first, is_inside=is_inside):
            _take(node, first)


def _may_go(node: ir.Node, first: ir.Node, *, is_inside: bool) -> bool:
    """Return whether an equal node can return what a node does: a value is a result of its own graph, and once.

    Results of the outermost graph keep their names.
    """
    pairs = zip(node.outputs, first.outputs, strict=True)
    returned = [other for value, other in pairs if value.is_graph_output()]
    is_taken = first.graph is not node.graph or any(other.is_graph_output() for other in returned)
    return not returned or (is_inside and not is_taken)


def _take(node: ir.Node, first: ir.Node) -> None:
    """Give the results of an equal node to the users of a node, which goes."""
    for value, other in zip(node.outputs, first.outputs, strict=True):
        if other.shape is None:
            other.shape = value.shape
        value.replace_all_uses_with(other, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def _key(node: ir.Node, operands: Sequence[ir.Value | None]) -> Hashable | None:
    """Return what is equal for nodes that compute the same of some operands, None if nothing is."""
    if node.op_type in _VARYING or node.domain:
        return None
    attributes: list[Any] = []
    for name, attribute in sorted(node.attributes.items()):
        if attribute.type in _SIMPLE:
            attributes.append((name, repr(attribute.value)))
        elif attribute.type in _LISTS:
            attributes.append((name, repr(list(attribute.value))))
        else:
            return None
    return (node.op_type, len(node.outputs), *operands, *attributes)
