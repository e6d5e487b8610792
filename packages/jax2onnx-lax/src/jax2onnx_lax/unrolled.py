"""Which scans are short enough to be emitted step after step, without a loop.

before: Scan, 4 times: node, done, d -> ...       an iteration takes as long as two to five nodes, and what it begins
                                                  with is known to none of them
after:  the nodes of a step, 4 times              the same nodes of several steps are computed once

A scan of long steps, or of weights, stays a loop: what an iteration takes is little beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import is_static
from jax2onnx_lax.apart import FREE
from jax2onnx_lax.hash_equations import MOVED, SCALAR

if TYPE_CHECKING:
    from jax2onnx.plugin import Program

__all__ = ["is_short"]

_MOST_STEPS = 8
_MOST_NODES = 160
"""How many nodes all steps take at most."""
_LONGEST = 40
"""How many nodes a step takes at most; of more, the loop takes less than a twentieth of the time."""
_LARGEST = 2**10
"""How many elements a value has at most, where symbolic dims are 1; larger ones take as long as their numbers do."""
_FEW_NODES = (MOVED | SCALAR | {"add_any", "dot_general", "dynamic_update_slice", "scatter", "scatter-add"}) - {"sort"}
"""Primitives that are one node or two."""
_ITERATION, _CARRY = 0.3, 0.15
"""What an iteration of ``Scan`` takes beside its nodes, and each value that it carries, in microseconds."""
_SLICE = 0.25
"""What it takes to read one element of what is scanned, and to stack one result."""


def is_short(program: Program, length: Any, *, constants: int, carries: int) -> bool:
    """Return whether a scan takes less time without a loop.

    Args:
        program: that of a step.
        length: how many steps there are.
        constants: how many inputs of a step are the same in all steps.
        carries: how many inputs, after these, are carried.
    """
    if not is_static(length) or not 1 < length <= _MOST_STEPS:
        return False
    scanned = program.inputs[constants + carries :]
    slices = len(scanned) + len(program.outputs) - carries
    # A step that reads a matrix of its own is one of many layers.
    if _ITERATION + _CARRY * carries <= _SLICE * slices or any(len(value.aval.shape) > 1 for value in scanned):
        return False
    if any(eqn.fused is not None or eqn.primitive not in _FEW_NODES | FREE for eqn in program.eqns):
        return False
    nodes = sum(eqn.primitive not in FREE for eqn in program.eqns)
    values = (*program.inputs, *(value for eqn in program.eqns for value in eqn.outputs))
    return nodes <= min(_LONGEST, _MOST_NODES // length) and _are_small(value.aval for value in values)


def _are_small(avals: Iterable[Any]) -> bool:
    sizes = (math.prod(dim for dim in aval.shape if is_static(dim)) for aval in avals)
    return all(size <= _LARGEST for size in sizes)
