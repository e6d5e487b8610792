"""Stream: write a model into one file, weights included, without a copy of them in memory.

A message of protobuf is a sequence of fields in any order, each of a key, a length and bytes. So the graph is written
first without initializers, and each initializer after it: its header as protobuf writes it, then the array's bytes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

import onnx
import onnx_ir as ir

from jax2onnx.output.data_file import by_source, bytes_of
from jax2onnx.output.proto import without_initializers
from jax2onnx.weights.stored import StoredTensor, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MOST_BYTES", "TooLargeError", "write"]

MOST_BYTES = 2**31 - 1
"""The most bytes that protobuf reads as one message."""

_SMALL = 1024
"""Tensors of up to this many bytes are written by protobuf."""


class TooLargeError(ValueError):
    """A message would have more bytes than protobuf reads."""


def write(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Write a model to a file of ONNX's binary format.

    Raises:
        TooLargeError: it takes more bytes than protobuf reads; nothing is written.
    """
    tensors = []
    for value in by_source(model.graph.initializers.values()):
        if value.const_value is not None:
            value.const_value.name = value.name
            tensors.append(value.const_value)
    with without_initializers(model.graph):
        proto = ir.to_proto(model)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    head = proto.SerializeToString()
    entries = [_Entry(tensor) for tensor in tensors]
    length = len(graph) + sum(entry.length for entry in entries)
    if len(head) + length > MOST_BYTES:
        raise TooLargeError
    with open(path, "wb") as file:  # noqa: PTH123 - as numpy takes it
        file.write(head)
        file.write(_key(onnx.ModelProto, "graph", length))
        file.write(graph)
        for entry in entries:
            entry.write(file)


class _Entry:
    """An initializer among the fields of a graph.

    Attributes:
        length: how many bytes it takes.
    """

    def __init__(self, tensor: ir.TensorProtocol) -> None:
        # Lazy tensors make their array when they are written.
        is_array = isinstance(tensor, ir.Tensor | ir.LazyTensor | StoredTensor) and tensor.nbytes > _SMALL
        self._tensor = tensor if is_array else None
        size = 0
        if is_array:
            header = onnx.TensorProto(name=tensor.name, data_type=int(tensor.dtype), dims=tensor.shape.numpy())
            size = tensor.nbytes
            message = header.SerializeToString() + _key(onnx.TensorProto, "raw_data", size)
        else:
            message = ir.to_proto(in_memory(tensor)).SerializeToString()
        self._start = _key(onnx.GraphProto, "initializer", len(message) + size) + message
        self.length = len(self._start) + size

    def write(self, file: BinaryIO) -> None:
        """Write it."""
        file.write(self._start)
        if self._tensor is not None:
            # numpy's own ``tofile`` does not tell that the disk is full if only its last bytes do not fit.
            file.writelines(memoryview(block) for block in bytes_of(self._tensor))


def _key(message: Any, field: str, length: int) -> bytes:
    """Return what stands before the bytes of a field: its number, that a length follows, and that."""
    number = message.DESCRIPTOR.fields_by_name[field].number
    return bytes([*_varint(number << 3 | 2), *_varint(length)])


def _varint(number: int) -> Iterable[int]:
    """Yield the bytes of a number: seven bits in each, the lowest first, the eighth set where more follow."""
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
