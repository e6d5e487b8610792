"""Attributes: Python values as attributes of nodes, of the types that an operator's schema gives them."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx._accepted import nearest, shown
from jax2onnx.errors import InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["attribute"]

_Types = ir.AttributeType


def attribute(
    operator: str,
    name: str,
    value: Any,
    known: Mapping[str, ir.AttributeType] | None,
) -> ir.Attr:
    """Return a value as an attribute.

    Args:
        operator: the operator, for messages.
        name: the attribute.
        value: its value.
        known: the types of the operator's attributes; None if its schema is not known, and the value tells the type.

    Raises:
        InvalidModelError: the operator has no such attribute, or one of another type.
    """
    if known is not None and name not in known:
        hint = nearest(name, known, "it has") if known else "it has none"
        raise InvalidModelError(f"{operator} has no attribute {name!r}; {hint}")
    if isinstance(value, ir.Attr):
        return value
    kind = _kind(value) if known is None else known[name]
    if kind is None:
        raise InvalidModelError(
            f"{operator}: the type of the attribute {name}={shown(value)} does not follow from its value; "
            "pass an onnx_ir.Attr"
        )
    convert = _CONVERT.get(kind)
    if convert is None:
        return ir.Attr(name, kind, value)
    try:
        return ir.Attr(name, kind, convert(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidModelError(
            f"{operator}: the attribute {name!r} is of type {kind.name}, got {shown(value)}"
        ) from error


def _kind(value: Any) -> ir.AttributeType | None:
    """Return the type of attribute that a value is by itself; None if it is none, or if there are several."""
    if isinstance(value, np.ndarray | ir.TensorProtocol):
        return _Types.TENSOR
    if isinstance(value, ir.Graph):
        return _Types.GRAPH
    if isinstance(value, list | tuple):
        kinds = {_kind(item) for item in value}
        for one, several in _SEVERAL.items():
            if kinds == {one}:
                return several
        return _Types.FLOATS if kinds == {_Types.INT, _Types.FLOAT} else None
    for class_, kind in _SCALARS:
        if isinstance(value, class_):
            return kind
    return None


_SCALARS: tuple[tuple[Any, ir.AttributeType], ...] = (
    (str | bytes, _Types.STRING),
    (bool | np.bool_ | numbers.Integral, _Types.INT),
    (numbers.Real, _Types.FLOAT),
)

_SEVERAL = {
    _Types.INT: _Types.INTS,
    _Types.FLOAT: _Types.FLOATS,
    _Types.STRING: _Types.STRINGS,
    _Types.TENSOR: _Types.TENSORS,
    _Types.GRAPH: _Types.GRAPHS,
}


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, str | bytes) or number != value:
        raise TypeError
    return number


def _real(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError
    return float(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError
    return value


def _tensor(value: Any) -> ir.TensorProtocol:
    if isinstance(value, ir.TensorProtocol):
        return value
    return ir.tensor(np.asarray(value) if isinstance(value, np.generic) else value)


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what converts each item of a list."""

    def several(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str | bytes):
            raise TypeError
        return tuple(map(convert, value))

    return several


_CONVERT: Mapping[ir.AttributeType, Callable[[Any], Any]] = {
    _Types.INT: _whole,
    _Types.FLOAT: _real,
    _Types.STRING: _text,
    _Types.TENSOR: _tensor,
    _Types.INTS: _each(_whole),
    _Types.FLOATS: _each(_real),
    _Types.STRINGS: _each(_text),
    _Types.TENSORS: _each(_tensor),
}
