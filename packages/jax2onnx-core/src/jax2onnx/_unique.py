"""Unique names: the one way in which a name that is taken gets a number."""

from __future__ import annotations

from collections.abc import Container


def free_name(wanted: str, taken: Container[str], *, first: int = 1) -> str:
    """Return ``wanted``, or ``wanted_N`` if it is taken, with the number after those from ``first`` on that are.

    Thousands of values may want one name, so numbers are not tried one after the other. If there are gaps among those
    that are taken, it may be any number after a taken one.
    """
    if wanted not in taken:
        return wanted
    last, free = first - 1, first
    while f"{wanted}_{free}" in taken:
        last, free = free, 2 * free
    while free - last > 1:
        middle = (last + free) // 2
        if f"{wanted}_{middle}" in taken:
            last = middle
        else:
            free = middle
    return f"{wanted}_{free}"
