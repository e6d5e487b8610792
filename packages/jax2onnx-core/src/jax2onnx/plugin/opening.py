"""Help for plugins that open framework objects: pytrees whose arrays are parameters, named by their paths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

_LISTED = 12
"""How many layers a warning names before it counts the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the user asked for a framework object to be opened.

    Attributes:
        training: keep training behaviour instead of the inference form.
        functions: ``modules`` to export every submodule as an ONNX function, not only what is marked.
        state: ``io`` to make the state that a call updates inputs and outputs, instead of dropping the updates.
    """

    training: bool = False
    functions: Literal["marked", "modules"] = "marked"
    state: Literal["drop", "io"] = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A framework object, opened.

    Attributes:
        function: pure function ``function(params, *args, **kwargs)``; where there is ``state``, ``params`` holds it
            too, and the function returns ``(result, new_state)``, the latter a mapping with the names of ``state``.
        params: the parameters: a flat mapping from readable path (``linear1.kernel``) to array.
        name: a name for the graph.
        state: the initial state, by name; what a call changes of it is an input of the model and, as ``<name>.next``,
            an output; the rest are parameters.
        warnings: messages to show the user who exports it.
        signature: the callable whose parameters name the inputs; None for the target itself.
    """

    function: Callable[..., Any]
    params: Mapping[str, Any]
    name: str
    state: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    signature: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """A framework object as an argument of an ONNX function: what is static, and its arrays.

    Attributes:
        static: hashable; equal for objects that differ in their arrays only.
        leaves: its arrays.
        rebuild: makes an equivalent object from arrays.
        read: the arrays of a rebuilt object, after the call (they differ where the call changed its state).
        write: stores changed arrays in the original object.
        names: the paths of its arrays, for the names of the function's inputs; empty if it has none.
    """

    static: Hashable
    leaves: Sequence[Any]
    rebuild: Callable[[Sequence[Any]], Any]
    read: Callable[[Any], Sequence[Any]]
    write: Callable[[Sequence[Any]], None]
    names: Sequence[str] = ()


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
