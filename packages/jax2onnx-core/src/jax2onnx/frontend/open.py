"""Open: from a callable to a pure function with named parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from jax2onnx._accepted import shown
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.closures import hidden_objects, lift_objects
from jax2onnx.frontend.holders import is_own_object
from jax2onnx.frontend.replaced import standing_for
from jax2onnx.plugin.naming import callable_name, path_name
from jax2onnx.plugin.opening import Leaves, Opened, Opening, is_parameter
from jax2onnx.plugin.trees import is_deep, refuse_deep

__all__ = ["open_callable"]


def open_callable(fn: Any, hook: Any, opening: Opening) -> Opened:
    """Return the pure function and the named parameters of a callable.

    Args:
        fn: a function or a framework object.
        hook: the plugins' hook relay.
        opening: how the user asked for it.

    Raises:
        InputSpecError: ``fn`` is not callable and no plugin opens it, or it holds a pytree that contains itself.
    """
    ask: Callable[..., Opened | None] = partial(hook.jax2onnx_open, opening=opening)

    def recognise(value: Any) -> bool:
        if _is_endless(value):
            return False  # no plugin could take it apart
        holder = partial(_hold, value)
        return ask(target=holder) is not None

    if isinstance(fn, partial):
        refuse_deep("fn", (fn.args, fn.keywords))
    elif _is_endless(getattr(fn, "__self__", fn)):
        refuse_deep("fn", getattr(fn, "__self__", fn))
    lifted, warnings = lift_objects(fn, recognise)
    opened = ask(target=lifted)
    if opened is None:
        opened = _open_plain(fn)
        warnings += hidden_objects(fn, recognise)
    return replace(opened, warnings=(*opened.warnings, *warnings))


def _is_endless(value: Any) -> bool:
    """Return whether a container, or an object of the user's own, is a pytree that JAX could not take apart.

    Objects of frameworks may refer to each other in circles; their plugins do not take them apart as pytrees.
    """
    return (isinstance(value, list | tuple | dict) or is_own_object(value)) and is_deep(value)


def _has_callable_instances(cls: type[Any]) -> bool:
    return any("__call__" in base.__dict__ for base in cls.__mro__)


def _refuse_suspended(fn: Any) -> None:
    """Raise InputSpecError for a function that does not return its result: a generator, or an asynchronous one."""
    inner = inspect.unwrap(fn.func if isinstance(fn, partial) else fn)
    call = inner if inspect.isroutine(inner) else getattr(type(inner), "__call__", inner)  # noqa: B004
    for kind, is_of in _SUSPENDED.items():
        if is_of(call):
            raise InputSpecError(
                f"fn: {callable_name(inner)} is {kind}, which JAX cannot trace; pass a function that returns its result"
            )


_SUSPENDED = {
    "a coroutine function": inspect.iscoroutinefunction,
    "a generator function": inspect.isgeneratorfunction,
    "an asynchronous generator function": inspect.isasyncgenfunction,
}


def _hold(*_values: Any) -> None:
    """Stand for a function that holds the values about which plugins are asked."""


def _open_plain(fn: Any) -> Opened:
    """Open a callable that no plugin opens.

    If it is a partial, the arrays in containers that it holds, such as a model's weights, are parameters. They are
    named by their paths in the argument. Where two such paths are equal, all names start with the number or the name
    of the argument.
    """
    if not callable(fn):
        if isinstance(fn, Mapping) and any(isinstance(entry, tuple) for entry in fn.values()):
            raise InputSpecError(
                f"fn: {shown(list(fn))} are several entries; save_onnx(entries, path) writes them, and "
                "check(path, entries) compares them; all else takes one callable"
            )
        raise InputSpecError(
            f"fn: {shown(fn)} is neither callable nor an object that a loaded plugin opens; pass a function, or see "
            "jax2onnx list-plugins for the frameworks whose objects are opened"
        )
    if inspect.isclass(fn) and _has_callable_instances(fn):
        raise InputSpecError(f"fn: {fn.__name__} is a class; pass an instance of it, {fn.__name__}(...)")
    _refuse_suspended(fn)
    if not isinstance(fn, partial):
        fn = partial(fn)
    flat, tree = jax.tree_util.tree_flatten_with_path((fn.args, fn.keywords))
    leaves = []
    short: list[str | None] = []
    long: list[str | None] = []
    for path, leaf in flat:
        leaves.append(leaf)
        # Two keys of the path lead to the argument.
        is_in_container = len(path) > 2
        is_jax = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
        if is_in_container and is_jax and is_parameter(leaf):
            short.append(path_name(path[2:]))
            long.append(path_name(path[1:]))
        else:
            short.append(None)
            long.append(None)
    held = Leaves(leaves, short, tree)
    count = len(short) - short.count(None)
    if len(held.params) < count:
        held = Leaves(leaves, long, tree)

    def pure(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        own_args, own_kwargs = held.with_params(params)
        own_kwargs.update(kwargs)
        return standing_for(fn.func)(*own_args, *args, **own_kwargs)

    return Opened(
        function=pure,
        params=held.params,
        name=callable_name(fn.func),
    )
