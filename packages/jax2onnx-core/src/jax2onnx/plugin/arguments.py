"""The arguments of a marked call, taken apart: framework objects, arrays and static values in one form."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np

from jax2onnx.plugin.content import content
from jax2onnx.plugin.naming import callable_name
from jax2onnx.plugin.opening import Carried
from jax2onnx.plugin.trees import refuse_deep

__all__ = ["Arguments", "Carry", "changed", "take_apart"]

Carry: TypeAlias = Callable[[Any], Carried | None]
"""Takes apart a framework object that is an argument; returns None for anything else."""

_PLAIN = (type(None), jax.Array, np.ndarray, list, tuple, dict, str, int, float)
"""Types that no plugin carries. They are frequent, so plugins are not asked."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call, taken apart: framework objects, and arrays and static values in the same form.

    ``jax.jit`` specialises a function for them. Calls share a trace where ``key`` is equal: where the function can see
    no difference but in arrays. Other calls are traced on their own; equal bodies are one ONNX function nevertheless.
    """

    key: Any
    tree: Any = field(compare=False)
    parts: Sequence[Carried] = field(compare=False)


def changed(part: Carried, leaf: Any, before: Sequence[Any]) -> list[Any] | None:
    """Return the arrays of a rebuilt argument after the call, or None if the call changed none of them."""
    after = list(part.read(leaf))
    is_same = [old is new for old, new in zip(before, after, strict=True)]
    return None if all(is_same) else after


def take_apart(
    fn: Callable[..., Any], args_and_kwargs: Any, carry: Carry, fixed: Mapping[int, Any]
) -> tuple[Arguments, list[Any]]:
    """Return the arguments of ``fn``, taken apart, and the path of each part; a framework object is one part."""
    refuse_deep(f"the arguments of {callable_name(fn)}", args_and_kwargs)
    carried: dict[int, Carried] = {}

    def is_carried(node: Any) -> bool:
        if isinstance(node, _PLAIN):
            return False
        part = carry(node)
        if part is not None:
            carried[id(node)] = _fix(part, fixed) if fixed else part
        return part is not None

    flat, tree = jax.tree_util.tree_flatten_with_path(args_and_kwargs, is_leaf=is_carried)
    paths = []
    parts = []
    for path, leaf in flat:
        paths.append(path)
        parts.append(carried.get(id(leaf)) or _as_carried(leaf, fixed))
    statics = [part.static for part in parts]
    key = content(fn, (tree, statics))
    return Arguments(key, tree, parts), paths


def _as_carried(leaf: Any, fixed: Mapping[int, Any]) -> Carried:
    """Return an array or a static value in the form of a framework object that a call never changes."""
    if id(leaf) in fixed:
        return Carried(np.asarray(leaf), [], lambda _: leaf, lambda _: [], _never_written)
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return Carried(None, [leaf], operator.itemgetter(0), lambda array: [array], _never_written)
    return Carried(leaf, [], lambda _: leaf, lambda _: [], _never_written)


def _never_written(_: Sequence[Any]) -> None:
    raise AssertionError


def _fix(part: Carried, fixed: Mapping[int, Any]) -> Carried:
    """Return a framework object whose ``fixed`` arrays are static values."""
    constants = {place: leaf for place, leaf in enumerate(part.leaves) if id(leaf) in fixed}
    if not constants:
        return part
    free = [place for place in range(len(part.leaves)) if place not in constants]
    contents = {place: np.asarray(leaf) for place, leaf in constants.items()}

    def complete(leaves: Sequence[Any]) -> list[Any]:
        given = dict(zip(free, leaves, strict=True)) | constants
        return [given[place] for place in range(len(given))]

    def read(rebuilt: Any) -> list[Any]:
        after = part.read(rebuilt)
        return [after[place] for place in free]

    return Carried(
        static=(part.static, contents),
        leaves=[part.leaves[place] for place in free],
        rebuild=lambda leaves: part.rebuild(complete(leaves)),
        read=read,
        write=lambda leaves: part.write(complete(leaves)),
        names=[part.names[place] for place in free] if part.names else (),
    )
