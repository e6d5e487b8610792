"""Open equinox modules: a pure function over their arrays, in inference or in training mode.

Modules are immutable pytrees: their arrays become parameters, everything else stays as it is.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.plugin import Leaves, Opened, Opening, is_parameter, key_name, mode_warning, named_calls, outline_class

_JitWrapper: Any = type(eqx.filter_jit(lambda: None))
_NoInline: Any = type(eqxi.noinline(lambda: None))
_WRAPPERS = frozenset({"__self__", "_fun", "_fn", "fn", "__wrapped__"})
"""Fields through which bound methods and equinox's transformations hold what they call."""


def open_modules(target: Any, opening: Opening) -> Opened | None:
    """Return what a callable over modules does as a pure function, or None if no module is in it.

    Args:
        target: a module, a bound method of one (or an equinox transformation of these, such as ``eqx.filter_vmap``),
            or a ``functools.partial`` whose function or arguments hold modules.
        opening: in inference form all ``inference`` flags are set, with a warning that names the layers that this
            changes. With ``functions="modules"`` the calls of submodules become ONNX functions. With ``state="io"`` an
            ``eqx.nn.State`` that a partial holds becomes state, and leaves the result.

    Raises:
        UnsupportedCaseError: ``state="io"``, and a call returns no state.
    """
    call = _Call.of(target)
    held = (call.function, call.args, dict(call.kwargs))
    if not any(_is_module(n) for n in jax.tree_util.tree_leaves(held, is_leaf=_is_module)):
        return None
    switched = eqx.nn.inference_mode(held, value=not opening.training)
    changed = [] if opening.training else _changed(held, switched)
    leaves = _leaves(switched)
    state = _state_names(switched, leaves.names) if opening.state == "io" else None

    def function(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        own, own_args, own_kwargs = leaves.with_params(params)
        if opening.functions == "modules":
            own, own_args, own_kwargs = _outlined((own, own_args, own_kwargs))
        with named_calls(_roots((own, own_args, own_kwargs)), _modules):
            result = own(*own_args, *args, **{**own_kwargs, **kwargs})
        return result if state is None else _split(result, state)

    return Opened(
        function=function,
        params=leaves.params,
        name=call.name,
        state={name: leaves.params[name] for name in state or ()},
        warnings=(mode_warning(changed, "inference", "equinox.nn.inference_mode(model)"),) if changed else (),
        signature=functools.partial(call.function, *call.args),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A callable as a pytree that is called and the arguments that it holds already."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @classmethod
    def of(cls, target: Any) -> _Call:
        match target:
            case functools.partial() | eqx.Partial():
                inner = cls.of(target.func)
                return cls(inner.function, (*inner.args, *target.args), {**inner.kwargs, **target.keywords})
            case _JitWrapper(__wrapped__=wrapped):
                return cls.of(wrapped)
            case types.MethodType(__self__=eqx.Module() as module):
                return cls(target.__func__, (module,), {})
        return cls(target, (), {})

    @property
    def name(self) -> str:
        called = inspect.unwrap(self.function)
        return str(getattr(called, "__name__", type(called).__name__))


def _leaves(held: Any) -> Leaves:
    flat, tree = jax.tree_util.tree_flatten_with_path(held)
    numbers = _numbers_of_functions(held)
    is_param = [is_parameter(leaf) and id(leaf) not in numbers for _, leaf in flat]
    given = iter(_named([path for (path, _), chosen in zip(flat, is_param, strict=True) if chosen]))
    names = [next(given) if chosen else None for chosen in is_param]
    return Leaves([leaf for _, leaf in flat], names, tree)


def _numbers_of_functions(held: Any) -> frozenset[int]:
    """Return the ids of the arrays by which functions of ``eqxi.noinline`` find what they call: no parameters."""
    modules = [module for _, module in _walk(held)]
    return frozenset(id(module.dynamic_index) for module in modules if isinstance(module, _NoInline))


def _named(paths: list[Any]) -> list[str]:
    """Return names of paths into ``(function, args, kwargs)``: without the place if they are still distinct."""
    steps = [[key_name(key) for key in path] for path in paths]
    short = [".".join(s for s in way[_places(way) :] if s not in _WRAPPERS) for way in steps]
    if "" not in short and len(set(short)) == len(short):
        return short
    return [".".join(way) for way in steps]


def _places(way: list[str]) -> int:
    """Return how many steps of a path only lead to the function, or to a positional argument."""
    return 2 if way[0] == "1" else 1


def _state_names(held: Any, names: Sequence[str | None]) -> tuple[str, ...] | None:
    """Return the names of the arrays that belong to an ``eqx.nn.State``; None if there is no state."""
    found: list[str] | None = None
    place = 0
    for node in jax.tree_util.tree_leaves(held, is_leaf=_is_state):
        size = len(jax.tree_util.tree_leaves(node))
        if _is_state(node):
            found = [*(found or []), *filter(None, names[place : place + size])]
        place += size
    return None if found is None else tuple(found)


def _split(result: Any, names: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Take the state out of ``(result, state)``."""
    match result:
        case (*rest, eqx.nn.State() as state):
            arrays = [leaf for leaf in jax.tree_util.tree_leaves(state) if eqx.is_array(leaf)]
            return rest[0] if len(rest) == 1 else tuple(rest), dict(zip(names, arrays, strict=True))
    msg = "state='io': the call does not return its eqx.nn.State as the last of a tuple"
    raise UnsupportedCaseError(msg, remedy="return (result, state), or leave state= at 'drop'")


def _is_module(node: Any) -> bool:
    return isinstance(node, eqx.Module)


def _is_state(node: Any) -> bool:
    return isinstance(node, eqx.nn.State)


def _outlined(held: Any) -> Any:
    """Make the calls of all submodules ONNX functions; the roots stay as they are.

    ``held`` is a copy for this call alone, so its modules may change their class.
    """
    for root in filter(_is_module, jax.tree_util.tree_leaves(held, is_leaf=_is_module)):
        for _, module in _walk(root):
            if module is not root:
                own: Any = type(module)
                object.__setattr__(module, "__class__", outline_class(own))
    return held


def _walk(root: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the modules of a pytree with their paths, outer ones first."""
    if _is_module(root):
        yield path, root
    children = jax.tree_util.tree_flatten_with_path(root, is_leaf=lambda n: n is not root and _is_module(n))[0]
    for way, child in children:
        if child is not root and _is_module(child):
            yield from _walk(child, (*path, *map(key_name, way)))


def _roots(held: Any) -> list[tuple[str, Any]]:
    """Return the outermost modules of ``(function, args, kwargs)``, with their names."""
    flat = jax.tree_util.tree_flatten_with_path(held, is_leaf=_is_module)[0]
    return [(_path(tuple(map(key_name, way)), held=True), node) for way, node in flat if _is_module(node)]


def _modules(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield the modules of a module, with their paths."""
    return ((_path(path, held=False), module) for path, module in _walk(root))


def _path(way: tuple[str, ...], *, held: bool) -> str:
    steps = way[_places(list(way)) :] if held else way
    return ".".join(step for step in steps if step not in _WRAPPERS)


def _changed(before: Any, after: Any) -> list[str]:
    """Name the layers whose ``inference`` flag differs, but for dropout that drops nothing in any mode."""
    layers = []
    for (path, old), (_, new) in zip(_walk(before), _walk(after), strict=True):
        if not hasattr(old, "inference") or bool(old.inference) == bool(new.inference):
            continue
        if isinstance(old, eqx.nn.Dropout) and old.p == 0:
            continue
        name = _path(path, held=True)
        layers.append(f"{name} ({type(old).__name__})" if name else f"the {type(old).__name__} itself")
    return layers
