"""Batch norm: fold a normalisation by known statistics into the weights of the product or convolution before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.tidy.match_nodes import drop, input_at, sole_producer
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["fold_batch_norms"]

_FEATURE_AXES = {"Conv": 0, "Gemm": 1}
"""The axis of the weights that the results' features are on."""


@rewrites("BatchNormalization")
def fold_batch_norms(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``BatchNormalization(Conv(x, w[8, 3, 5, 5], b[8]), scale[8], offset[8], mean[8], variance[8])``.

    With ``factor = scale / sqrt(variance + epsilon)`` it becomes ``Conv(x, w * factor[8, 1, 1, 1], offset + (b - mean)
    * factor)``. The weights of a ``Gemm`` become ``w[3, 8] * factor[1, 8]``. Results change by rounding.
    """
    for node in nodes:
        product = sole_producer(node, 0, *_FEATURE_AXES)
        if product is None:
            continue
        # The attributes of a Gemm transpose its operands or scale them.
        if product.op_type != "Gemm" or not product.attributes:
            _fold(node, product, home)


def _fold(node: ir.Node, product: ir.Node, home: Home) -> None:
    weight = product.inputs[1]
    bias = input_at(product, 2)
    sizes = home.sizes(weight)
    if sizes is None or not all(map(home.holds, node.inputs[1:])):
        return
    if bias is not None and not home.holds(bias):
        return
    scale, offset, mean, variance = map(_wide, node.inputs[1:])
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    factor = scale / np.sqrt(variance + epsilon)
    shift = np.zeros_like(mean) if bias is None else _wide(bias)
    total = offset + (shift - mean) * factor
    along = [1] * len(sizes)
    along[_FEATURE_AXES[product.op_type]] = -1
    factors = factor.reshape(along)

    def scaled(array: Any) -> Any:
        return (array * factors).astype(array.dtype)

    def shifted(array: Any) -> Any:
        return total.astype(array.dtype)

    product.resize_inputs(3)
    product.replace_input_with(1, home.derive(weight, scaled, sizes, computes=True))
    product.replace_input_with(2, home.derive(node.inputs[2], shifted, total.shape, computes=True))
    drop(node)


def _wide(value: ir.Value | None) -> Any:
    """Return an initializer's numbers as float64."""
    assert value is not None
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)
