"""Printable: text that names, messages and models hold, without characters that a terminal or a viewer would obey."""

from __future__ import annotations

import unicodedata

__all__ = ["counted", "one_line", "printable", "storable"]

_UNSTORABLE = {"Cc", "Cs"}
"""Categories of what no name in a model has: control characters, and halves of characters."""


def counted(count: int, noun: str) -> str:
    """Return ``1 node``, ``2 nodes`` and so on."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """Return a text of any number of lines with every character that is not printable as Python writes it.

    Control sequences of terminals are among them, marks that reverse the order of text, and what XML does not allow.
    """
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" or char.isprintable() else _written(char) for char in text)


def one_line(text: str, most: int | None = None) -> str:
    """Return a text as one printable line, cut after ``most`` characters."""
    if most is not None and len(text) > most:
        text = f"{text[:most]}…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _written(char) for char in text)


def storable(text: str) -> str:
    """Return a name for a model: control characters, and what is no text in UTF-8, as Python writes them."""
    if text.isprintable():
        return text
    return "".join(_written(char) if unicodedata.category(char) in _UNSTORABLE else char for char in text)


def _written(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
