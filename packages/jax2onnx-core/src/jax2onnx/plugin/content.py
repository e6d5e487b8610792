"""Content: a static value as a key that is equal for values in which Python code can see no difference.

``==`` is not enough: 0.0 equals -0.0, 1 equals True, and an object whose class defines ``==`` may have changed since it
was last seen. Two keys are equal only if types and contents are the same, down to the attributes of objects, to what
functions close over and to the global variables that they name. The key of a value that is too large, or that cannot be
looked into, is new every time.
"""

from __future__ import annotations

import builtins
import enum
import functools
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

from jax2onnx.plugin.reach import is_stateless, is_written_in_c, reached

__all__ = ["content"]

_Key: TypeAlias = Any
_MOST_VALUES = 20_000
"""Of a value that holds more than these, every key is new."""
_MOST_BYTES = 1 << 16
"""An array that is larger is new every time: to compare it costs as much as to trace again."""
_DEEPEST = 100
_EXACT = (type(None), bool, int, str, bytes, np.dtype)
_METHODS = (types.FunctionType, property, classmethod, staticmethod, functools.partial)
_DATA = (*_EXACT, float, complex, list, tuple, dict, set, frozenset, np.ndarray)
"""What a class may hold for all of its objects, beside their methods."""
_TREE = type(jax.tree_util.tree_structure(0))


def content(function: Callable[..., Any], statics: Any) -> _Key:
    """Return the key of a function and of its static arguments; it keeps alive what it compares by identity.

    Of the function, and of the functions that it calls, what they close over and the global variables that they name
    count.
    """
    return _Walk().key((function, statics), 0)


class _Same:
    """Compares an object by identity, and keeps it alive, so that its id is not given to another one."""

    __slots__ = ("_held",)

    def __init__(self, held: object) -> None:
        self._held = held

    def __hash__(self) -> int:
        return id(self._held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._held is other._held


class _Walk:
    """A walk through one value. An object that it meets again is a reference to the first time."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._held: list[Any] = []  # what was met stays alive, for its id

    def key(self, value: Any, depth: int) -> _Key:
        """Return the key of a value that lies ``depth`` containers deep."""
        kind = type(value)
        if kind in _EXACT:
            return (kind, value)
        if kind is float or kind is complex:
            return (kind, repr(value))
        if isinstance(value, jax.Array | enum.Enum) or _is_librarys(value):
            return _Same(value)
        if id(value) in self._met:
            return ("met", self._met[id(value)])
        if len(self._met) >= _MOST_VALUES or depth > _DEEPEST:
            return object()
        self._met[id(value)] = len(self._met)
        self._held.append(value)
        return (self._class(kind, depth + 1), self._inside(value, depth + 1))

    def _class(self, cls: type[Any], depth: int) -> _Key:
        """Return the key of a class: of a user's class its methods too, with what they name, and what it holds."""
        return _Same(cls) if is_stateless(cls.__module__) else self.key(cls, depth)

    def _inside(self, value: Any, depth: int) -> _Key:
        if isinstance(value, type):
            return self._members(value, depth)
        if isinstance(value, types.ModuleType):
            return object()
        if isinstance(value, types.BuiltinFunctionType):
            return self._builtin(value, depth)
        if isinstance(value, property):
            return self._all((value.fget, value.fset, value.fdel), depth)
        if isinstance(value, classmethod | staticmethod):
            return self.key(value.__func__, depth)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value)
        if isinstance(value, _TREE):
            return self._tree(value, depth)
        if isinstance(value, set | frozenset):
            return frozenset(self.key(item, depth) for item in value)
        if isinstance(value, slice | range):
            return self._all((value.start, value.stop, value.step), depth)
        if isinstance(value, types.FunctionType):
            return self._function(value, depth)
        if isinstance(value, types.MethodType):
            return self._all((value.__func__, value.__self__), depth)
        if isinstance(value, functools.partial):
            return self._all((value.func, value.args, value.keywords), depth)
        if isinstance(value, Mapping):
            return (self._all(value, depth), self._all(value.values(), depth), self._held_by(value, depth))
        if isinstance(value, list | tuple):
            return (self._all(value, depth), self._held_by(value, depth))
        attributes = _attributes(value)
        return object() if attributes is None else self._all(attributes, depth)

    def _held_by(self, container: Any, depth: int) -> _Key:
        """Return the key of the attributes of a container of a class of one's own."""
        return self._all(vars(container).items(), depth) if hasattr(container, "__dict__") else ()

    def _all(self, values: Iterable[Any], depth: int) -> _Key:
        return tuple(self.key(value, depth) for value in values)

    @staticmethod
    def _array(value: Any) -> _Key:
        if value.nbytes > _MOST_BYTES or value.dtype.hasobject:
            return object()
        return (value.shape, value.dtype, value.tobytes())

    def _tree(self, tree: Any, depth: int) -> _Key:
        """Return the key of a pytree's structure, in which the nodes of a class may hold static values."""
        return (self.key(tree.node_data(), depth), tree.num_leaves, self._all(tree.children(), depth))

    def _members(self, cls: type[Any], depth: int) -> _Key:
        """Return the key of what a class and its bases are."""
        if is_written_in_c(cls):
            return object()
        found: list[Any] = [_Same(cls)]
        for base in cls.__mro__:
            if is_stateless(base.__module__):
                continue
            for name, member in tuple(vars(base).items()):
                has_own = isinstance(member, _DATA) and not name.startswith("__")
                if has_own or isinstance(member, _METHODS) or hasattr(member, "__wrapped__"):
                    found.append((name, self.key(member, depth)))
        return tuple(found)

    def _builtin(self, value: types.BuiltinFunctionType, depth: int) -> _Key:
        """Return the key of a function written in C: of a method, that of its object."""
        owner = value.__self__
        if owner is None or isinstance(owner, types.ModuleType):
            return _Same(value) if is_stateless(value.__module__) else object()
        return (value.__name__, self.key(owner, depth))

    def _function(self, fn: types.FunctionType, depth: int) -> _Key:
        """Return the key of a function: its code, and the values that it can see."""
        cells = []
        for cell in fn.__closure__ or ():
            try:
                cells.append(self.key(cell.cell_contents, depth))
            except ValueError:  # a variable that has no value yet
                cells.append(None)
        visible = (fn.__defaults__, fn.__kwdefaults__, vars(fn))
        outside = reached(fn)
        if outside is None:
            return object()
        return (fn.__code__, tuple(cells), self._all(visible, depth), self._all(outside, depth))


def _is_librarys(value: Any) -> bool:
    """Return whether a value is a module, a class or a callable of a library that keeps no state.

    A callable is found by its name in its module: it stays what it is.
    """
    if isinstance(value, types.ModuleType):
        return is_stateless(value.__name__)
    name = _text(value, "__module__")
    if not is_stateless(name):
        return False
    if isinstance(value, type):
        return True
    own = _text(value, "__qualname__") or _text(value, "__name__")
    return callable(value) and vars(sys.modules.get(name, builtins)).get(own) is value


def _text(value: Any, attribute: str) -> str:
    found = getattr(value, attribute, "")  # of any library's objects
    return found if isinstance(found, str) else ""


def _attributes(value: Any) -> list[Any] | None:
    """Return the names and values of an object's attributes, in slots and of its classes too.

    None stands for an object whose content is not known.

    A class written in C may show some of its fields, and not all: a generator, what it runs.
    """
    found: list[Any] = []
    is_known = hasattr(value, "__dict__")
    if is_known:
        found += vars(value).items()
    for base in type(value).__mro__:
        if is_written_in_c(base) and not _shows_all(base):
            return None
        is_known = is_known or "__slots__" in vars(base)
        slots = [pair for pair in vars(base).items() if isinstance(pair[1], types.MemberDescriptorType)]
        found += [(name, _get(slot, value)) for name, slot in slots if not name.startswith("__")]
        found += [pair for pair in vars(base).items() if isinstance(pair[1], _DATA) and not pair[0].startswith("__")]
    return found if is_known else None


def _shows_all(cls: type[Any]) -> bool:
    """Return whether the attributes of a class written in C are all that its objects hold."""
    return cls is object or issubclass(cls, BaseException) or cls.__module__.startswith("jaxlib")


def _get(slot: types.MemberDescriptorType, value: Any) -> Any:
    """Return what an object's slot holds; None for an empty one."""
    try:
        return slot.__get__(value)
    except AttributeError:
        return None
