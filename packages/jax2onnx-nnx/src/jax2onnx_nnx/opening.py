"""Open flax.nnx modules: a pure function over named parameters, in inference or in training mode.

The user's modules are never changed: a clone is made that shares their arrays, its mode is set, and each call works on
modules merged for that call alone, so that state they touch (statistics, counters, caches) goes no further.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.functions import outlined
from jax2onnx.registry import Opened, Opening

_LISTED = 12
"""How many layers the warning names before it counts the rest."""


def open_modules(target: Any, opening: Opening) -> Opened | None:
    """Return what a callable over modules does as a pure function, or None if no module is in it.

    Args:
        target: a module, a bound method of one, or a ``functools.partial`` whose function or arguments hold modules.
        opening: whether to keep training behaviour (otherwise the modules are put in evaluation mode, with a warning
            that names the layers whose behaviour that changes), whether every submodule becomes an ONNX function, and
            whether the function also returns the variables as they are after the call.
    """
    training = opening.training
    call = _Call.of(target)
    flat, tree = jax.tree_util.tree_flatten_with_path((call.args, call.kwargs), is_leaf=_is_module)
    leaves = [leaf for _, leaf in flat]
    places = [i for i, leaf in enumerate(leaves) if _is_module(leaf)]
    if not places:
        return None
    roots = _roots([flat[i][0] for i in places])
    modules: tuple[nnx.Module, ...] = tuple(leaves[i] for i in places)
    graph, state = nnx.split(modules, graph=True)
    changed: list[str] = []
    if not all(_settled(module, training=training) for _, module in _walk(modules, roots)):
        modules = nnx.merge(graph, state)
        before = _modes(_walk(modules, roots))
        for module in modules:
            module.train() if training else module.eval()
        graph, state = nnx.split(modules, graph=True)
        changed = [] if training else _changed(before, _modes(_walk(modules, roots)))
    explicit = opening.state == "io"
    variables = _Variables.of(state, roots, counters=explicit)

    def function(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        merged = nnx.merge(graph, variables.state(params))
        if opening.functions == "modules":
            _outline(merged)
        filled = list(leaves)
        for place, module in zip(places, merged, strict=True):
            filled[place] = module
        own_args, own_kwargs = jax.tree_util.tree_unflatten(tree, filled)
        result = call.function(*own_args, *args, **{**own_kwargs, **kwargs})
        if not explicit:
            return result
        after = _Variables.of(nnx.split(merged, graph=True)[1], roots, counters=True)
        return result, {name: after.params.get(name, params[name]) for name in variables.params}

    return Opened(
        function=function,
        params=variables.params,
        name=call.name,
        state=variables.params if explicit else {},
        warnings=(_warning(changed),) if changed else (),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A callable taken apart into a plain function and the arguments that it holds already."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    name: str

    @classmethod
    def of(cls, target: Any) -> _Call:
        match target:
            case nnx.Module():
                return cls(type(target).__call__, (target,), {}, type(target).__name__)
            case types.MethodType():
                return cls(target.__func__, (target.__self__,), {}, target.__func__.__name__)
            case functools.partial():
                inner = cls.of(target.func)
                return cls(inner.function, (*inner.args, *target.args), {**inner.kwargs, **target.keywords}, inner.name)
        return cls(target, (), {}, getattr(target, "__name__", type(target).__name__))


@dataclass(frozen=True, slots=True)
class _Variables:
    """The state of modules, flattened.

    Attributes:
        leaves: all arrays (and other leaves), in the order of ``tree``.
        names: for each leaf its parameter's name; None for one that is no parameter (random keys, and counters unless
            they are asked for).
        tree: the structure of the state.
    """

    leaves: Sequence[Any]
    names: Sequence[str | None]
    tree: Any

    @classmethod
    def of(cls, state: Any, roots: Sequence[str], *, counters: bool) -> _Variables:
        leaves, names = [], []
        for path, variable in jax.tree_util.tree_flatten_with_path(state, is_leaf=_is_variable)[0]:
            steps = [_step(key) for key in path]
            name = ".".join(filter(None, [roots[int(steps[0])], *steps[1:]]))
            for inner, leaf in jax.tree_util.tree_flatten_with_path(variable)[0]:
                within = [_step(key) for key in inner if _step(key) != "value"]
                leaves.append(leaf)
                names.append(".".join([name, *within]) if _is_named(variable, leaf, counters=counters) else None)
        return cls(leaves, names, jax.tree_util.tree_structure(state))

    @property
    def params(self) -> dict[str, Any]:
        return {name: leaf for name, leaf in zip(self.names, self.leaves, strict=True) if name is not None}

    def state(self, params: Mapping[str, Any]) -> Any:
        """Return the state with ``params`` in place; its variables are new ones."""
        leaves = [leaf if name is None else params[name] for name, leaf in zip(self.names, self.leaves, strict=True)]
        return jax.tree_util.tree_unflatten(self.tree, leaves)


def _roots(paths: Sequence[Any]) -> list[str]:
    """Name the modules that a call holds: by the path in a container, else by number if there are several."""
    names = [".".join(_step(key) for key in path[2:]) for path in paths]
    if len(paths) > 1:
        names = [name or str(i) for i, name in enumerate(names)]
    return names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]


def _is_module(node: Any) -> bool:
    return isinstance(node, nnx.Module)


def _is_variable(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def _is_named(variable: Any, leaf: Any, *, counters: bool) -> bool:
    return (
        (not isinstance(variable, nnx.RngState) or (counters and isinstance(variable, nnx.RngCount)))
        and isinstance(leaf, jax.Array | np.ndarray)
        and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    )


def _step(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True).removeprefix(".")


_Modes = dict[str, tuple[str, dict[str, bool]]]
"""For each module, by path: its class, and its switches."""


def _modes(walked: Iterable[tuple[str, nnx.Module]]) -> _Modes:
    return {
        path: (type(m).__name__, {k: v for k, v in vars(m).items() if isinstance(v, bool) and not _inert(m, k)})
        for path, m in walked
    }


def _settled(module: nnx.Module, *, training: bool) -> bool:
    """Tell whether flax's own switching of modes would leave a module as it is."""
    kind = type(module)
    if kind.train is not nnx.Module.train or kind.eval is not nnx.Module.eval:
        return False
    wanted = not training
    return all(getattr(module, switch, wanted) is wanted for switch in ("deterministic", "use_running_average"))


def _walk(modules: Sequence[nnx.Module], roots: Sequence[str]) -> Iterator[tuple[str, nnx.Module]]:
    """Yield every module below the given ones once, with its path."""
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = list(zip(roots, modules, strict=True))[::-1]
    while pending:
        path, node = pending.pop()
        items: Iterable[tuple[Any, Any]]
        if isinstance(node, nnx.Pytree):
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, nnx.Module):
                yield path, node
            items = vars(node).items()
        else:
            items = node.items() if isinstance(node, dict) else enumerate(node)
        below = [(k, v) for k, v in items if isinstance(v, _BRANCHES) and not isinstance(v, nnx.Variable)]
        pending.extend((f"{path}.{key}" if path else str(key), child) for key, child in reversed(below))


_BRANCHES = (nnx.Pytree, list, tuple, dict)
"""What modules may be found in."""


def _outline(roots: Sequence[nnx.Module]) -> None:
    """Make the calls of all submodules ONNX functions; a module passed to the call keeps its own."""
    for root in roots:
        for _, module in nnx.iter_modules(root, graph=True):
            if module is not root:
                object.__setattr__(module, "__class__", outlined(type(module)))


def _inert(module: nnx.Module, switch: str) -> bool:
    """Tell of dropout that drops nothing in any mode."""
    match module, switch:
        case ((nnx.Dropout(rate=rate) | nnx.MultiHeadAttention(dropout_rate=rate)), "deterministic"):
            return bool(rate == 0)
    return False


def _changed(before: _Modes, after: _Modes) -> list[str]:
    return [
        f"{path} ({name})" if path else f"the {name} itself"
        for path, (name, switches) in before.items()
        if switches != {k: v for k, v in after[path][1].items() if k in switches}
    ]


def _warning(layers: Sequence[str]) -> str:
    listed = ", ".join(layers[:_LISTED])
    if len(layers) > _LISTED:
        listed += f" and {len(layers) - _LISTED} more"
    return (
        f"not in evaluation mode, exported as their inference selves (on a copy; your object is unchanged): {listed}. "
        "Call model.eval() first to silence this warning, or pass training=True to export training behaviour."
    )
