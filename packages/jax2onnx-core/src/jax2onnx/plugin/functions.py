"""``onnx_function``: keep a function, a method or a class as one ONNX function.

While an export traces, a decorated callable runs inside a ``jax.jit`` whose name carries the mark. So every
transformation (vmap, grad, scan, jit) acts on it as on any jitted function, and the ONNX function is built from the
inner jaxpr that results. Outside an export the decorated callable is called as it is.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, overload

import jax

from jax2onnx._accepted import accept_value, flag, readable, shown, text
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin.arguments import Arguments, Carry, changed, take_apart
from jax2onnx.plugin.marks import Mark
from jax2onnx.plugin.naming import argument_names, callable_name, dotted, name_arrays
from jax2onnx.plugin.scopes import inside, without_scope
from jax2onnx.program.conversions import answer_conversions

__all__ = ["exporting", "fixing", "inlining", "is_outlined", "onnx_function", "outline_class"]

_ATTRIBUTE = "__onnx_function__"
_RUNTIMES = ("ai.onnx", "com.microsoft", "com.ms", "org.pytorch")
"""Domains, with those below, in which runtimes have operators."""
_EXPORTING: ContextVar[_Export | None] = ContextVar("jax2onnx_exporting", default=None)
_Function: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=_Function)


@dataclass(slots=True, eq=False)
class _Export:
    """An export in progress.

    Attributes:
        carry: takes apart a framework object that is an argument; returns None for anything else.
        jitted: the jitted form of each decorated callable.
        sites: numbers for the call sites that have a definition of their own.
        fixed: by id, arrays that are constants, of the functions too.
    """

    carry: Carry
    jitted: dict[Any, _Function] = field(default_factory=dict)
    sites: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    fixed: Mapping[int, Any] | None = None


@contextlib.contextmanager
def exporting(carry: Carry) -> Iterator[None]:
    """Make ONNX functions of calls of decorated callables in this context (this thread)."""
    token = _EXPORTING.set(_Export(carry))
    try:
        yield
    finally:
        _EXPORTING.reset(token)


@contextlib.contextmanager
def inlining() -> Iterator[None]:
    """Call decorated callables as they are in this context."""
    token = _EXPORTING.set(None)
    try:
        yield
    finally:
        _EXPORTING.reset(token)


@contextlib.contextmanager
def fixing(arrays: Iterable[Any]) -> Iterator[None]:
    """Make constants of these arrays, in this context, where they are held by arguments of ONNX functions.

    Python code gets the values of constants in the functions too.
    """
    export = _EXPORTING.get()
    if export is not None:
        fixed = {id(array): array for array in arrays}
        export = replace(export, jitted={}, fixed=fixed)
    token = _EXPORTING.set(export)
    try:
        yield
    finally:
        _EXPORTING.reset(token)


def is_outlined(arrays: Iterable[Any]) -> bool:
    """Return whether a call that reads these arrays may be an ONNX function whose inputs they are.

    It may not while an export finds out which arrays have to be constants, nor if one of these is such a constant. For
    plugins that use a framework's own jit; ``onnx_function`` and ``outline_class`` do what is right.
    """
    export = _EXPORTING.get()
    if export is None:
        return False
    fixed = export.fixed or {}
    return not any(id(array) in fixed for array in arrays)


@overload
def onnx_function(target: F, /) -> F: ...
@overload
def onnx_function(
    *,
    name: str | None = None,
    namespace: str = "jax2onnx",
    unique: bool = True,
) -> Callable[[F], F]: ...
@readable
def onnx_function(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    namespace: str = "jax2onnx",
    unique: bool = True,
) -> Any:
    """Mark a function, a method or a class (its ``__call__``) to be exported as one ONNX function.

    Args:
        target: what is decorated.
        name: the ONNX function's name (default: that of the function or class).
        namespace: its domain.
        unique: whether equal calls share one definition; False gives each call site its own.

    Raises:
        InputSpecError: the name or the domain cannot be one in ONNX, or the domain belongs to a runtime, which has
            operators of its own in it.
    """
    _accept(name, namespace)
    flag("unique", unique)
    if target is not None and not callable(target):
        raise InputSpecError(
            f"onnx_function: {shown(target)} is no function, method or class; write @onnx_function above one"
        )
    if target is None:
        return functools.partial(onnx_function, name=name, namespace=namespace, unique=unique)
    mark = Mark(name or callable_name(target), namespace)
    if not inspect.isclass(target):
        return _wrap(target, mark, unique=unique)
    call = _wrap(without_scope(target.__call__), mark, unique=unique)
    try:
        setattr(target, "__call__", call)  # noqa: B010 - mypy refuses the plain assignment
    except (TypeError, AttributeError) as error:
        raise InputSpecError(
            f"onnx_function: {shown(target)} cannot be changed ({error}); write @onnx_function above a class of yours"
        ) from error
    return target


def _accept(name: Any, namespace: Any) -> None:
    """Raise an error for a name or a domain that a function cannot have."""
    if name is not None:
        accept_value(text, "name", name)
    accept_value(text, "namespace", namespace)
    for option, value in (("name", name or ""), ("namespace", namespace)):
        if not all(map(str.isprintable, value)):
            remedy = "leave out control characters"
            raise InputSpecError(f"{option}: {shown(value)} cannot be printed; {remedy}")
    for domain in _RUNTIMES:
        if namespace == domain or namespace.startswith(f"{domain}."):
            raise InputSpecError(
                f"namespace: {namespace!r} is a domain of runtimes, whose operators would run instead of the function; "
                "write the name of your project, or leave namespace out"
            )


@functools.cache
def outline_class(cls: type[Any]) -> type[Any]:
    """Return a subclass whose ``__call__`` is an ONNX function, for copies of a framework's modules.

    It is ``cls`` itself if that has no ``__call__`` or is marked already. Equal classes have one subclass.
    """
    has_call = any("__call__" in vars(base) for base in cls.__mro__)
    if not has_call or hasattr(cls.__call__, _ATTRIBUTE):
        return cls
    decorate = onnx_function(name=cls.__name__)
    attributes = {
        "__call__": decorate(without_scope(cls.__call__)),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    metaclass: Any = type(cls)
    subclass: type[Any] = metaclass(cls.__name__, (cls,), attributes)
    return subclass


def _wrap(fn: _Function, mark: Mark, *, unique: bool) -> _Function:
    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        export = _EXPORTING.get()
        if export is None:
            return fn(*args, **kwargs)
        own_mark = mark
        if not unique:
            own_mark = replace(mark, site=next(export.sites))
        return _call_marked(export, fn, own_mark, (args, kwargs))

    setattr(call, _ATTRIBUTE, True)
    return call


def _call_marked(export: _Export, fn: _Function, mark: Mark, args_and_kwargs: Any) -> Any:
    """Call the jitted form of ``fn``, and store the state that it changed in the framework objects it was given."""
    arguments, paths = take_apart(fn, args_and_kwargs, export.carry, export.fixed or {})
    names: list[str] = []
    arrays: list[Any] = []
    labels = argument_names(fn, paths)
    for label, part in zip(labels, arguments.parts, strict=True):
        below = part.names or [""] * len(part.leaves)
        names += [dotted(label, name) for name in below]
        arrays += part.leaves
    key = (fn, mark)
    if key not in export.jitted:
        export.jitted[key] = _jit(fn, mark, answers=export.fixed is not None)
    result, states = export.jitted[key](arguments, name_arrays(names, arrays))
    for part, state in zip(arguments.parts, states, strict=True):
        if state is not None:
            part.write(state)
    return result


def _jit(fn: _Function, mark: Mark, *, answers: bool) -> _Function:
    """Return the jitted form of ``fn``: it returns the changed arrays of each argument too, or None for it.

    Args:
        fn: the function.
        mark: its name for ``jax.jit``.
        answers: whether Python code in it gets the values of constants.
    """

    def call(arguments: Arguments, arrays: Mapping[str, Any]) -> Any:
        if answers:
            answer_conversions()
        remaining = iter(arrays.values())
        given = []
        leaves = []
        for part in arguments.parts:
            own = list(itertools.islice(remaining, len(part.leaves)))
            given.append(own)
            leaves.append(part.rebuild(own))
        args, kwargs = jax.tree_util.tree_unflatten(arguments.tree, leaves)
        with inside(args):
            result = fn(*args, **kwargs)
        states = map(changed, arguments.parts, leaves, given)
        return result, list(states)

    call.__name__ = call.__qualname__ = str(mark)
    return jax.jit(call, static_argnums=0)
