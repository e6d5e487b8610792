"""Aligned constants: small constants have the dims of what they are combined with, which takes onnxruntime less time.

onnxruntime goes through the rows of the last dim on which operands differ. A scalar and an array of shape ``[384, 1]``
take 4 us, the number in shape ``[1, 1]`` and the array 0.3: then no dim differs but by being 1 throughout.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.tidy.match_nodes import same_dims, sizes_of
from jax2onnx.tidy.operators import BROADCASTING
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["align_constants"]

_FEW = 256
"""Up to how many elements a constant has when it is repeated."""


@rewrites(*(BROADCASTING - {"Mean", "PRelu", "Sum"}), "BitShift", keeps_nodes=True)
def align_constants(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Mul(x[B, 1], 2.0)`` to ``Mul(x, [[2.0]])``, and ``Add(x[2, 2], [3, 4])`` to an ``Add`` of all four."""
    for node in nodes:
        held = [place for place, value in enumerate(node.inputs) if value is not None and value.const_value is not None]
        shape = node.outputs[0].shape if held else None
        if shape is None or len(shape) < 2:
            continue
        for place in held:
            value = node.inputs[place]
            aligned = None if value is None or home.is_parameter(value) else _aligned(value, shape, home)
            if aligned is not None and _is_filled(node, shape):
                node.replace_input_with(place, aligned)


def _is_filled(node: ir.Node, shape: ir.Shape) -> bool:
    """Return whether an operand that is computed has the shape of the result."""
    computed = [value for value in node.inputs if value is not None and value.const_value is None]
    return any(value.shape is not None and same_dims(value.shape, shape) for value in computed)


def _aligned(value: ir.Value, shape: ir.Shape, home: Home) -> ir.Value | None:
    """Return a constant with more dims or elements, None if it is better as it is."""
    given = home.sizes(value)
    if given is None or value.const_value is None:
        return None
    if math.prod(given) == 1:
        is_column = len(given) < len(shape) and shape[-1] == 1 and any(dim != 1 for dim in shape)
        return home.reshaped(value, [1] * len(shape)) if is_column else None
    sizes = sizes_of(shape)
    if sizes is None or tuple(given) == sizes or math.prod(sizes) > _FEW:
        return None
    return home.constant(np.ascontiguousarray(np.broadcast_to(value.const_value.numpy(), sizes)))
