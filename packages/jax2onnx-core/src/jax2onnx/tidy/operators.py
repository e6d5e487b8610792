"""Operators: the families of ONNX operators that rewrites treat alike."""

from __future__ import annotations

__all__ = ["ALONG_AXIS", "BROADCASTING", "REDUCTIONS", "RESHAPES", "UNARY"]

RESHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that keep the elements of their first input and their order."""

ALONG_AXIS = {
    "Concat": 0,
    "Hardmax": -1,
    "LogSoftmax": -1,
    "Softmax": -1,
    "Split": 0,
}
"""Operators along one axis, with the default of their attribute ``axis``; ``Concat`` always has it."""

# fmt: off
REDUCTIONS = frozenset({
    "ReduceMax", "ReduceMin", "ReduceMean",
    "ReduceSum", "ReduceProd", "ReduceSumSquare",
    "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp",
})
"""Operators that reduce the axes that their second input holds."""

BROADCASTING = frozenset({
    "Add", "Sub", "Mul", "Div", "Mod", "Pow",
    "Max", "Min", "Mean", "Sum",
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
    "PRelu", "Where",
})
"""Elementwise operators that broadcast all their inputs."""

UNARY = frozenset({
    "Abs", "Neg", "Sign", "Reciprocal", "Sqrt", "Exp", "Log", "Erf",
    "Ceil", "Floor", "Round", "Clip", "Shrink",
    "Not", "BitwiseNot", "IsInf", "IsNaN", "Cast", "Identity",
    "Cos", "Sin", "Tan", "Acos", "Asin", "Atan",
    "Cosh", "Sinh", "Tanh", "Acosh", "Asinh", "Atanh",
    "Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Celu", "Selu",
    "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Gelu",
    "Softplus", "Softsign",
})
"""Elementwise operators of one array; their other inputs, such as the bounds of ``Clip``, are scalars."""
# fmt: on
