"""Specs that are strings such as ``"int32[B,T]"``, and the dtypes that a spec may have."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np

from jax2onnx._accepted import nearest
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.symbols import SYMBOL

TYPED = re.compile(r"^\s*(?P<dtype>[a-z]\w*)\s*\[(?P<shape>[^\]]*)\]\s*$")
_NO_NUMBERS = "OSUVMm"
"""Kinds of numpy's dtypes that JAX does not have: objects, strings, records, dates."""
_LETTERS = {"i": "int", "s": "int", "u": "uint", "f": "float"}
_DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
)
_SHORT_DTYPES = {
    **{f"{short}{bits}": f"{long}{bits}" for short, long in _LETTERS.items() for bits in (2, 4, 8, 16, 32, 64)},
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "fp64": "float64",
    "half": "float16",
    "c64": "complex64",
    "c128": "complex128",
    "int": "int32",
    "real": "float32",
    "pred": "bool",
}
_REGISTERED = 2
"""How numpy marks a dtype that another library registers, such as bfloat16."""
_LONGEST_FLOAT = 8
_WIDEST = 16
"""Bytes of the widest number that JAX has, complex128."""


def is_like_typed(text: str) -> bool:
    """Return whether a string is meant as ``float32[B,30]``, and not as a dimension."""
    name = re.split(r"[\[( ]", text.strip(), maxsplit=1)[0].lower()
    return "[" in text or name in _DTYPES or name in _SHORT_DTYPES


def parse_typed(spec: str) -> tuple[list[str], Any]:
    """Return the shape and the dtype of ``float32[B,30]``."""
    match = TYPED.match(spec)
    if match is None:
        raise InputSpecError(f"{spec!r} is not of the form dtype[dims]; {typed_instead(spec)}")
    name, dims = match.groups()
    dtype = dtype_named(name)
    shape = dims.split(",") if dims.strip() else []
    return [dim.strip() for dim in shape], dtype


def dtype_named(name: Any) -> Any:
    """Return the dtype of a name; raise InputSpecError if there is none."""
    try:
        return jax.numpy.dtype(name)
    except TypeError as error:
        meant = _SHORT_DTYPES.get(str(name), name)
        hint = f"did you mean {meant!r}?" if meant != name else nearest(name, _DTYPES, "the dtypes are")
        raise InputSpecError(f"{name!r} is not a dtype; {hint}") from error


def typed_instead(spec: str) -> str:
    """Return what to write instead of a string that is no spec."""
    name, _, rest = spec.replace("(", "[").replace(")", "]").partition("[")
    dims = rest.rstrip("] ").strip(", ")
    name = name.strip(" ,").lower()
    if name in _DTYPES:
        return f"write '{name}[{dims}]'"
    if "=" in spec:
        key, _, value = spec.partition("=")
        return f"give it by name: inputs={{{key.strip()!r}: {value.strip()!r}}}"
    if SYMBOL.fullmatch(spec):
        return f"write ({spec!r},) for a shape with this dimension, or for example 'float32[{spec}]'"
    return "write for example 'float32[B,30]'"


def check_width(dtype: Any) -> None:
    """Raise InputSpecError for a dtype that JAX, or this process, does not have."""
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return
    wanted = jax.numpy.dtype(dtype)
    check_numbers(wanted)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise InputSpecError(
            f"{wanted} needs 64-bit types, which this process has switched off; "
            "set jax.config.update('jax_enable_x64', True) or the environment variable JAX_ENABLE_X64=1, "
            "or ask for a 32-bit dtype"
        )


def check_numbers(dtype: Any) -> None:
    """Raise InputSpecError for a dtype that JAX does not have."""
    if not isinstance(dtype, np.dtype):
        return
    is_registered = dtype.isbuiltin == _REGISTERED
    is_number = is_registered or dtype.kind not in _NO_NUMBERS
    is_long = dtype.kind == "f" and dtype.itemsize > _LONGEST_FLOAT
    if not is_number or is_long or dtype.itemsize > _WIDEST:
        raise InputSpecError(f"JAX has no arrays of {dtype}; convert it to numbers, for example to float32 or int32")
