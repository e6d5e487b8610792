"""Open: from a callable to a pure function with named parameters."""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax

from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.closures import expose, hidden
from jax2onnx.plugin.opening import Opened, Opening


def open_callable(fn: Any, hook: Any, opening: Opening) -> Opened:
    """Return the pure function and the named parameters of a callable.

    Args:
        fn: a function or a framework object.
        hook: the plugins' hook relay.
        opening: how the user asked for it.

    Raises:
        InputSpecError: ``fn`` is not callable and no plugin opens it.
    """

    def recognised(value: Any) -> bool:
        return hook.jax2onnx_open(target=functools.partial(_holding, value), opening=opening) is not None

    exposed, messages = expose(fn, recognised)
    opened: Opened | None = hook.jax2onnx_open(target=exposed, opening=opening)
    if opened is not None:
        return replace(opened, warnings=(*opened.warnings, *messages))
    if not callable(fn):
        msg = f"fn: {reprlib.repr(fn)} is neither callable nor an object that a loaded plugin opens"
        raise InputSpecError(msg)

    opened = _open_partial(fn) if isinstance(fn, functools.partial) else _open_function(fn)
    return replace(opened, warnings=(*messages, *hidden(fn, recognised)))


def _open_function(fn: Callable[..., Any]) -> Opened:
    @functools.wraps(fn, updated=())
    def pure(_params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return Opened(function=pure, params={}, name=getattr(fn, "__name__", type(fn).__name__))


def _holding(*_values: Any) -> None:
    """Stand for a function that is held with the values that plugins are asked about."""


def _open_partial(fn: functools.partial[Any]) -> Opened:
    """Make parameters of the arrays in containers (as of a model's weights) that a partial holds."""
    flat, tree = jax.tree_util.tree_flatten_with_path((fn.args, fn.keywords))
    held = [i for i, (path, leaf) in enumerate(flat) if len(path) > 2 and _is_parameter(leaf)]
    steps = [flat[i][0] for i in held]
    names = [jax.tree_util.keystr(path[2:], simple=True, separator=".") for path in steps]
    if len(set(names)) < len(names):
        names = [jax.tree_util.keystr(path[1:], simple=True, separator=".") for path in steps]
    places = dict(zip(held, names, strict=True))

    def pure(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        leaves = [params[places[i]] if i in places else leaf for i, (_, leaf) in enumerate(flat)]
        own_args, own_kwargs = jax.tree_util.tree_unflatten(tree, leaves)
        return fn.func(*own_args, *args, **{**own_kwargs, **kwargs})

    params = {name: flat[i][1] for i, name in places.items()}
    return Opened(function=pure, params=params, name=getattr(fn.func, "__name__", type(fn.func).__name__))


def _is_parameter(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended)
