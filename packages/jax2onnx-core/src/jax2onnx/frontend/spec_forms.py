"""The forms in which an input may be written, and what is told of what is nearly one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax2onnx._accepted import shown
from jax2onnx._compat import is_symbolic
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.symbols import is_anonymous
from jax2onnx.frontend.typed_specs import TYPED, is_like_typed

__all__ = ["ACCEPTED", "check_form", "instead", "is_description", "is_like_shape", "is_shape", "is_spec"]

ACCEPTED = (
    "a shape tuple such as ('B', 30), a string such as 'int32[B,T]', a jax.ShapeDtypeStruct, an array, "
    "or a pytree of these"
)


def check_form(inputs: Any) -> None:
    """Raise InputSpecError unless the inputs are a list or a mapping of specs."""
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Sequence | Mapping):
        hint = f"; write [{inputs!r}]" if isinstance(inputs, str) and TYPED.match(inputs) else ""
        raise InputSpecError(
            f"inputs: expected a list with one spec per argument, got {shown(inputs)}{hint}; a spec is {ACCEPTED}"
        )
    if isinstance(inputs, Mapping):
        for name in inputs:
            if not isinstance(name, str):
                raise InputSpecError(f"inputs: {shown(name)} is no name of an argument; write inputs={{'x': ...}}")
        return
    if is_like_shape(inputs):
        shape = tuple(inputs)
        raise InputSpecError(
            f"inputs: {shown(inputs)} is one shape, not a list of specs; write [{shape!r}] for one input of this shape"
        )


def is_like_shape(node: Any) -> bool:
    """Return whether a list or tuple is written like a shape: of dimensions only, and not of ``None`` only."""
    if type(node) not in {list, tuple}:
        return False
    is_telling = False
    for dim in node:
        if isinstance(dim, bool) or not _is_dim(dim):
            return False
        if isinstance(dim, str) and is_like_typed(dim):
            return False
        is_telling |= dim is not None
    return is_telling


def is_shape(node: Any) -> bool:
    """Return whether a node of a pytree is a shape: a tuple of dimensions."""
    return type(node) is tuple and all(map(_is_dim, node))


def _is_dim(dim: Any) -> bool:
    if is_anonymous(dim) or is_symbolic(dim):
        return True
    if isinstance(dim, bool):
        return False
    return isinstance(dim, str | int | np.integer)


def is_spec(node: Any) -> bool:
    """Return whether a node of a pytree is one spec, or is written so much like a shape that it was meant as one."""
    return is_shape(node) or is_like_shape(node) or _is_shape_of_numbers(node)


def _is_shape_of_numbers(node: Any) -> bool:
    """Return whether a tuple is a shape but for a dimension that is a float, a bool or negative."""
    if type(node) is not tuple or all(isinstance(dim, bool) for dim in node):
        return False
    return all(isinstance(dim, str | float | bool) or _is_dim(dim) for dim in node)


def is_description(spec: Any) -> bool:
    """Return whether it is another library's description of an array."""
    return hasattr(spec, "shape") and hasattr(spec, "dtype") and not isinstance(spec, type)


def instead(spec: Any) -> str:
    """Return what to write instead of something that is no spec, and may be meant as one."""
    if isinstance(spec, int):
        return (
            f"write ({spec},) for the shape of a vector of {spec}, 'int32[]' or np.int32({spec}) for an integer, or "
            f"static={{'name': {spec}}} for a value that the callable gets as it is; "
        )
    if isinstance(spec, tuple):
        return "a dimension is an int, a string or None; "
    if isinstance(spec, type):
        return "write its dtype and shape, for example 'float32[B,30]'; "
    if is_description(spec):
        return f"write the shape {tuple(spec.shape)!r}, or np.asarray of it; "
    return ""
