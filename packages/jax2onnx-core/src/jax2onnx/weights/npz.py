"""npz: the arrays of an archive of numpy; those that are not compressed stay where they are."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jax2onnx.errors import InputSpecError
from jax2onnx.weights.stored import StoredArray

__all__ = ["read_npz"]

_LOCAL_HEADER = 30
"""Bytes of what stands before a member of an archive, without its name and its extra field."""


def read_npz(file: Path) -> dict[str, StoredArray]:
    """Return the arrays of a file by name; only their headers are read.

    Raises:
        InputSpecError: it is no archive of arrays.
        OSError: it cannot be read.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name != member.filename:
                    arrays[name] = _array(file, archive, member)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise InputSpecError(
            f"weights: {str(file)!r} is no archive of arrays ({error}); write it by numpy.savez"
        ) from None
    return arrays


def _array(file: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    with archive.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(opened)
        header = opened.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects")
    offset = _data_offset(file, member) + header
    is_in_place = member.compress_type == zipfile.ZIP_STORED
    if is_in_place and not is_fortran and dtype.isnative:
        return StoredArray.in_file(file, offset, shape, dtype)

    def read() -> np.ndarray[Any, Any]:
        if is_in_place and 0 not in shape:
            mapped: np.ndarray[Any, Any] = np.memmap(file, dtype, "r", offset, shape, "F" if is_fortran else "C")
            return mapped
        with np.load(file, allow_pickle=False) as loaded:
            array: np.ndarray[Any, Any] = loaded[member.filename.removesuffix(".npy")]
        return array

    return StoredArray(shape=tuple(shape), dtype=dtype.newbyteorder("="), read=read)


def _data_offset(file: Path, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of a member start."""
    with file.open("rb") as opened:
        opened.seek(member.header_offset)
        header = opened.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return member.header_offset + _LOCAL_HEADER + name + extra
