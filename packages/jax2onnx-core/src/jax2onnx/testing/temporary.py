"""Temporary plugins: written for one test, found as if they were installed, and gone afterwards."""

from __future__ import annotations

import importlib
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from jax2onnx.plugin import loader

__all__ = ["TemporaryPlugins"]

_HEADER = "from jax2onnx.plugin import hookimpl\n"


class TemporaryPlugins:
    """A folder on ``sys.path`` in which a test makes plugins; inside ``with``, plugins are looked for anew.

    Args:
        folder: an empty folder.
        beside: names of the installed plugins that are in use beside those made; None for all.
    """

    def __init__(self, folder: str | Path, *, beside: Iterable[str] | None = None) -> None:
        self.folder = Path(folder).resolve()
        self._names = None if beside is None else set(beside)
        self._isolated = loader.isolated(self._names)
        self._before: set[str] = set()
        self._paths: list[Path] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before = set(sys.modules)
        self._search(self.folder)
        self._isolated.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._isolated.__exit__(kind, error, traceback)
        for path in self._paths:
            sys.path.remove(str(path))
        for name in set(sys.modules) - self._before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and not set(self._paths).isdisjoint(Path(file).parents):
                del sys.modules[name]

    def _search(self, path: Path) -> None:
        """Make modules and metadata in a folder importable."""
        sys.path.insert(0, str(path))
        self._paths.append(path)
        importlib.invalidate_caches()

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
        module = f"temporary_{distribution}_{name}".replace("-", "_")
        (self.folder / f"{module}.py").write_text(_HEADER + textwrap.dedent(source), encoding="utf-8")
        return self._describe(distribution, version, requires, {name: module})

    def install(self, project: Path) -> Path:
        """Make a plugin's project importable as if it were installed; return the folder of its distribution's metadata.

        Args:
            project: a folder with a ``pyproject.toml``, and the packages in ``src``.
        """
        described = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        self._search(project / "src")
        entries = described["entry-points"][loader.GROUP]
        return self._describe(described["name"], described["version"], described["dependencies"], entries)

    def _describe(self, distribution: str, version: str, requires: Iterable[str], entries: Mapping[str, str]) -> Path:
        """Write the metadata of a distribution, or add to it."""
        if self._names is not None:
            self._names.update(entries)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        metadata = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join([*metadata, ""]), encoding="utf-8")
        with (info / "entry_points.txt").open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write("[jax2onnx]\n")
            file.writelines(f"{name} = {module}\n" for name, module in entries.items())
        importlib.invalidate_caches()
        return info
