"""Import onnx-ir without executing sympy, which an export does not use: sympy is executed at its first use."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import LazyLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

_SYMPY = ("sympy", "onnx_ir._symbolic_shapes")
"""onnx-ir's arithmetic of symbolic dims."""


class _Deferring:
    """An import finder for modules that are executed at their first use."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        """Find one of the modules; return None for any other."""
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def _deferring(names: Sequence[str]) -> Iterator[None]:
    finder = _Deferring(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _deferring(_SYMPY):
    import onnx_ir  # noqa: F401 - the first import, so that sympy is deferred
