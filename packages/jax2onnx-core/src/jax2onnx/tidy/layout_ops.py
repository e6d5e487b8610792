"""Which nodes give the same in any layout of their arrays, once their axes are renumbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.initializers import Home, constant

Perm: TypeAlias = tuple[int, ...]


def inverse(perm: Sequence[int]) -> Perm:
    """Return the permutation that undoes another."""
    return tuple(int(i) for i in np.argsort(perm))


def rank_of(value: ir.Value | None) -> int | None:
    """Return a value's number of dims, if it is known."""
    return None if value is None or value.shape is None else value.shape.rank()


def drivers(node: ir.Node) -> list[int]:
    """Return which inputs are arrays of the layout that a node runs in; none if it runs in one layout only."""
    if node.domain or any(rank_of(v) is None for v in node.outputs):
        return []
    if node.op_type in UNARY or node.op_type in _ALONG_AXIS:
        return [0]
    if node.op_type in BROADCASTING or node.op_type == "Concat":
        ranks = [rank_of(v) for v in node.inputs]
        return [] if None in ranks else [i for i, r in enumerate(ranks) if r == rank_of(node.outputs[0])]
    if node.op_type in REDUCTIONS:
        axes = node.inputs[1] if len(node.inputs) > 1 else None
        return [0] if axes is None or constant(axes) is not None else []
    if node.op_type == "Pad" and len(node.inputs) < 4:
        return [0] if constant(node.inputs[1]) is not None else []
    return []


def result(node: ir.Node, perm: Perm) -> Perm:
    """Return the permutation of a node's results if it runs on arrays of which its inputs are ``perm`` transposes."""
    if node.op_type not in REDUCTIONS or _keeps_dims(node):
        return perm
    gone = _reduced(node, len(perm))
    kept = [p for axis, p in enumerate(perm) if axis not in gone]
    order = sorted(kept)
    return tuple(order.index(p) for p in kept)


def renumber(node: ir.Node, perm: Perm, home: Home) -> None:
    """Let a node's axes be those of the arrays of which its inputs were ``perm`` transposes."""
    rank = len(perm)
    if node.op_type in _ALONG_AXIS or node.op_type == "Concat":
        attribute = node.attributes.get("axis")
        axis = attribute.as_int() if attribute is not None else _ALONG_AXIS[node.op_type]
        node.attributes["axis"] = ir.AttrInt64("axis", perm[axis % rank])
    elif node.op_type in REDUCTIONS:
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if axes:
            node.replace_input_with(1, home.ints(sorted(perm[a % rank] for a in axes)))
    elif node.op_type == "Pad":
        pads = constant(node.inputs[1])
        assert pads is not None
        node.replace_input_with(1, home.ints([pads[side * rank + i] for side in (0, 1) for i in inverse(perm)]))


def _keeps_dims(node: ir.Node) -> bool:
    attribute = node.attributes.get("keepdims")
    return attribute is None or attribute.as_int() == 1


def _reduced(node: ir.Node, rank: int) -> set[int]:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if not axes:
        noop = node.attributes.get("noop_with_empty_axes")
        return set() if noop is not None and noop.as_int() == 1 else set(range(rank))
    return {a % rank for a in axes}


_ALONG_AXIS = {"Hardmax": -1, "LogSoftmax": -1, "Softmax": -1, "Split": 0}
"""Operators along one axis, with its default."""

REDUCTIONS = frozenset(
    {
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    }
)

# fmt: off
BROADCASTING = frozenset({
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
})

UNARY = frozenset({
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
    "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
})
# fmt: on
