"""Workarounds: rewrite nodes that onnxruntime, its optimiser or a kernel, would compute wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.borders import pass_bytes
from jax2onnx.legalise.casts import like
from jax2onnx.legalise.unit_dims import move_without_ones
from jax2onnx.tidy.subgraphs import bodies, every_node, standard

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from jax2onnx.legalise.schema import Functions
    from jax2onnx.legalise.targets import Target

__all__ = ["CONFUSED_NAMES", "late_workarounds", "node_workarounds"]

NodeWorkaround: TypeAlias = "Callable[[ir.Graph, ir.Node], None]"
"""Rewrites a node of a graph in place. What it inserts is not legalised, so there must be kernels for its dtypes."""

CONFUSED_NAMES = frozenset({"Add", "Constant", "Div", "Gather", "Mul", "Sub"})
"""Operators that the optimiser recognises by name alone: it crashes on a call of a function with such a name."""
_Array: TypeAlias = np.ndarray[Any, Any]
_NEUTRAL = {
    "Add": (0.0, (0, 1)),
    "Sub": (0.0, (1,)),
    "Mul": (1.0, (0, 1)),
    "Div": (1.0, (1,)),
}
"""Operator -> the number that changes nothing, and the operands of which that is true."""
_CLOSE = 1e-6
"""Nothing farther from 0 or 1 rounds to it in float32."""


def keep_near_neutral(graph: ir.Graph, node: ir.Node) -> None:
    """Rewrite a node, in place, if it has a constant operand that is nearly neutral to it.

    The optimiser rounds a constant number to float32 before it drops an addition of 0 or a multiplication by 1:
    ``x + 1e-300`` and ``x * (1 + 1e-9)`` would be ``x``. For ``x: float64[...]`` and such a number ``c``,

    rewrite ``Add(x, c)`` to ``Sum(x, c)`` and ``Sub(x, c)`` to ``Sum(x, -c)``, which the optimiser leaves alone;
    rewrite ``Mul(x, c)`` to ``Mul(Mul(x, 0.5), c * 2)`` and ``Div(x, c)`` to ``Div(Mul(x, 0.5), c / 2)``.
    """
    if node.domain:
        return
    neutral, places = _NEUTRAL[node.op_type]
    for place in places:
        number = _number(node.inputs[place])
        if number is not None and _is_near(number.item(), neutral):
            number = _make_distant(graph, node, 1 - place, number)
            node.replace_input_with(place, _constant(graph, node, number))
            return


def keep_dims(graph: ir.Graph, node: ir.Node) -> None:
    """Rewrite a node, in place, if a constant operand with one element has more dims than the other operand.

    The optimiser takes the constant for a number, as the epsilon of a normalisation or the 1 of a reciprocal, and its
    dims are lost. For ``x: float32[3]`` and ``c: float32[1, 1]``,

    rewrite ``Add(x, c)``, of shape ``[1, 3]``, to ``Unsqueeze(Add(x, number), [0])``.
    """
    if node.domain:
        return
    for place in (0, 1):
        constant, other = node.inputs[place], node.inputs[1 - place]
        tensor = None if constant is None else ir.convenience.get_const_tensor(constant)
        if tensor is None or tensor.size != 1 or other is None or other.shape is None:
            continue
        added = len(tensor.shape) - other.shape.rank()
        if added > 0:
            node.replace_input_with(place, _constant(graph, node, tensor.numpy().reshape(())))
            _unsqueeze(graph, node, added)
            return


def keep_choices(graph: ir.Graph, node: ir.Node) -> None:
    """Hide the conditions of the choices in the branches of an ``If`` that the optimiser may see to be constant.

    The optimiser puts the nodes of the branch in the place of an ``If`` whose condition is constant. Where it does so
    twice, one in the other, and the inner branch holds a further ``If``, onnxruntime crashes (1.24 to 1.32). For such
    an inner node, with its condition ``c: bool[]``,

    rewrite ``If(c)`` to ``If(Loop(1, c))``, whose body returns ``c``: the optimiser computes no loops.
    """
    del graph
    if not _may_be_constant(node):
        return
    for body in bodies(node):
        for inner in list(body):
            if standard(inner) == "If" and _may_be_constant(inner) and _holds_choice(inner):
                _hide_condition(body, inner)


def _may_be_constant(choice: ir.Node) -> bool:
    condition = choice.inputs[0]
    assert condition is not None
    return not _varies(condition, frozenset())


def _holds_choice(node: ir.Node) -> bool:
    return any(standard(inner) == "If" for body in bodies(node) for inner in every_node(body))


def _hide_condition(graph: ir.Graph, choice: ir.Node) -> None:
    """Replace the condition of an ``If`` by the result of a loop of one iteration that returns it."""
    condition = choice.inputs[0]
    assert condition is not None
    iteration, going, carried = (ir.Value(shape=ir.Shape(()), type=ir.TensorType(t)) for t in _LOOP)
    goes_on = ir.node("Identity", [going], outputs=[like(going, DataType.BOOL)])
    passed = ir.node("Identity", [carried], outputs=[like(carried, DataType.BOOL)])
    body = ir.Graph(
        [iteration, going, carried],
        [goes_on.outputs[0], passed.outputs[0]],
        nodes=[goes_on, passed],
        name="condition",
    )
    trips = _constant(graph, choice, np.asarray(1, np.int64))
    loop = ir.node("Loop", [trips, None, condition], {"body": body}, outputs=[like(condition, DataType.BOOL)])
    loop.metadata_props.update(choice.metadata_props)
    choice.replace_input_with(0, _insert(graph, choice, loop))


_LOOP = (DataType.INT64, DataType.BOOL, DataType.BOOL)
"""What the body of a loop takes that carries a condition: the iteration, whether it goes on, the condition."""


def _unsqueeze(graph: ir.Graph, node: ir.Node, count: int) -> None:
    """Put dims of 1 before the result of a node, which is to have as many dims less; its users take the new value."""
    value = node.outputs[0]
    assert value.dtype is not None
    result = like(value, value.dtype)
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    if value.name is not None:
        result.name, value.name = value.name, f"{value.name}_squeezed"
    if value.shape is not None:
        value.shape = ir.Shape(value.shape[count:])
    constant = ir.node("Constant", [], {"value": ir.tensor(np.arange(count))})
    axes = constant.outputs[0]
    axes.shape, axes.dtype = ir.Shape([count]), DataType.INT64
    unsqueeze = ir.node("Unsqueeze", [value, axes], outputs=[result])
    unsqueeze.metadata_props.update(node.metadata_props)
    graph.insert_after(node, [constant, unsqueeze])


_NODE_WORKAROUNDS: Mapping[str, tuple[NodeWorkaround, ...]] = {
    **dict.fromkeys(_NEUTRAL, (keep_dims, keep_near_neutral)),
    "Pow": (keep_dims,),
    "If": (keep_choices, pass_bytes),
    "Loop": (pass_bytes,),
    "Scan": (pass_bytes,),
    "Transpose": (move_without_ones,),
}
"""Operator -> the rewrites of its nodes, in order, before they are legalised."""


def node_workarounds(target: Target) -> Mapping[str, Sequence[NodeWorkaround]]:
    """Return the rewrites of single nodes that a target needs, by operator."""
    return _NODE_WORKAROUNDS if target.is_onnxruntime else {}


def _number(value: ir.Value | None) -> _Array | None:
    """Return the constant number that a float64 value is, if it is one."""
    if value is None or value.dtype != DataType.DOUBLE:
        return None
    constant = ir.convenience.get_const_tensor(value)
    if constant is None or constant.size != 1:
        return None
    return constant.numpy()


def _is_near(number: float, neutral: float) -> bool:
    return 0 < abs(number - neutral) < _CLOSE and np.float32(number) == neutral


def _make_distant(graph: ir.Graph, node: ir.Node, place: int, number: _Array) -> _Array:
    """Change a node, or its operand at this place; return the other operand, far from neutral, that fits to it."""
    if node.op_type in {"Add", "Sub"}:
        negated = node.op_type == "Sub"
        node.op_type = "Sum"
        return -number if negated else number
    other = node.inputs[place]
    assert other is not None
    half = _constant(graph, node, np.asarray(0.5))
    halved = ir.node("Mul", [other, half], outputs=[like(other, DataType.DOUBLE)])
    node.replace_input_with(place, _insert(graph, node, halved))
    # Factors of two round nothing.
    return number * 2 if node.op_type == "Mul" else number / 2


def _constant(graph: ir.Graph, before: ir.Node, number: _Array) -> ir.Value:
    tensor = ir.tensor(number)
    constant = ir.node("Constant", [], {"value": tensor})
    constant.outputs[0].shape = ir.Shape(number.shape)
    constant.outputs[0].dtype = tensor.dtype
    return _insert(graph, before, constant)


def _insert(graph: ir.Graph, before: ir.Node, node: ir.Node) -> ir.Value:
    graph.insert_before(before, node)
    return node.outputs[0]


_WHOLE = frozenset({DataType.INT32, DataType.INT64})
"""The integers of which the optimiser takes ``1 / x * y`` for ``y / x``."""
_FLOATS = frozenset({DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE})


def keep_quotient(graph: ir.Graph, node: ir.Node, arguments: Collection[ir.Value], functions: Functions) -> None:
    """Put a node that does nothing behind a quotient of which the optimiser might make another.

    It rewrites ``Mul(Div(1, x), y)`` to ``Div(y, x)``, of integers too: the remainder ``1 - (1 div x) * x`` is then 0.
    The dims of the 1 are lost as well. For ``x, y: int32[...]`` (or int64), where ``c`` is 1, in one element, or may
    turn out to be 1 when the optimiser computes it from constants, and for floats where ``c`` has more dims than both,

    rewrite ``Mul(Div(c, x), y)`` to ``Mul(Max(Div(c, x)), y)``.

    Args:
        graph: changed in place.
        node: a ``Div``, which has the dtype in which it is executed.
        arguments: of a function, its inputs: the optimiser sees its nodes in place of the calls, with their operands.
        functions: the domains and names of the model's functions.
    """
    del functions
    quotient = node.outputs[0]
    if quotient.is_graph_output():
        return
    products = [use for use in quotient.uses() if standard(use.node) == "Mul"]
    dividend = node.inputs[0]
    assert dividend is not None
    spoils = quotient.dtype in _WHOLE
    if quotient.dtype in _FLOATS:
        spoils = any(_has_more_dims(dividend, node, use.node) for use in products)
    if products and spoils and _may_be_one(dividend, arguments):
        kept = _keep(graph, node, quotient)
        for use in products:
            use.node.replace_input_with(use.idx, kept)


def _has_more_dims(dividend: ir.Value, *nodes: ir.Node) -> bool:
    """Return whether a value has more dims than the second operand of a quotient, and the others of a product."""
    if dividend.shape is None or not dividend.shape.rank():
        return dividend.shape is None
    quotient, product = nodes
    others = [quotient.inputs[1], *(value for value in product.inputs if value is not quotient.outputs[0])]
    return all(_rank(value) < dividend.shape.rank() for value in others)


def _rank(value: ir.Value | None) -> int:
    """Return how many dims a value has; 0 if that is not known."""
    return 0 if value is None or value.shape is None else value.shape.rank()


def keep_clip(graph: ir.Graph, node: ir.Node, arguments: Collection[ir.Value], functions: Functions) -> None:
    """Put a node that does nothing between ``Relu`` and a ``Clip``, of dtypes in which the optimiser fails at both.

    It does so in float32 and float16, and otherwise refuses the model. For ``x: float64[...]``,

    rewrite ``Clip(Relu(x), low, high)`` to ``Clip(Max(Relu(x)), low, high)``.

    Args:
        graph: changed in place.
        node: a ``Clip``, which has the dtype in which it is executed.
        arguments: of a function, its inputs, which may come from a ``Relu``.
        functions: the domains and names of the model's functions, which may end in one.
    """
    value = node.inputs[0]
    if value is None or value.dtype in _CLIPPED:
        return
    producer = value.producer()
    hidden = value in arguments if producer is None else (producer.domain, producer.op_type) in functions
    if hidden or (producer is not None and standard(producer) == "Relu"):
        node.replace_input_with(0, _keep(graph, node, value, before=True))


_CLIPPED = frozenset({DataType.FLOAT, DataType.FLOAT16})
_LATE_WORKAROUNDS: Mapping[str, Callable[..., None]] = {"Clip": keep_clip, "Div": keep_quotient}
"""Operator -> the rewrite of its nodes once they have the dtypes in which they are executed."""


def late_workarounds(target: Target) -> Mapping[str, Callable[..., None]]:
    """Return the rewrites of single nodes that a target needs once they are legalised, by operator."""
    return _LATE_WORKAROUNDS if target.is_onnxruntime else {}


def _keep(graph: ir.Graph, node: ir.Node, value: ir.Value, *, before: bool = False) -> ir.Value:
    """Insert a node that returns its operand, and that the optimiser does not know, behind or before a node."""
    assert value.dtype is not None
    kept = ir.node("Max", [value], outputs=[like(value, value.dtype)])
    kept.metadata_props.update(node.metadata_props)
    if before:
        graph.insert_before(node, kept)
    else:
        graph.insert_after(node, kept)
    return kept.outputs[0]


def _may_be_one(value: ir.Value, arguments: Collection[ir.Value]) -> bool:
    """Return whether the optimiser may see that a value is 1, in one element."""
    shape = value.shape
    if shape is not None and any(isinstance(dim, int) and dim != 1 for dim in shape):
        return False
    constant = ir.convenience.get_const_tensor(value)
    if constant is not None:
        return constant.size == 1 and constant.numpy().item() == 1
    return not _varies(value, arguments)


_VARIES = "jax2onnx.varies"
"""The key in a value's metadata, which is not written, that says that it depends on an input of the model."""


def _varies(value: ir.Value, arguments: Collection[ir.Value]) -> bool:
    """Return whether a value depends on an input of the model, or changes in a loop."""
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if one in seen or one in arguments:
            continue
        seen.add(one)
        producer = one.producer()
        if (producer is None and not one.is_initializer()) or (not arguments and _VARIES in one.meta):
            # Later values are asked, which depend on this one: noted, it need not be followed again.
            if not arguments:
                value.meta[_VARIES] = True
            return True
        if producer is None:
            continue
        if standard(producer) not in {"Shape", "Size"}:
            waiting += [operand for operand in producer.inputs if operand is not None]
    return False
