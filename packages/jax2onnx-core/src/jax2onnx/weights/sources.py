"""Sources: what the user gives as ``weights=``, as arrays by name: files, folders, mappings, callables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jax2onnx._accepted import refuse_mask, shown
from jax2onnx.errors import InputSpecError, described_error
from jax2onnx.weights.npz import read_npz
from jax2onnx.weights.orbax import is_orbax, read_orbax
from jax2onnx.weights.safetensors import INDEX, SUFFIX, read_folder, read_index, read_safetensors
from jax2onnx.weights.stored import Place, StoredArray, kind_of

__all__ = ["Source", "open_source", "stored"]

_ACCEPTED = (
    "the path of a .safetensors or .npz file, of a folder of .safetensors files or of a checkpoint of orbax, "
    "a mapping of arrays, a callable name -> array, or a list of these"
)
_Open = Callable[[Path], Mapping[str, StoredArray] | None]


class Source:
    """Where weights come from.

    Attributes:
        what: what it is, for messages.
        arrays: the arrays by name; None if only a callable knows them.
        used: the names that parameters have taken.
    """

    def __init__(self, what: str, arrays: Mapping[str, StoredArray] | None, call: Callable[[str], Any] | None) -> None:
        self.what = what
        self.arrays = arrays
        self.used: set[str] = set()
        self._call = call
        self._called: dict[str, StoredArray] = {}

    def of(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> StoredArray:
        """Return the array that a callable gives for a name, once it is needed."""
        if name not in self._called:
            call = self._call
            assert call is not None

            def read() -> np.ndarray[Any, Any]:
                try:
                    given = call(name)
                except (Exception, SystemExit) as error:  # the border to the user's callable
                    raise InputSpecError(
                        f"weights: the callable raises {described_error(error)} for {name!r}; "
                        "it has to return the array"
                    ) from error
                if not isinstance(given, StoredArray) and not _is_array(given):
                    raise InputSpecError(
                        f"weights: the callable returns {shown(given)} for {name!r}, which is no array; "
                        "raise a KeyError for what it does not have"
                    )
                array = given.read() if isinstance(given, StoredArray) else _array(given)
                if tuple(array.shape) != tuple(shape):
                    raise InputSpecError(
                        f"weights: the callable returns an array of shape {array.shape} for {name!r}, "
                        f"whose shape is {tuple(shape)}; return the array of this parameter"
                    )
                if array.dtype != dtype and not kind_of(array.dtype) == kind_of(dtype) == "float":
                    raise InputSpecError(
                        f"weights: the callable returns an array of {array.dtype} for {name!r}, "
                        f"whose dtype is {dtype}; return the array of this parameter"
                    )
                return array

            self._called[name] = StoredArray(shape=tuple(shape), dtype=dtype, read=read)
        return self._called[name]


def open_source(given: Any, others: _Open) -> Source:
    """Return the source that the user gives.

    Args:
        given: what they give.
        others: opens a path as plugins do.

    Raises:
        InputSpecError: it is not of an accepted form, or a file is not what its name says.
    """
    if isinstance(given, Source):
        return given
    if callable(given) and not isinstance(given, Mapping):
        return Source("the callable", None, given)
    if isinstance(given, str | os.PathLike):
        return Source(repr(os.fspath(given)), _of_path(Path(os.fspath(given)), others), None)
    if isinstance(given, Mapping):
        return Source("the mapping", dict(_of_mapping(given, "")), None)
    if isinstance(given, Sequence):
        arrays: dict[str, StoredArray] = {}
        for part in given:
            found = open_source(part, others).arrays
            if found is None:
                raise InputSpecError(
                    "weights: a callable stands alone; pass no list, or let the callable read the files"
                )
            twice = arrays.keys() & found.keys()
            if twice:
                raise InputSpecError(f"weights: {min(twice)!r} is in two of the {len(given)} sources; leave one out")
            arrays |= found
        return Source(f"the {len(given)} sources", arrays, None)
    raise InputSpecError(f"weights: got {shown(given)}; give {_ACCEPTED}")


def _of_path(path: Path, others: _Open) -> Mapping[str, StoredArray]:
    """Return the arrays of a file or a folder."""
    try:
        if not path.exists():
            raise InputSpecError(f"weights: there is no file or folder {str(path)!r}; name one that is there")
        if not path.is_dir() and not path.is_file():
            raise InputSpecError(f"weights: {str(path)!r} is no regular file; name a file or a folder of weights")
        found = others(path)
        if found is not None:
            return found
        if path.is_dir():
            found = read_orbax(path) if is_orbax(path) else read_folder(path)
            if found is not None:
                return found
        elif path.name.endswith(INDEX):
            return read_index(path)
        elif path.suffix == SUFFIX:
            return read_safetensors(path)
        elif path.suffix == ".npz":
            return read_npz(path)
    except OSError as error:
        raise InputSpecError(
            f"weights: {str(path)!r} cannot be read: {error.strerror or error}; name another"
        ) from error
    raise InputSpecError(f"weights: {str(path)!r} is of no known format; pass {_ACCEPTED}")


def _of_mapping(given: Mapping[Any, Any], path: str) -> Iterator[tuple[str, StoredArray]]:
    """Yield the arrays of a mapping, of those in it too, by their paths."""
    for key, value in given.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _of_mapping(value, name)
        elif isinstance(value, list | tuple):
            yield from _of_mapping(dict(enumerate(value)), name)
        elif isinstance(value, StoredArray):
            yield name, value
        elif _is_array(value):
            refuse_mask(f"weights: {name!r}", value)
            yield name, stored(value)
        elif isinstance(value, bool | int | float | complex):
            yield name, stored(np.asarray(value))
        else:
            raise InputSpecError(f"weights: {name!r} is {shown(value)}, which is no array; leave it out")


def stored(array: Any) -> StoredArray:
    """Return any array as a stored one; what is mapped from a file is not read."""
    if not isinstance(array, np.ndarray):
        if not isinstance(array.dtype, np.dtype):  # of a library with dtypes of its own
            array = _array(array)
        return StoredArray(shape=tuple(array.shape), dtype=np.dtype(array.dtype), read=lambda: _array(array))
    place = _place(array)
    if place is None:
        return StoredArray(shape=array.shape, dtype=array.dtype, read=lambda: array)
    # A file is faster to read than pages that are mapped from it.
    return replace(StoredArray.in_file(place.file, place.offset, array.shape, array.dtype), read=lambda: array)


def _is_array(value: Any) -> bool:
    """Return whether a value is an array of any library that has numbers; a shape and a dtype alone are none."""
    return all(hasattr(value, name) for name in ("shape", "dtype", "__array__"))


def _array(given: Any) -> np.ndarray[Any, Any]:
    if isinstance(given, np.ndarray):
        return given
    try:
        return np.asarray(given)
    except (Exception, SystemExit) as error:  # the border to arrays of other libraries, which are read when needed
        raise InputSpecError(
            f"weights: {shown(given)} cannot be read: {described_error(error)}; give an array that has a value"
        ) from error


def _place(array: np.ndarray[Any, Any]) -> Place | None:
    """Return where in a file the bytes of an array are that is mapped from it."""
    if not array.flags.c_contiguous or not array.size or not array.dtype.isnative:
        return None
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.mode not in {"r", "r+", "w+"} or root.filename is None:
        return None
    first, start = (one.__array_interface__["data"][0] for one in (array, root))
    file = Path(os.fspath(root.filename))
    return Place(file, int(root.offset) + first - start) if _is_mapped_from(start, file) else None


def _is_mapped_from(address: int, file: Path) -> bool:
    """Return whether a place in memory is mapped from the file that has this name now; it may be another one since."""
    try:
        number = file.stat().st_ino
        with Path("/proc/self/maps").open(encoding="ascii", errors="replace") as maps:
            for line in maps:
                span, _, _, _, inode, *_ = line.split(maxsplit=5)
                first, _, end = span.partition("-")
                if int(first, 16) <= address < int(end, 16):
                    return int(inode) == number
    except OSError:  # no such file any more, or a system without such a table
        return False
    return False
