"""Logic: conditions and codes of states, in fewer nodes: what one of them implies is not tested again.

No number is involved but codes, so that NaN and the signs of zeros stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.tidy.idle_nodes import is_dead, is_idle
from jax2onnx.tidy.known_numbers import can_be_contrary, codes_of
from jax2onnx.tidy.match_nodes import become, drop, new_node, producer_at, same_shape, sole_producer, tensor_at
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.reshapes import merge_reshapes
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_logic"]

_DEEP = 5
"""So many operators deep it is looked at what conditions are made of."""
_CONTRARY = {"And": "Or", "Or": "And"}


def _joined(node: ir.Node, home: Home) -> None:
    """Rewrite ``And(p, p)`` and ``And(p, Or(p, q))`` to ``p``, ``And(Not(p), Not(q))`` to ``Not(Or(p, q))``.

    Likewise ``Or``, of conditions of one shape. ``And(p, q)`` is ``p`` wherever ``q`` is true if ``p`` is.
    """
    if node.graph is None or not all(same_shape(value, node.outputs[0]) for value in node.inputs):
        return
    truth = node.op_type == "And"
    for place in (0, 1):
        known: dict[ir.Value | None, bool] = {}
        _learn(node.inputs[place], known, _DEEP, truth=truth)
        if _truth_of(node.inputs[1 - place], known, _DEEP) is truth:
            other = producer_at(node, 1 - place)
            drop(node, place)
            _forget(other)
            return
    first, second = (sole_producer(node, place, "Not") for place in (0, 1))
    if first is None or second is None or not can_be_contrary(node.outputs[0]):
        return
    either = new_node(_CONTRARY[node.op_type], [first.inputs[0], second.inputs[0]], node.outputs[0].shape, node)
    node.prepend(either)
    become(node, "Not", either.outputs[0])
    _forget(first, second)
    _joined(either, home)
    _contrary(node)


def _learn(value: ir.Value | None, known: dict[ir.Value | None, bool], depth: int, *, truth: bool) -> None:
    """Note that a condition is true, or false, and what that says of those it is made of."""
    known[value] = truth
    node = None if value is None else value.producer()
    if node is None or not depth:
        return
    if standard(node) == "Not":
        _learn(node.inputs[0], known, depth - 1, truth=not truth)
    elif standard(node) == ("And" if truth else "Or"):
        for operand in node.inputs:
            _learn(operand, known, depth - 1, truth=truth)


def _truth_of(value: ir.Value | None, known: dict[ir.Value | None, bool], depth: int) -> bool | None:
    """Return whether a condition is true or false where others are, None if that is not known."""
    if value in known:
        return known[value]
    node = None if value is None else value.producer()
    if node is None or not depth or standard(node) not in {"And", "Not", "Or"}:
        return None
    operands = [_truth_of(operand, known, depth - 1) for operand in node.inputs]
    if standard(node) == "Not":
        return None if operands[0] is None else not operands[0]
    decides = standard(node) == "Or"
    if decides in operands:
        return decides
    return None if None in operands else not decides


def _contrary(node: ir.Node, _home: Home | None = None) -> None:
    """Rewrite ``Not(Not(p))`` to ``p``, and ``Not(Or(Not(p), q))`` to ``And(p, Not(q))``."""
    inner = producer_at(node, 0)
    if inner is not None and standard(inner) == "Not":
        node.replace_input_with(0, inner.inputs[0])
        drop(node)
        return
    joined = sole_producer(node, 0, *_CONTRARY)
    sides = [] if joined is None else [sole_producer(joined, place, "Not") for place in (0, 1)]
    for place, side in enumerate(sides):
        other = joined.inputs[1 - place] if joined is not None else None
        if (
            joined is None
            or side is None
            or not all(same_shape(one, node.outputs[0]) for one in (other, side.inputs[0]))
        ):
            continue
        contrary = new_node("Not", [other], node.outputs[0].shape, node)
        node.prepend(contrary)
        node.op_type = _CONTRARY[joined.op_type]
        node.replace_input_with(0, side.inputs[0])
        node.resize_inputs(2)
        node.replace_input_with(1, contrary.outputs[0])
        _forget(joined, side)
        return


def _forget(*nodes: ir.Node | None) -> None:
    """Remove nodes whose results nothing uses any more: they would count as users of what they read."""
    for node in nodes:
        if node is not None and node.graph is not None and is_dead(node):
            node.graph.remove(node, safe=True)


def _chosen(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Where(Equal(i[4], 2), 2, i)``, of codes, to ``i``."""
    asked, code = producer_at(node, 0), _code_at(node, 1)
    if asked is None or code is None or standard(asked) != "Equal" or node.inputs[2] not in asked.inputs:
        return
    if _code_at(asked, 1 - asked.inputs.index(node.inputs[2])) == code and same_shape(node.inputs[2], node.outputs[0]):
        drop(node, 2)


def _compared(node: ir.Node, home: Home) -> None:
    """Rewrite ``Equal(Where(p, 2, i), 2)`` to ``Or(p, Equal(i, 2))``, and ``Equal(Where(p, 0, 1), 0)`` to ``p``."""
    for place in (0, 1):
        choice = producer_at(node, 1 - place)
        code = _code_at(node, place)
        if choice is None or code is None or standard(choice) != "Where":
            continue
        if not all(same_shape(value, node.outputs[0]) for value in (choice.inputs[0], choice.outputs[0])):
            continue
        equal = [None if one is None else one == code for one in (_code_at(choice, 1), _code_at(choice, 2))]
        if None not in equal:
            _between_codes(node, choice, equal)
        elif equal != [None, None] and sole_producer(node, 1 - place, "Where") is choice:
            _with_code(node, place, choice, home)
        return


def _code_at(node: ir.Node, place: int) -> int | None:
    """Return the integer that an operand of rank 0 holds, None if it holds none."""
    tensor = tensor_at(node, place)
    if tensor is None or tensor.shape.rank() or not tensor.dtype.is_integer():
        return None
    return int(tensor.numpy())


def _between_codes(node: ir.Node, choice: ir.Node, equal: Sequence[bool | None]) -> None:
    """Write a comparison of one of two codes as the condition that chose it, or its contrary."""
    if equal[0] is equal[1] or not (equal[0] or can_be_contrary(node.outputs[0])):
        return
    node.replace_input_with(0, choice.inputs[0])
    node.resize_inputs(1)
    _forget(choice)
    if equal[0]:
        drop(node)
    else:
        node.op_type = "Not"
        _contrary(node)


def _with_code(node: ir.Node, place: int, choice: ir.Node, home: Home) -> None:
    """Compare what is chosen if it is not a code, and ask which one is chosen."""
    which = 1 if _code_at(choice, 1) is not None else 2
    other, condition = choice.inputs[3 - which], choice.inputs[0]
    if condition is None or not same_shape(other, node.outputs[0]):
        return
    is_equal = _code_at(choice, which) == _code_at(node, place)
    equal = new_node("Equal", [other, node.inputs[place]], node.outputs[0].shape, node)
    equal.outputs[0].type = node.outputs[0].type
    node.prepend(equal)
    node.op_type = "Or" if is_equal else "And"
    node.replace_input_with(0, condition if is_equal == (which == 1) else _negated(condition, node))
    node.replace_input_with(1, equal.outputs[0])
    _forget(choice)
    _compared(equal, home)
    _joined(node, home)


def _negated(condition: ir.Value, node: ir.Node) -> ir.Value:
    """Return the contrary of a condition, which may be computed before a node."""
    made = condition.producer()
    if made is not None and standard(made) == "Not" and made.inputs[0] is not None:
        return made.inputs[0]
    contrary = new_node("Not", [condition], condition.shape, node)
    node.prepend(contrary)
    return contrary.outputs[0]


def _looked_up(node: ir.Node, home: Home) -> None:
    """Rewrite ``Gather([0, 1, 2, 3], i)`` to ``i``, where ``i`` is one of a few codes that are known."""
    tensor, indices = tensor_at(node, 0), node.inputs[1]
    if tensor is None or indices is None or len(tensor.shape.numpy()) != 1 or indices.dtype != tensor.dtype:
        return
    if not same_shape(indices, node.outputs[0]) or not np.array_equal(tensor.numpy(), np.arange(tensor.size)):
        return
    codes = codes_of(indices, home.graph)
    if codes is None or not codes <= set(range(tensor.size)):
        return
    users = [user for user, _ in node.outputs[0].uses() if standard(user) in RESHAPES]
    drop(node, 1)
    for user in users:
        merge_reshapes(user, home)
        if user.graph is not None and is_idle(user):
            drop(user)
    _forget(indices.producer())


_RULES: dict[str, Callable[[ir.Node, Home], None]] = {
    "And": _joined,
    "Equal": _compared,
    "Gather": _looked_up,
    "Not": _contrary,
    "Or": _joined,
    "Where": _chosen,
}

shorten_logic = by_rules(_RULES)
"""Replace conditions, and choices of codes, by fewer of them. The nodes that this leaves without users stay."""
