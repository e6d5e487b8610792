"""Names for the arrays of a program, made of the parameters of its callables and of the paths in its pytrees."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jax2onnx._printable import storable
from jax2onnx._unique import free_name

__all__ = [
    "argument_names",
    "callable_name",
    "dotted",
    "key_name",
    "name_arrays",
    "parameters_of",
    "path_name",
    "positional_names",
]

_POSITIONAL = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
}


def callable_name(fn: Any) -> str:
    """Return the name of a function or a class, and of any other object that of its class."""
    name = getattr(fn, "__name__", type(fn).__name__)
    return storable(str(name))


def parameters_of(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the parameters of a callable, or None if Python knows no signature of it."""
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return None


def positional_names(fn: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that take one positional argument each."""
    parameters = parameters_of(fn) or []
    return [p.name for p in parameters if p.kind in _POSITIONAL]


def argument_names(fn: Callable[..., Any], paths: Sequence[Any]) -> list[str]:
    """Return a name for each leaf of ``(args, kwargs)``.

    The name starts with the parameter of ``fn`` that takes the leaf (``self`` is left out) and goes on with the path
    below it. Names may be equal.
    """
    positional = positional_names(fn)
    rest = "input"
    for parameter in parameters_of(fn) or []:
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = parameter.name
    names = []
    for args_or_kwargs, place, *below in paths:
        if args_or_kwargs.idx == 1:
            label = storable(str(place.key))
        elif place.idx < len(positional):
            label = positional[place.idx]
        else:
            label = f"{rest}.{place.idx - len(positional)}"
        if label == "self":
            label = ""
        names.append(dotted(label, path_name(below)))
    return names


def name_arrays(names: Sequence[str], arrays: Sequence[Any]) -> OrderedDict[str, Any]:
    """Return the arrays by name, where a name that is taken gets a number.

    A function that ``jax.jit`` traces takes the mapping as one argument; an ordered one keeps its order in jit.
    """
    named: OrderedDict[str, Any] = OrderedDict()
    for name, array in zip(names, arrays, strict=True):
        named[free_name(name or "input", named)] = array
    return named


def path_name(path: Sequence[Any]) -> str:
    """Return the path of a leaf in a pytree as it stands in names: ``layers.0.kernel``."""
    return storable(jax.tree_util.keystr(tuple(path), simple=True, separator="."))


@functools.lru_cache(maxsize=4096)
def key_name(key: Any) -> str:
    """Return one key of a path in a pytree as it stands in names: ``kernel``."""
    name = jax.tree_util.keystr((key,), simple=True)
    return storable(name.removeprefix("."))


def dotted(*parts: str) -> str:
    """Join by dots those parts of a name that are not empty."""
    return ".".join(part for part in parts if part)
