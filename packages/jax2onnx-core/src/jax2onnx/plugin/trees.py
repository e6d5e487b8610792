"""Trees: pytrees that JAX cannot take apart are refused before it tries.

JAX takes a pytree apart by recursion in C++. Where that ends in a RecursionError, its counter of the depth stays as
deep as it was, so that every later call of JAX in the process fails.
"""

from __future__ import annotations

from typing import Any

import jax

from jax2onnx.errors import InputSpecError

__all__ = ["is_deep", "refuse_deep"]

_DEEPEST = 500


def is_deep(tree: Any) -> bool:
    """Return whether a pytree contains itself, or is nested deeper than 500 levels."""
    registry = jax.tree_util.default_registry
    level = [tree]
    for _ in range(_DEEPEST + 1):
        below: dict[int, Any] = {}
        for node in level:
            found = registry.flatten_one_level(node)
            for child in () if found is None else found[0]:
                below[id(child)] = child
        level = list(below.values())
        if not level:
            return False
    return True


def refuse_deep(what: str, tree: Any) -> None:
    """Raise InputSpecError for a pytree that contains itself, or is nested deeper than 500 levels."""
    if is_deep(tree):
        raise InputSpecError(
            f"{what}: a pytree that contains itself, or is nested deeper than {_DEEPEST} levels; pass a flatter one"
        )
