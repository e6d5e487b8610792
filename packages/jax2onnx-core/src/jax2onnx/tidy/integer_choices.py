"""Integer choices: what chooses between integers, or two numbers, and corrects quotients, takes less time otherwise.

onnxruntime's ``Where`` takes as long as four other nodes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    FLOATS,
    input_at,
    is_used_once,
    new_node,
    producer_at,
    replace,
    same_shape,
    scalar_at,
    sizes_of,
    tensor_at,
)
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_integer_choices"]

_INTEGERS = frozenset({ir.DataType.INT32, ir.DataType.INT64})
"""The dtypes of integers in which every runtime computes."""
_NUMBERS = _INTEGERS | FLOATS
_FEW = 16
"""So many numbers are looked up in the time of a ``Where``, or in less."""


def _choice(node: ir.Node, home: Home) -> None:
    """Rewrite a choice between integers as arithmetic, and one between two numbers as ``Cast`` or ``Gather``.

    ``Where(c, 1, 0)`` becomes ``Cast(c)``, ``Where(c, x, 0)`` becomes ``Mul(x, Cast(c))``, and
    ``Where(c, Add(x, 2), x)`` becomes ``Add(x, Mul(Cast(c), 2))``.
    """
    if _flag(node, home) or _one_of_two(node, home) or node.outputs[0].dtype not in _INTEGERS:
        return
    if not (_floored_remainder(node, home) or _floored_quotient(node, home)) and not _masked(node, home):
        _stepped(node, home)


def _flag(node: ir.Node, home: Home) -> bool:
    """Rewrite ``Where(c[4], 1, 0)`` to ``Cast(c)``."""
    condition, result = node.inputs[0], node.outputs[0]
    one, zero = _chosen_number(node, 1, home), _chosen_number(node, 2, home)
    if one is None or zero is None or condition is None or result.dtype is None:
        return False
    if one != 1 or zero != 0 or np.signbit(zero):
        return False
    _put(node, [_cast(condition, result.dtype, node)])
    return True


def _one_of_two(node: ir.Node, home: Home) -> bool:
    """Rewrite ``Where(c[4], 0.5, 2)`` to ``Gather([2, 0.5], Cast(c))``, for few numbers."""
    condition, result = node.inputs[0], node.outputs[0]
    if result.dtype not in _NUMBERS or condition is None:
        return False
    sizes = sizes_of(condition.shape)
    if sizes is None or math.prod(sizes) > _FEW:
        return False
    table = [number for place in (2, 1) if (number := _chosen_number(node, place, home)) is not None]
    if len(table) < 2:
        return False
    index = _cast(condition, ir.DataType.INT32, node)
    gather = new_node("Gather", [home.constant(np.stack(table)), index.outputs[0]], condition.shape, node)
    gather.attributes.add(ir.AttrInt64("axis", 0))
    _put(node, [index, gather])
    return True


def _masked(node: ir.Node, home: Home) -> bool:
    """Rewrite ``Where(c[4], x[4], 0)`` to ``Mul(x, Cast(c))``."""
    condition, x, result = node.inputs[0], node.inputs[1], node.outputs[0]
    if _number(node, 2, home) != 0 or condition is None or x is None or x.const_value is not None:
        return False
    cast = _cast(condition, result.dtype, node)
    _put(node, [cast, new_node("Mul", [x, cast.outputs[0]], result.shape, node)])
    return True


def _stepped(node: ir.Node, home: Home) -> None:
    """Rewrite ``Where(c[4], Add(x[4], 2), x)`` to ``Add(x, Mul(Cast(c), 2))``; the same for ``Sub``.

    A step of 1 needs no product. Another one is worth a node more only if nothing else reads the sum.
    """
    condition, changed, x = node.inputs
    result = node.outputs[0]
    change = producer_at(node, 1)
    if condition is None or x is None or change is None or standard(change) not in {"Add", "Sub"}:
        return
    places = (0, 1) if standard(change) == "Add" else (0,)
    step = next((_number(change, 1 - place, home) for place in places if change.inputs[place] is x), None)
    if step is None or not (step == 1 or is_used_once(changed)):
        return
    nodes = [_cast(condition, result.dtype, node)]
    if step != 1:
        factor = home.constant(np.asarray(int(step), result.dtype.numpy() if result.dtype else None))
        nodes.append(new_node("Mul", [nodes[-1].outputs[0], factor], condition.shape, node))
    nodes.append(new_node(change.op_type, [x, nodes[-1].outputs[0]], result.shape, node))
    _put(node, nodes)


def _floored_remainder(node: ir.Node, home: Home) -> bool:
    """Rewrite ``r = Mod<fmod = 1>(x[4], 3)``, ``Where(And(Less(r, 0), Cast(r)), Add(r, 3), r)`` to ``Mod(x, 3)``."""
    remainder, total = producer_at(node, 2), producer_at(node, 1)
    if remainder is None or total is None or not _is_remainder(remainder, home) or standard(total) != "Add":
        return False
    value, divisor = remainder.outputs[0], _number(remainder, 1, home)
    place = 0 if total.inputs[0] is value else 1
    if total.inputs[place] is not value or _number(total, 1 - place, home) != divisor:
        return False
    if not _is_negative(producer_at(node, 0), remainder, home) or not same_shape(value, node.outputs[0]):
        return False
    _put(node, [new_node("Mod", remainder.inputs, node.outputs[0].shape, node)])
    return True


def _floored_quotient(node: ir.Node, home: Home) -> bool:
    """Rewrite ``q = Div(x[4], 3)``, ``Where(And(Not(Equal(Sign(x), 1)), Cast(r)), Sub(q, 1), q)``.

    With ``r = Mod<fmod = 1>(x, 3)``, it becomes ``Sub(q, Cast(Less(r, 0)))``: ``r`` has the sign of ``x``.
    """
    quotient, lessened, test = producer_at(node, 2), producer_at(node, 1), producer_at(node, 0)
    if quotient is None or lessened is None or standard(quotient) != "Div" or standard(lessened) != "Sub":
        return False
    value, result = quotient.outputs[0], node.outputs[0]
    if lessened.inputs[0] is not value or _number(lessened, 1, home) != 1 or not same_shape(value, result):
        return False
    remainder = _asked_remainder(test, home)
    if remainder is None or remainder.inputs[0] is not quotient.inputs[0]:
        return False
    if _number(remainder, 1, home) != _number(quotient, 1, home) or not _is_negative(test, remainder, home):
        return False
    zero = home.constant(np.zeros((), result.dtype.numpy() if result.dtype else None))
    less = new_node("Less", [remainder.outputs[0], zero], result.shape, node)
    less.outputs[0].type = ir.TensorType(ir.DataType.BOOL)
    cast = _cast(less.outputs[0], result.dtype, node)
    _put(node, [less, cast, new_node("Sub", [value, cast.outputs[0]], result.shape, node)])
    return True


def _is_remainder(node: ir.Node | None, home: Home) -> bool:
    """Return whether a node gives remainders by a positive number, with the signs of the dividends."""
    if node is None or standard(node) != "Mod" or not node.attributes.get_int("fmod", 0):
        return False
    divisor = _number(node, 1, home)
    return divisor is not None and divisor > 0 and node.outputs[0].dtype in _INTEGERS


def _asked_remainder(test: ir.Node | None, home: Home) -> ir.Node | None:
    """Return the node whose remainders a condition compares with 0, None if there is none."""
    if test is None or standard(test) != "And":
        return None
    for place in (0, 1):
        asked = _unequal_to_zero(producer_at(test, place), home)
        if asked is not None and _is_remainder(asked.producer(), home):
            return asked.producer()
    return None


def _is_negative(test: ir.Node | None, remainder: ir.Node, home: Home) -> bool:
    """Return whether a condition tells if remainders are below 0, as they are if ``x`` is and they are not 0."""
    value = remainder.outputs[0]
    if _is_below_zero(test, value, home):
        return True
    if test is None or standard(test) != "And":
        return False
    sides = [producer_at(test, place) for place in (0, 1)]
    if not any(_unequal_to_zero(side, home) is value for side in sides):
        return False
    return any(_is_below_zero(side, value, home) or _is_no_sign(side, remainder.inputs[0], home) for side in sides)


def _is_below_zero(node: ir.Node | None, value: ir.Value, home: Home) -> bool:
    if node is None or standard(node) != "Less":
        return False
    return node.inputs[0] is value and _number(node, 1, home) == 0


def _is_no_sign(node: ir.Node | None, x: ir.Value | None, home: Home) -> bool:
    """Return whether a node is ``Not(Equal(Sign(x), 1))``."""
    equal = None if node is None or standard(node) != "Not" else producer_at(node, 0)
    if equal is None or standard(equal) != "Equal" or _number(equal, 1, home) != 1:
        return False
    sign = producer_at(equal, 0)
    return sign is not None and standard(sign) == "Sign" and sign.inputs[0] is x


def _unequal_to_zero(node: ir.Node | None, home: Home) -> ir.Value | None:
    """Return the integers of which a node tells whether they are not 0: ``Cast(r)``, or ``Not(Equal(r, 0))``."""
    if node is not None and standard(node) == "Cast":
        return node.inputs[0] if node.outputs[0].dtype == ir.DataType.BOOL else None
    equal = None if node is None or standard(node) != "Not" else producer_at(node, 0)
    if equal is None or standard(equal) != "Equal" or _number(equal, 1, home) != 0:
        return None
    return input_at(equal, 0)


def _number(node: ir.Node, place: int, home: Home) -> float | None:
    """Return the number that an operand of rank 0 holds, unless it is a parameter, which may be given another one."""
    value = input_at(node, place)
    return None if value is None or home.is_parameter(value) else scalar_at(node, place)


def _chosen_number(node: ir.Node, place: int, home: Home) -> Any | None:
    """Return the number that all elements of an operand of ``Where`` are, of rank 0, if it is no larger than a test."""
    value, tensor = input_at(node, place), tensor_at(node, place)
    if value is None or tensor is None or home.is_parameter(value) or not 0 < tensor.size <= _FEW:
        return None
    if tensor.shape.rank() > 0 and not same_shape(node.inputs[0], node.outputs[0]):
        return None
    numbers = tensor.numpy().reshape(-1)
    return numbers[0] if numbers.tobytes() == numbers[:1].tobytes() * numbers.size else None  # zeros have signs


def _cast(condition: ir.Value, dtype: ir.DataType | None, origin: ir.Node) -> ir.Node:
    """Return the node that makes 1 and 0 of a condition, in a dtype; the one that was made for a node before it."""
    assert dtype is not None
    for user, _ in condition.uses() if not origin.outputs[0].is_graph_output() else ():
        if user.graph is origin.graph and user.meta.get(_MADE) == dtype:
            return user
    node = new_node("Cast", [condition], condition.shape, None)
    node.attributes.add(ir.AttrInt64("to", int(dtype)))
    node.outputs[0].type = ir.TensorType(dtype)
    node.meta[_MADE] = dtype
    return node


_MADE = "jax2onnx.made_of_condition"
"""What nodes that were made here have in their metadata: the dtype."""


def _put(node: ir.Node, nodes: Sequence[ir.Node]) -> None:
    """Put nodes in the place of one, but for those that are before it; the last of them gives its result."""
    result, is_new = nodes[-1].outputs[0], nodes[-1].graph is None
    for one in nodes:
        if one.graph is None:
            one.metadata_props.update(node.metadata_props)
            node.prepend(one)
    if is_new:
        result.name, node.outputs[0].name = node.outputs[0].name, result.name
    replace(node, result)


shorten_integer_choices = by_rules({"Where": _choice})
"""Compute choices between integers. The nodes that this leaves without users stay."""
