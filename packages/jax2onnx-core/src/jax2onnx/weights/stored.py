"""Stored arrays: what is known of an array that is somewhere else, and the tensor of a model that it becomes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from jax2onnx.errors import InputSpecError
from jax2onnx.weights.blocks import BLOCK, ahead, blocks

__all__ = ["SMALL", "Place", "StoredArray", "StoredTensor", "in_memory", "kind_of"]

Array = np.ndarray[Any, Any]

SMALL = 1 << 16
"""Arrays of up to this many bytes are read while the program is converted, once."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of an array are: in C order, little-endian, one after the other.

    Attributes:
        file: the file.
        offset: how many bytes of it come before.
        is_given: whether the user named the file as one of weights: else a model copies from it, never refers to it.
    """

    file: Path
    offset: int
    is_given: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredArray:
    """An array that is somewhere else.

    Attributes:
        shape: its sizes.
        dtype: its dtype, of numpy or of ml_dtypes.
        read: returns it; an array that is mapped from a file is not in memory then.
        parts: yields arrays that, one after the other, have its elements in C order, where that takes less memory. Each
            may be changed once the next one is asked for.
        cut: reads what is between two places of the first axis, where that takes less than to read all.
        place: where its bytes are, if they are in a file as they are in memory.
        is_there: whether anybody has it; if not, reading it is an error.
        whole: the array that it is a part of. Who reads its parts one after the other reads it once.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]
    parts: Callable[[], Iterator[Array]] | None = None
    cut: Callable[[int, int], Array] | None = None
    place: Place | None = None
    is_there: bool = True
    whole: StoredArray | None = None

    @classmethod
    def in_file(cls, file: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> StoredArray:
        """Return the array whose bytes start at an offset of a file."""
        sizes = tuple(shape)

        def read() -> Array:
            if not math.prod(sizes):
                return np.zeros(sizes, dtype)
            mapped: Array = np.memmap(file, dtype, "r", offset, sizes)
            return mapped

        def parts() -> Iterator[Array]:
            left = math.prod(sizes)
            with file.open("rb") as opened:
                opened.seek(offset)
                while left:
                    part = np.fromfile(opened, dtype, min(left, BLOCK // dtype.itemsize))
                    if not part.size:
                        raise InputSpecError(f"weights: {str(file)!r} ends within an array; write it anew")
                    left -= part.size
                    yield part

        return cls(shape=sizes, dtype=dtype, read=read, parts=parts, place=Place(file, offset))

    def reshaped(self, shape: Sequence[int]) -> StoredArray:
        """Return the array in another shape: its elements, and their order, are the same."""
        sizes = tuple(shape)
        return replace(self, shape=sizes, read=lambda: self.read().reshape(sizes), cut=None, whole=self.whole or self)

    def rows(self, start: int, stop: int) -> StoredArray:
        """Return the part between two places of the first axis: it is not in memory either."""
        sizes = (stop - start, *self.shape[1:])
        whole = self.whole or self
        if self.place is not None:
            before = start * math.prod(self.shape[1:]) * self.dtype.itemsize
            place = replace(self.place, offset=self.place.offset + before)
            part = StoredArray.in_file(place.file, place.offset, sizes, self.dtype)
            return replace(part, place=place, is_there=self.is_there, whole=whole)
        cut = self.cut or (lambda first, last: self.read()[first:last])

        def within(first: int, last: int) -> Array:
            return cut(start + first, start + last)

        return replace(self, shape=sizes, read=lambda: cut(start, stop), parts=None, cut=within, whole=whole)

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


class StoredTensor(ir.LazyTensor):
    """The tensor of a model that is a stored array: rearranged, cast, or just so.

    Attributes:
        source: the array.
    """

    def __init__(
        self,
        source: StoredArray,
        dtype: ir.DataType,
        shape: Sequence[int] | None = None,
        function: Callable[[Array], Array] | None = None,
        name: str | None = None,
    ) -> None:
        sizes = ir.Shape(source.shape if shape is None else shape)
        super().__init__(self._whole, dtype, sizes, name=name, cache=source.nbytes <= SMALL)
        self.source = source
        self._function = function

    @property
    def is_known(self) -> bool:
        """Whether the array is there, and so small that rules may look at its numbers."""
        return self.source.is_there and self.source.nbytes <= SMALL

    def _whole(self) -> ir.Tensor[Any]:
        array = self._stored()
        with np.errstate(over="ignore", invalid="ignore"):
            return ir.Tensor(array.astype(self.dtype.numpy(), copy=False), dtype=self.dtype)

    @property
    def place(self) -> Place | None:
        """Where the very bytes of the tensor are, if they are in a file."""
        is_as_stored = self._function is None and self.dtype.numpy() == self.source.dtype
        return self.source.place if is_as_stored and self.dtype.bitwidth >= 8 else None

    @property
    def identity(self) -> object:
        """What is equal for tensors of the same bytes, None if that is not known."""
        if self._function is not None:
            return None
        place = self.source.place
        return (id(self.source), self.dtype) if place is None else (place, self.source.nbytes, self.dtype)

    def rearranged(self, function: Callable[[Array], Array], shape: Sequence[int], dtype: ir.DataType) -> StoredTensor:
        """Return the tensor with its elements in another order; ``function`` does not compute with them."""
        first = self._function
        both = function if first is None else lambda array: function(first(array))
        return StoredTensor(self.source, dtype, shape, both)

    def reshaped(self, shape: Sequence[int]) -> StoredTensor:
        """Return the tensor in another shape: what is in a file as it is stays there."""
        if self._function is not None:
            return self.rearranged(lambda array: array.reshape(shape), shape, self.dtype)
        return StoredTensor(self.source.reshaped(shape), self.dtype)

    def rows(self, start: int, stop: int) -> StoredTensor:
        """Return the part between two places of the first axis."""
        if self._function is not None:
            shape = (stop - start, *self.shape.numpy()[1:])
            return self.rearranged(lambda array: array[start:stop], shape, self.dtype)
        return StoredTensor(self.source.rows(start, stop), self.dtype)

    def _stored(self) -> Array:
        array = self.source.read()
        return array if self._function is None else self._function(array)

    def blocks(self) -> Iterator[Array]:
        """Yield the bytes of the tensor, a part at a time."""
        to = self.dtype.numpy()
        if self._function is None and self.source.parts is not None:
            parts = itertools.chain.from_iterable(blocks(part, to) for part in self.source.parts())
            # A file may be read in another thread, what others wrote may not.
            is_cast = self.source.place is not None and to != self.source.dtype
            yield from ahead(parts) if is_cast and self.source.nbytes > BLOCK else parts
        else:
            yield from blocks(self._stored(), to)

    def tofile(self, file: Any) -> None:
        """Write the bytes of the tensor to a file."""
        if self.dtype.bitwidth < 8:
            file.write(self.tobytes())
            return
        for block in self.blocks():
            file.write(block.data)

    def __repr__(self) -> str:
        return f"{self._repr_base()}(name={self.name!r})"


def in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return a tensor whose array is in memory; errors of reading one come from here, and not from a serialiser."""
    if not isinstance(tensor, StoredTensor):
        return tensor
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return ``float`` or ``int`` for real numbers, something else for other dtypes."""
    if dtype.kind in "iu":
        return "int"
    if dtype.kind in "fcb":
        return "float" if dtype.kind == "f" else dtype.kind
    try:
        known = ir.DataType.from_numpy(dtype)
    except TypeError:
        return ""
    return "float" if known.is_floating_point() else "int"
