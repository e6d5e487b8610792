"""Model files: read one that anybody may have written, in bounded time and memory, or say what is wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from jax2onnx._printable import one_line
from jax2onnx.errors import InputSpecError, OutOfMemoryError
from jax2onnx.output.external_data import bodies, location_of, tensors
from jax2onnx.output.memory import is_lack_of_memory

__all__ = ["read_model_file", "require_bounded_functions", "require_own_data"]

_MOST_NODES = 1_000_000
"""Nodes of a model whose functions are written out at each of their calls, as runtimes do."""

_Key: TypeAlias = tuple[str, str, str]


def read_model_file(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Return the model in a file; what is in other files is not read.

    Raises:
        OSError: there is no such file, or it cannot be read.
        InputSpecError: it holds no ONNX model.
        OutOfMemoryError: it is larger than the memory that is left.
    """
    name = os.fsdecode(path)
    status = Path(name).stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputSpecError(f"model: {name!r} is no regular file; name a file that save_onnx wrote")
    try:
        model = onnx.load(name, format="protobuf", load_external_data=False)
    except (MemoryError, DecodeError) as error:
        if is_lack_of_memory(error):
            raise OutOfMemoryError(f"{name!r} cannot be read") from error
        raise InputSpecError(f"model: {name!r} is no ONNX model ({error}); name a file that save_onnx wrote") from error
    if not model.HasField("graph"):
        reason = "it is empty" if not status.st_size else "it has no graph"
        raise InputSpecError(f"model: {name!r} is no ONNX model ({reason}); name a file that save_onnx wrote")
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise InputSpecError(f"model: {name!r} has a name that is no text in UTF-8; write it again with other names")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Yield the names that a model has; protobuf gives bytes for one that is no text."""
    yield from (model.producer_name, model.producer_version, model.domain)
    for imported in model.opset_import:
        yield imported.domain
    yield from _entries(model)
    for body in bodies([model.graph, *model.functions]):
        yield body.name
        for node in body.node:
            yield from node.input
            yield from node.output
            yield from (node.name, node.op_type, node.domain)
            yield from _entries(node)
        if isinstance(body, onnx.FunctionProto):
            yield from (body.domain, *body.input, *body.output)
            continue
        for tensor in body.initializer:
            yield tensor.name
        for value in (*body.input, *body.output, *body.value_info):
            yield value.name
            for dim in value.type.tensor_type.shape.dim:
                yield dim.dim_param


def _entries(holder: onnx.ModelProto | onnx.NodeProto) -> Iterator[object]:
    """Yield the names and the values of metadata."""
    for entry in holder.metadata_props:
        yield from (entry.key, entry.value)


def require_own_data(model: onnx.ModelProto, folder: Path | None) -> None:
    """Raise InputSpecError if the data of a model are not in files of its own folder.

    Args:
        model: the model.
        folder: the folder of its file; None for a model that is in no file.
    """
    places = {location for location in map(location_of, tensors(model)) if location is not None}
    for place in sorted(places):
        if folder is None:
            raise InputSpecError(
                f"model: its weights are in {one_line(place)!r}, and the model is in no file; pass the path of its file"
            )
        problem = _problem_of_place(place, folder)
        if problem:
            raise InputSpecError(
                f"model: its weights are in {one_line(place)!r}, which {problem}; "
                "put all files of the model into one folder, and name them in the model without their folder"
            )


def _problem_of_place(place: str, folder: Path) -> str:
    """Return why a file is not one of a model's folder, in words; empty if it is."""
    if not place or "\0" in place:
        return "is no name of a file"
    if Path(place).is_absolute() or place.startswith(("/", "\\")):
        return "is an absolute path"
    file = folder / place
    try:
        is_inside = file.resolve().is_relative_to(folder.resolve())
        if not is_inside:
            return "leads out of the folder of the model"
        return "" if file.is_file() else "is no file that is there"
    except (OSError, RuntimeError, ValueError):
        return "is no name of a file"


def require_bounded_functions(model: onnx.ModelProto) -> None:
    """Raise InputSpecError for functions that call themselves, or that are too large once calls are written out."""
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    called = {key: _calls(function, functions) for key, function in functions.items()}
    sizes: dict[_Key, int] = {}
    entered: set[_Key] = set()
    for start in called:
        waiting = [start]
        while waiting:
            key = waiting[-1]
            if key in sizes:
                waiting.pop()
                continue
            missing = [inner for inner in called[key] if inner not in sizes]
            if not missing:
                sizes[key] = _written_out(called[key], sizes, len(functions[key].node))
                continue
            if key in entered:
                raise InputSpecError(
                    f"model: its function {one_line(key[1])!r} calls itself, which ONNX does not allow; write a Loop"
                )
            entered.add(key)
            waiting += missing
    if _written_out(_calls(model.graph, functions), sizes, len(model.graph.node)) > _MOST_NODES:
        raise InputSpecError(
            f"model: its functions are more than {_MOST_NODES} nodes where all calls are written out; use a smaller one"
        )


def _calls(body: onnx.GraphProto | onnx.FunctionProto, functions: Mapping[_Key, object]) -> dict[_Key, int]:
    """Return how often a body, with the graphs within, calls each function."""
    counts: dict[_Key, int] = {}
    for graph in bodies([body]):
        for node in graph.node:
            key = (node.domain, node.op_type, node.overload)
            if key in functions:
                counts[key] = counts.get(key, 0) + 1
    return counts


def _written_out(calls: Mapping[_Key, int], sizes: Mapping[_Key, int], own: int) -> int:
    size = own + sum(count * sizes[key] for key, count in calls.items())
    return min(size, _MOST_NODES + 1)
