"""Guarded choices: a choice by a condition does not guard its operand by the same condition.

In JAX one writes a choice twice, so that no gradient is NaN: ``where(x > 0, log(where(x > 0, x, 1)), 0)``. What is
computed of the second operand of the inner choice is never chosen by the outer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import FLOATS, is_used_once, same_shape, sizes_of, tensor_at
from jax2onnx.tidy.operators import BROADCASTING, UNARY
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["drop_guards", "told"]

_DEEP = 4
"""So many nodes before a choice it is looked for another one."""
_ELEMENTWISE = BROADCASTING | UNARY


@rewrites("Where")
def drop_guards(nodes: Sequence[ir.Node], _home: Home) -> None:
    """Rewrite ``Where(c, Log(Where(c, x, 1)), y)`` to ``Where(c, Log(x), y)``, also if one condition is ``Not(c)``.

    The nodes that this leaves without users stay.
    """
    for node in nodes:
        condition, truth = told(node.inputs[0])
        if condition is not None and _lies_on(condition, node.outputs[0]):
            for place in (1, 2):
                _Truth(condition, truth is (place == 1)).drop_guards(node, place, _DEEP)


def _lies_on(condition: ir.Value, value: ir.Value) -> bool:
    """Return whether each element of a value has its truth at its own place, or all have one."""
    sizes = sizes_of(condition.shape)
    return same_shape(condition, value) or (sizes is not None and set(sizes) <= {1})


def told(value: ir.Value | None) -> tuple[ir.Value | None, bool]:
    """Return the condition of which another one is made, and which of its two truths makes the other one true."""
    truth = True
    node = None if value is None else value.producer()
    while node is not None:
        contrary = standard(node) == "Not" or _is_equal_to_false(node)
        if not contrary:
            break
        value, truth = node.inputs[0], not truth
        node = None if value is None else value.producer()
    return value, truth


def _is_equal_to_false(node: ir.Node) -> bool:
    tensor = tensor_at(node, 1) if standard(node) == "Equal" else None
    return tensor is not None and tensor.dtype == ir.DataType.BOOL and tensor.size == 1 and not tensor.numpy().any()


@dataclass(frozen=True)
class _Truth:
    """A condition, and the truth of it where elements matter."""

    condition: ir.Value
    holds: bool

    def drop_guards(self, user: ir.Node, place: int, depth: int) -> None:
        """Drop the choices by the condition of which an operand is computed, element by element."""
        value = user.inputs[place]
        node = None if value is None else value.producer()
        if value is None or node is None or node.graph is not user.graph or not _lies_on(self.condition, value):
            return
        chosen = self._chosen(node)
        if chosen is not None and same_shape(chosen, value):
            user.replace_input_with(place, chosen)
            self.drop_guards(user, place, depth - 1)
            return
        # An integer may be guarded because its division by 0 fails.
        is_safe = standard(node) in _ELEMENTWISE and (value.dtype in FLOATS or value.dtype == ir.DataType.BOOL)
        if depth > 0 and is_safe and is_used_once(value):
            for operand in range(len(node.inputs)):
                self.drop_guards(node, operand, depth - 1)

    def _chosen(self, node: ir.Node) -> ir.Value | None:
        """Return what a node chooses by the condition, None if it is no such choice."""
        if standard(node) != "Where":
            return None
        condition, truth = told(node.inputs[0])
        return node.inputs[1 if truth is self.holds else 2] if condition is self.condition else None
