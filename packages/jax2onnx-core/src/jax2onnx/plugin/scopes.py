"""Scopes: while an export traces, the call of a module runs in a ``jax.named_scope`` of the module's path.

The paths of linen are name scopes of flax's own. For other frameworks this gives the equations of
``model.blocks[3].attention`` the scopes ``blocks.3`` and ``attention``, from which nodes have their namespace.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax

__all__ = ["inside", "named_calls", "without_scope"]

Walk: TypeAlias = Callable[[Any], Iterable[tuple[str, Any]]]
"""Yields a module and those below it, each with its path from there."""

_SCOPED = "__jax2onnx_scoped__"
_LOCK = threading.Lock()
_USERS: Counter[type[Any]] = Counter()
"""Class -> in how many contexts its calls are named."""


@dataclass(slots=True)
class _Modules:
    """The modules whose calls are named in a context.

    Attributes:
        walk: finds the modules below one.
        paths: by id, the path of each; two may be of the same module, which has the first one.
        held: all of them, so that no other object gets an id of theirs.
        current: the module whose call is traced, and its path.
    """

    walk: Walk
    paths: dict[int, str] = field(default_factory=dict)
    held: list[Any] = field(default_factory=list)
    current: tuple[Any, str] = (None, "")

    def add(self, root: Any, path: str) -> None:
        for below, module in self.walk(root):
            self.held.append(module)
            self.paths.setdefault(id(module), ".".join(filter(None, (path, below))))

    @contextlib.contextmanager
    def calling(self, module: Any) -> Iterator[None]:
        """Name what is traced in a module's call by the path from the module around; by its class if none is known."""
        before = self.current
        if module is before[0]:
            yield
            return
        if id(module) not in self.paths:  # made in the program, or rebuilt by a transformation such as nnx.scan
            self.add(module, ".".join(filter(None, (before[1], type(module).__name__))))
        path = self.paths[id(module)]
        name = path.removeprefix(f"{before[1]}.") if before[1] else path
        self.current = (module, path)
        try:
            with jax.named_scope(name) if name else contextlib.nullcontext():
                yield
        finally:
            self.current = before


_MODULES: ContextVar[_Modules | None] = ContextVar("jax2onnx_modules", default=None)


@contextlib.contextmanager
def named_calls(roots: Sequence[tuple[str, Any]], walk: Walk) -> Iterator[None]:
    """Name the equations of the calls of modules in this context by the modules' paths.

    The ``__call__`` of their classes is another one meanwhile, which does the same outside of this context (thread).

    Args:
        roots: the outermost modules with their paths.
        walk: yields a module and the modules below it, each with its path from there.
    """
    modules = _Modules(walk)
    for path, root in roots:
        modules.add(root, path)
    owners = {_owner(type(module)) for module in modules.held} - {None}
    for owner in owners:
        _replace(owner)
    token = _MODULES.set(modules)
    try:
        yield
    finally:
        _MODULES.reset(token)
        for owner in owners:
            _restore(owner)


@contextlib.contextmanager
def inside(arguments: Sequence[Any]) -> Iterator[None]:
    """Name what is below a module by its path from there, in the body of an ONNX function that is its ``__call__``."""
    modules = _MODULES.get()
    module = arguments[0] if arguments else None
    if modules is None or not any(found is module for _, found in modules.walk(module)):
        yield
        return
    modules.add(module, "")
    before, modules.current = modules.current, (module, "")
    try:
        yield
    finally:
        modules.current = before


def without_scope(call: Any) -> Any:
    """Return what a class has for ``__call__`` outside of :func:`named_calls`."""
    return getattr(call, _SCOPED, call)


def _owner(kind: type[Any]) -> Any:
    """Return the class that gives a type its ``__call__``."""
    return next((base for base in kind.__mro__ if "__call__" in vars(base)), None)


def _replace(owner: type[Any]) -> None:
    with _LOCK:
        _USERS[owner] += 1
        if _USERS[owner] == 1:
            type.__setattr__(owner, "__call__", _scoped(vars(owner)["__call__"]))


def _restore(owner: type[Any]) -> None:
    with _LOCK:
        _USERS[owner] -= 1
        if not _USERS[owner]:
            del _USERS[owner]
            type.__setattr__(owner, "__call__", without_scope(vars(owner)["__call__"]))


def _scoped(original: Any) -> Any:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = original.__get__(self, type(self)) if hasattr(original, "__get__") else original
        modules = _MODULES.get()
        if modules is None:
            return bound(*args, **kwargs)
        with modules.calling(self):
            return bound(*args, **kwargs)

    setattr(call, _SCOPED, original)
    return call
