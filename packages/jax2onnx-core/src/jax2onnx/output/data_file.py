"""Data files: weights beside a model, or beside several that share them, written a block at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

import onnx
import onnx_ir as ir

from jax2onnx.tidy.subgraphs import held_array, stored_bytes
from jax2onnx.weights.blocks import blocks
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    import numpy as np

    from jax2onnx.weights.stored import Place

__all__ = ["INLINE", "DataFile", "Progress", "Weights", "by_source", "bytes_of", "is_text", "location_in"]

INLINE = 1024
"""Tensors of up to this many bytes stay in the model file in any case."""

_ALIGNMENT = 64
"""Tensors start at a multiple of this many bytes, so that a runtime may use them where they are mapped."""

_COPIED = 1 << 26
"""How many bytes the operating system is asked to copy at once."""

_GLANCE = 4096
"""How many bytes of a tensor are compared before the others are looked at."""

Progress: TypeAlias = Callable[[int, int], object]
"""Receives how many bytes of weights are written, and how many there are."""


def bytes_of(tensor: ir.TensorProtocol) -> Iterator[np.ndarray[Any, Any] | bytes]:
    """Yield the bytes of a tensor as ONNX has them, a part at a time."""
    if sys.byteorder != "little" or tensor.dtype.bitwidth < 8:
        yield tensor.tobytes()
    elif isinstance(tensor, StoredTensor):
        yield from tensor.blocks()
    else:
        yield from blocks(tensor.numpy())


def location_in(place: Place | None, folder: Path, tensor: ir.TensorProtocol) -> str | None:
    """Return how a model in a folder names the file that has the bytes of a tensor, None if it may not use it there.

    Runtimes read no data outside of the folder of the model, nor in a file that has a second name.
    """
    if place is None or not place.is_given or place.offset % (tensor.dtype.bitwidth // 8) or sys.byteorder != "little":
        return None
    file = Path(os.path.realpath(place.file))
    try:
        inside = file.relative_to(folder).as_posix()
        inside.encode()
        status = file.stat()
    except (ValueError, OSError):
        return None
    has_all = status.st_size >= place.offset + stored_bytes(tensor)
    return inside if has_all and status.st_nlink == 1 else None


class DataFile:
    """A file of weights that is being written.

    Attributes:
        name: how the models name it.
        length: how many bytes are in it.
    """

    def __init__(self, path: Path, name: str, told: Callable[[int], object]) -> None:
        self.name = name
        self.length = 0
        self._told = told
        self._file: BinaryIO = path.open("w+b", buffering=0)
        self._known: dict[object, int] = {}
        self._earlier: dict[int, list[int]] = {}
        self._own: dict[int, list[int]] = {}
        self._held: list[object] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def next_model(self) -> None:
        """Begin with the tensors of another model, some of which may be in the file already."""
        for size, offsets in self._own.items():
            self._earlier.setdefault(size, []).extend(offsets)
        self._own = {}

    def add(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        """Write a tensor unless it is there; return one of the same bytes that is in the file."""
        size = stored_bytes(tensor)
        identity = _identity(tensor)
        offset = self._known.get(identity) if identity is not None else None
        if offset is None:
            offset = self._write(tensor, size)
            self._held.append(tensor)  # so that no other one gets its identity
            if identity is not None:
                self._known[identity] = offset
        else:
            self._told(size)
        shape = ir.Shape(tensor.shape.numpy())
        name = tensor.name or ""
        return ir.ExternalTensor(self.name, offset, size, tensor.dtype, shape=shape, name=name)

    def _write(self, tensor: ir.TensorProtocol, size: int) -> int:
        start = -(-self.length // _ALIGNMENT) * _ALIGNMENT
        place = tensor.place if isinstance(tensor, StoredTensor) else None
        candidates = self._earlier.get(size, [])
        if place is not None and not candidates:
            done = self._copy(place, start, size)
        else:
            found, done = self._compare(tensor, start, candidates)
            if found is not None:
                return found
        if done != size:
            raise OSError(None, f"{tensor.name} has {done} bytes where {size} were expected")
        self.length = start + size
        self._own.setdefault(size, []).append(start)
        return start

    def _compare(self, tensor: ir.TensorProtocol, start: int, candidates: list[int]) -> tuple[int | None, int]:
        """Write a tensor as soon as it differs from all candidates; return the one that it is, and its length."""
        same = list(candidates)
        done = 0
        for block in bytes_of(tensor):
            view = memoryview(block).cast("B")
            if same:
                last = same[0]
                same = [at for at in same if self._has(at + done, view)]
                if not same:
                    self._repeat(last, start, done)
            if not same:
                self._put(start + done, view)
            done += len(view)
            self._told(len(view))
        return (same[0] if same else None), done

    def _has(self, at: int, view: memoryview) -> bool:
        """Return whether the bytes at an offset are these."""
        self._file.seek(at)
        glance = min(_GLANCE, len(view))
        if self._file.read(glance) != view[:glance]:
            return False
        rest = view[glance:]
        read = bytearray(len(rest))
        count = 0
        while count < len(rest):
            got = self._file.readinto(memoryview(read)[count:])  # type: ignore[attr-defined]
            if not got:
                return False
            count += got
        return read == rest

    def _repeat(self, at: int, start: int, length: int) -> None:
        """Copy bytes within the file."""
        done = 0
        while done < length:
            self._file.seek(at + done)
            part = self._file.read(min(_COPIED, length - done))
            self._put(start + done, memoryview(part))
            done += len(part)

    def _put(self, at: int, view: memoryview) -> None:
        self._file.seek(at)
        while view:
            view = view[self._file.write(view) :]

    def _copy(self, place: Place, start: int, size: int) -> int:
        """Copy bytes of another file, by the operating system if it can; return how many."""
        done = 0
        with place.file.open("rb", buffering=0) as source:
            by_system = hasattr(os, "copy_file_range")
            while done < size:
                count = min(_COPIED, size - done)
                at = place.offset + done
                copied = 0
                if by_system:
                    with contextlib.suppress(OSError):
                        copied = os.copy_file_range(source.fileno(), self._file.fileno(), count, at, start + done)
                    by_system = copied > 0
                if not copied:
                    source.seek(at)
                    part = source.read(min(count, 1 << 24))
                    if not part:
                        break
                    self._put(start + done, memoryview(part))
                    copied = len(part)
                done += copied
                self._told(copied)
        return done


def by_source(values: Iterable[ir.Value]) -> list[ir.Value]:
    """Return initializers such that the parts of one stored array follow each other, and else as they are."""
    known = list(values)
    places: dict[int, int] = {}
    for value in known:
        places.setdefault(_source(value), len(places))
    return sorted(known, key=lambda value: places[_source(value)])


def _source(value: ir.Value) -> int:
    """Return what is equal for the initializers that are parts of one stored array."""
    tensor = value.const_value
    if not isinstance(tensor, StoredTensor):
        return id(value)
    return id(tensor.source.whole or tensor.source)


def _identity(tensor: ir.TensorProtocol) -> object:
    """Return what is equal for tensors of the same bytes, None if that is not known."""
    if isinstance(tensor, StoredTensor):
        return tensor.identity
    array = held_array(tensor)
    if array is None or not array.size:
        return None
    return (array.__array_interface__["data"][0], array.shape, array.strides, tensor.dtype)


class Weights:
    """The large weights of models that are being written.

    Attributes:
        left: how many bytes of them are not in a file already that the models may use.
    """

    def __init__(self, models: Sequence[ir.Model], folder: Path, progress: Progress | None) -> None:
        self._progress = progress
        self._folder = folder
        self._done = 0
        self._total = 0
        self.left = 0
        for model in models:
            for graph in model.graphs():
                for value in graph.initializers.values():
                    tensor = value.const_value
                    if tensor is None:
                        continue
                    if self._reference(tensor) is None:
                        self.left += stored_bytes(tensor)
                        self._total += stored_bytes(tensor) if stored_bytes(tensor) > INLINE else 0

    def told(self, count: int) -> None:
        """Report to the user that so many further bytes are written."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    @contextlib.contextmanager
    def outside(self, model: ir.Model, data: DataFile | None) -> Iterator[None]:
        """Put the large initializers of a model in files meanwhile: where they are already, or in ``data``."""
        taken = []
        if data is not None:
            data.next_model()
        try:
            for value in by_source(model.graph.initializers.values()):
                tensor = value.const_value
                if tensor is None or stored_bytes(tensor) <= INLINE:
                    continue
                tensor.name = value.name
                elsewhere = self._reference(tensor)
                if elsewhere is None and data is not None:
                    elsewhere = data.add(tensor)
                if elsewhere is not None:
                    taken.append((value, tensor))
                    value.const_value = elsewhere
            yield
        finally:
            for value, tensor in taken:
                value.const_value = tensor

    def _reference(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor | None:
        """Return a tensor in the file where the bytes are already, None if the model may not use them there."""
        if not isinstance(tensor, StoredTensor) or stored_bytes(tensor) <= INLINE:
            return None
        place = tensor.place
        location = location_in(place, self._folder, tensor)
        if location is None:
            return None
        assert place is not None
        shape = ir.Shape(tensor.shape.numpy())
        size = stored_bytes(tensor)
        return ir.ExternalTensor(location, place.offset, size, tensor.dtype, shape=shape, name=tensor.name or "")


def is_text(file: Path) -> bool:
    """Return whether a file is to be written as text, as its name says (``model.json``)."""
    return onnx.serialization.registry.get_format_from_file_extension(file.suffix) not in {None, "protobuf"}
