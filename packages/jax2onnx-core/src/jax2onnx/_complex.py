"""Complex numbers, as their real and imaginary parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Complex(NamedTuple):
    """A complex array."""

    re: Any
    im: Any


COMPLEX: dict[str, Callable[[Any], Callable[..., Any]]] = {}
"""Primitive name -> what makes, from an equation, the function of parts that does its work."""
