"""External data: the tensors of a model whose bytes are in files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from jax2onnx._printable import one_line
from jax2onnx.errors import InputSpecError

__all__ = ["UNREADABLE", "bodies", "location_of", "locations", "read_in", "refers_to", "tensors"]

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    NotImplementedError,
    RuntimeError,
    onnx.checker.ValidationError,
)
"""What onnx raises for a tensor whose bytes it cannot read, or does not want to: links, names that no file has."""


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that a model holds: initializers and attributes, in its functions and subgraphs too."""
    roots: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    for training in model.training_info:
        roots += [training.initialization, training.algorithm]
    for body in bodies(roots):
        if isinstance(body, onnx.GraphProto):
            yield from body.initializer
            yield from _dense_parts(body.sparse_initializer)
        for node in body.node:
            for attribute in node.attribute:
                yield from _held_by(attribute)


def bodies(
    roots: Iterable[onnx.GraphProto | onnx.FunctionProto],
) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """Yield graphs and functions, and the graphs within."""
    waiting = list(roots)
    while waiting:
        body = waiting.pop()
        yield body
        for node in body.node:
            for attribute in node.attribute:
                waiting += attribute.graphs
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _held_by(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    """Yield the tensors that are the value of an attribute."""
    yield from attribute.tensors
    yield from _dense_parts(attribute.sparse_tensors)
    if attribute.HasField("t"):
        yield attribute.t
    if attribute.HasField("sparse_tensor"):
        yield from _dense_parts([attribute.sparse_tensor])


def _dense_parts(sparse: object) -> Iterator[onnx.TensorProto]:
    for tensor in sparse:  # type: ignore[attr-defined]
        yield tensor.values
        yield tensor.indices


def location_of(tensor: onnx.TensorProto) -> str | None:
    """Return the file that a tensor says its bytes are in, None if they are in the model."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    named = [entry.value for entry in tensor.external_data if entry.key == "location"]
    return named[-1] if named else ""


def read_in(model: onnx.ModelProto, folder: Path) -> None:
    """Put the bytes that are in files of a folder into a model.

    Raises:
        InputSpecError: they cannot be read.
    """
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except UNREADABLE as error:
        reason = one_line(str(error), 200)
        raise InputSpecError(
            f"model: its weights cannot be read: {reason}; keep the files of weights beside the model"
        ) from error


def locations(file: Path) -> set[str]:
    """Return what the model in a file names as places of its external data; nothing if there is no model in it.

    Raises:
        OSError: the file cannot be read: nobody knows what it refers to.
    """
    try:
        model = onnx.load(file, format="protobuf", load_external_data=False)
    except DecodeError:
        return set()
    return set(map(location_of, tensors(model))) - {None, ""}  # type: ignore[return-value]


def refers_to(file: Path, data: Path) -> bool:
    """Return whether the model in a file, if there is one, has external data in another file."""
    if not file.exists() or not data.exists():
        return False
    for location in locations(file):
        named = file.parent / location
        if named.exists() and named.samefile(data):
            return True
    return False
