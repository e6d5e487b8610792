"""The user's modules: what the user names is imported, from the working directory too, and nothing else from there.

Python looks for modules in the working directory first, so that a file ``onnx.py`` there would be executed in place of
the onnx that this package imports. Here the directory comes last, and first only for the user's own code.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import click

from jax2onnx.plugin.installed import entry_points, is_of_needed

__all__ = ["import_named"]

_OURS = Path(__file__).parents[1]
_LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]


def import_named(name: str) -> ModuleType:
    """Return the module that the user names: one that can be imported from the working directory, or a Python file.

    Raises:
        UsageError: there is no such file, or it is not clear which of two modules is meant.
        BaseException: whatever the module raises.
    """
    importlib.import_module("jax2onnx._deferred")  # which libraries of ours are not executed: not after user's modules
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise click.UsageError(f"there is no file {name}; give the path of a file from this folder")
        return _import_file(path)
    importlib.invalidate_caches()
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise click.UsageError("the working directory does not exist any more; go to another folder") from None
    top = name.partition(".")[0]
    local = PathFinder.find_spec(top, [str(folder)])
    if local is not None and local.origin is not None:
        loaded = sys.modules.get(top)
        is_other = not _is_of(loaded, Path(local.origin)) if loaded is not None else _is_needed(top)
        if is_other:
            raise click.UsageError(
                f"{name} may mean {local.origin} or the installed module {top!r}, which jax2onnx needs; name the file "
                f"({Path(local.origin).name}:OBJECT), or go to another folder"
            )
        if loaded is None:
            _finder.look_in(folder)
            _execute(local)
    _finder.look_in(folder)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    """Return the module of a file, under a name of its own if an installed module has the file's name."""
    name = path.stem
    if not name.isidentifier() or _is_taken(name, path):
        name = f"_file_{name}"
    loaded = sys.modules.get(name)
    if loaded is not None and _is_of(loaded, path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    _finder.look_in(path.parent)
    return _execute(spec)


def _is_taken(name: str, path: Path) -> bool:
    """Return whether a name is that of another module than that of a file."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return not _is_of(loaded, path)
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin != str(path)


def _is_of(module: ModuleType, path: Path) -> bool:
    """Return whether a module was made of a file."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).exists() and Path(file).samefile(path)


@functools.cache
def _is_needed(name: str) -> bool:
    """Return whether a top-level module is of a library that jax2onnx or a plugin needs.

    A file of the user with its name is not imported in place of it, by the user's code neither: all code of a process
    gets the same module by a name.
    """
    plugins = [owner.name for _, owner in entry_points("jax2onnx")]
    return is_of_needed(name, ["jax2onnx-core", *plugins])


def _execute(spec: ModuleSpec) -> ModuleType:
    """Import a module by its spec."""
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return sys.modules[spec.name]


class _UsersFinder:
    """An import finder that looks in the user's folders first where the user's own code imports something."""

    def __init__(self) -> None:
        self._folders: list[Path] = []

    def look_in(self, folder: Path) -> None:
        """Find the modules of a folder: for the user's code first, for all other code last."""
        if folder not in self._folders:
            self._folders.append(folder)
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        """Find a module at the top level that the user's code imports; return None for any other."""
        if path is not None:
            return None
        folders = _importing_file().parents
        if any(library in folders for library in (_OURS, *_LIBRARIES)):
            return None
        found = PathFinder.find_spec(name, [str(folder) for folder in self._folders if folder in folders])
        is_users = found is not None and found.origin is not None and not _is_needed(name)
        return found if is_users else None


_finder = _UsersFinder()


def _importing_file() -> Path:
    """Return the file of the code that imports something just now."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to learn who imports
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        is_machinery = file.startswith("<frozen importlib") or file in {__file__, importlib.__file__}
        if not is_machinery:
            break
        frame = frame.f_back
    return Path(frame.f_code.co_filename)
