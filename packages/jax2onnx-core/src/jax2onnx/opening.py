"""Help for plugins that open framework objects: pytrees whose arrays are parameters, named by their paths."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

_LISTED = 12
"""How many layers a warning names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """The leaves of a pytree, some of them parameters.

    Attributes:
        leaves: all of them, in the order of ``tree``.
        names: for each leaf its parameter's name; None for one that is no parameter.
        tree: their structure.
    """

    leaves: Sequence[Any]
    names: Sequence[str | None]
    tree: Any

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by name."""
        return {name: leaf for name, leaf in zip(self.names, self.leaves, strict=True) if name is not None}

    def filled(self, params: Mapping[str, Any]) -> Any:
        """Return the pytree with ``params`` in place; it is a new one."""
        leaves = [leaf if name is None else params[name] for name, leaf in zip(self.names, self.leaves, strict=True)]
        return jax.tree_util.tree_unflatten(self.tree, leaves)


def is_parameter(leaf: Any) -> bool:
    """Tell whether a leaf is an array of numbers (a random key is none)."""
    return isinstance(leaf, jax.Array | np.ndarray) and isinstance(leaf.dtype, np.dtype)


def canonical(leaf: Any) -> Any:
    """Return a numpy array in the dtype that JAX gives it, and anything else as it is."""
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False) if isinstance(leaf, np.ndarray) else leaf


@functools.lru_cache(maxsize=4096)
def step(key: Any) -> str:
    """Return one key of a pytree's path as it stands in a parameter's name."""
    return jax.tree_util.keystr((key,), simple=True).removeprefix(".")


def mode_warning(layers: Sequence[str], mode: str, remedy: str) -> str:
    """Say which layers are exported as their inference selves.

    Args:
        layers: their names.
        mode: the framework's name of the mode in which they are not.
        remedy: the call that puts them in that mode.
    """
    listed = ", ".join(layers[:_LISTED])
    if len(layers) > _LISTED:
        listed += f" and {len(layers) - _LISTED} more"
    return (
        f"not in {mode} mode, exported as their inference selves (on a copy; your object is unchanged): {listed}. "
        f"Call {remedy} first to silence this warning, or pass training=True to export training behaviour."
    )
