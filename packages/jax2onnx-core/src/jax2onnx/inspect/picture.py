"""Picture: the graph of a model, with its subgraphs and functions, as SVG."""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from jax2onnx.errors import PictureError
from jax2onnx.inspect.drawing import Drawing
from jax2onnx.inspect.summary import (
    Body,
    Model,
    Tensor,
    dtype_of,
    graphs_of,
    initializer_of,
    operator_of,
    read_model,
    value_of,
)
from jax2onnx.output.external_data import bodies
from jax2onnx.output.memory import memory_explained

__all__ = ["svg"]

_KINDS = {
    "product": """
        Attention Conv ConvInteger ConvTranspose Einsum GRU Gemm LSTM MatMul MatMulInteger QLinearConv QLinearMatMul
        RNN""",
    "function": """
        AveragePool BatchNormalization Celu Elu Gelu GlobalAveragePool GroupNormalization HardSigmoid HardSwish Hardmax
        InstanceNormalization LayerNormalization LeakyRelu LogSoftmax LpNormalization MaxPool Mish PRelu
        RMSNormalization Relu Selu Sigmoid Softmax Softplus Softsign Swish Tanh ThresholdedRelu""",
    "move": """
        Cast Concat Expand Flatten Gather GatherElements GatherND Identity Pad Reshape ScatterElements ScatterND Shape
        Slice Split Squeeze Tile Transpose Unsqueeze""",
}
"""Kinds of operators, which have colours; the others have none."""
_KIND = {operator: kind for kind, operators in _KINDS.items() for operator in operators.split()}

_FEW = 6
"""A vector of no more integers is shown by value, as a scalar is."""

_MOST_BODIES = 500
_UNREADABLE = (ValueError, TypeError, KeyError, NotImplementedError)
"""What onnx raises for a tensor or an attribute that is not as its own type says."""

_Names: TypeAlias = "ChainMap[str, str]"


@memory_explained()
def svg(model: Model) -> str:
    """Return the picture of a model, or of the model in a file, as SVG.

    Boxes are nodes: the operator, its constants and attributes, and the shapes of its results. Bodies of control flow
    and functions have frames.

    Raises:
        OSError: the file cannot be read.
        PictureError: Graphviz is not installed, or fails.
    """
    proto = read_model(model)
    if sum(1 for _ in bodies([proto.graph, *proto.functions])) > _MOST_BODIES:
        many = f"the model has more than {_MOST_BODIES} subgraphs and functions, too many for a picture"
        raise PictureError(f"{many}; look at it in figures, without --svg")
    painter = _Painter()
    painter.draw(proto.graph, _Scope())
    for function in proto.functions:
        painter.draw_in_frame(f"function {function.name}", function, _Scope())
    return painter.drawing.svg()


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the names of values in a graph, and in those around it, stand for.

    Attributes:
        boxes: value -> the box that gives it.
        constants: value -> its text, for those that are shown inside the boxes of their users.
        types: value -> the text of its type, where that is known.
    """

    boxes: _Names = field(default_factory=ChainMap)
    constants: _Names = field(default_factory=ChainMap)
    types: _Names = field(default_factory=ChainMap)

    def inner(self) -> _Scope:
        """Return the scope of a graph within."""
        return _Scope(self.boxes.new_child(), self.constants.new_child(), self.types.new_child())


class _Painter:
    def __init__(self) -> None:
        self.drawing = Drawing()

    def draw(self, body: Body, scope: _Scope) -> list[str]:
        """Draw a graph or a function; return the boxes of its outputs."""
        declared = list(body.value_info)
        if isinstance(body, onnx.GraphProto):
            declared = [*body.input, *body.output, *body.value_info]
            for tensor in body.initializer:
                scope.constants[tensor.name] = _constant_text(tensor, tensor.name)
        for value in declared:
            if value.type.tensor_type.HasField("shape"):
                scope.types[value.name] = _type_text(value_of(value))
        for name in _names(body.input):
            if name not in scope.constants:
                scope.boxes[name] = self._border(name, scope)
        for node in body.node:
            if node.op_type == "Constant" and node.output and node.attribute:
                scope.constants[node.output[0]] = _attribute_text(node.attribute[0])
            else:
                self._node(node, scope)
        outputs: list[str] = []
        for name in _names(body.output):
            box = self._border(name, scope)
            self.drawing.connect(_look_up(scope.boxes, [name]), box)
            outputs.append(box)
        return outputs

    def draw_in_frame(self, title: str, body: Body, scope: _Scope) -> list[str]:
        """Draw a graph or a function in a frame; return the boxes of its outputs."""
        with self.drawing.frame(title):
            return self.draw(body, scope)

    def _border(self, name: str, scope: _Scope) -> str:
        """Draw the box of an input or output."""
        lines = _look_up(scope.constants, [name])
        shapes = _look_up(scope.types, [name])
        return self.drawing.box(name, "border", name, lines, shapes)

    def _node(self, node: onnx.NodeProto, scope: _Scope) -> None:
        operator = operator_of(node)
        kind = _KIND.get(operator, "call" if node.domain else "plain")
        lines = _look_up(scope.constants, node.input)
        lines.append(_attributes_text(node))
        shapes = _look_up(scope.types, node.output)
        inputs = ", ".join(node.input)
        outputs = ", ".join(node.output)
        tooltip = f"{outputs} = {operator}({inputs})"
        box = self.drawing.box(operator.rpartition("::")[2], kind, tooltip, lines, shapes)
        self.drawing.connect(_look_up(scope.boxes, node.input), box)
        for attribute in node.attribute:
            title = f"{operator}: {attribute.name}"
            for graph in graphs_of(attribute):
                results = self.draw_in_frame(title, graph, scope.inner())
                self.drawing.connect(results, box, dashed=True)
        for name in node.output:
            scope.boxes[name] = box


def _look_up(texts: _Names, names: Iterable[str]) -> list[str]:
    """Return what the names stand for, where that is known."""
    return [texts[name] for name in names if name in texts]


def _names(values: Iterable[str | onnx.ValueInfoProto]) -> list[str]:
    """Return the names of inputs or outputs; those of functions are names already."""
    return [value if isinstance(value, str) else value.name for value in values]


def _type_text(tensor: Tensor) -> str:
    """Return the shape, with the dtype if that is not float32."""
    if tensor.shape is None:
        return tensor.dtype
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, tensor.shape)) or "scalar"
    return shape if tensor.dtype == "float32" else f"{tensor.dtype} {shape}"


def _constant_text(tensor: TensorProto, name: str = "") -> str:
    """Return the value of a scalar or of a short vector; the name and type of another constant."""
    described = initializer_of(tensor)
    most = _FEW if described.dtype.startswith("int") else 1
    short = len(tensor.dims) <= 1 and 0 <= max(tensor.dims, default=1) <= most
    if short and tensor.data_location != TensorProto.EXTERNAL:
        with contextlib.suppress(*_UNREADABLE):
            return _value_text(numpy_helper.to_array(tensor).tolist())
    return f"{name} {_type_text(described)}".lstrip()


def _value_text(value: object) -> str:
    if isinstance(value, list):
        items = ", ".join(map(_value_text, value))
        return f"[{items}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _attributes_text(node: onnx.NodeProto) -> str:
    """Return the attributes of a node that have a short text: ``axis=1, keepdims=0``."""
    parts: list[str] = []
    for attribute in node.attribute:
        text = _attribute_text(attribute)
        if text:
            parts.append(f"{attribute.name}={text}")
    return ", ".join(parts)


def _attribute_text(attribute: AttributeProto) -> str:
    """Return an attribute's value, if it is short."""
    try:
        value = onnx.helper.get_attribute_value(attribute)
    except _UNREADABLE:
        return ""
    match attribute.type:
        case AttributeProto.TENSOR:
            return _constant_text(value)
        case AttributeProto.INT if attribute.name in {"to", "dtype"}:
            return dtype_of(value)
        case AttributeProto.INT | AttributeProto.FLOAT:
            return _value_text(value)
        case AttributeProto.INTS | AttributeProto.FLOATS:
            return _value_text(list(value))
        case AttributeProto.STRING:
            return str(value.decode(errors="replace"))
        case _:
            return ""
