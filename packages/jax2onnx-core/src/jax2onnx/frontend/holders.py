"""Holders: what functions, methods, partials, containers and objects of the user's own classes hold."""

from __future__ import annotations

import dis
import sys
from abc import ABC
from collections.abc import Iterable
from functools import lru_cache, partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Generic, Protocol, TypeAlias

import jax
import numpy as np

from jax2onnx._compat import is_library
from jax2onnx.plugin.naming import dotted

__all__ = [
    "CALLABLES",
    "JITTED",
    "PLAIN",
    "Named",
    "assigns_globals",
    "attributes",
    "class_attributes",
    "global_values",
    "held_values",
    "is_container",
    "is_empty",
    "is_own_object",
]

JITTED: type[Any] = type(jax.jit(lambda: None))
CALLABLES = (FunctionType, MethodType, partial, JITTED)
"""Types of callables that hold others."""
PLAIN = (
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

Named: TypeAlias = tuple[str, Any]
_HEAP_TYPE = 1 << 9
"""The flag of classes that are written in Python."""


def is_container(value: Any) -> bool:
    """Return whether a value is one of Python's own containers, and no subclass."""
    return type(value) in {list, tuple, dict}


def is_own_object(value: Any) -> bool:
    """Return whether a value is an object of a class of the user's own, of which a copy can be made."""
    kind: Any = type(value)
    return _is_own_class(kind)


@lru_cache(maxsize=1024)
def _is_own_class(cls: type[Any]) -> bool:
    bases = [base for base in cls.__mro__ if base not in {object, ABC, Generic, Protocol}]
    return bool(bases) and all(map(_is_users, bases))


def _is_users(cls: type[Any]) -> bool:
    """Return whether a class is written in Python, and neither in its library nor in an installed one."""
    root = cls.__module__.partition(".")[0]
    if not cls.__flags__ & _HEAP_TYPE or (root in sys.stdlib_module_names and root != "__main__"):
        return False
    source = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return source is None or not is_library(source)


def attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes that an object itself holds, in its dict and in slots."""
    found: dict[str, Any] = {}
    for base in reversed(type(owner).__mro__):
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType) and hasattr(owner, name):
                found[name] = getattr(owner, name)
    found.update(getattr(owner, "__dict__", {}))
    return found


def class_attributes(cls: type[Any]) -> dict[str, Any]:
    """Return the functions and values that objects of a class find in it; a property is its getter."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        found.update(vars(base))
    return {name: _unwrapped(value) for name, value in found.items() if not isinstance(value, MemberDescriptorType)}


def _unwrapped(member: Any) -> Any:
    match member:
        case property():
            return member.fget
        case staticmethod() | classmethod():
            return member.__func__
    return member


def held_values(owner: Any, name: str) -> Iterable[Named]:
    """Return what a holder, which its own holder calls ``name``, holds.

    A function holds cells and defaults; a method, a partial or a jit what it is one of; a container its items, but for
    plain ones, which may be many; an object its attributes.
    """
    match owner:
        case FunctionType():
            return _cell_values(owner) + _default_values(owner)
        case MethodType():
            return [(name, owner.__self__), (name, owner.__func__)]
        case partial():
            positional = (owner.func, *owner.args)
            keywords = owner.keywords.items()
            return [*((name, value) for value in positional), *keywords]
        case list() | tuple():
            return [(dotted(name, str(place)), v) for place, v in enumerate(owner) if not isinstance(v, PLAIN)]
        case dict():
            return [(dotted(name, str(key)), v) for key, v in owner.items() if not isinstance(v, PLAIN)]
    if isinstance(owner, JITTED):
        return [(name, owner.__wrapped__)]
    own = [(dotted(name, key), value) for key, value in attributes(owner).items()]
    return own + [(dotted(name, key), value) for key, value in class_attributes(type(owner)).items()]


def _cell_values(fn: FunctionType) -> list[Named]:
    values = []
    names = fn.__code__.co_freevars
    cells = fn.__closure__ or ()
    for name, cell in zip(names, cells, strict=True):
        if not is_empty(cell):
            values.append((name, cell.cell_contents))
    return values


def _default_values(fn: FunctionType) -> list[Named]:
    code = fn.__code__
    values = fn.__defaults__ or ()
    first = code.co_argcount - len(values)
    names = code.co_varnames[first : code.co_argcount]
    keywords = fn.__kwdefaults__ or {}
    return [*zip(names, values, strict=True), *keywords.items()]


def global_values(owner: Any) -> list[Named]:
    """Return the globals that a function's code, or code within it, may read.

    There are none for a function of an installed library: it gets the user's objects in other ways.
    """
    if not isinstance(owner, FunctionType) or is_library(owner.__code__.co_filename):
        return []
    values = owner.__globals__
    return [(name, values[name]) for name in _accessed_globals(owner.__code__)[0] if name in values]


def assigns_globals(fn: Any) -> bool:
    """Return whether a function assigns globals, so that it needs its module's own and no copy of them."""
    return isinstance(fn, FunctionType) and _accessed_globals(fn.__code__)[1]


@lru_cache(maxsize=4096)
def _accessed_globals(code: CodeType) -> tuple[tuple[str, ...], bool]:
    """Return the names of the globals that code, or code within it, reads, and whether it assigns any itself."""
    names: dict[str, None] = {}
    assigns = False
    pending = [code]
    while pending:
        current = pending.pop()
        for instruction in dis.get_instructions(current):
            if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
                names[instruction.argval] = None
            elif instruction.opname == "STORE_GLOBAL" and current is code:
                assigns = True
        inner = [constant for constant in current.co_consts if isinstance(constant, CodeType)]
        pending += reversed(inner)
    return tuple(names), assigns


def is_empty(cell: CellType) -> bool:
    """Return whether a cell has no content (yet): its variable is assigned later, or never."""
    return cell == CellType()
