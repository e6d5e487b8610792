"""Conditions: tests of numbers, and what they choose, in fewer nodes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_idle
from jax2onnx.tidy.known_numbers import can_be_contrary, has_no_negative_zero
from jax2onnx.tidy.match_nodes import (
    FLOATS,
    become,
    drop,
    input_at,
    new_node,
    producer_at,
    same_shape,
    scalar_at,
    sizes_of,
    sole_producer,
    tensor_at,
)
from jax2onnx.tidy.rules import by_rules, rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["drop_equal_choices", "shorten_conditions"]

_FEW = 1024
"""Up to how many numbers a constant is looked at."""


def _both(node: ir.Node, home: Home) -> None:
    """Rewrite ``And(c[4], True)`` to ``c``, and a test whether numbers are finite to ``Less(Abs(x[4]), inf)``.

    The test is ``And(And(Equal(x, x), Not(Equal(x, inf))), Not(Equal(x, -inf)))``, in any order.
    """
    tested = None if _drop_neutral(node, home, neutral=True) else _tested(node)
    if tested is None or sorted(map(str, tested[1])) != ["-inf", "inf", "nan"]:
        return
    source = tested[0]
    magnitude = new_node("Abs", [source], source.shape, node)
    node.prepend(magnitude)
    node.op_type = "Less"
    node.replace_input_with(0, magnitude.outputs[0])
    node.replace_input_with(1, home.constant(np.asarray(math.inf, source.dtype.numpy() if source.dtype else None)))


def _flag(node: ir.Node, place: int, home: Home) -> bool | None:
    """Return the truth value that an operand of rank 0 holds, None if it holds none."""
    tensor = tensor_at(node, place)
    return None if tensor is None or tensor.shape.rank() > 0 else _uniform(node, place, home)


def _tested(node: ir.Node) -> tuple[ir.Value, list[float]] | None:
    """Return the array of which a condition says that it is none of some numbers, and these numbers; else None."""
    if standard(node) == "And":
        sides = [_tested(side) for place in (0, 1) if (side := sole_producer(node, place, "And", "Equal", "Not"))]
        found = [side for side in sides if side is not None]
        return (found[0][0], found[0][1] + found[1][1]) if len(found) == 2 and found[0][0] is found[1][0] else None
    if standard(node) == "Not":
        equal = sole_producer(node, 0, "Equal")
        number = None if equal is None else scalar_at(equal, 1)
        return _told(equal, number) if number in {math.inf, -math.inf} else None
    return _told(node, math.nan) if standard(node) == "Equal" and node.inputs[0] is node.inputs[1] else None


def _told(equal: ir.Node | None, number: float | None) -> tuple[ir.Value, list[float]] | None:
    value = input_at(equal, 0)
    if value is None or number is None or value.dtype not in FLOATS:
        return None
    return value, [number]


def _either(node: ir.Node, home: Home) -> None:
    """Rewrite ``Or(c[4], False)`` to ``c``, and ``Or(Equal(x[4], 0), LessOrEqual(Abs(x), 1e-8))`` to the latter.

    So does JAX ask whether numbers are close to 0, of which it takes the distance.
    """
    if _drop_neutral(node, home, neutral=False):
        return
    for place in (0, 1):
        if same_shape(node.inputs[1 - place], node.outputs[0]) and _is_within(node, place, home):
            drop(node, 1 - place)
            return


def _is_within(node: ir.Node, place: int, home: Home) -> bool:
    """Return whether an operand asks whether numbers are one whose magnitude the other one's bound admits."""
    equal, bound = producer_at(node, place), producer_at(node, 1 - place)
    if equal is None or bound is None or standard(equal) != "Equal" or standard(bound) not in {"Less", "LessOrEqual"}:
        return False
    magnitude, number, most = producer_at(bound, 0), _number(equal, home), _number(bound, home)
    if magnitude is None or standard(magnitude) != "Abs":
        return False
    difference = producer_at(magnitude, 0)
    is_from_zero = difference is not None and standard(difference) == "Sub" and _number(difference, home) == 0
    asked = difference.inputs[0] if difference is not None and is_from_zero else magnitude.inputs[0]
    if asked is not equal.inputs[0]:
        return False
    return number is not None and most is not None and bool(_TESTS[bound.op_type](abs(number), most))


def _number(test: ir.Node, home: Home) -> float | None:
    """Return the number of rank 0 with which a test compares, None if it is computed or a parameter of the user's."""
    value = test.inputs[1]
    return None if value is None or home.is_parameter(value) else scalar_at(test, 1)


def _exclusive(node: ir.Node, home: Home) -> None:
    """Rewrite ``Xor(c[4], False)`` to ``c``, and ``Xor(c, True)`` to ``Not(c)``."""
    if _drop_neutral(node, home, neutral=False) or not can_be_contrary(node.outputs[0]):
        return
    _negate_beside(node, home, truth=True)


def _drop_neutral(node: ir.Node, home: Home, *, neutral: bool) -> bool:
    """Give an operand to the users of a node if the other one is neutral; return whether it is."""
    for place in (0, 1):
        value = node.inputs[1 - place]
        if _uniform(node, place, home) is neutral and same_shape(value, node.outputs[0]):
            drop(node, 1 - place)
            return True
    return False


def _compared(node: ir.Node, home: Home) -> None:
    """Rewrite ``Less(Cast(c[4], to=int32), 1)``, of a condition, to ``Not(c)``, and ``Equal(Cast(c), 1)`` to ``c``."""
    for place in (0, 1):
        number, condition = scalar_at(node, 1 - place), _converted(node, place)
        constant = node.inputs[1 - place]
        if number is None or condition is None or constant is None or home.is_parameter(constant):
            continue
        test = _TESTS[node.op_type]
        of_false, of_true = (test(*((flag, number)[:: -1 if place else 1])) for flag in (0, 1))
        if of_false == of_true:
            return
        node.replace_input_with(0, condition)
        if of_false and not can_be_contrary(node.outputs[0]):
            node.op_type = "Equal"
            node.replace_input_with(1, home.constant(np.asarray(a=False)))
            return
        node.resize_inputs(1)
        node.op_type = "Not" if of_false else "Identity"
        if of_false:
            _not(node, home)
        else:
            drop(node)
        return


_TESTS: dict[str, Callable[[float, float], bool]] = {
    "Equal": operator.eq,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
}


def _converted(node: ir.Node, place: int) -> ir.Value | None:
    """Return the condition of which an operand is made, as 0 and 1; None if it is no such number."""
    cast = producer_at(node, place)
    source = input_at(cast, 0) if cast is not None and standard(cast) == "Cast" else None
    return source if source is not None and source.dtype == ir.DataType.BOOL else None


def _cast(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Cast(Cast(c[4], to=int32), to=float)``, of a condition, to ``Cast(c, to=float)``; to bool, to ``c``."""
    condition = _converted(node, 0)
    if condition is None:
        return
    node.replace_input_with(0, condition)
    if is_idle(node):
        drop(node)


def _equal(node: ir.Node, home: Home) -> None:
    """Rewrite ``Equal(c[4], False)``, of a condition, to ``Not(c)``."""
    _compared(node, home)
    if standard(node) != "Equal" or node.graph is None or not can_be_contrary(node.outputs[0]):
        return
    _negate_beside(node, home, truth=False)


def _negate_beside(node: ir.Node, home: Home, *, truth: bool) -> None:
    """Make a node the contrary of an operand if the other one holds a truth value throughout."""
    for place in (0, 1):
        if _uniform(node, place, home) is truth and same_shape(node.inputs[1 - place], node.outputs[0]):
            become(node, "Not", node.inputs[1 - place])
            _not(node, home)
            return


def _not(node: ir.Node, home: Home) -> None:
    """Rewrite ``Where(Not(c[4]), x, y)`` to ``Where(c, y, x)``, and fold ``Not(True)``.

    onnxruntime's ``Where`` returns 0 for a -0 of its second operand, and keeps that of its third: where the sign of a
    zero matters, what is chosen stands third. So ``y`` is a constant that is not -0, or has no such zeros.
    """
    constant, condition = _flag(node, 0, home), node.inputs[0]
    result = node.outputs[0]
    if constant is not None and not result.is_graph_output():
        result.replace_all_uses_with(home.constant(np.asarray(not constant)))
        return
    for user, place in list(result.uses()):
        if standard(user) == "Where" and place == 0 and has_no_negative_zero(user.inputs[2]):
            first, second = user.inputs[1:]
            user.replace_input_with(0, condition)
            user.replace_input_with(1, second)
            user.replace_input_with(2, first)


@rewrites("Where")
def drop_equal_choices(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Where(c[4, 4], x[4, 4], x)`` to ``x``, and ``Where(True, x, y[4, 4])`` to ``x``.

    JAX chooses between an operand and itself where it maps ``lax.cond`` over an axis. What is smaller than the result
    is expanded instead, which the nodes after it may do themselves.
    """
    for node in nodes:
        chosen = node.inputs[1]
        if chosen is not node.inputs[2]:
            which = _uniform(node, 0, home)
            if which is None:
                continue
            chosen = node.inputs[1 if which else 2]
        place, result = node.inputs.index(chosen), node.outputs[0]
        if same_shape(chosen, result):
            drop(node, place)
            continue
        shape = sizes_of(result.shape)
        if shape is None:
            continue
        node.op_type = "Expand"
        node.replace_input_with(0, chosen)
        node.replace_input_with(1, home.ints(shape))
        node.resize_inputs(2)


def _uniform(node: ir.Node, place: int, home: Home) -> bool | None:
    """Return the truth value that all elements of an operand are known to have, None if there is none.

    A parameter of the user's is not known: it can be given other numbers in the model.
    """
    tensor, value = tensor_at(node, place), node.inputs[place]
    if (
        tensor is None
        or value is None
        or home.is_parameter(value)
        or tensor.dtype != ir.DataType.BOOL
        or not 0 < tensor.size <= _FEW
    ):
        return None
    flags = tensor.numpy()
    first = bool(flags.flat[0])
    return first if np.all(flags == first) else None


_RULES: dict[str, Callable[[ir.Node, Home], None]] = {
    "And": _both,
    "Cast": _cast,
    "Equal": _equal,
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _compared),
    "Not": _not,
    "Or": _either,
    "Xor": _exclusive,
}

shorten_conditions = by_rules(_RULES)
"""Replace tests and choices by shorter ones. The nodes that this leaves without users stay."""
