"""Functions of JAX's modules that others stand for while a program is traced: in one thread, and put back after it."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from jax2onnx._compat import has_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

_BUILTIN_NAMES = frozenset(dir(builtins))
_REPLACING = threading.RLock()
_replacing_count = 0
_replaced_names: list[tuple[Any, str, Any]] = []
_replacement_of: dict[int, Any] = {}
"""The id of an original, which ``_replaced_names`` keeps alive -> its replacement."""


class _Depth(threading.local):
    """In how many contexts of ``replaced`` a thread is."""

    depth = 0


_here = _Depth()


@contextlib.contextmanager
def replaced(replacements: Mapping[tuple[str, str], Callable[[Any], Any]]) -> Iterator[None]:
    """Replace names of JAX's modules for this thread meanwhile, those that the installed jax has.

    Modules and classes are those of the process: while one thread needs the replacements, all find them there, and in
    another thread they do what the originals do. They are put back when no thread needs them any more. All calls have
    the same ``replacements``. A module that imported a function by its name (``from jax.lax import associative_scan``)
    holds the replacement meanwhile too; for a function that is held otherwise, ask ``standing_for``.

    Args:
        replacements: the module and the name -> a function that returns the replacement of the original: of a function
            or of a module. The name may be that of a method: ``Class.method``. The original of a name of ``builtins``
            that the module does not define, or of a ``__bool__`` that the class lacks, is None.
    """
    global _replacing_count  # noqa: PLW0603 - of the process, as JAX's modules are
    with _REPLACING:
        _replacing_count += 1
        if _replacing_count == 1:
            for (module_name, name), make in replacements.items():
                _replace(module_name, name, make)
            _replace_imported({name for module_name, name in replacements if "._src" not in module_name})
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
        with _REPLACING:
            _replacing_count -= 1
            while _replacing_count == 0 and _replaced_names:
                owner, name, original = _replaced_names.pop()
                _replacement_of.pop(id(original), None)
                if original is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)


def _replace(module_name: str, name: str, make: Callable[[Any], Any]) -> None:
    if not has_module(module_name):
        return
    owner: Any = importlib.import_module(module_name)
    class_name, _, name = name.rpartition(".")
    if class_name:
        owner = getattr(owner, class_name)
    original = vars(owner).get(name)
    if original is not None or class_name or name in _BUILTIN_NAMES:
        _replaced_names.append((owner, name, original))
        elsewhere = original or (_always_true if class_name else getattr(builtins, name))
        replacement = _by_thread(make(original), elsewhere)
        setattr(owner, name, replacement)
        if original is not None:
            _replacement_of[id(original)] = replacement


def _replace_imported(names: AbstractSet[str]) -> None:
    """Replace functions of JAX that modules of others imported by one of the names."""
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for module_name, module in modules:
        if not isinstance(module, types.ModuleType) or module_name.partition(".")[0] == "jax":
            continue
        held = object.__getattribute__(module, "__dict__")  # vars() would execute a module that is deferred
        if held.keys().isdisjoint(names):  # as nearly always
            continue
        for name in names & held.keys():
            original = held[name]
            replacement = _replacement_of.get(id(original))
            if replacement is not None:
                _replaced_names.append((module, name, original))
                setattr(module, name, replacement)


def standing_for(function: Any) -> Any:
    """Return what is in the place of a function of JAX in this thread; any other object itself."""
    return _replacement_of.get(id(function), function)


def _always_true(_: Any) -> bool:
    """Return what ``bool`` does for objects of a class that says nothing about it."""
    return True


def _by_thread(replacement: Any, original: Any) -> Any:
    """Return what does as ``replacement`` in the threads that need it, and as ``original`` in the others."""
    if isinstance(original, types.ModuleType):
        module = types.ModuleType(original.__name__)
        before = vars(original)
        for name, value in vars(replacement).items():
            is_other = name in before and value is not before[name] and callable(value)
            vars(module)[name] = _by_thread(value, before[name]) if is_other else value
        return module

    @functools.wraps(original, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        return (replacement if _here.depth else original)(*args, **kwargs)

    return call
