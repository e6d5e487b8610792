"""Carry flax.nnx modules into ONNX functions: structure is static, arrays are passed, changed state is written back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from jax2onnx.plugin import Carried
from jax2onnx_nnx.opening import arrays

if TYPE_CHECKING:
    from collections.abc import Sequence


def carry(target: object) -> Carried | None:
    """Return the structure and the arrays of a module, or None for anything else."""
    if not isinstance(target, nnx.Module):
        return None
    graph, state = nnx.split(target, graph=True)
    held, tree = arrays(state)

    def rebuild(arrays: Sequence[Any]) -> nnx.Module:
        return nnx.merge(graph, jax.tree_util.tree_unflatten(tree, arrays))

    def read(module: Any) -> Sequence[Any]:
        return jax.tree_util.tree_leaves(nnx.split(module, graph=True)[1])

    def write(arrays: Sequence[Any]) -> None:
        nnx.update(target, jax.tree_util.tree_unflatten(tree, arrays))

    names, leaves = [path for path, _, _ in held], [leaf for _, _, leaf in held]
    return Carried(static=(graph, tree), leaves=leaves, rebuild=rebuild, read=read, write=write, names=names)
