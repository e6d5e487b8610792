"""Summarise: what a model takes, returns and is made of."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


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
        inputs: inputs that have to be given.
        outputs: its outputs.
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


def summarise(model: onnx.ModelProto | str | os.PathLike[str]) -> Summary:
    """Summarise a model, or the model in a file; weights beside the file are counted, not read.

    Raises:
        OSError: the file cannot be read.
        google.protobuf.message.DecodeError: the file is no ONNX model.
    """
    if isinstance(model, onnx.ModelProto):
        proto, size = model, model.ByteSize()
    else:
        proto = onnx.load(os.fspath(model), load_external_data=False)
        size = Path(model).stat().st_size
    graphs = list(_graphs(proto))
    counts = Counter(operator_of(node) for nodes, _ in graphs for node in nodes)
    tensors = [initializer_of(t) for _, stored in graphs for t in stored]
    external = sum(
        initializer_of(t).nbytes for _, stored in graphs for t in stored if t.data_location == onnx.TensorProto.EXTERNAL
    )
    given = {t.name for t in proto.graph.initializer}
    return Summary(
        inputs=tuple(value_of(v) for v in proto.graph.input if v.name not in given),
        outputs=tuple(value_of(v) for v in proto.graph.output),
        opset=next((o.version for o in proto.opset_import if o.domain in {"", "ai.onnx"}), 0),
        ir_version=proto.ir_version,
        nodes=counts.total(),
        operators=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        initializers=tuple(sorted(tensors, key=lambda t: (-t.nbytes, t.name))),
        size=size + external,
    )


def told_size(nbytes: int) -> str:
    """Return a number of bytes as people write it, e.g. ``1.5 MiB``."""
    power = min(int(math.log2(nbytes)) // 10, len(_UNITS) - 1) if nbytes else 0
    return f"{nbytes / 1024**power:.{1 if power else 0}f} {_UNITS[power]}"


def told_operators(operators: dict[str, int]) -> str:
    """Return operators with their counts, e.g. ``2 Gemm, 1 Gelu``."""
    return ", ".join(f"{count} {name}" for name, count in operators.items())


def _graphs(
    proto: onnx.ModelProto,
) -> Iterator[tuple[Sequence[onnx.NodeProto], Sequence[onnx.TensorProto]]]:
    """Yield nodes and initializers of the graph, its subgraphs and the functions."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [proto.graph, *proto.functions]
    while waiting:
        graph = waiting.pop()
        yield graph.node, graph.initializer if isinstance(graph, onnx.GraphProto) else ()
        waiting.extend(_subgraphs(graph.node))


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in (a for node in nodes for a in node.attribute):
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def operator_of(node: onnx.NodeProto) -> str:
    """Return the name of a node's operator, with its domain if it is none of ONNX's own."""
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}::{node.op_type}"


def dtype_of(elem_type: int) -> str:
    """Return numpy's name of a type of ONNX."""
    return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name


def value_of(value: onnx.ValueInfoProto) -> Tensor:
    """Return what is declared of a value."""
    tensor = value.type.tensor_type
    dims = (d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim)
    return Tensor(value.name, dtype_of(tensor.elem_type), tuple(dims))


def initializer_of(tensor: onnx.TensorProto) -> Tensor:
    """Return what a stored tensor is."""
    itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return Tensor(tensor.name, dtype_of(tensor.data_type), tuple(tensor.dims), math.prod(tensor.dims) * itemsize)
