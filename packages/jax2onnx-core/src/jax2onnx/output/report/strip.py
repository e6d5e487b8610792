"""Strip: texts without the folders of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jax2onnx.output.sources import portable_file

__all__ = ["stripped"]

_PATH = re.compile(
    r"""(?<![\w./\\])                          # not in the middle of a word or a path
    (?:[A-Za-z]:[\\/]|/)                       # the root
    (?:[^\s"'`<>|:*?\\/,;()\[\]{}]+[\\/])+      # folders
    [^\s"'`<>|:*?\\/,;()\[\]{}]*""",
    re.VERBOSE,
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def stripped(value: Any) -> Any:
    """Return a document whose texts name files without folders of this machine, and no addresses of objects."""
    if isinstance(value, str):
        return _ADDRESS.sub("", _PATH.sub(lambda match: _short(match[0]), value))
    if isinstance(value, Mapping):
        return {stripped(key): stripped(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [stripped(part) for part in value]
    return value


def _short(path: str) -> str:
    """Return a file's path from its outermost package on; of anything else the last part."""
    end = path.rstrip("/\\")
    if end.endswith(".py") and path.startswith("/"):
        return portable_file(end)
    return re.split(r"[\\/]", end)[-1] or end
