"""Dense rows: reorder the rows of weights so that a flattened image is read in the layout that it has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from jax2onnx.tidy.initializers import stored_once
from jax2onnx.tidy.layout_views import inverse
from jax2onnx.tidy.match_nodes import permutation, same_dims, shape_at, sizes_of, sole_producer
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["reorder_rows"]


@rewrites("MatMul", beside={"Transpose"})
def reorder_rows(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``MatMul(Reshape(Transpose(x[N, 4, 8, 6], [0, 2, 3, 1]), [N, 192]), w[192, 5])``.

    It becomes ``MatMul(Reshape(x, [N, 192]), w_rearranged[192, 5])``.
    """
    for node in nodes:
        _skip_transpose(node, home)


def _skip_transpose(product: ir.Node, home: Home) -> None:
    reshape = sole_producer(product, 0, "Reshape")
    transpose = sole_producer(reshape, 0, "Transpose")
    weights = product.inputs[1]
    if reshape is None or transpose is None or not stored_once(weights):
        return
    sizes = home.sizes(weights)
    flattened = _flattened(transpose, reshape)
    if sizes is None or flattened is None:
        return
    if len(sizes) != 2 or math.prod(flattened) != sizes[0]:
        return
    axes = permutation(transpose)[-len(flattened) :]
    order = inverse(axes)

    def rearranged(array: Any) -> Any:
        image = array.reshape(*flattened, -1)
        return image.transpose(*order, len(order)).reshape(sizes)

    product.replace_input_with(1, home.derive(weights, rearranged, sizes))
    reshape.replace_input_with(0, transpose.inputs[0])


def _flattened(transpose: ir.Node, reshape: ir.Node) -> tuple[int, ...] | None:
    """Return the sizes of the transposed dims that a reshape flattens: ``(8, 6, 4)`` in the example above.

    None if the dims before these are not left as they are, or if one of the sizes is symbolic.
    """
    source = shape_at(transpose, 0)
    flat = reshape.outputs[0].shape
    if source is None or flat is None:
        return None
    perm = permutation(transpose)
    kept = len(flat) - 1
    if perm[:kept] != tuple(range(kept)):
        return None
    if not same_dims(source[:kept], flat[:kept]):
        return None
    return sizes_of(source[axis] for axis in perm[kept:])
