"""Blocks: the bytes of an array in C order, a part at a time, so that no copy of all of it is in memory."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["BLOCK", "ahead", "blocks", "released"]

BLOCK = 1 << 22
"""How many bytes are copied at once: as few as the caches of a processor hold."""

_PANEL = 1 << 24
"""How many bytes of a transposed array are copied at once: the fewer, the more often each page of it is read."""

_MAPPED = 1 << 28
"""How many bytes of a file are mapped at once while a transposed array is copied."""

_TILE = 240
"""How many elements a tile has along each of two axes. Rows a power of two apart would share a few lines of a cache."""

_SHARED = frozenset({"r", "r+", "w+"})
"""Modes of ``numpy.memmap`` in which what is in memory is in the file too."""


def blocks(array: Array, dtype: np.dtype[Any] | None = None) -> Iterator[Array]:
    """Yield the elements of an array in C order, as flat arrays of bytes.

    Args:
        array: the array; what of it is mapped from a file takes no memory once it was yielded.
        dtype: the dtype that the bytes are to have, if it is another one.
    """
    to = array.dtype if dtype is None else dtype
    made = _made(array, to)
    is_work = array.dtype != to or not array.flags.c_contiguous
    yield from ahead(made) if is_work and array.nbytes > _PANEL else made


def ahead(parts: Iterator[Array]) -> Iterator[Array]:
    """Yield arrays one after the other; a thread makes the next one while the caller writes one to a file."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, parts, None)
        while (part := following.result()) is not None:
            following = thread.submit(next, parts, None)
            yield part


def _made(array: Array, to: np.dtype[Any]) -> Iterator[Array]:
    # Each part of a transposed array has elements of all pages: to map them again for each takes longer than the copy.
    keeps_pages = not array.flags.c_contiguous and array.nbytes <= _MAPPED
    for part in _parts(array):
        yield _converted(_gathered(part), to).reshape(-1).view(np.uint8)
        if not keeps_pages:
            released(array)
    released(array)


def _parts(array: Array) -> Iterator[Array]:
    """Yield arrays of few bytes each that, one after the other, have the elements of an array in C order."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        count = max(1, BLOCK // array.itemsize)
        for start in range(0, flat.size, count):
            yield flat[start : start + count]
        return
    panel = _PANEL if array.nbytes <= _MAPPED else 4 * _PANEL
    row = array.nbytes // max(1, len(array))
    if row > panel:
        for part in array:
            yield from _parts(part)
        return
    count = max(1, panel // max(1, row))
    for start in range(0, len(array), count):
        yield array[start : start + count]


def _gathered(part: Array) -> Array:
    """Return an array in C order; a transposed one is copied in tiles, which the caches of a processor hold.

    A tile is copied twice: first as it lies, then from where its rows are near each other.
    """
    if part.flags.c_contiguous or part.ndim < 2:
        return np.ascontiguousarray(part)
    last = part.ndim - 1
    first = min(range(part.ndim), key=lambda axis: abs(part.strides[axis]) if part.shape[axis] > 1 else part.nbytes)
    if first == last:
        return np.ascontiguousarray(part)
    gathered = np.empty(part.shape, part.dtype)
    others = part.size // max(1, part.shape[first] * part.shape[last])
    side = max(16, int(_TILE / math.sqrt(max(1, others))))
    mapped = 0
    index = [slice(None)] * part.ndim
    for column in range(0, part.shape[last], side):
        index[last] = slice(column, column + side)
        for row in range(0, part.shape[first], side):
            index[first] = slice(row, row + side)
            tile = tuple(index)
            gathered[tile] = part[tile].copy(order="K")
        mapped += min(side, part.shape[last] - column) * abs(part.strides[last])
        if mapped > _MAPPED:
            released(part)
            mapped = 0
    return gathered


def _converted(block: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array in another dtype, as ``astype`` does."""
    if block.dtype == dtype:
        return block
    if block.dtype == ml_dtypes.bfloat16 and dtype == np.float32:  # the bits are the first half
        wide = block.view(np.uint16).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return block.astype(dtype)


def released(array: Array) -> None:
    """Give the memory back that pages of a file take which an array is mapped from; they are read again if needed."""
    base: Any = array
    is_shared = False  # pages of a private mapping may have changes that are nowhere else
    while isinstance(base, np.ndarray):
        is_shared |= isinstance(base, np.memmap) and base.mode in _SHARED
        base = base.base
    if is_shared and isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
