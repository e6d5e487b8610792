"""Closures: framework objects that a function uses without being given them.

A function reaches an object through a closure cell, a default, a global of its module, or another function that does.
Such objects are made arguments: the function is rebuilt over copies of them, with cells and globals of its own, so that
a plugin opens them as it opens what a ``functools.partial`` holds. The user's functions stay as they are.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

_JITTED: type[Any] = type(jax.jit(lambda: None))
_HOLDERS = (types.FunctionType, types.MethodType, functools.partial, _JITTED)
_PLAIN = (
    type(None), bool, int, float, complex, str, bytes, type, np.ndarray, np.generic, jax.Array,
    types.ModuleType, types.BuiltinFunctionType,
)  # fmt: skip
"""Types of values that hold no framework object, and are met often."""
_OBJECTS = "objects"


def expose(fn: Any, recognised: Callable[[Any], bool]) -> tuple[Any, list[str]]:
    """Return a callable whose framework objects a plugin can see, and what to tell the user of those it cannot.

    Where ``fn`` is a function (or a ``functools.partial`` or a ``jax.jit`` of one) that reaches framework objects, it
    is a partial of an equivalent function that takes them as one mapping; else it is ``fn``.

    Args:
        fn: the callable.
        recognised: tells whether a plugin opens a value, or a container for what is in it.
    """
    inner = fn
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if isinstance(fn, functools.partial):
        inner, args, keywords = fn.func, fn.args, fn.keywords
    while isinstance(inner, _JITTED):
        inner = inner.__wrapped__
    if not isinstance(inner, types.FunctionType):
        return functools.partial(inner, *args, **keywords) if args or keywords else inner, []
    search = _Search(recognised)
    search.visit(inner, "")
    if not search.objects:
        return fn, search.warnings
    originals = dict(search.objects)
    affected = search.affected()

    def call(objects: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        copies = {id(originals[name]): copy for name, copy in objects.items()}
        return _Rebuilder(copies, affected, search.globals).of(inner)(*args, **kwargs)

    call.__name__ = getattr(inner, "__name__", _OBJECTS)
    first = inspect.Parameter(_OBJECTS, inspect.Parameter.POSITIONAL_ONLY)
    call.__signature__ = inspect.Signature([first, *_parameters(inner)])  # type: ignore[attr-defined]
    return functools.partial(call, originals, *args, **keywords), search.warnings


def hidden(fn: Any, recognised: Callable[[Any], bool]) -> list[str]:
    """Warn of framework objects in the attributes of a callable object, or a method's, that no plugin opens."""
    inner = fn.func if isinstance(fn, functools.partial) else fn
    owner = getattr(inner, "__self__", inner)
    if isinstance(owner, (*_PLAIN, *_HOLDERS)) or not hasattr(owner, "__dict__"):
        return []
    held = [n for n, v in vars(owner).items() if not isinstance(v, (*_PLAIN, *_HOLDERS)) and recognised(v)]
    kind = type(owner).__name__
    messages = [_unnamed(f"the attribute {n}", f"no plugin opens a {kind}") for n in held]
    if isinstance(wrapped := getattr(owner, "__wrapped__", None), types.FunctionType):
        search = _Search(recognised)
        search.visit(wrapped, "")
        messages += [_unnamed(n, f"it is reached through a {kind}") for n in search.objects]
    return messages


@dataclass(slots=True)
class _Search:
    """Walks what a function reaches.

    Attributes:
        recognised: tells whether a plugin opens a value.
        objects: what it opens, by the name that the function has for it.
        globals: for each dictionary of globals, by id, the names in it that matter.
        warnings: what to tell the user.
    """

    recognised: Callable[[Any], bool]
    objects: dict[str, Any] = field(default_factory=dict)
    globals: dict[int, set[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _reached: dict[int, list[Any]] = field(default_factory=dict)
    _asked: dict[int, tuple[Any, bool]] = field(default_factory=dict)

    def visit(self, owner: Any, name: str) -> None:
        """Search a function; ``name`` is what the function that holds it calls it."""
        if id(owner) in self._reached:
            return
        values = self._reached[id(owner)] = []
        match owner:
            case types.FunctionType():
                cells = zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True)
                held = [(n, v) for n, cell in cells for v in _content(cell)]
                held += _defaults(owner)
                named = [(n, owner.__globals__[n]) for n in _global_names(owner) if n in owner.__globals__]
            case types.MethodType():
                held, named = [(name, owner.__self__), (name, owner.__func__)], []
            case functools.partial():
                held, named = [(name, v) for v in (owner.func, *owner.args)], []
                held += owner.keywords.items()
            case _:
                held, named = [(name, owner.__wrapped__)], []
        values += [value for n, value in held if self._matters(n, value)]
        for n, value in named:
            if self._matters(n, value) and not self._is_written(owner, n, value):
                values.append(value)
                self.globals.setdefault(id(owner.__globals__), set()).add(n)

    def _matters(self, name: str, value: Any) -> bool:
        if isinstance(value, _HOLDERS):
            self.visit(value, name)
            return True
        if isinstance(value, _PLAIN):
            return False
        if id(value) not in self._asked:
            found = self.recognised(value)
            self._asked[id(value)] = (value, found)
            if found:
                self.objects[_free(name, self.objects)] = value
        return self._asked[id(value)][1]

    def _is_written(self, owner: types.FunctionType, name: str, value: Any) -> bool:
        """Tell whether a function assigns globals, so that a copy of them would not do; warn of an object in them."""
        if not any(i.opname == "STORE_GLOBAL" for i in dis.get_instructions(owner.__code__)):
            return False
        if not isinstance(value, _HOLDERS):
            self.objects = {n: v for n, v in self.objects.items() if v is not value}
            self._asked[id(value)] = (value, False)
            self.warnings.append(_unnamed(f"the global {name}", f"{owner.__name__} assigns globals"))
        return True

    def affected(self) -> set[int]:
        """Return the ids of the functions that reach an object."""
        found = {id(v) for v in self.objects.values()}
        size = 0
        while len(found) > size:
            size = len(found)
            found |= {owner for owner, values in self._reached.items() if any(id(v) in found for v in values)}
        return found


@dataclass(slots=True)
class _Rebuilder:
    """Makes functions over copies of objects.

    Attributes:
        copies: the copies, by the ids of the originals.
        affected: ids of the objects and of the functions that reach them.
        names: for each dictionary of globals, by id, the names in it that matter.
    """

    copies: Mapping[int, Any]
    affected: set[int]
    names: Mapping[int, set[str]]
    _made: dict[int, Any] = field(default_factory=dict)

    def of(self, value: Any) -> Any:
        """Return what stands for a value: itself, if it reaches no object."""
        if id(value) not in self.affected:
            return value
        if id(value) in self.copies:
            return self.copies[id(value)]
        match value:
            case types.FunctionType():
                return self._made.get(id(value)) or self._function(value)
            case types.MethodType():
                return types.MethodType(self.of(value.__func__), self.of(value.__self__))
            case functools.partial():
                own = {k: self.of(v) for k, v in value.keywords.items()}
                return functools.partial(self.of(value.func), *map(self.of, value.args), **own)
        return self.of(value.__wrapped__)

    def _function(self, fn: types.FunctionType) -> types.FunctionType:
        cells = tuple(self._cell(cell) for cell in fn.__closure__ or ())
        made = types.FunctionType(fn.__code__, self._globals(fn.__globals__), fn.__name__, None, cells)
        self._made[id(fn)] = made
        for cell, old in zip(cells, fn.__closure__ or (), strict=True):
            if cell is not old and not _content(cell):
                cell.cell_contents = self.of(old.cell_contents)
        made.__defaults__ = fn.__defaults__ and tuple(map(self.of, fn.__defaults__))
        made.__kwdefaults__ = fn.__kwdefaults__ and {k: self.of(v) for k, v in fn.__kwdefaults__.items()}
        made.__qualname__, made.__module__ = fn.__qualname__, fn.__module__
        made.__dict__.update(fn.__dict__)
        return made

    def _cell(self, cell: types.CellType) -> types.CellType:
        """Return the cell itself if its content stays, so that functions go on sharing it."""
        content = _content(cell)
        if not content or id(content[0]) not in self.affected:
            return cell
        return self._made.setdefault(id(cell), types.CellType())  # type: ignore[no-any-return]

    def _globals(self, own: dict[str, Any]) -> dict[str, Any]:
        names = [n for n in self.names.get(id(own), ()) if id(own[n]) in self.affected]
        if not names:
            return own
        if id(own) not in self._made:
            copy = self._made[id(own)] = dict(own)
            copy.update({n: self.of(own[n]) for n in names})
        return self._made[id(own)]  # type: ignore[no-any-return]


def _content(cell: types.CellType) -> tuple[Any, ...]:
    """Return the value in a cell, which may be empty."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _defaults(fn: types.FunctionType) -> Iterator[tuple[str, Any]]:
    positional = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    values = fn.__defaults__ or ()
    yield from zip(positional[len(positional) - len(values) :], values, strict=True)
    yield from (fn.__kwdefaults__ or {}).items()


def _global_names(fn: types.FunctionType) -> list[str]:
    """Names of the globals that a function's code, or code within it, may read; none of an installed library's."""
    path = Path(fn.__code__.co_filename)
    if {"site-packages", "dist-packages"} & set(path.parts) or Path(__file__).parents[1] in path.parents:
        return []
    names: dict[str, None] = {}

    def visit(code: types.CodeType) -> None:
        names.update(dict.fromkeys(code.co_names))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                visit(constant)

    visit(fn.__code__)
    return list(names)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    found, count = name or "object", 1
    while found in taken:
        found = f"{name}_{count}"
        count += 1
    return found


def _parameters(fn: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def _unnamed(what: str, why: str) -> str:
    return (
        f"{what} keeps its mode, and its weights are constants without names, since {why}; pass the object itself, "
        "a method of it, or a functools.partial that holds it"
    )
