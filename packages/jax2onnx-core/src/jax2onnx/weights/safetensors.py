"""Safetensors: the arrays of a ``.safetensors`` file, or of the files that an index names, where they are.

The header says at which offset the bytes of each array are, which the format's own library keeps to itself. So it is
read here: eight bytes of its length, then JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jax2onnx._accepted import shown
from jax2onnx.errors import InputSpecError
from jax2onnx.weights.stored import StoredArray

__all__ = ["INDEX", "SUFFIX", "read_folder", "read_index", "read_safetensors"]

SUFFIX = ".safetensors"
INDEX = ".safetensors.index.json"
"""How the name of a file ends that says in which file each array is."""

_LONGEST = 100_000_000
"""Bytes of a header, as the format bounds it."""

_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}


def read_safetensors(file: Path) -> dict[str, StoredArray]:
    """Return the arrays of a file by name; only its header is read.

    Raises:
        InputSpecError: it is no such file.
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(_LONGEST, size - 8):
            raise _wrong(file, "its header is longer than the file")
        text = opened.read(length)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong(file, "its header is no JSON") from None
    if not isinstance(header, dict):
        raise _wrong(file, "its header is no mapping")
    header.pop("__metadata__", None)
    return {name: _array(file, name, told, 8 + length, size) for name, told in header.items()}


def _array(file: Path, name: str, told: Any, start: int, size: int) -> StoredArray:
    """Return the array that an entry of a header tells of."""
    match told:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise _wrong(file, f"what it says of {name!r} is {shown(told)}")
    if kind not in _DTYPES:
        raise InputSpecError(
            f"weights: {name!r} in {str(file)!r} is of dtype {kind}, which is not read; "
            f"pass a mapping or a callable that gives the array, or convert it to one of {', '.join(_DTYPES)}"
        )
    dtype = np.dtype(_DTYPES[kind])
    if not all(isinstance(dim, int) and dim >= 0 for dim in shape):
        raise _wrong(file, f"the shape of {name!r} is {shape}")
    if begin < 0 or end - begin != math.prod(shape) * dtype.itemsize or start + end > size:
        raise _wrong(file, f"the bytes of {name!r} are not those of {kind}{shape} in it")
    return StoredArray.in_file(file, start + begin, shape, dtype)


def read_index(file: Path) -> dict[str, StoredArray]:
    """Return the arrays that an index names, each from its file in the folder of the index.

    Raises:
        InputSpecError: it is no index, or a file has not what it says.
        OSError: a file cannot be read.
    """
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise _wrong(file, "it is no JSON") from None
    places = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(places, Mapping):
        raise _wrong(file, "it has no weight_map")
    files: dict[str, dict[str, StoredArray]] = {}
    arrays = {}
    for name, place in places.items():
        if not isinstance(place, str) or Path(place).name != place:
            raise _wrong(file, f"{name!r} is in {shown(place)}, which is no file of its folder")
        if place not in files:
            files[place] = read_safetensors(file.parent / place)
        if name not in files[place]:
            raise _wrong(file, f"{name!r} is not in {place!r}")
        arrays[name] = files[place][name]
    return arrays


def read_folder(folder: Path) -> dict[str, StoredArray] | None:
    """Return the arrays of the index, or of all files, of a folder; None if it has none.

    Raises:
        InputSpecError: two files have an array of one name, or one is no such file.
    """
    indices = sorted(folder.glob(f"*{INDEX}"))
    if len(indices) > 1:
        listed = ", ".join(file.name for file in indices)
        raise InputSpecError(f"weights: {str(folder)!r} has several indices; name one of {listed}")
    if indices:
        return read_index(indices[0])
    files = sorted(folder.glob(f"*{SUFFIX}"))
    arrays: dict[str, StoredArray] = {}
    for file in files:
        found = read_safetensors(file)
        twice = arrays.keys() & found.keys()
        if twice:
            raise InputSpecError(
                f"weights: {min(twice)!r} is in two of the files of {str(folder)!r}; name the file to read"
            )
        arrays |= found
    return arrays if files else None


def _wrong(file: Path, why: str) -> InputSpecError:
    return InputSpecError(f"weights: {str(file)!r} is no file of safetensors: {why}; write it anew")
