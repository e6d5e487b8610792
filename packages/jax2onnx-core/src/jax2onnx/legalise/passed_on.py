"""Operands that a function passes on to another function, of dtypes that onnxruntime then does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.carriers import FLOAT8, IN_BYTES
from jax2onnx.legalise.casts import like
from jax2onnx.tidy.subgraphs import every_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.legalise.schema import Functions

__all__ = ["cast_passed_on"]

_WIDER: Mapping[DataType | None, DataType] = {**IN_BYTES, **dict.fromkeys(FLOAT8, DataType.FLOAT)}
"""Dtypes that onnxruntime does not count among those of an operand of unknown use -> one that has all its numbers."""


def cast_passed_on(function: ir.Graph, functions: Functions) -> None:
    """Cast the operands that a function passes on to others, to and fro, in place.

    onnxruntime (1.17 to 1.32) takes the dtypes of a function's operand from the operators that read it, and knows none
    of a call. For an operand ``w: int4[3]`` of ``f``,

    rewrite ``f(w) = g(w)`` to ``f(w) = g(Cast(Cast(w, to=int8), to=int4))``.

    Args:
        function: the nodes of a function.
        functions: the domains and names of the model's functions.
    """
    calls = [node for node in every_node(function) if (node.domain, node.op_type) in functions]
    for value in function.inputs:
        wider = _WIDER.get(value.dtype)
        places = [(call, index) for call in calls for index, operand in enumerate(call.inputs) if operand is value]
        if wider is None or value.dtype is None or not places:
            continue
        there = ir.node("Cast", [value], {"to": int(wider)}, outputs=[like(value, wider)])
        back = ir.node("Cast", there.outputs, {"to": int(value.dtype)}, outputs=[like(value, value.dtype)])
        function.insert_before(function[0], [there, back])
        for call, index in places:
            call.replace_input_with(index, back.outputs[0])
