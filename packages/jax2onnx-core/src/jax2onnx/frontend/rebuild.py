"""Rebuild: callables, containers and objects over copies of the framework objects that they reach."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from jax2onnx.frontend.holders import (
    JITTED,
    assigns_globals,
    attributes,
    class_attributes,
    global_values,
    is_container,
    is_empty,
)

__all__ = ["Rebuilder"]


@dataclass(slots=True)
class Rebuilder:
    """Rebuilds functions over copies of objects.

    Attributes:
        affected: the ids of the objects and of the holders that reach them.
        rebuilt: what was rebuilt, by the ids of the originals: at first the copies of the objects, then what holds
            them, and cells of functions.
    """

    affected: set[int]
    rebuilt: dict[int, Any]

    def replacement(self, value: Any) -> Any:
        """Return what takes the place of a value: the value itself if it reaches no object."""
        if id(value) not in self.affected:
            return value
        if id(value) in self.rebuilt:
            return self.rebuilt[id(value)]
        match value:
            case FunctionType():
                return self._function(value)
            case MethodType():
                function, owner = self._all([value.__func__, value.__self__])
                return MethodType(function, owner)
            case partial():
                function, *args = self._all([value.func, *value.args])
                keywords = self._each(value.keywords)
                return partial(function, *args, **keywords)
            case list() | tuple() | dict():
                return self._container(value)
        if isinstance(value, JITTED):
            return self.replacement(value.__wrapped__)
        return self._object(value)

    def in_argument(self, value: Any) -> Any:
        """Return an argument with replacements in it; its containers may be copies of those that were searched."""
        if id(value) in self.affected or not is_container(value):
            return self.replacement(value)
        if isinstance(value, dict):
            return {key: self.in_argument(item) for key, item in value.items()}
        return type(value)(map(self.in_argument, value))

    def _container(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._all(value))
        rebuilt: Any = type(value)()
        # It is noted before it is filled: it may hold itself.
        self.rebuilt[id(value)] = rebuilt
        if isinstance(value, dict):
            rebuilt.update(self._each(value))
        else:
            rebuilt += self._all(value)
        return rebuilt

    def _object(self, value: Any) -> Any:
        """Return a copy of an object of the user's own class, without calling its methods."""
        cls: Any = type(value)
        reaching = {name: held for name, held in class_attributes(cls).items() if id(held) in self.affected}
        kind = type(cls)(cls.__name__, (cls,), {}) if reaching else cls
        copy = self.rebuilt[id(value)] = object.__new__(kind)
        for name, attribute in attributes(value).items():
            object.__setattr__(copy, name, self.replacement(attribute))
        for name, held in reaching.items():
            # super() in a rebuilt method finds the user's class, as it is in the method's cell.
            member = inspect.getattr_static(cls, name)
            is_wrapped = isinstance(member, property | staticmethod | classmethod)
            rebuilt = self.replacement(held)
            setattr(kind, name, type(member)(rebuilt) if is_wrapped else rebuilt)
        return copy

    def _all(self, values: Iterable[Any]) -> list[Any]:
        return list(map(self.replacement, values))

    def _each(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: self.replacement(value) for name, value in values.items()}

    def _function(self, fn: FunctionType) -> FunctionType:
        closure = fn.__closure__ or ()
        cells = tuple(map(self._cell, closure))
        values = self._affected_globals(fn)
        own_globals = fn.__globals__
        if values:
            own_globals = dict(own_globals)
        rebuilt = FunctionType(fn.__code__, own_globals, fn.__name__, None, cells)
        # It is noted before what it holds is replaced: a function that calls itself is in a cell or a global.
        self.rebuilt[id(fn)] = rebuilt
        own_globals.update(self._each(values))
        for cell, original in zip(cells, closure, strict=True):
            if cell is not original and is_empty(cell):
                cell.cell_contents = self.replacement(original.cell_contents)
        if fn.__defaults__:
            rebuilt.__defaults__ = tuple(self._all(fn.__defaults__))
        if fn.__kwdefaults__:
            rebuilt.__kwdefaults__ = self._each(fn.__kwdefaults__)
        rebuilt.__qualname__ = fn.__qualname__
        rebuilt.__module__ = fn.__module__
        rebuilt.__dict__.update(fn.__dict__)
        return rebuilt

    def _cell(self, cell: CellType) -> CellType:
        """Return the cell itself if its content stays, so that functions go on sharing it."""
        if is_empty(cell) or id(cell.cell_contents) not in self.affected:
            return cell
        rebuilt: CellType = self.rebuilt.setdefault(id(cell), CellType())
        return rebuilt

    def _affected_globals(self, fn: FunctionType) -> dict[str, Any]:
        if assigns_globals(fn):
            return {}
        return {name: value for name, value in global_values(fn) if id(value) in self.affected}
