"""``onnx_function``: keep a function, a method or a class as one ONNX function.

While an export traces, a decorated callable runs inside a ``jax.jit`` whose name carries the mark, so every
transformation (vmap, grad, scan, jit) acts on it as on any jitted function, and the ONNX function is built from the
inner jaxpr that results. Outside an export the decorated callable is called as it is.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, overload

import jax
import numpy as np

from jax2onnx._compat import open_jaxpr

if TYPE_CHECKING:
    from jax2onnx.plugin.opening import Carried

_MARK = "onnx_function"
_ATTRIBUTE = "__onnx_function__"
_EXPORTING: ContextVar[_Export | None] = ContextVar("jax2onnx_exporting", default=None)

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Mark:
    """What the user said of an ONNX function."""

    name: str
    namespace: str
    site: int

    def __str__(self) -> str:
        return f"{_MARK}|{self.namespace}|{self.name}|{self.site}"


def marked_call(eqn: Any) -> dict[str, Any] | None:
    """Return the params of the equation that calls the ONNX function a jaxpr's equation stands for; None for others."""
    mark = _parse_mark(eqn.params.get("name"))
    return None if mark is None else {"mark": mark, "inputs": input_names(eqn.params["jaxpr"])}


def _parse_mark(name: Any) -> Mark | None:
    """Read a mark off the name of a jitted function; transformations may have put words around it."""
    if not isinstance(name, str) or _MARK + "|" not in name:
        return None
    _, namespace, function, site = name[name.index(_MARK) :].split("|")
    digits = "".join(c for c in site if c.isdigit())
    return Mark(function, namespace, int(digits))


@dataclass(slots=True, eq=False)
class _Export:
    """One export in progress: the jitted form of each decorated callable, and how objects are carried."""

    carry: Callable[[Any], Carried | None]
    jitted: dict[Any, Callable[..., Any]] = field(default_factory=dict)
    sites: int = 0


@contextlib.contextmanager
def exporting(carry: Callable[[Any], Carried | None]) -> Iterator[None]:
    """Let decorated callables become ONNX functions in this context (this thread)."""
    token = _EXPORTING.set(_Export(carry))
    try:
        yield
    finally:
        _EXPORTING.reset(token)


@overload
def onnx_function(target: F, /) -> F: ...
@overload
def onnx_function(*, name: str | None = None, namespace: str = "jax2onnx", unique: bool = True) -> Callable[[F], F]: ...
def onnx_function(
    target: Any = None, /, *, name: str | None = None, namespace: str = "jax2onnx", unique: bool = True
) -> Any:
    """Mark a function, a method or a class (its ``__call__``) to be exported as one ONNX function.

    Args:
        target: what is decorated.
        name: the ONNX function's name (default: that of the function or class).
        namespace: its domain.
        unique: whether equal calls share one definition; False gives each call site its own.
    """
    if target is None:
        return functools.partial(onnx_function, name=name, namespace=namespace, unique=unique)
    if inspect.isclass(target):
        setattr(target, "__call__", _wrap(target.__call__, name or target.__name__, namespace, unique=unique))  # noqa: B010
        return target
    own = str(getattr(target, "__name__", type(target).__name__))
    return _wrap(target, name or own, namespace, unique=unique)


def marked_name(name: str, namespace: str = "jax2onnx") -> str:
    """Return the name that marks a function given to ``jax.jit`` (or a framework's own jit) as an ONNX function."""
    return str(Mark(name, namespace, 0))


def argument_names(fn: Callable[..., Any], paths: Sequence[Any]) -> list[str]:
    """Name the leaves of ``(args, kwargs)`` by the parameters of ``fn`` and the paths below them, without ``self``."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = [p.name for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    names = []
    for kind, place, *below in paths:
        if kind.idx:
            label = str(place.key)
        elif place.idx < len(positional):
            label = positional[place.idx]
        else:
            label = f"{rest}.{place.idx - len(positional)}"
        path = jax.tree_util.keystr(tuple(below), simple=True, separator=".")
        names.append(".".join(filter(None, ("" if label == "self" else label, path))))
    return names


def named(names: Sequence[str], leaves: Sequence[Any]) -> OrderedDict[str, Any]:
    """Return arrays under distinct names, as an argument of a function that ``jax.jit`` traces."""
    found: OrderedDict[str, Any] = OrderedDict()
    for name, leaf in zip(names, leaves, strict=True):
        label, count = name or "input", 1
        while label in found:
            label = f"{name or 'input'}_{count}"
            count += 1
        found[label] = leaf
    return found


def input_names(jaxpr: Any) -> list[str]:
    """Name the inputs of a marked function's jaxpr as :func:`named` did, by number where a transformation forgot it."""
    info = open_jaxpr(jaxpr)[0].debug_info
    paths = (info and info.arg_names) or ()
    names = [".".join(re.findall(r"\['(.*?)'\]", str(path))) for path in paths]
    count = len(open_jaxpr(jaxpr)[0].invars)
    if len(names) != count:
        return [f"input_{i}" for i in range(count)]
    names = [name or f"input_{i}" for i, name in enumerate(names)]
    return list(named(names, names))


@functools.cache
def outlined(cls: type[Any]) -> type[Any]:
    """Return a subclass whose ``__call__`` is an ONNX function, for copies of a framework's modules.

    It is ``cls`` itself where that is one already, or has no ``__call__``; equal for equal classes.
    """
    if not any("__call__" in vars(base) for base in cls.__mro__) or hasattr(cls.__call__, _ATTRIBUTE):
        return cls
    own = {
        "__call__": onnx_function(name=cls.__name__)(cls.__call__),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    return types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(own))


def _wrap(fn: Callable[..., Any], name: str, namespace: str, *, unique: bool) -> Callable[..., Any]:
    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        export = _EXPORTING.get()
        if export is None:
            return fn(*args, **kwargs)
        return _call_marked(export, fn, Mark(name, namespace, 0), (args, kwargs), unique=unique)

    setattr(call, _ATTRIBUTE, True)
    return call


def _call_marked(
    export: _Export, fn: Callable[..., Any], mark: Mark, arguments: tuple[Any, Mapping[str, Any]], *, unique: bool
) -> Any:
    if not unique:
        export.sites += 1
        mark = Mark(mark.name, mark.namespace, export.sites)
    key = (fn, mark)
    carried: dict[int, Carried] = {}

    def is_leaf(node: Any) -> bool:
        if node is None or isinstance(node, jax.Array | np.ndarray | list | tuple | dict | str | int | float):
            return False
        opened = export.carry(node)
        if opened is not None:
            carried[id(node)] = opened
        return opened is not None

    flat, tree = jax.tree_util.tree_flatten_with_path(arguments, is_leaf=is_leaf)
    slots = [_slot(leaf, carried) for _, leaf in flat]
    labels = argument_names(fn, [path for path, _ in flat])
    names = [".".join(filter(None, (label, n))) for label, s in zip(labels, slots, strict=True) for n in s.names]
    leaves = named(names, [leaf for slot in slots for leaf in slot.leaves])
    static = _Static(tree, tuple(s.static for s in slots))
    if key not in export.jitted:
        export.jitted[key] = _jit(fn, mark)
    results, states = export.jitted[key](static, leaves, _Unhashed(slots))
    for slot, state in zip(slots, states, strict=True):
        if slot.carried is not None and state is not None:
            slot.carried.write(state)
    return results


@dataclass(frozen=True, slots=True)
class _Static:
    """What a call is specialised for: the arguments' tree and whatever in it is no array."""

    tree: Any
    parts: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """One leaf of the arguments: an array, a carried object, or a static value."""

    static: Hashable
    leaves: Sequence[Any]
    rebuild: Callable[[Sequence[Any]], Any]
    carried: Carried | None = None

    @property
    def names(self) -> Sequence[str]:
        """For each array its path within the leaf."""
        own = () if self.carried is None else self.carried.names
        return own or [""] * len(self.leaves)


class _Unhashed:
    """Hands the slots through ``jit`` as a static argument that never tells calls apart (``_Static`` does)."""

    def __init__(self, slots: Sequence[_Slot]) -> None:
        self.slots = slots

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)

    def __hash__(self) -> int:
        return hash(_Unhashed)


def _slot(leaf: Any, carried: Mapping[int, Carried]) -> _Slot:
    opened = carried.get(id(leaf))
    if opened is not None:
        return _Slot(opened.static, list(opened.leaves), opened.rebuild, opened)
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return _Slot(None, [leaf], lambda leaves: leaves[0])
    try:
        hash(leaf)
    except TypeError:
        return _Slot(id(leaf), [], lambda _: leaf)
    return _Slot((type(leaf), leaf), [], lambda _: leaf)


def _jit(fn: Callable[..., Any], mark: Mark) -> Callable[..., Any]:
    def call(static: _Static, leaves: Mapping[str, Any], slots: _Unhashed) -> Any:
        given = iter(leaves.values())
        arrays = [[next(given) for _ in s.leaves] for s in slots.slots]
        values = [s.rebuild(held) for s, held in zip(slots.slots, arrays, strict=True)]
        args, kwargs = jax.tree_util.tree_unflatten(static.tree, values)
        result = fn(*args, **kwargs)
        return result, [_changed(s, v, held) for s, v, held in zip(slots.slots, values, arrays, strict=True)]

    call.__name__ = call.__qualname__ = str(mark)
    return jax.jit(call, static_argnums=(0, 2))


def _changed(slot: _Slot, value: Any, before: Sequence[Any]) -> list[Any] | None:
    """The arrays of a carried object after the call, or None if the call changed nothing."""
    if slot.carried is None:
        return None
    after = list(slot.carried.read(value))
    return after if any(a is not b for a, b in zip(after, before, strict=True)) else None
