"""FLOPs: how many operations on numbers a node does, from the shapes of its operands and results.

A multiplication and an addition are two operations. An elementwise function is one operation per number, whatever
hardware needs for it; softmax and normalisations have a few per number (``_PER_ELEMENT``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import onnx

__all__ = ["MOVES", "flops_of"]

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = Sequence[Shape | None]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _words("""
    Cast CastLike Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather
    GatherElements GatherND Identity NonZero OneHot Pad Range Reshape ReverseSequence ScatterElements ScatterND
    Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze
""")
"""Operators that only move, make or convert numbers: no operations."""

_ELEMENTWISE = _words("""
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu
    Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
""")
_PER_INPUT = _words("""
    ArgMax ArgMin CumSum GlobalAveragePool GlobalMaxPool ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
""")
_PER_ELEMENT: Mapping[str, int] = {
    "BatchNormalization": 2,
    "DequantizeLinear": 2,
    "GroupNormalization": 7,
    "InstanceNormalization": 7,
    "LayerNormalization": 7,
    "LogSoftmax": 5,
    "LpNormalization": 3,
    "QuantizeLinear": 2,
    "RMSNormalization": 4,
    "Softmax": 5,
}
_GATES: Mapping[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
_MATRIX = 2
_PRODUCTS_OF_ONNXRUNTIME = _words("FusedMatMul MatMulBnb4 MatMulNBits")


def flops_of(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
    """Return the operations of a node; None if its operator or a shape that it needs is unknown."""
    operator = node.op_type
    if node.domain == "com.microsoft" and operator not in _PRODUCTS_OF_ONNXRUNTIME:
        return None
    if node.domain not in {"", "ai.onnx", "com.microsoft"}:
        return None
    if operator in MOVES:
        return 0
    result = outputs[0] if outputs else None
    first = inputs[0] if inputs else None
    if operator in _ELEMENTWISE:
        return None if result is None else math.prod(result) * max(1, len(node.input) - 1 if operator == "Sum" else 1)
    if operator in _PER_INPUT:
        return None if first is None else math.prod(first)
    if operator in _PER_ELEMENT:
        return None if first is None else _PER_ELEMENT[operator] * math.prod(first)
    special = _SPECIAL.get(operator)
    if special is None:
        return None
    try:
        return special(node, inputs, outputs)
    except (TypeError, IndexError, ValueError):
        return None  # a shape is missing, or of another rank than the operator has


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _matmul(_node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    return 2 * math.prod(_known(outputs[0])) * _known(inputs[0])[-1]


def _gemm(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    inner = _known(inputs[0])[0 if _attribute(node, "transA", 0) else 1]
    size = math.prod(_known(outputs[0]))
    return 2 * size * inner + (size if len(node.input) > _MATRIX else 0)


def _conv(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    weight = _known(inputs[1])
    size = math.prod(_known(outputs[0]))
    has_bias = len(node.input) > _MATRIX and node.op_type == "Conv"  # else zero points follow
    return 2 * size * math.prod(weight[1:]) + (size if has_bias else 0)


def _conv_transpose(_node: onnx.NodeProto, inputs: Shapes, _outputs: Shapes) -> int:
    return 2 * math.prod(_known(inputs[0])) * math.prod(_known(inputs[1])[1:])


def _pool(node: onnx.NodeProto, _inputs: Shapes, outputs: Shapes) -> int:
    kernel: int = next(math.prod(a.ints) for a in node.attribute if a.name == "kernel_shape")
    return math.prod(_known(outputs[0])) * kernel


def _attention(node: onnx.NodeProto, inputs: Shapes, _outputs: Shapes) -> int:
    """Two products, and a softmax between them; operands are (N, L, H * E) or (N, H, L, E)."""
    query, key, value = (_known(shape) for shape in inputs[:3])
    if len(query) == 4:
        batch, heads, length, size = query
        return batch * heads * length * key[2] * (2 * size + 2 * value[3] + 5)
    heads = _attribute(node, "q_num_heads", 1)
    shared = heads // max(_attribute(node, "kv_num_heads", heads), 1)
    return query[0] * query[1] * key[1] * (2 * query[2] + 2 * value[2] * shared + 5 * heads)


def _recurrent(node: onnx.NodeProto, inputs: Shapes, _outputs: Shapes) -> int:
    steps, batch, features = _known(inputs[0])
    directions, _, hidden = _known(inputs[2])
    return steps * batch * directions * 2 * _GATES[node.op_type] * hidden * (features + hidden)


def _einsum(node: onnx.NodeProto, inputs: Shapes, _outputs: Shapes) -> int:
    """One loop over all labels, with a multiplication for each further operand and an addition."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.partition("->")[0].split(","), inputs, strict=True):
        sizes |= dict(zip(term, _known(shape), strict=True))
    return len(inputs) * math.prod(sizes.values())


def _known(shape: Shape | None) -> Shape:
    if shape is None:
        raise TypeError
    return shape


_SPECIAL: Mapping[str, Callable[[onnx.NodeProto, Shapes, Shapes], int]] = {
    "Attention": _attention,
    "AveragePool": _pool,
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "FusedMatMul": _matmul,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulBnb4": _matmul,
    "MatMulInteger": _matmul,
    "MatMulNBits": _matmul,
    "MaxPool": _pool,
    "RNN": _recurrent,
}
