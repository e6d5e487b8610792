"""Carry flax.nnx modules into ONNX functions: structure is static, arrays are passed, changed state is written back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from jax2onnx.functions import Carried

if TYPE_CHECKING:
    from collections.abc import Sequence


def carry(target: object) -> Carried | None:
    """Return a module taken apart, or None for anything else."""
    if not isinstance(target, nnx.Module):
        return None
    graph, state = nnx.split(target, graph=True)
    leaves, tree = jax.tree_util.tree_flatten(state)

    def rebuild(arrays: Sequence[Any]) -> nnx.Module:
        return nnx.merge(graph, jax.tree_util.tree_unflatten(tree, arrays))

    def read(module: Any) -> Sequence[Any]:
        return jax.tree_util.tree_leaves(nnx.split(module, graph=True)[1])

    def write(arrays: Sequence[Any]) -> None:
        nnx.update(target, jax.tree_util.tree_unflatten(tree, arrays))

    return Carried(static=(graph, tree), leaves=leaves, rebuild=rebuild, read=read, write=write, names=_names(state))


def _names(state: Any) -> list[str]:
    """Return the path of each array: its variable's, and the path in what that holds if there is one."""
    variables = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda node: isinstance(node, nnx.Variable))[0]
    names = []
    for path, variable in variables:
        for inner, _ in jax.tree_util.tree_flatten_with_path(variable)[0]:
            steps = [_step(key) for key in path] + [step for key in inner if (step := _step(key)) != "value"]
            names.append(".".join(steps))
    return names


def _step(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True).removeprefix(".")
