"""Temporary plugins: written for one test, found as if they were installed, and gone afterwards."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from jax2onnx.plugin import loader

__all__ = ["TemporaryPlugins"]

_HEADER = "from jax2onnx.plugin import hookimpl\n"
_PREFIX = "temporary_"


class TemporaryPlugins:
    """A folder on ``sys.path`` in which a test makes plugins; inside ``with``, plugins are looked for anew.

    Args:
        folder: an empty folder.
        beside: names of the installed plugins that are in use beside those made; None for all.
    """

    def __init__(self, folder: Path, *, beside: Iterable[str] | None = None) -> None:
        self.folder = folder
        self._names = None if beside is None else set(beside)
        self._isolated = loader.isolated(self._names)
        self._before: set[str] = set()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before = set(sys.modules)
        sys.path.insert(0, str(self.folder))
        self._isolated.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._isolated.__exit__(kind, error, traceback)
        sys.path.remove(str(self.folder))
        for name in set(sys.modules) - self._before:
            if name.startswith(_PREFIX):
                del sys.modules[name]

    def __call__(
        self,
        name: str,
        source: str = "",
        *,
        distribution: str | None = None,
        version: str = "1.0",
        requires: Iterable[str] = (),
    ) -> Path:
        """Make a plugin; return the folder of its distribution's metadata.

        Args:
            name: the plugin's name.
            source: the source of its module, in which ``hookimpl`` is imported already.
            distribution: the distribution that brings it (default: ``dist-<name>``).
            version: that distribution's version.
            requires: that distribution's requirements.
        """
        distribution = distribution or f"dist-{name}"
        if self._names is not None:
            self._names.add(distribution)
        stem = distribution.replace("-", "_")
        module = f"{_PREFIX}{stem}_{name.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(_HEADER + textwrap.dedent(source), encoding="utf-8")
        info = self.folder / f"{stem}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        metadata = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join([*metadata, ""]), encoding="utf-8")
        with (info / "entry_points.txt").open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write("[jax2onnx]\n")
            file.write(f"{name} = {module}\n")
        importlib.invalidate_caches()
        return info
