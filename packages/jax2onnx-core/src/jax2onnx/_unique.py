"""Unique names: the one way in which a name that is taken gets a number."""

from __future__ import annotations

from collections.abc import Container


def free_name(wanted: str, taken: Container[str], *, first: int = 1) -> str:
    """Return ``wanted``, or ``wanted_N`` with the smallest free number from ``first`` on if it is taken."""
    name, number = wanted, first
    while name in taken:
        name = f"{wanted}_{number}"
        number += 1
    return name
