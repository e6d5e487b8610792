"""Borders: what goes into and out of bodies that the runtime cannot pass in its own dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.legalise.carriers import IN_BYTES, Carrier
from jax2onnx.legalise.casts import carry_operand, carry_result, like
from jax2onnx.tidy.subgraphs import bodies

if TYPE_CHECKING:
    from onnx_ir import DataType

__all__ = ["pass_bytes"]

_FIRST_RESULT = {"Loop": 1}
"""Operator -> where its body returns the node's first result: that of a loop first returns whether to go on."""


def pass_bytes(_graph: ir.Graph, node: ir.Node) -> None:
    """Pass integers of 4 bits through the borders of an ``If``, ``Loop`` or ``Scan``, in place, in 8 bits.

    onnxruntime does not load such a node with other borders (1.24 to 1.32). For ``x: int4[3]``,

    rewrite ``y = Scan(x)`` to ``Cast(Scan(Cast(x, int8)), int4)``, whose body casts what it takes and what it returns.
    """
    for index, value in enumerate(node.inputs):
        dtype = None if value is None else IN_BYTES.get(value.dtype)
        if value is None or dtype is None:
            continue
        carry_operand(node, index, Carrier(dtype))
        for body in bodies(node):
            _take(body, index, dtype)
    for index, value in enumerate(node.outputs):
        dtype = IN_BYTES.get(value.dtype)
        if dtype is None:
            continue
        for body in bodies(node):
            _give(body, index + _FIRST_RESULT.get(node.op_type, 0), dtype)
        carry_result(node, index, Carrier(dtype))


def _take(body: ir.Graph, index: int, dtype: DataType) -> None:
    """Take an input of a body in another dtype, and cast it first of all."""
    value = body.inputs[index]
    assert value.dtype is not None
    original = like(value, value.dtype)
    value.replace_all_uses_with(original, replace_graph_outputs=True)
    value.type = ir.TensorType(dtype)
    cast = ir.node("Cast", [value], {"to": int(original.dtype or dtype)}, outputs=[original])
    if len(body):
        body.insert_before(body[0], cast)
    else:
        body.append(cast)


def _give(body: ir.Graph, index: int, dtype: DataType) -> None:
    """Return an output of a body in another dtype, to which it is cast last of all."""
    value = body.outputs[index]
    cast = ir.node("Cast", [value], {"to": int(dtype)}, outputs=[like(value, dtype)])
    body.append(cast)
    body.outputs[index] = cast.outputs[0]
