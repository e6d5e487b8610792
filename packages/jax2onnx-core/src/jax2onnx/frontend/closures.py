"""Closures: framework objects that a callable uses without taking them as arguments.

A function reaches an object through a closure cell, a default, a global of its module, or something else that it holds
so: another function, a container, an object of the user's own class with an attribute. Such framework objects are made
arguments: what leads to them is rebuilt over copies of them. So a plugin opens them as it opens what a
``functools.partial`` holds. The user's functions and objects stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, Signature
from types import FunctionType, MethodType
from typing import Any, TypeAlias

from jax2onnx._unique import free_name
from jax2onnx.frontend.holders import (
    CALLABLES,
    JITTED,
    PLAIN,
    assigns_globals,
    global_values,
    held_values,
    is_container,
    is_own_object,
)
from jax2onnx.frontend.rebuild import Rebuilder
from jax2onnx.plugin.naming import callable_name, parameters_of, positional_names

__all__ = ["hidden_objects", "lift_objects", "reached_objects"]

_Recognise: TypeAlias = Callable[[Any], bool]


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
    while isinstance(inner, JITTED):
        inner = inner.__wrapped__
    search = _Search(recognise)
    if search.leads_further(inner):
        search.visit(inner, "")
    search.visit_arguments(inner, args, keywords)
    if search.objects:
        lifted = _lifted(inner, search)
        fn = partial(lifted, search.objects, *args, **keywords)
    elif not isinstance(inner, FunctionType):
        fn = partial(inner, *args, **keywords) if args or keywords else inner
    return fn, search.warnings


def _lifted(fn: Any, search: _Search) -> Callable[..., Any]:
    """Return a function that takes the objects as its first argument, and else what ``fn`` takes."""
    originals = dict(search.objects)
    affected = search.affected()

    def call(objects: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        copies = {id(originals[name]): copy for name, copy in objects.items()}
        rebuilder = Rebuilder(affected, copies)
        rebuilt = rebuilder.replacement(fn)
        if search.has_arguments:
            args = tuple(map(rebuilder.in_argument, args))
            kwargs = rebuilder.in_argument(kwargs)
        return rebuilt(*args, **kwargs)

    first = Parameter("objects", Parameter.POSITIONAL_ONLY)
    rest = parameters_of(fn) or []
    call.__name__ = callable_name(fn)
    call.__signature__ = Signature([first, *rest])  # type: ignore[attr-defined]
    return call


def hidden_objects(fn: Any, recognise: _Recognise) -> list[str]:
    """Return warnings of framework objects that a callable object holds although no plugin opens it."""
    inner = fn.func if isinstance(fn, partial) else fn
    owner = getattr(inner, "__self__", inner)
    others = PLAIN + CALLABLES
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


def reached_objects(fn: Any, recognise: _Recognise) -> list[Any]:
    """Return the objects that a callable is, is a method of, holds as arguments or reaches otherwise."""
    inner = fn
    held: list[Any] = []
    while isinstance(inner, partial | JITTED):
        if isinstance(inner, partial):
            held += [*inner.args, *inner.keywords.values()]
        inner = inner.func if isinstance(inner, partial) else inner.__wrapped__
    search = _Search(recognise)
    if search.leads_further(inner):
        search.visit(inner, "")
    search.visit_arguments(inner, held, {})
    found = list(search.objects.values())
    held.append(inner.__self__ if isinstance(inner, MethodType) else inner)
    while held:
        value = held.pop()
        if is_container(value):
            held += [inside for _, inside in held_values(value, "")]
        elif not isinstance(value, PLAIN) and recognise(value):
            found.append(value)
    return found


def _warning(what: str, why: str) -> str:
    return (
        f"{what} keeps its mode, and its weights are constants without names, since {why}; pass the object itself, "
        "a method of it, or a functools.partial that holds it"
    )


@dataclass(slots=True)
class _Search:
    """A search for the objects that a callable reaches.

    The callable holds all values that are met, so their ids identify them.

    Attributes:
        recognise: returns whether a plugin opens a value.
        objects: the objects found, by the names that their holders have for them.
        warnings: warnings of objects that cannot be lifted.
        has_arguments: whether arguments that a partial holds were searched.
        _reached: for each holder, by id, the values that it holds and that may reach an object.
        _is_object: for each value that a plugin was asked about, by id, whether it is an object.
        _pending: the holders that are to be searched, with their names.
    """

    recognise: _Recognise
    objects: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    has_arguments: bool = False
    _reached: dict[int, list[Any]] = field(default_factory=dict)
    _is_object: dict[int, bool] = field(default_factory=dict)
    _pending: list[tuple[Any, str]] = field(default_factory=list)

    def leads_further(self, inner: Any) -> bool:
        """Return whether a callable is to be searched: a function, or an object of the user's own that is none."""
        owner = inner.__self__ if isinstance(inner, MethodType) else inner
        if isinstance(inner, FunctionType) or (isinstance(inner, MethodType) and isinstance(owner, type)):
            return True
        return is_own_object(owner) and not self._asks(owner)

    def visit_arguments(self, fn: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        """Search the callables, and the objects of the user's own classes, among the arguments that a partial holds.

        Framework objects among them stay where they are: plugins open them there.
        """
        names = [*positional_names(fn), *map(str, range(len(args)))]
        arguments = [*zip(names, args, strict=False), *keywords.items()]
        arguments.reverse()
        while arguments:
            name, value = arguments.pop()
            if is_container(value):
                arguments += held_values(value, name)
            elif not isinstance(value, PLAIN) and self._is_holder(value) and not self._asks(value):
                self.has_arguments = True
                self.visit(value, name)

    def visit(self, owner: Any, name: str) -> None:
        """Search a holder, which its own holder calls ``name``, and all that it leads to."""
        self._pending.append((owner, name))
        while self._pending:
            self._search(*self._pending.pop())

    def _search(self, owner: Any, name: str) -> None:
        if id(owner) in self._reached:
            return
        reached = self._reached[id(owner)] = []
        first = len(self._pending)
        for label, value in held_values(owner, name):
            if self._may_reach(label, value):
                reached.append(value)
        for label, value in global_values(owner):
            if assigns_globals(owner) and not isinstance(value, CALLABLES):
                self._leave(owner, label, value)
            elif self._may_reach(label, value) and not assigns_globals(owner):
                reached.append(value)
        # What is popped next comes first: objects are found in the order in which they are held.
        self._pending[first:] = reversed(self._pending[first:])

    def _may_reach(self, name: str, value: Any) -> bool:
        """Return whether a value is an object, which is noted, or a holder, which is searched."""
        if isinstance(value, PLAIN):
            return False
        if isinstance(value, CALLABLES):
            self._pending.append((value, name))
            return True
        is_object = self._asks(value)
        if is_object and not (is_container(value) and self._has_further(value)):
            self._note(name, value)
            return True
        if is_container(value) or self._is_holder(value):
            self._pending.append((value, name))
            return True
        return False

    @staticmethod
    def _is_holder(value: Any) -> bool:
        return isinstance(value, CALLABLES) or is_own_object(value)

    def _asks(self, value: Any) -> bool:
        if isinstance(value, PLAIN):
            return False
        known = self._is_object.get(id(value))
        if known is None:
            known = self._is_object[id(value)] = self.recognise(value)
        return known

    def _note(self, name: str, value: Any) -> None:
        if not any(other is value for other in self.objects.values()):
            self.objects[free_name(name, self.objects)] = value

    def _has_further(self, container: Any) -> bool:
        """Return whether a container that a plugin opens holds functions, or objects, that lead to further objects."""
        search = _Search(self.recognise)
        search.visit_arguments(None, [container], {})
        return bool(search.objects)

    def _leave(self, owner: FunctionType, name: str, value: Any) -> None:
        """Leave a global where it is, with a warning if it is an object."""
        if not self._asks(value):
            return
        self._is_object[id(value)] = False
        for known, other in list(self.objects.items()):
            if other is value:
                del self.objects[known]
        why = f"{owner.__name__} assigns globals"
        self.warnings.append(_warning(f"the global {name}", why))

    def affected(self) -> set[int]:
        """Return the ids of the objects and of all holders that reach one."""
        affected = set(map(id, self.objects.values()))
        size = 0
        while len(affected) > size:
            size = len(affected)
            for owner, values in self._reached.items():
                if not affected.isdisjoint(map(id, values)):
                    affected.add(owner)
        return affected
