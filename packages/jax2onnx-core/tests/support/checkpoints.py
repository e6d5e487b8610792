"""Checkpoints that tests write themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "bool": "BOOL",
    "int8": "I8",
    "int32": "I32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
}


def write_safetensors(path: Path, arrays: Mapping[str, Any], shift: int = 0) -> None:
    """Write arrays as a ``.safetensors`` file, their bytes at a multiple of 8, or ``shift`` bytes after that."""
    header = {}
    data = b""
    for name, array in arrays.items():
        held = np.ascontiguousarray(array)
        end = len(data) + held.nbytes
        shape = list(np.shape(array))
        header[name] = {"dtype": NAMES[held.dtype.name], "shape": shape, "data_offsets": [len(data), end]}
        data += held.tobytes()
    text = json.dumps({"__metadata__": {"format": "np"}, **header}).encode()
    text += b" " * (-len(text) % 8 + shift)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
