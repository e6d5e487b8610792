"""Closures: framework objects that a function uses without taking them as arguments.

A function reaches an object through a closure cell, a default, a global of its module, or another function that does.
Such objects are made arguments: the function is rebuilt over copies of them, with cells and globals of its own. So a
plugin opens them as it opens what a ``functools.partial`` holds. The user's functions stay as they are.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, Signature
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import jax
import numpy as np

from jax2onnx._compat import is_library
from jax2onnx._unique import free_name
from jax2onnx.plugin.naming import parameters_of

__all__ = ["hidden_objects", "lift_objects"]

_JITTED: type[Any] = type(jax.jit(lambda: None))
_HOLDERS = (FunctionType, MethodType, partial, _JITTED)
"""Types of callables that are searched."""
_PLAIN = (
    type(None),
    type,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    np.ndarray,
    np.generic,
    jax.Array,
    ModuleType,
    BuiltinFunctionType,
)
"""Types of values that hold no framework object. They are frequent, so plugins are not asked."""

_Recognise: TypeAlias = Callable[[Any], bool]
_Named: TypeAlias = tuple[str, Any]


def lift_objects(fn: Any, recognise: _Recognise) -> tuple[Any, list[str]]:
    """Return an equivalent callable that a plugin can open, and warnings of objects that stay hidden.

    For a function (or a ``functools.partial`` or a ``jax.jit`` of one) that reaches framework objects, the callable is
    a partial of a function that takes these objects as one mapping. For anything else it is ``fn``.

    Args:
        fn: the callable.
        recognise: returns whether a plugin opens a value, or something in it if the value is a container.
    """
    inner = fn
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if isinstance(fn, partial):
        inner = fn.func
        args = fn.args
        keywords = fn.keywords
    while isinstance(inner, _JITTED):
        inner = inner.__wrapped__
    if not isinstance(inner, FunctionType):
        if args or keywords:
            inner = partial(inner, *args, **keywords)
        return inner, []
    search = _Search(recognise)
    search.visit(inner, "")
    if search.objects:
        lifted = _lifted(inner, search)
        fn = partial(lifted, search.objects, *args, **keywords)
    return fn, search.warnings


def _lifted(fn: FunctionType, search: _Search) -> Callable[..., Any]:
    """Return a function that takes the objects as its first argument, and else what ``fn`` takes."""
    originals = dict(search.objects)
    affected = search.affected()

    def call(objects: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        copies = {id(originals[name]): copy for name, copy in objects.items()}
        rebuilder = _Rebuilder(affected, copies)
        rebuilt = rebuilder.replacement(fn)
        return rebuilt(*args, **kwargs)

    first = Parameter("objects", Parameter.POSITIONAL_ONLY)
    rest = parameters_of(fn) or []
    call.__name__ = fn.__name__
    call.__signature__ = Signature([first, *rest])  # type: ignore[attr-defined]
    return call


def hidden_objects(fn: Any, recognise: _Recognise) -> list[str]:
    """Return warnings of framework objects that a callable object holds although no plugin opens it."""
    inner = fn.func if isinstance(fn, partial) else fn
    owner = getattr(inner, "__self__", inner)
    others = _PLAIN + _HOLDERS
    if isinstance(owner, others):
        return []
    kind = type(owner).__name__
    messages = []
    attributes = getattr(owner, "__dict__", {})
    for name, value in attributes.items():
        if not isinstance(value, others) and recognise(value):
            what = f"the attribute {name}"
            messages.append(_warning(what, f"no plugin opens a {kind}"))
    wrapped = getattr(owner, "__wrapped__", None)
    if isinstance(wrapped, FunctionType):
        search = _Search(recognise)
        search.visit(wrapped, "")
        why = f"it is reached through a {kind}"
        messages += [_warning(name, why) for name in search.objects]
    return messages


def _warning(what: str, why: str) -> str:
    return (
        f"{what} keeps its mode, and its weights are constants without names, since {why}; pass the object itself, "
        "a method of it, or a functools.partial that holds it"
    )


@dataclass(slots=True)
class _Search:
    """A search for the objects that a function reaches.

    The function holds all values that are met, so their ids identify them.

    Attributes:
        recognise: returns whether a plugin opens a value.
        objects: the objects found, by the names that functions have for them.
        warnings: warnings of objects that cannot be lifted.
        _reached: for each callable, by id, the values that it holds and that may reach an object.
        _is_object: for each value that a plugin was asked about, by id, whether it is an object.
    """

    recognise: _Recognise
    objects: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _reached: dict[int, list[Any]] = field(default_factory=dict)
    _is_object: dict[int, bool] = field(default_factory=dict)

    def visit(self, owner: Any, name: str) -> None:
        """Search a callable, which its holder calls ``name``."""
        if id(owner) in self._reached:
            return
        reached = self._reached[id(owner)] = []
        for label, value in _held_values(owner, name):
            if self._may_reach(label, value):
                reached.append(value)
        for label, value in _global_values(owner):
            if not self._may_reach(label, value):
                continue
            if _assigns_globals(owner):
                self._leave(owner, label, value)
            else:
                reached.append(value)

    def _may_reach(self, name: str, value: Any) -> bool:
        """Return whether a value is an object, which is noted, or a callable, which is searched."""
        if isinstance(value, _HOLDERS):
            self.visit(value, name)
            return True
        if isinstance(value, _PLAIN):
            return False
        known = self._is_object.get(id(value))
        if known is not None:
            return known
        is_object = self._is_object[id(value)] = self.recognise(value)
        if is_object:
            self.objects[free_name(name, self.objects)] = value
        return is_object

    def _leave(self, owner: FunctionType, name: str, value: Any) -> None:
        """Leave a global where it is, with a warning if it is an object."""
        if isinstance(value, _HOLDERS):
            return
        self._is_object[id(value)] = False
        for known, other in list(self.objects.items()):
            if other is value:
                del self.objects[known]
        why = f"{owner.__name__} assigns globals"
        self.warnings.append(_warning(f"the global {name}", why))

    def affected(self) -> set[int]:
        """Return the ids of the objects and of all callables that reach one."""
        affected = set(map(id, self.objects.values()))
        size = 0
        while len(affected) > size:
            size = len(affected)
            for owner, values in self._reached.items():
                if not affected.isdisjoint(map(id, values)):
                    affected.add(owner)
        return affected


def _held_values(owner: Any, name: str) -> Iterable[_Named]:
    """Return what a callable holds: cells and defaults, or what it is a method, a partial or a jit of."""
    match owner:
        case FunctionType():
            return _cell_values(owner) + _default_values(owner)
        case MethodType():
            return [(name, owner.__self__), (name, owner.__func__)]
        case partial():
            positional = (owner.func, *owner.args)
            keywords = owner.keywords.items()
            return [*((name, value) for value in positional), *keywords]
    return [(name, owner.__wrapped__)]


def _cell_values(fn: FunctionType) -> list[_Named]:
    values = []
    names = fn.__code__.co_freevars
    cells = fn.__closure__ or ()
    for name, cell in zip(names, cells, strict=True):
        if not _is_empty(cell):
            values.append((name, cell.cell_contents))
    return values


def _default_values(fn: FunctionType) -> list[_Named]:
    code = fn.__code__
    values = fn.__defaults__ or ()
    first = code.co_argcount - len(values)
    names = code.co_varnames[first : code.co_argcount]
    keywords = fn.__kwdefaults__ or {}
    return [*zip(names, values, strict=True), *keywords.items()]


def _global_values(owner: Any) -> list[_Named]:
    """Return the globals that a function's code, or code within it, may read.

    There are none for a function of an installed library: it gets the user's objects in other ways.
    """
    if not isinstance(owner, FunctionType):
        return []
    code = owner.__code__
    if is_library(code.co_filename):
        return []
    names: dict[str, None] = {}
    pending = [code]
    while pending:
        code = pending.pop()
        names.update(dict.fromkeys(code.co_names))
        inner = [c for c in code.co_consts if isinstance(c, CodeType)]
        pending += reversed(inner)
    values = owner.__globals__
    return [(name, values[name]) for name in names if name in values]


def _assigns_globals(fn: FunctionType) -> bool:
    """Return whether a function assigns globals, so that it needs its module's own and no copy of them."""
    instructions = dis.get_instructions(fn.__code__)
    return any(i.opname == "STORE_GLOBAL" for i in instructions)


@dataclass(slots=True)
class _Rebuilder:
    """Rebuilds functions over copies of objects.

    Attributes:
        affected: the ids of the objects and of the callables that reach them.
        rebuilt: what was rebuilt, by the ids of the originals: at first the copies of the objects, then functions too,
            and their cells.
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
        return self.replacement(value.__wrapped__)

    def _all(self, values: Iterable[Any]) -> list[Any]:
        return list(map(self.replacement, values))

    def _each(self, values: Mapping[str, Any]) -> dict[str, Any]:
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
            if cell is not original and _is_empty(cell):
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
        if _is_empty(cell) or id(cell.cell_contents) not in self.affected:
            return cell
        rebuilt: CellType = self.rebuilt.setdefault(id(cell), CellType())
        return rebuilt

    def _affected_globals(self, fn: FunctionType) -> dict[str, Any]:
        if _assigns_globals(fn):
            return {}
        return {name: value for name, value in _global_values(fn) if id(value) in self.affected}


def _is_empty(cell: CellType) -> bool:
    """Return whether a cell has no content (yet): its variable is assigned later, or never."""
    return cell == CellType()
