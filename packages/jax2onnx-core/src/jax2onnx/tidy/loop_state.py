"""The state of loops: where operands, bodies and results hold what is carried from one iteration to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jax2onnx.tidy.subgraphs import bodies, standard

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["LOOPS", "LoopState", "carried_places", "passed_on"]


def _of_loop(node: ir.Node) -> tuple[int, int, int]:
    # It takes how often it runs at most, and whether it runs; its body returns whether it goes on.
    return 2, 1, len(node.inputs) - 2


def _of_scan(node: ir.Node) -> tuple[int, int, int]:
    return 0, 0, len(node.inputs) - node.attributes["num_scan_inputs"].as_int()


_PLACES = {"Loop": _of_loop, "Scan": _of_scan}
LOOPS = frozenset(_PLACES)
"""The operators that are loops."""


def carried_places(node: ir.Node) -> tuple[int, int, int]:
    """Return the place of the first carried value among a loop's operands, and among its body's results; their number.

    The first place among the operands is that among the body's inputs.
    """
    return _PLACES[standard(node)](node)


@dataclass(frozen=True, slots=True)
class LoopState:
    """A loop, and what it carries.

    Attributes:
        node: the loop.
        body: what each iteration does.
        inputs: what is carried, as the body reads it.
        results: what the next iteration reads.
        before: what the first iteration reads.
        operand: the place of the first of these among the operands.
        result: the place of the first carried one among the body's results.
    """

    node: ir.Node
    body: ir.Graph
    inputs: list[ir.Value]
    results: list[ir.Value]
    before: list[ir.Value]
    operand: int
    result: int

    @classmethod
    def of(cls, node: ir.Node) -> LoopState:
        """Return a loop."""
        (body,) = bodies(node)
        operand, result, count = carried_places(node)
        before = [value for value in node.inputs[operand : operand + count] if value is not None]
        assert len(before) == count
        inputs, results = body.inputs[operand : operand + count], body.outputs[result : result + count]
        return cls(node, body, list(inputs), list(results), before, operand, result)


def passed_on(value: ir.Value) -> ir.Value:
    """Return what a result of a body is: a value may be passed on by ``Identity``."""
    node = value.producer()
    given = node.inputs[0] if node is not None and standard(node) == "Identity" else None
    return value if given is None else passed_on(given)
