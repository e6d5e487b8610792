"""Summary: the inputs, outputs, operators and weights of a model, in figures."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from jax2onnx.errors import InputSpecError

__all__ = ["Body", "Model", "Summary", "Tensor", "format_operators", "format_size", "read_model", "summarise"]

Model: TypeAlias = onnx.ModelProto | str | os.PathLike[str]
"""A model, or the file that holds it."""
Body: TypeAlias = onnx.GraphProto | onnx.FunctionProto
_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor: ``dtype`` by numpy's name, ``shape`` with ints, symbols, and ``?`` where nothing is known."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    nbytes: int = 0

    def __str__(self) -> str:
        return f"{self.name}={self.spec}"

    @property
    def spec(self) -> str:
        """The tensor as an input spec, e.g. ``float32[B,30]``."""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Summary:
    """A model in brief.

    Attributes:
        inputs: the inputs that have to be given.
        outputs: the outputs.
        opset: version of ONNX's own operators that it imports.
        ir_version: version of the file format.
        nodes: number of nodes, those of subgraphs and functions included.
        operators: operator -> number of its nodes, most frequent first.
        initializers: the stored tensors, largest first.
        size: bytes of the model, external data included.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: int
    ir_version: int
    nodes: int
    operators: dict[str, int]
    initializers: tuple[Tensor, ...]
    size: int


def summarise(model: Model) -> Summary:
    """Summarise a model, or the model in a file; weights beside the file are counted, not read.

    Raises:
        OSError: the file cannot be read.
        InputSpecError: the file is no ONNX model.
    """
    proto = read_model(model)
    size = proto.ByteSize() if isinstance(model, onnx.ModelProto) else Path(model).stat().st_size
    counts: Counter[str] = Counter()
    tensors: list[Tensor] = []
    for body in _bodies(proto):
        counts.update(map(operator_of, body.node))
        if isinstance(body, onnx.GraphProto):
            for stored in body.initializer:
                tensor = initializer_of(stored)
                tensors.append(tensor)
                if stored.data_location == onnx.TensorProto.EXTERNAL:
                    size += tensor.nbytes
    given = {stored.name for stored in proto.graph.initializer}
    needed = [value for value in proto.graph.input if value.name not in given]
    opsets = {imported.domain or "ai.onnx": imported.version for imported in proto.opset_import}
    frequent_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    large_first = sorted(tensors, key=lambda tensor: (-tensor.nbytes, tensor.name))
    return Summary(
        inputs=tuple(map(value_of, needed)),
        outputs=tuple(map(value_of, proto.graph.output)),
        opset=opsets.get("ai.onnx", 0),
        ir_version=proto.ir_version,
        nodes=counts.total(),
        operators=dict(frequent_first),
        initializers=tuple(large_first),
        size=size,
    )


def read_model(model: Model) -> onnx.ModelProto:
    """Return a model, or the model in a file without the weights beside it."""
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        return onnx.load(os.fspath(model), load_external_data=False)
    except DecodeError as error:
        raise InputSpecError(
            f"model: {os.fspath(model)!r} is no ONNX model ({error}); name a file that save_onnx wrote"
        ) from error


def format_size(nbytes: int) -> str:
    """Return a number of bytes as people write it, e.g. ``1.5 MiB``."""
    if nbytes < _KIB:
        return f"{nbytes} B"
    power = min(int(math.log2(nbytes)) // 10, len(_UNITS))
    number = nbytes / _KIB**power
    return f"{number:.1f} {_UNITS[power - 1]}"


def format_operators(operators: dict[str, int]) -> str:
    """Return operators with their counts, e.g. ``2 Gemm, 1 Gelu``."""
    return ", ".join(f"{count} {name}" for name, count in operators.items())


def _bodies(proto: onnx.ModelProto) -> Iterator[Body]:
    """Yield the graph of a model, its functions and the graphs within."""
    waiting: list[Body] = [proto.graph, *proto.functions]
    while waiting:
        body = waiting.pop()
        yield body
        for node in body.node:
            for attribute in node.attribute:
                waiting += graphs_of(attribute)


def graphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """Return the graphs that an attribute holds."""
    if attribute.type == onnx.AttributeProto.GRAPH:
        return [attribute.g]
    return list(attribute.graphs)


def operator_of(node: onnx.NodeProto) -> str:
    """Return the name of a node's operator, with its domain if that is not ONNX's own."""
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}::{node.op_type}"


def dtype_of(elem_type: int) -> str:
    """Return numpy's name of a type of ONNX."""
    return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name


def value_of(value: onnx.ValueInfoProto) -> Tensor:
    """Return the declared dtype and shape of a value."""
    tensor = value.type.tensor_type
    shape: list[int | str] = []
    for dim in tensor.shape.dim:
        known = dim.HasField("dim_value")
        shape.append(dim.dim_value if known else dim.dim_param or "?")
    return Tensor(value.name, dtype_of(tensor.elem_type), tuple(shape))


def initializer_of(tensor: onnx.TensorProto) -> Tensor:
    """Return the dtype, shape and size of a stored tensor."""
    itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    nbytes = math.prod(tensor.dims) * itemsize
    return Tensor(tensor.name, dtype_of(tensor.data_type), tuple(tensor.dims), nbytes)
