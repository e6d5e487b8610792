"""Warn the user: a warning names the line of the program that called, however deep in these packages it is found."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["warn"]

_BETWEEN = "contextlib"
"""Its frames lie between those of functions that a context manager decorates."""


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn; the warning's line is the innermost one that is in none of these packages."""
    level = 2
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - `skip_file_prefixes` is of Python 3.12
    while frame is not None and _is_own(frame):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _is_own(frame: FrameType) -> bool:
    """Return whether a frame is of jax2onnx or of one of its first-party packages."""
    module = str(frame.f_globals.get("__name__", ""))
    package = module.partition(".")[0]
    return package in {"jax2onnx", _BETWEEN} or package.startswith("jax2onnx_")
