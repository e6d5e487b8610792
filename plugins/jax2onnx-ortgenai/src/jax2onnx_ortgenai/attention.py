"""Attention: find one that reads a growing cache in a graph, with the parts that the contrib operator takes.

What is found, with 4 heads over 2 of keys (without the reshapes and the ``Unsqueeze``, as many as of keys)::

    key = Concat(past_key, Transpose(new_key), axis=2)                       # an output of the model; values likewise
    logits = Mul(MatMul(Reshape(Transpose(query)), Unsqueeze(Transpose(key))), scale)
    logits = Mul(Tanh(Div(logits, cap)), cap)                                # where they are capped
    weights = Softmax(Where(mask, Reshape(logits), lowest))
    result = Reshape(Transpose(Reshape(MatMul(Reshape(weights), Unsqueeze(value)))))
    result = Reshape(Transpose(MatMul(Transpose(value), Transpose(weights))))   # or so, with as many heads of values
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jax2onnx_ortgenai.graphs import RESHAPES, NotFound, constant, inputs_of, made_by, sole_user, through

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Attention", "Stored", "found"]

_HEADS_SECOND = [0, 2, 1, 3]
_HEADS_THIRD = [0, 3, 1, 2]
_TURNED = [0, 1, 3, 2]


@dataclass(frozen=True, slots=True)
class Stored:
    """Keys or values: those of the cache, new ones of (batch, tokens, heads, depth), and all of them."""

    past: ir.Value
    new: ir.Value
    present: ir.Value


@dataclass(frozen=True, slots=True)
class Attention:
    """An attention.

    Attributes:
        query: of (batch, tokens, heads, depth).
        keys: the keys.
        values: the values.
        mask: which keys a token sees; None for all.
        scale: what multiplies the logits.
        cap: the bound of the logits, None if there is none.
        heads: the number of heads of queries.
        shared: the number of heads of keys and values.
        depth: the number of features of a head.
        result: of (batch, tokens, heads * depth).
    """

    query: ir.Value
    keys: Stored
    values: Stored
    mask: ir.Value | None
    scale: float
    cap: float | None
    heads: int
    shared: int
    depth: int
    result: ir.Value


def found(softmax: ir.Node) -> Attention:
    """Return the attention that a softmax is of.

    Raises:
        NotFound: it is of something else.
    """
    mask, logits = _masked(softmax)
    inner, cap = _capped(through(logits, *RESHAPES))
    product, scale = _scaled(inner)
    query = _turned(through(product.inputs[0], *RESHAPES), _HEADS_SECOND)
    present = _turned(through(product.inputs[1], "Unsqueeze"), _TURNED)
    keys = _stored(present)
    product, values, order = _weighted(softmax)
    result = _gathered(product.outputs[0], order)
    heads, shared, depth = _static(query, 2), _static(keys.new, 2), _static(keys.new, 3)
    if depth % 8 or _static(values.new, 3) != depth:
        raise NotFound("the operator takes depths that are multiples of 8, the same for keys and values")
    return Attention(query, keys, values, mask, scale, cap, heads, shared, depth, result)


def _masked(softmax: ir.Node) -> tuple[ir.Value | None, ir.Value]:
    """Return the mask, None if there is none, and the logits."""
    (value,) = inputs_of(softmax, 1)
    hidden = value.producer()
    if hidden is None or hidden.domain or hidden.op_type != "Where":
        return None, value
    mask, logits, lowest = inputs_of(hidden, 3)
    if not _is_lowest(lowest):
        raise NotFound("what is hidden is not made as small as can be")
    return mask, logits


def _is_lowest(value: ir.Value) -> bool:
    array = constant(value)
    return (
        array is not None and array.size == 1 and float(array.reshape(-1)[0]) <= 0.6 * float(np.finfo(np.float32).min)
    )


def _capped(value: ir.Value) -> tuple[ir.Value, float | None]:
    """Return what ``Mul(Tanh(Div(x, 50)), 50)`` bounds, and the bound; a value without a bound as it is."""
    node = value.producer()
    if node is None or node.domain or node.op_type != "Mul":
        return value, None
    first, second = inputs_of(node, 2)
    bounded, cap = (first, _single(second)) if _single(first) is None else (second, _single(first))
    bounded = through(bounded, *RESHAPES)
    if bounded.producer() is None or made_by(bounded, "Tanh", "MatMul", "Mul").op_type != "Tanh":
        return value, None
    before = through(made_by(bounded, "Tanh").inputs[0], *RESHAPES)
    node = made_by(before, "Div", "Mul")
    first, second = inputs_of(node, 2)
    inner, factor = (
        (first, _single(second)) if node.op_type == "Div" or _single(first) is None else (second, _single(first))
    )
    if (
        cap is None
        or factor is None
        or cap <= 0
        or not np.isclose(cap * factor if node.op_type == "Mul" else cap / factor, 1, rtol=1e-6)
    ):
        raise NotFound("the logits are bounded by another function")
    return through(inner, *RESHAPES), cap


def _single(value: ir.Value) -> float | None:
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(-1)[0])


def _scaled(value: ir.Value) -> tuple[ir.Node, float]:
    """Return the product that a value is a multiple of, and the factor."""
    node = made_by(value, "Mul", "MatMul")
    if node.op_type == "MatMul":
        return node, 1.0
    for place in (0, 1):
        factor = constant(node.inputs[place])
        if factor is not None and factor.size == 1:
            product = made_by(through(node.inputs[1 - place], *RESHAPES), "MatMul")
            return product, float(factor.reshape(-1)[0])
    raise NotFound("the scale is computed")


def _turned(value: ir.Value, order: list[int]) -> ir.Value:
    node = made_by(value, "Transpose")
    if list(node.attributes["perm"].as_ints()) != order:
        raise NotFound("the axes have another order")
    return inputs_of(node, 1)[0]


def _stored(present: ir.Value) -> Stored:
    """Return keys or values that are appended to those of the cache."""
    node = made_by(present, "Concat")
    if len(node.inputs) != 2 or node.attributes["axis"].as_int() != 2:
        raise NotFound("the cache is not lengthened by its third axis")
    past, new = inputs_of(node, 2)
    if not past.is_graph_input() or not present.is_graph_output():
        raise NotFound("the cache is no input and output of the model")
    return Stored(past, _turned(new, _HEADS_SECOND), present)


def _weighted(softmax: ir.Node) -> tuple[ir.Node, Stored, list[int]]:
    """Return the product by the values, the values, and the order of axes that brings its heads together."""
    node = sole_user(softmax.outputs[0], *RESHAPES, "MatMul", "Transpose")
    if node.op_type == "Transpose":
        _turned(node.outputs[0], _TURNED)
        node = sole_user(node.outputs[0], "MatMul")
        return node, _stored(_turned(inputs_of(node, 2)[0], _TURNED)), _HEADS_THIRD
    if node.op_type in RESHAPES:
        node = sole_user(node.outputs[0], "MatMul")
    return node, _stored(through(node.inputs[1], "Unsqueeze")), _HEADS_SECOND


def _gathered(value: ir.Value, order: list[int]) -> ir.Value:
    """Return the result with the heads side by side, past the selection that keeps an empty sum zero."""
    node = sole_user(value, "Where", *RESHAPES, "Transpose")
    if node.op_type == "Where":
        node = sole_user(node.outputs[0], *RESHAPES, "Transpose")
    if node.op_type in RESHAPES:
        node = sole_user(node.outputs[0], "Transpose")
    if list(node.attributes["perm"].as_ints()) != order:
        raise NotFound("the heads are not brought together")
    return sole_user(node.outputs[0], "Reshape").outputs[0]


def _static(value: ir.Value, axis: int) -> int:
    size = None if value.shape is None or value.shape.rank() != 4 else value.shape[axis]
    if not isinstance(size, int):
        raise NotFound("the number of heads is not known")
    return size
