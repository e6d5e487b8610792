"""Blocks: the bytes of an array in C order, a part at a time, so that no copy of all of it is in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["BLOCK", "blocks", "released"]

BLOCK = 1 << 24
"""How many bytes are copied at once."""

_PANEL = 1 << 26
"""How many bytes of a transposed array are copied at once: each row of them reads whole pages of the array."""

_SHARED = frozenset({"r", "r+", "w+"})
"""Modes of ``numpy.memmap`` in which what is in memory is in the file too."""


def blocks(array: Array, dtype: np.dtype[Any] | None = None) -> Iterator[Array]:
    """Yield the elements of an array in C order, as flat arrays of bytes.

    Args:
        array: the array; what of it is mapped from a file takes no memory once it was yielded.
        dtype: the dtype that the bytes are to have, if it is another one.
    """
    to = array.dtype if dtype is None else dtype
    for part in _parts(array):
        with np.errstate(over="ignore", invalid="ignore"):
            block = np.ascontiguousarray(part, to)
        yield block.reshape(-1).view(np.uint8)
        released(array)


def _parts(array: Array) -> Iterator[Array]:
    """Yield arrays of few bytes each that, one after the other, have the elements of an array in C order."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        count = max(1, BLOCK // array.itemsize)
        for start in range(0, flat.size, count):
            yield flat[start : start + count]
        return
    row = array.nbytes // max(1, len(array))
    if row > _PANEL:
        for part in array:
            yield from _parts(part)
        return
    count = max(1, _PANEL // max(1, row))
    for start in range(0, len(array), count):
        yield array[start : start + count]


def released(array: Array) -> None:
    """Give the memory back that pages of a file take which an array is mapped from; they are read again if needed."""
    base: Any = array
    is_shared = False  # pages of a private mapping may have changes that are nowhere else
    while isinstance(base, np.ndarray):
        is_shared |= isinstance(base, np.memmap) and base.mode in _SHARED
        base = base.base
    if is_shared and isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
