"""Integer choices: what chooses between integers, and corrects their quotients, is arithmetic, which takes less time.

onnxruntime's ``Where`` takes as long as four other nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    input_at,
    is_used_once,
    new_node,
    producer_at,
    replace,
    same_shape,
    scalar_at,
)
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_integer_choices"]

_INTEGERS = frozenset({ir.DataType.INT32, ir.DataType.INT64})
"""The dtypes of integers in which every runtime computes."""


def _choice(node: ir.Node, home: Home) -> None:
    """Rewrite a choice between integers as arithmetic, and one between 1 and 0 of any dtype as ``Cast``.

    ``Where(c, 1, 0)`` becomes ``Cast(c)``, ``Where(c, x, 0)`` becomes ``Mul(x, Cast(c))``, and
    ``Where(c, Add(x, 2), x)`` becomes ``Add(x, Mul(Cast(c), 2))``.
    """
    if _flag(node) or node.outputs[0].dtype not in _INTEGERS:
        return
    if not (_floored_remainder(node) or _floored_quotient(node, home)) and not _masked(node):
        _stepped(node, home)


def _flag(node: ir.Node) -> bool:
    """Rewrite ``Where(c[4], 1, 0)`` to ``Cast(c)``."""
    condition, result = node.inputs[0], node.outputs[0]
    if (scalar_at(node, 1), scalar_at(node, 2)) != (1, 0) or condition is None or result.dtype is None:
        return False
    zero = node.inputs[2]
    if zero is None or zero.const_value is None or np.signbit(zero.const_value.numpy()):
        return False
    _put(node, [_cast(condition, result)])
    return True


def _masked(node: ir.Node) -> bool:
    """Rewrite ``Where(c[4], x[4], 0)`` to ``Mul(x, Cast(c))``."""
    condition, x, result = node.inputs[0], node.inputs[1], node.outputs[0]
    if scalar_at(node, 2) != 0 or condition is None or x is None or x.const_value is not None:
        return False
    cast = _cast(condition, result)
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
    step = next((scalar_at(change, 1 - place) for place in places if change.inputs[place] is x), None)
    if step is None or not (step == 1 or is_used_once(changed)):
        return
    nodes = [_cast(condition, result)]
    if step != 1:
        factor = home.constant(np.asarray(int(step), result.dtype.numpy() if result.dtype else None))
        nodes.append(new_node("Mul", [nodes[-1].outputs[0], factor], condition.shape, node))
    nodes.append(new_node(change.op_type, [x, nodes[-1].outputs[0]], result.shape, node))
    _put(node, nodes)


def _floored_remainder(node: ir.Node) -> bool:
    """Rewrite ``r = Mod<fmod = 1>(x[4], 3)``, ``Where(And(Less(r, 0), Cast(r)), Add(r, 3), r)`` to ``Mod(x, 3)``."""
    remainder, total = producer_at(node, 2), producer_at(node, 1)
    if remainder is None or total is None or not _is_remainder(remainder) or standard(total) != "Add":
        return False
    value, divisor = remainder.outputs[0], scalar_at(remainder, 1)
    place = 0 if total.inputs[0] is value else 1
    if total.inputs[place] is not value or scalar_at(total, 1 - place) != divisor:
        return False
    if not _is_negative(producer_at(node, 0), remainder) or not same_shape(value, node.outputs[0]):
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
    if lessened.inputs[0] is not value or scalar_at(lessened, 1) != 1 or not same_shape(value, result):
        return False
    remainder = _asked_remainder(test)
    if remainder is None or remainder.inputs[0] is not quotient.inputs[0]:
        return False
    if scalar_at(remainder, 1) != scalar_at(quotient, 1) or not _is_negative(test, remainder):
        return False
    zero = home.constant(np.zeros((), result.dtype.numpy() if result.dtype else None))
    less = new_node("Less", [remainder.outputs[0], zero], result.shape, node)
    less.outputs[0].type = ir.TensorType(ir.DataType.BOOL)
    cast = _cast(less.outputs[0], result)
    _put(node, [less, cast, new_node("Sub", [value, cast.outputs[0]], result.shape, node)])
    return True


def _is_remainder(node: ir.Node | None) -> bool:
    """Return whether a node gives remainders by a positive number, with the signs of the dividends."""
    if node is None or standard(node) != "Mod" or not node.attributes.get_int("fmod", 0):
        return False
    divisor = scalar_at(node, 1)
    return divisor is not None and divisor > 0 and node.outputs[0].dtype in _INTEGERS


def _asked_remainder(test: ir.Node | None) -> ir.Node | None:
    """Return the node whose remainders a condition compares with 0, None if there is none."""
    if test is None or standard(test) != "And":
        return None
    for place in (0, 1):
        asked = _unequal_to_zero(producer_at(test, place))
        if asked is not None and _is_remainder(asked.producer()):
            return asked.producer()
    return None


def _is_negative(test: ir.Node | None, remainder: ir.Node) -> bool:
    """Return whether a condition tells if remainders are below 0, as they are if ``x`` is and they are not 0."""
    value = remainder.outputs[0]
    if _is_below_zero(test, value):
        return True
    if test is None or standard(test) != "And":
        return False
    sides = [producer_at(test, place) for place in (0, 1)]
    if not any(_unequal_to_zero(side) is value for side in sides):
        return False
    return any(_is_below_zero(side, value) or _is_no_sign(side, remainder.inputs[0]) for side in sides)


def _is_below_zero(node: ir.Node | None, value: ir.Value) -> bool:
    if node is None or standard(node) != "Less":
        return False
    return node.inputs[0] is value and scalar_at(node, 1) == 0


def _is_no_sign(node: ir.Node | None, x: ir.Value | None) -> bool:
    """Return whether a node is ``Not(Equal(Sign(x), 1))``."""
    equal = None if node is None or standard(node) != "Not" else producer_at(node, 0)
    if equal is None or standard(equal) != "Equal" or scalar_at(equal, 1) != 1:
        return False
    sign = producer_at(equal, 0)
    return sign is not None and standard(sign) == "Sign" and sign.inputs[0] is x


def _unequal_to_zero(node: ir.Node | None) -> ir.Value | None:
    """Return the integers of which a node tells whether they are not 0: ``Cast(r)``, or ``Not(Equal(r, 0))``."""
    if node is not None and standard(node) == "Cast":
        return node.inputs[0] if node.outputs[0].dtype == ir.DataType.BOOL else None
    equal = None if node is None or standard(node) != "Not" else producer_at(node, 0)
    if equal is None or standard(equal) != "Equal" or scalar_at(equal, 1) != 0:
        return None
    return input_at(equal, 0)


def _cast(condition: ir.Value, like: ir.Value) -> ir.Node:
    """Return the node that makes 1 and 0 of a condition, in the dtype of another value."""
    assert like.dtype is not None
    node = new_node("Cast", [condition], condition.shape, None)
    node.attributes.add(ir.AttrInt64("to", int(like.dtype)))
    node.outputs[0].type = like.type
    return node


def _put(node: ir.Node, nodes: Sequence[ir.Node]) -> None:
    """Put nodes in the place of one; the last of them gives its result."""
    for one in nodes:
        one.metadata_props.update(node.metadata_props)
    node.prepend(nodes)
    result = nodes[-1].outputs[0]
    result.name, node.outputs[0].name = node.outputs[0].name, result.name
    replace(node, result)


shorten_integer_choices = by_rules({"Where": _choice})
"""Compute choices between integers. The nodes that this leaves without users stay."""
