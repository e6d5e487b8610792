"""Fields: what a plugin registers is looked at field by field, so that a mistake is told where it is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from jax2onnx._accepted import shown

__all__ = [
    "called_with",
    "function",
    "inputs",
    "mapping",
    "maybe",
    "names",
    "number",
    "opset",
    "refuse_late",
    "rows",
    "text",
    "versions",
]

_Check = Callable[[str, Any], None]

_NEWEST = 1000
"""No opset is as new; what is larger is meant as something else."""


def text(what: str, value: Any) -> None:
    """Accept a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"{what} is {shown(value)}, no text")


def number(what: str, value: Any) -> None:
    """Accept a number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise TypeError(f"{what} is {shown(value)}, no number that is not negative")


def opset(what: str, value: Any) -> None:
    """Accept an opset."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _NEWEST:
        raise TypeError(f"{what} is {shown(value)}, no opset")


def function(what: str, value: Any) -> None:
    """Accept what can be called, and does its work when it is called."""
    if not callable(value):
        raise TypeError(f"{what} is {shown(value)}, which cannot be called")
    refuse_late(what, value)


def refuse_late(what: str, value: Any) -> None:
    """Raise TypeError for a function that does nothing when it is called, but later."""
    if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError(f"{what} is an async function, whose code would never run; write def instead of async def")


def maybe(check: _Check) -> _Check:
    """Return what accepts None, too."""

    def accept(what: str, value: Any) -> None:
        if value is not None:
            check(what, value)

    return accept


def rows(what: str, value: Any) -> None:
    """Accept a list or a tuple."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{what} is {shown(value)}, no list")


def inputs(what: str, value: Any) -> None:
    """Accept a list, a tuple or a mapping."""
    if not isinstance(value, Mapping):
        rows(what, value)


def versions(what: str, value: Any) -> None:
    """Accept a text that says which versions are meant, such as ``>=0.9``; an empty one means all."""
    try:
        SpecifierSet(value)
    except (InvalidSpecifier, AttributeError, TypeError):
        raise TypeError(f"{what} is {shown(value)}; write for example '>=0.9'") from None


def names(what: str, value: Any) -> None:
    """Accept a set or a list of texts."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{what} is {shown(value)}, no set of names")
    for one in value:
        text(f"one of {what}", one)


def mapping(what: str, value: Any) -> None:
    """Accept a mapping by names."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} is {shown(value)}, no mapping")
    for name in value:
        text(f"a key of {what}", name)


def called_with(what: str, value: Callable[..., Any], positional: int, keywords: Iterable[str] = ()) -> None:
    """Raise TypeError unless a function takes so many positional arguments, and keyword arguments of these names."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return  # of a function in C nothing is known
    try:
        signature.bind(*[None] * positional, **dict.fromkeys(keywords))
    except TypeError as error:
        given = ", ".join([f"{positional} positional arguments", *keywords])
        raise TypeError(f"{what} cannot be called with {given}: {error}") from None
