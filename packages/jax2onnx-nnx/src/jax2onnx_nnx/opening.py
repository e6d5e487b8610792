"""Open flax.nnx objects: a pure function over named parameters, in inference or in training mode.

Objects are modules, and what else of nnx holds variables: optimizers, metrics, streams of random numbers, pytrees and
variables themselves. The user's objects are never changed: a clone shares their arrays, its mode is set, and each call
works on objects merged for that call alone, so that state they touch (statistics, counters, caches) goes no further.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from flax import nnx

from jax2onnx.plugin import (
    Leaves,
    Opened,
    Opening,
    is_array,
    is_parameter,
    key_name,
    mode_warning,
    named_calls,
    outline_class,
)

_HAS_KINDS = hasattr(nnx, "var_defaults")
"""Whether this flax has variables of several kinds."""
_VARIABLES = (nnx.Variable, nnx.variablelib.HijaxVariable) if _HAS_KINDS else (nnx.Variable,)
"""The classes of variables; ``isinstance`` takes one of the other class for a variable too, ``issubclass`` does not."""


def open_modules(target: Any, opening: Opening) -> Opened | None:
    """Return what a callable over objects of nnx does as a pure function, or None if no object is in it.

    Args:
        target: an object, a bound method of one, or a ``functools.partial`` whose function or arguments hold objects.
        opening: whether to keep training behaviour (otherwise the modules are put in evaluation mode, with a warning
            that names the layers whose behaviour that changes), whether every submodule becomes an ONNX function, and
            whether the function also returns the variables as they are after the call.
    """
    call = _Call.of(target)
    flat, tree = jax.tree_util.tree_flatten_with_path((call.args, call.kwargs), is_leaf=_is_object)
    leaves = [leaf for _, leaf in flat]
    places = [i for i, leaf in enumerate(leaves) if _is_object(leaf)]
    if not places:
        return None
    roots = _root_names([flat[i] for i in places])
    walk = _plain(_Walk(tuple(leaves[i] for i in places), roots))
    walk, changed = _in_mode(walk, training=opening.training)
    explicit = opening.state == "io"
    variables, merge = _split(walk, counters=explicit)

    def function(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        merged = merge(params)
        if opening.functions == "modules":
            _outline(merged)
        filled = list(leaves)
        for place, module in zip(places, merged, strict=True):
            filled[place] = module
        own_args, own_kwargs = jax.tree_util.tree_unflatten(tree, filled)
        with _plain_variables(), named_calls(list(zip(roots, merged, strict=True)), _modules):
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


def _plain(walk: _Walk) -> _Walk:
    """Return the objects with plain variables in the places of those that hold a reference or are types of JAX's own.

    The values are the same. Others are written in place, which a program that is traced must not do to the user's.
    """
    kinds = [variable.get_metadata() for _, variable in walk.variables] if _HAS_KINDS else []
    if not any(kind["hijax"] or kind["ref"] for kind in kinds):
        return walk
    copies: dict[int, Any] = {}

    def copy(_: Any, node: Any) -> Any:
        if not _is_variable(node):
            return node
        if id(node) not in copies:  # what is shared stays so
            copies[id(node)] = node.copy(hijax=False, ref=False)
        return copies[id(node)]

    return _Walk(nnx.map(copy, walk.modules, graph=True, recreate_variables=False), walk.roots)


def _plain_variables() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which new variables are plain."""
    return nnx.var_defaults(hijax=False, ref=False) if _HAS_KINDS else contextlib.nullcontext()


def _in_mode(walk: _Walk, *, training: bool) -> tuple[_Walk, list[str]]:
    """Return modules in the mode, copies if need be, and the names of the layers that evaluation mode changes."""
    if all(_is_settled(module, training=training) for _, module in walk.found):
        return walk, []
    graph, state = nnx.split(walk.modules, graph=True)
    clones = nnx.merge(graph, state)
    before = {path: _switches(module) for path, module in _Walk(clones, walk.roots).found}
    for module in _Walk(clones, walk.roots).outermost():
        module.train() if training else module.eval()
    after = _Walk(clones, walk.roots)
    changed: list[str] = []
    for path, module in after.found:
        now, kind = _switches(module), type(module).__name__
        if not training and any(now.get(name) != value for name, value in before.get(path, {}).items()):
            changed.append(f"{path} ({kind})" if path else f"the {kind} itself")
    return after, changed


def _switches(module: nnx.Module) -> dict[str, bool]:
    """Return the boolean attributes of a module, except those of dropout that drops nothing in any mode."""
    match module:
        case nnx.Dropout(rate=0) | nnx.MultiHeadAttention(dropout_rate=0):
            inert = {"deterministic"}
        case _:
            inert = set()
    return {name: value for name, value in vars(module).items() if isinstance(value, bool) and name not in inert}


def _split(walk: _Walk, *, counters: bool) -> tuple[Leaves, Callable[[Mapping[str, Any]], Any]]:
    """Return the variables of modules, and what makes modules of parameters.

    As pytrees modules are faster to take apart and to rebuild, but that loses what is shared.
    """
    if walk.once:
        leaves, tree = jax.tree_util.tree_flatten(walk.modules)
        named = {id(v.get_raw_value()): (path, v) for path, v in walk.variables}
        known = all(id(leaf) in named and is_array(leaf) for leaf in leaves)
        if known and len(leaves) == len(walk.variables) == len(named):
            held = [(*named[id(leaf)], leaf) for leaf in leaves]
            variables = _variables(held, tree, counters=counters)
            return variables, variables.with_params
    graph, state = nnx.split(walk.modules, graph=True)
    variables = _variables(*arrays(state, walk.roots), counters=counters)
    return variables, lambda params: nnx.merge(graph, variables.with_params(params))


@dataclass(frozen=True, slots=True)
class _Call:
    """A callable as a plain function and the arguments that it holds already."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    name: str

    @classmethod
    def of(cls, target: Any) -> _Call:
        match target:
            case nnx.Pytree() if callable(target):
                return cls(type(target).__call__, (target,), {}, type(target).__name__)
            case types.MethodType():
                return cls(target.__func__, (target.__self__,), {}, target.__func__.__name__)
            case functools.partial():
                inner = cls.of(target.func)
                return cls(inner.function, (*inner.args, *target.args), {**inner.kwargs, **target.keywords}, inner.name)
        return cls(target, (), {}, getattr(target, "__name__", type(target).__name__))


Held: TypeAlias = tuple[str, Any, Any]
"""A leaf of a state: its path (into its variable, too, if that holds several), that variable, the leaf itself."""

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
    """Return the paths of the leaves of a variable."""
    if isinstance(variable, nnx.Variable) and isinstance(variable.get_raw_value(), jax.Array):
        return _VALUE
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(variable)]


def _variables(held: Sequence[Held], tree: Any, *, counters: bool) -> Leaves:
    """Name the leaves that are parameters: random keys are none, nor are counters unless they are asked for."""
    leaves: list[Any] = []
    names: list[str | None] = []
    for path, variable, leaf in held:
        is_random = isinstance(variable, nnx.RngState) and not (counters and isinstance(variable, nnx.RngCount))
        if isinstance(leaf, jax.ShapeDtypeStruct) and isinstance(variable, nnx.RngState):
            # A key without a value is an input of the program, on which no result may depend: nor on what it counted.
            is_count = isinstance(leaf.dtype, np.dtype)
            leaves.append(np.zeros(leaf.shape, leaf.dtype) if is_count else leaf)
            names.append(None if is_count else path)
            continue
        leaves.append(leaf)
        names.append(path if is_parameter(leaf) and not is_random else None)
    return Leaves(leaves, names, tree)


def _root_names(objects: Sequence[tuple[Any, Any]]) -> list[str]:
    """Name the objects that a call holds: by the path in a container, else by number if there are several."""
    names = []
    for path, held in objects:
        name = ".".join(key_name(key) for key in path[2:])
        # The paths of other objects go on with the names of their variables.
        names.append(name or ("value" if _is_variable(held) else ""))
    if len(names) > 1:
        names = [name or str(i) for i, name in enumerate(names)]
    return names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]


def _is_object(node: Any) -> bool:
    return isinstance(node, nnx.Pytree | nnx.Variable)


def _is_variable(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def _is_settled(module: nnx.Module, *, training: bool) -> bool:
    """Return whether flax's own switching of modes would leave a module as it is."""
    kind = type(module)
    if kind.train is not nnx.Module.train or kind.eval is not nnx.Module.eval:
        return False
    wanted = not training
    return all(getattr(module, switch, wanted) is wanted for switch in ("deterministic", "use_running_average"))


class _Walk:
    """The modules and variables that are reached from some objects.

    Attributes:
        modules: the objects to start from.
        roots: their names.
        found: every module among and below them once, with its path.
        variables: their variables, with their paths, as often as they are reached.
        once: whether none is reached in two ways.
    """

    def __init__(self, modules: tuple[Any, ...], roots: Sequence[str]) -> None:
        self.modules, self.roots = modules, roots
        self.found: list[tuple[str, nnx.Module]] = []
        self.variables: list[tuple[str, nnx.Variable[Any]]] = []
        self.once = True
        seen: set[int] = set()
        pending: list[tuple[str, Any]] = list(zip(roots, modules, strict=True))[::-1]
        while pending:
            path, node = pending.pop()
            kind = node.__class__
            if _kind(kind) is nnx.Variable:
                self.variables.append((path, node))
            if _is_a(kind, nnx.Pytree):
                if id(node) in seen:
                    self.once = False
                    continue
                seen.add(id(node))
            if _is_a(kind, nnx.Module):
                self.found.append((path, node))
            # What is popped next comes first: modules are found in the order of their attributes.
            pending += reversed(self._below(path, node))

    def outermost(self) -> list[nnx.Module]:
        """Return the modules that no other module holds."""
        held = {id(below) for _, module in self.found for below in vars(module).values()}
        return [module for _, module in self.found if id(module) not in held]

    def _below(self, path: str, node: Any) -> list[tuple[str, Any]]:
        """Return what a node holds that may hold modules, and keep its variables."""
        items: Iterable[tuple[Any, Any]] = enumerate(node) if isinstance(node, list | tuple) else ()
        if _is_a(node.__class__, nnx.Pytree):
            items = vars(node).items()
        elif isinstance(node, dict):
            items = node.items()
        below: list[tuple[str, Any]] = []
        for key, child in items:
            kind = _kind(child.__class__)
            if kind:
                found = below if kind is nnx.Pytree else self.variables
                found.append((f"{path}.{key}" if path else str(key), child))
        return below


@functools.cache
def _is_a(kind: type, base: type) -> bool:
    """Return whether a type is a subclass of one of nnx; ``isinstance`` asks nnx for each object."""
    return issubclass(kind, base)


@functools.cache
def _kind(kind: type) -> type | None:
    """Return ``Variable`` for types of variables, ``Pytree`` for types whose objects may hold some, else None."""
    if issubclass(kind, _VARIABLES):
        return nnx.Variable
    return nnx.Pytree if issubclass(kind, nnx.Pytree | list | tuple | dict) else None


def _modules(root: Any) -> list[tuple[str, nnx.Module]]:
    """Return the modules among and below an object, with their paths."""
    return _Walk((root,), ("",)).found


def _outline(roots: Sequence[Any]) -> None:
    """Make the calls of all submodules ONNX functions; a module passed to the call keeps its own."""
    for root in roots:
        for _, module in _Walk((root,), ("",)).found:
            if module is not root:
                object.__setattr__(module, "__class__", outline_class(type(module)))
