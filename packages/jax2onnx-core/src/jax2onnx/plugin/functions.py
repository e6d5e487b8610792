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
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, overload

import jax
import numpy as np

from jax2onnx._accepted import accept_value, flag, readable, shown, text
from jax2onnx._compat import open_jaxpr
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin.content import content
from jax2onnx.plugin.naming import argument_names, callable_name, dotted, name_arrays
from jax2onnx.plugin.opening import Carried
from jax2onnx.plugin.scopes import inside, without_scope
from jax2onnx.plugin.trees import refuse_deep
from jax2onnx.program.conversions import answer_conversions

__all__ = [
    "Mark",
    "exporting",
    "fixing",
    "inlining",
    "input_names",
    "is_outlined",
    "marked_call",
    "marked_name",
    "onnx_function",
    "outline_class",
]

_MARK = re.compile(r"onnx_function\|(.*?)\|(.*?)\|(.*)")
_ATTRIBUTE = "__onnx_function__"
_RUNTIMES = ("ai.onnx", "com.microsoft", "com.ms", "org.pytorch")
"""Domains, with those below, in which runtimes have operators."""
_EXPORTING: ContextVar[_Export | None] = ContextVar("jax2onnx_exporting", default=None)
_PLAIN = (type(None), jax.Array, np.ndarray, list, tuple, dict, str, int, float)
"""Types that no plugin carries. They are frequent, so plugins are not asked."""

_Function: TypeAlias = Callable[..., Any]
_Carry: TypeAlias = Callable[[Any], Carried | None]
F = TypeVar("F", bound=_Function)


@dataclass(frozen=True, slots=True)
class Mark:
    """The name, the domain and the call site that a marked call carries; site 0 is common to all calls."""

    name: str
    namespace: str
    site: int = 0

    def __str__(self) -> str:
        namespace, name = map(_escaped, (self.namespace, self.name))
        return f"onnx_function|{namespace}|{name}|{self.site}"


def marked_call(eqn: Any) -> dict[str, Any] | None:
    """Return the mark and the input names of a jaxpr's equation that calls an ONNX function; None for others."""
    name = eqn.params.get("name")
    mark = _parse_mark(name) if isinstance(name, str) else None
    if mark is None:
        return None
    names = input_names(eqn.params["jaxpr"])
    return {"mark": mark, "inputs": names}


def _parse_mark(name: str) -> Mark | None:
    """Return the mark in the name of a jitted function, around which transformations may have put words."""
    found = _MARK.search(name)
    if found is None:
        return None
    namespace, function, site = found.groups()
    digits = "".join(filter(str.isdigit, site))
    return Mark(_plain(function), _plain(namespace), int(digits))


def _escaped(text: str) -> str:
    """Return a name without the character that separates the parts of a mark."""
    return text.replace("%", "%25").replace("|", "%7C")


def _plain(text: str) -> str:
    return text.replace("%7C", "|").replace("%25", "%")


@dataclass(slots=True, eq=False)
class _Export:
    """An export in progress.

    Attributes:
        carry: takes apart a framework object that is an argument; returns None for anything else.
        jitted: the jitted form of each decorated callable.
        sites: numbers for the call sites that have a definition of their own.
        fixed: by id, arrays that are constants, of the functions too.
    """

    carry: _Carry
    jitted: dict[Any, _Function] = field(default_factory=dict)
    sites: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    fixed: Mapping[int, Any] | None = None


@contextlib.contextmanager
def exporting(carry: _Carry) -> Iterator[None]:
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


def marked_name(name: str, namespace: str = "jax2onnx") -> str:
    """Return the name that marks a function given to ``jax.jit`` (or a framework's own jit) as an ONNX function."""
    return str(Mark(name, namespace))


def input_names(jaxpr: Any) -> list[str]:
    """Return names for the inputs of a marked function's jaxpr.

    They are those that :func:`name_arrays` gave. A transformation may have dropped them; then they are numbered.
    """
    inner, _ = open_jaxpr(jaxpr)
    numbered = [f"input_{i}" for i in range(len(inner.invars))]
    info = inner.debug_info
    paths = [] if info is None else info.arg_names or []
    if len(paths) != len(numbered):
        return numbered
    names = []
    for path, number in zip(paths, numbered, strict=True):
        # JAX names an input by its path in the arguments, such as ``arrays['x.left']``.
        keys = re.findall(r"\['(.*?)'\]", str(path))
        names.append(".".join(keys) or number)
    return list(name_arrays(names, names))


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
    arguments, paths = _take_apart(fn, args_and_kwargs, export)
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


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The arguments of a call, taken apart: framework objects, and arrays and static values in the same form.

    ``jax.jit`` specialises a function for them. Calls share a trace where ``key`` is equal: where the function can see
    no difference but in arrays. Other calls are traced on their own; equal bodies are one ONNX function nevertheless.
    """

    key: Any
    tree: Any = field(compare=False)
    parts: Sequence[Carried] = field(compare=False)


def _jit(fn: _Function, mark: Mark, *, answers: bool) -> _Function:
    """Return the jitted form of ``fn``: it returns the changed arrays of each argument too, or None for it.

    Args:
        fn: the function.
        mark: its name for ``jax.jit``.
        answers: whether Python code in it gets the values of constants.
    """

    def call(arguments: _Arguments, arrays: Mapping[str, Any]) -> Any:
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
        states = map(_changed, arguments.parts, leaves, given)
        return result, list(states)

    call.__name__ = call.__qualname__ = str(mark)
    return jax.jit(call, static_argnums=0)


def _changed(part: Carried, leaf: Any, before: Sequence[Any]) -> list[Any] | None:
    """Return the arrays of a rebuilt argument after the call, or None if the call changed none of them."""
    after = list(part.read(leaf))
    is_same = [old is new for old, new in zip(before, after, strict=True)]
    return None if all(is_same) else after


def _take_apart(fn: _Function, args_and_kwargs: Any, export: _Export) -> tuple[_Arguments, list[Any]]:
    """Return the arguments of ``fn``, taken apart, and the path of each part; a framework object is one part."""
    refuse_deep(f"the arguments of {callable_name(fn)}", args_and_kwargs)
    carried: dict[int, Carried] = {}

    def is_carried(node: Any) -> bool:
        if isinstance(node, _PLAIN):
            return False
        part = export.carry(node)
        if part is not None:
            carried[id(node)] = _fix(part, export.fixed) if export.fixed else part
        return part is not None

    flat, tree = jax.tree_util.tree_flatten_with_path(args_and_kwargs, is_leaf=is_carried)
    paths = []
    parts = []
    for path, leaf in flat:
        paths.append(path)
        parts.append(carried.get(id(leaf)) or _as_carried(leaf, export.fixed or {}))
    statics = [part.static for part in parts]
    key = content(fn, (tree, statics))
    return _Arguments(key, tree, parts), paths


def _as_carried(leaf: Any, fixed: Mapping[int, Any]) -> Carried:
    """Return an array or a static value in the form of a framework object that a call never changes."""
    if id(leaf) in fixed:
        return Carried(np.asarray(leaf), [], lambda _: leaf, lambda _: [], _never_written)
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return Carried(None, [leaf], operator.itemgetter(0), lambda array: [array], _never_written)
    return Carried(leaf, [], lambda _: leaf, lambda _: [], _never_written)


def _never_written(_: Sequence[Any]) -> None:
    raise AssertionError


def _fix(part: Carried, fixed: Mapping[int, Any]) -> Carried:
    """Return a framework object whose ``fixed`` arrays are static values."""
    constants = {place: leaf for place, leaf in enumerate(part.leaves) if id(leaf) in fixed}
    if not constants:
        return part
    free = [place for place in range(len(part.leaves)) if place not in constants]
    contents = {place: np.asarray(leaf) for place, leaf in constants.items()}

    def complete(leaves: Sequence[Any]) -> list[Any]:
        given = dict(zip(free, leaves, strict=True)) | constants
        return [given[place] for place in range(len(given))]

    def read(rebuilt: Any) -> list[Any]:
        after = part.read(rebuilt)
        return [after[place] for place in free]

    return Carried(
        static=(part.static, contents),
        leaves=[part.leaves[place] for place in free],
        rebuild=lambda leaves: part.rebuild(complete(leaves)),
        read=read,
        write=lambda leaves: part.write(complete(leaves)),
        names=[part.names[place] for place in free] if part.names else (),
    )
