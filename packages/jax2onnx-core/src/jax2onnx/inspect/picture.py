"""Picture: a model's graph as an SVG, laid out by Graphviz."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from jax2onnx.inspect.summary import Tensor, dtype_of, initializer_of, operator_of, value_of
from jax2onnx.inspect.svg import Box, Sheet, render

_KINDS = {
    "product": (
        *("Attention", "Conv", "ConvInteger", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"),
        *("MatMulInteger", "QLinearConv", "QLinearMatMul"),
    ),
    "function": (
        *("AveragePool", "BatchNormalization", "Celu", "Elu", "Gelu", "GlobalAveragePool", "GroupNormalization"),
        *("HardSigmoid", "HardSwish", "Hardmax", "InstanceNormalization", "LayerNormalization", "LeakyRelu"),
        *("LogSoftmax", "LpNormalization", "MaxPool", "Mish", "PRelu", "RMSNormalization", "Relu", "Selu", "Sigmoid"),
        *("Softmax", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    ),
    "move": (
        *("Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape"),
        *("ScatterElements", "ScatterND", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    ),
}
"""Kinds of operators, which have colours; the others have none."""
_KIND = {operator: kind for kind, operators in _KINDS.items() for operator in operators}

_FEW = 6
"""A vector of no more integers is shown by value, as a scalar is."""

_WIDTH = 36
"""Characters of a line in a box."""

_Body: TypeAlias = "onnx.GraphProto | onnx.FunctionProto"


def svg(model: onnx.ModelProto | str | os.PathLike[str]) -> str:
    """Return the picture of a model, or of the model in a file, as SVG.

    Boxes are nodes: the operator, what it takes of constants and attributes, the shape that it gives. Bodies of control
    flow and functions have frames.

    Raises:
        OSError: the file cannot be read.
        PictureError: Graphviz is not installed, or fails.
    """
    proto = model if isinstance(model, onnx.ModelProto) else onnx.load(os.fspath(model), load_external_data=False)
    painter = _Painter()
    painter.body(proto.graph, _Scope())
    for function in proto.functions:
        painter.frame(f"function {function.name}", function, _Scope())
    return render(painter.sheet)


class _Scope:
    """What the names of a graph, and of those around it, stand for."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self.makers: dict[str, str] = dict(outer.makers) if outer else {}
        self.constants: dict[str, str] = dict(outer.constants) if outer else {}
        self.types: dict[str, Tensor] = dict(outer.types) if outer else {}

    def know(self, *values: onnx.ValueInfoProto) -> None:
        """Take in what is declared of values, where that is a shape."""
        self.types |= {v.name: value_of(v) for v in values if v.type.tensor_type.HasField("shape")}


class _Painter:
    def __init__(self) -> None:
        self.sheet = Sheet()

    def body(self, body: _Body, scope: _Scope) -> list[str]:
        """Draw a graph or a function; return the boxes of its outputs."""
        if isinstance(body, onnx.GraphProto):
            scope.constants |= {t.name: _told_constant(t) for t in body.initializer}
            scope.know(*body.input, *body.output)
        scope.know(*body.value_info)
        names = [v if isinstance(v, str) else v.name for v in body.input]
        for name in names:
            if name not in scope.constants:
                scope.makers[name] = self._border(name, scope.types.get(name), [])
        for node in body.node:
            self._node(node, scope)
        return [self._output(v if isinstance(v, str) else v.name, scope) for v in body.output]

    def frame(self, title: str, body: _Body, scope: _Scope) -> list[str]:
        """Draw a graph or a function in a frame."""
        with self.sheet.frame(title):
            return self.body(body, scope)

    def _node(self, node: onnx.NodeProto, scope: _Scope) -> None:
        if node.op_type == "Constant":
            scope.constants[node.output[0]] = _told_attribute(node.attribute[0])
            return
        operator = operator_of(node)
        taken = [scope.constants[name] for name in node.input if name in scope.constants]
        short = [f"{a.name}={told}" for a in node.attribute if (told := _told_attribute(a))]
        types = [scope.types[name] for name in node.output if name in scope.types]
        kind = _KIND.get(operator, "call" if node.domain else "plain")
        told = f"{', '.join(node.output)} = {operator}({', '.join(node.input)})"
        box = self._box(operator.rpartition("::")[2], [*taken, ", ".join(short)], types, kind, told)
        self.sheet.connect([scope.makers[name] for name in node.input if name in scope.makers], box)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                if inner.node or inner.output:
                    outputs = self.frame(f"{operator}: {attribute.name}", inner, _Scope(scope))
                    self.sheet.connect(outputs, box, dashed=True)
        scope.makers |= dict.fromkeys(node.output, box)

    def _output(self, name: str, scope: _Scope) -> str:
        known = scope.constants.get(name)
        box = self._border(name, scope.types.get(name), [] if known is None else [known])
        self.sheet.connect([scope.makers[name]] if name in scope.makers else [], box)
        return box

    def _border(self, name: str, tensor: Tensor | None, lines: Sequence[str]) -> str:
        return self._box(name, lines, [tensor] if tensor else [], "border", name)

    def _box(self, title: str, lines: Iterable[str], types: Iterable[Tensor], kind: str, told: str) -> str:
        small = [part for line in lines for part in textwrap.wrap(line, _WIDTH, break_long_words=False)]
        return self.sheet.add(Box(title, kind, told, tuple(small), tuple(map(_told_type, types))))


_GRAPHS = {AttributeProto.GRAPH, AttributeProto.GRAPHS}


def _told_type(tensor: Tensor) -> str:
    """Return a shape, after the dtype if that is another than float32."""
    dims = "\N{MULTIPLICATION SIGN}".join(map(str, tensor.shape)) or "scalar"
    return dims if tensor.dtype == "float32" else f"{tensor.dtype} {dims}"


def _told_constant(tensor: TensorProto, *, named: bool = True) -> str:
    described = initializer_of(tensor)
    few = math.prod(tensor.dims) <= (_FEW if described.dtype.startswith("int") else 1)
    if few and len(tensor.dims) <= 1 and tensor.data_location != TensorProto.EXTERNAL:
        return _told_numbers(numpy_helper.to_array(tensor).tolist())
    return f"{tensor.name} {_told_type(described)}" if named and tensor.name else _told_type(described)


def _told_numbers(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_told_numbers, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _told_attribute(attribute: AttributeProto) -> str:
    """Return an attribute's value, if it is short."""
    value = onnx.helper.get_attribute_value(attribute)
    match attribute.type:
        case AttributeProto.TENSOR:
            return _told_constant(attribute.t, named=False)
        case AttributeProto.INT if attribute.name in {"to", "dtype"}:
            return dtype_of(value)
        case AttributeProto.INT | AttributeProto.INTS | AttributeProto.FLOAT | AttributeProto.FLOATS:
            return _told_numbers(value if isinstance(value, int | float) else list(value))
        case AttributeProto.STRING:
            return str(value.decode())
        case _:
            return ""
