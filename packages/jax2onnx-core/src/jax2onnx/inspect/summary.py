"""Summary: the inputs, outputs, operators and weights of a model, in figures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from jax2onnx.output.external_data import bodies
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.model_file import read_model_file

__all__ = ["Body", "Model", "Summary", "Tensor", "format_operators", "format_size", "read_model", "summarise"]

Model: TypeAlias = onnx.ModelProto | str | os.PathLike[str]
"""A model, or the file that holds it."""
Body: TypeAlias = onnx.GraphProto | onnx.FunctionProto
_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")
_TOO_LARGE = 2**100


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named value: ``dtype`` by numpy's name, ``shape`` with ints, symbols, and ``?`` where nothing is known.

    A sequence, an optional value or a map has its whole type as ``dtype``, and no shape.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    nbytes: int = 0

    def __str__(self) -> str:
        return f"{self.name}={self.spec}"

    @property
    def spec(self) -> str:
        """The tensor as an input spec, e.g. ``float32[B,30]``."""
        return self.dtype if self.shape is None else f"{self.dtype}[{','.join(map(str, self.shape))}]"


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


@memory_explained()
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
    for body in bodies([proto.graph, *proto.functions]):
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
    return model if isinstance(model, onnx.ModelProto) else read_model_file(model)


def format_size(nbytes: int) -> str:
    """Return a number of bytes as people write it, e.g. ``1.5 MiB``."""
    if nbytes < _KIB:
        return f"{nbytes} B"
    power = min((nbytes.bit_length() - 1) // 10, len(_UNITS))
    if nbytes >= _KIB ** (len(_UNITS) + 1):
        return f"more than {_KIB} {_UNITS[-1]}"
    number = nbytes / _KIB**power
    return f"{number:.1f} {_UNITS[power - 1]}"


def format_operators(operators: dict[str, int]) -> str:
    """Return operators with their counts, e.g. ``2 Gemm, 1 Gelu``."""
    return ", ".join(f"{count} {name}" for name, count in operators.items())


def graphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """Return the graphs that an attribute holds."""
    if attribute.type == onnx.AttributeProto.GRAPH:
        return [attribute.g]
    return list(attribute.graphs)


def operator_of(node: onnx.NodeProto) -> str:
    """Return the name of a node's operator, with its domain if that is not ONNX's own."""
    return node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}::{node.op_type}"


def dtype_of(elem_type: int) -> str:
    """Return numpy's name of a type of ONNX; ``string`` and what is no type of numpy have names of their own."""
    if elem_type == onnx.TensorProto.STRING:
        return "string"
    if elem_type == onnx.TensorProto.UNDEFINED:
        return "?"
    known = _itemsize(elem_type) is not None
    return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name if known else f"type {elem_type}"


def _itemsize(elem_type: int) -> int | None:
    """Return the bytes of an element; None for a type that the installed onnx does not know."""
    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
    except KeyError:
        return None


def value_of(value: onnx.ValueInfoProto) -> Tensor:
    """Return the declared dtype and shape of a value."""
    return _typed(value.name, value.type)


def _typed(name: str, declared: onnx.TypeProto) -> Tensor:
    """Return a value of a declared type; types are nested 100 deep at most, as all that protobuf reads."""
    match declared.WhichOneof("value"):
        case "tensor_type":
            tensor = declared.tensor_type
            return Tensor(name, dtype_of(tensor.elem_type), _shape_of(tensor))
        case "sparse_tensor_type":
            sparse = declared.sparse_tensor_type
            inner = Tensor(name, dtype_of(sparse.elem_type), _shape_of(sparse))
            return Tensor(name, f"sparse({inner.spec})", None)
        case "sequence_type":
            return Tensor(name, f"sequence({_typed(name, declared.sequence_type.elem_type).spec})", None)
        case "optional_type":
            return Tensor(name, f"optional({_typed(name, declared.optional_type.elem_type).spec})", None)
        case "map_type":
            mapped = declared.map_type
            inner = _typed(name, mapped.value_type)
            return Tensor(name, f"map({dtype_of(mapped.key_type)}, {inner.spec})", None)
    return Tensor(name, "?", None)


def _shape_of(tensor: Any) -> tuple[int | str, ...]:
    shape: list[int | str] = []
    for dim in tensor.shape.dim:
        known = dim.HasField("dim_value")
        shape.append(dim.dim_value if known else dim.dim_param or "?")
    return tuple(shape)


def _product(dims: Iterable[int]) -> int:
    """Return the product of dims, or a number that is too large for any tensor."""
    product = 1
    for dim in dims:
        product = min(product * dim, _TOO_LARGE)
    return product


def initializer_of(tensor: onnx.TensorProto) -> Tensor:
    """Return the dtype, shape and size of a stored tensor."""
    itemsize = _itemsize(tensor.data_type) or 0
    nbytes = 0 if min(tensor.dims, default=0) < 0 else _product(tensor.dims) * itemsize
    return Tensor(tensor.name, dtype_of(tensor.data_type), tuple(tensor.dims), nbytes)
