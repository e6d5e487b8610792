"""Open flax.nnx modules: a pure function over named parameters, in inference or in training mode.

The user's modules are never changed: a clone is made that shares their arrays, its mode is set, and each call works on
modules merged for that call alone, so that state they touch (statistics, counters, caches) goes no further.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from flax import nnx

from jax2onnx.plugin import Leaves, Opened, Opening, is_parameter, key_name, mode_warning, outline_class


def open_modules(target: Any, opening: Opening) -> Opened | None:
    """Return what a callable over modules does as a pure function, or None if no module is in it.

    Args:
        target: a module, a bound method of one, or a ``functools.partial`` whose function or arguments hold modules.
        opening: whether to keep training behaviour (otherwise the modules are put in evaluation mode, with a warning
            that names the layers whose behaviour that changes), whether every submodule becomes an ONNX function, and
            whether the function also returns the variables as they are after the call.
    """
    call = _Call.of(target)
    flat, tree = jax.tree_util.tree_flatten_with_path((call.args, call.kwargs), is_leaf=_is_module)
    leaves = [leaf for _, leaf in flat]
    places = [i for i, leaf in enumerate(leaves) if _is_module(leaf)]
    if not places:
        return None
    roots = _roots([flat[i][0] for i in places])
    walked = _Walk(tuple(leaves[i] for i in places), roots)
    walked, changed = _in_mode(walked, training=opening.training)
    explicit = opening.state == "io"
    variables, merge = _taken_apart(walked, counters=explicit)

    def function(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        merged = merge(params)
        if opening.functions == "modules":
            _outline(merged)
        filled = list(leaves)
        for place, module in zip(places, merged, strict=True):
            filled[place] = module
        own_args, own_kwargs = jax.tree_util.tree_unflatten(tree, filled)
        result = call.function(*own_args, *args, **{**own_kwargs, **kwargs})
        if not explicit:
            return result
        after = _variables(*arrays(nnx.split(merged, graph=True)[1], roots), counters=True)
        return result, {name: after.params.get(name, params[name]) for name in variables.params}

    return Opened(
        function=function,
        params=variables.params,
        name=call.name,
        state=variables.params if explicit else {},
        warnings=(mode_warning(changed, "evaluation", "model.eval()"),) if changed else (),
    )


def _in_mode(walked: _Walk, *, training: bool) -> tuple[_Walk, list[str]]:
    """Return modules in training or evaluation mode, copies if need be, and what to name of those that this changes."""
    if all(_settled(module, training=training) for _, module in walked.found):
        return walked, []
    graph, state = nnx.split(walked.modules, graph=True)
    clones = nnx.merge(graph, state)
    before = _modes(_Walk(clones, walked.roots).found)
    for module in clones:
        module.train() if training else module.eval()
    after = _Walk(clones, walked.roots)
    return after, [] if training else _changed(before, _modes(after.found))


def _taken_apart(walked: _Walk, *, counters: bool) -> tuple[Leaves, Callable[[Mapping[str, Any]], Any]]:
    """Return the variables of modules, and what makes modules of parameters: as pytrees where nothing is shared."""
    if walked.once:
        leaves, tree = jax.tree_util.tree_flatten(walked.modules)
        named = {id(v.get_raw_value()): (path, v) for path, v in walked.variables}
        known = all(id(leaf) in named and isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)
        if known and len(leaves) == len(walked.variables) == len(named):
            held = [(*named[id(leaf)], leaf) for leaf in leaves]
            variables = _variables(held, tree, counters=counters)
            return variables, variables.with_params
    graph, state = nnx.split(walked.modules, graph=True)
    variables = _variables(*arrays(state, walked.roots), counters=counters)
    return variables, lambda params: nnx.merge(graph, variables.with_params(params))


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


Held: TypeAlias = tuple[str, Any, Any]
"""An array (or other leaf) of a state: its path, into its variable if that holds several, that variable, itself."""


_VALUE = ((jax.tree_util.GetAttrKey("value"),),)
"""The paths of the leaves of a variable that is one array."""


def arrays(state: Any, roots: Sequence[str] = ()) -> tuple[list[Held], Any]:
    """Return the leaves of a module's state, or of that of those named ``roots``, in order, and the structure."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    rest, held = iter(leaves), []
    for variable in jax.tree_util.tree_leaves(state, is_leaf=_is_variable):
        for within in _within(variable):
            path, leaf = next(rest)
            steps = [key_name(key) for key in path[: len(path) - len(within)]]
            if roots:
                steps[0] = roots[int(steps[0])]
            steps += [s for s in map(key_name, within) if s != "value"]
            held.append((".".join(filter(None, steps)), variable, leaf))
    return held, tree


def _within(variable: Any) -> Sequence[Any]:
    """Return the paths of a variable's leaves in it."""
    if isinstance(variable, nnx.Variable) and isinstance(variable.get_raw_value(), jax.Array):
        return _VALUE
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(variable)]


def _variables(held: Sequence[Held], tree: Any, *, counters: bool) -> Leaves:
    """Tell which leaves are parameters: random keys are none, nor are counters unless they are asked for."""
    leaves = [leaf for _, _, leaf in held]
    names = [path if _is_named(variable, leaf, counters=counters) else None for path, variable, leaf in held]
    return Leaves(leaves, names, tree)


def _roots(paths: Sequence[Any]) -> list[str]:
    """Name the modules that a call holds: by the path in a container, else by number if there are several."""
    names = [".".join(key_name(key) for key in path[2:]) for path in paths]
    if len(paths) > 1:
        names = [name or str(i) for i, name in enumerate(names)]
    return names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]


def _is_module(node: Any) -> bool:
    return isinstance(node, nnx.Module)


def _is_variable(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def _is_named(variable: Any, leaf: Any, *, counters: bool) -> bool:
    is_random = isinstance(variable, nnx.RngState) and not (counters and isinstance(variable, nnx.RngCount))
    return is_parameter(leaf) and not is_random


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


class _Walk:
    """The modules that are reached from some.

    Attributes:
        modules: those.
        roots: their names.
        found: every module below once, with its path.
        variables: their variables, with their paths, as often as they are reached.
        once: whether none is reached in two ways.
    """

    def __init__(self, modules: tuple[nnx.Module, ...], roots: Sequence[str]) -> None:
        self.modules, self.roots = modules, roots
        self.found: list[tuple[str, nnx.Module]] = []
        self.variables: list[tuple[str, nnx.Variable[Any]]] = []
        self.once = True
        seen: set[int] = set()
        pending: list[tuple[str, Any]] = list(zip(roots, modules, strict=True))[::-1]
        while pending:
            path, node = pending.pop()
            items: Iterable[tuple[Any, Any]]
            if isinstance(node, nnx.Pytree):
                if id(node) in seen:
                    self.once = False
                    continue
                seen.add(id(node))
                if isinstance(node, nnx.Module):
                    self.found.append((path, node))
                items = vars(node).items()
            else:
                items = node.items() if isinstance(node, dict) else enumerate(node)
            below: list[tuple[str, Any]] = []
            for key, child in items:
                kind = _kind(child.__class__)
                if kind:
                    found = below if kind is nnx.Pytree else self.variables
                    found.append((f"{path}.{key}" if path else str(key), child))
            pending.extend(reversed(below))


@functools.cache
def _kind(kind: type) -> type | None:
    """Tell whether objects of a type are variables, or whether any may be found in them, as in a pytree."""
    if issubclass(kind, nnx.Variable):
        return nnx.Variable
    return nnx.Pytree if issubclass(kind, nnx.Pytree | list | tuple | dict) else None


def _outline(roots: Sequence[nnx.Module]) -> None:
    """Make the calls of all submodules ONNX functions; a module passed to the call keeps its own."""
    for root in roots:
        for _, module in nnx.iter_modules(root, graph=True):
            if module is not root:
                object.__setattr__(module, "__class__", outline_class(type(module)))


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
