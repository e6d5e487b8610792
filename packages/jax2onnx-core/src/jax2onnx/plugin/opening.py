"""How plugins open framework objects: what they are asked, what they return, and help with the arrays of pytrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

__all__ = ["Carried", "Leaves", "Opened", "Opening", "canonical", "is_array", "is_parameter", "mode_warning"]

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
        state: the initial state, by name. The arrays that a call changes are inputs of the model and, as
            ``<name>.next``, outputs; the others are parameters.
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
    """A framework object that is an argument of an ONNX function: its arrays, and all the rest of it.

    Attributes:
        static: all the rest: a value, of any type, with the same content for objects that differ in their arrays only.
        leaves: its arrays.
        rebuild: makes an equivalent object from arrays.
        read: returns the arrays of a rebuilt object after the call (they differ where the call changed its state).
        write: stores changed arrays in the original object.
        names: the paths of its arrays, for the names of the function's inputs; empty if there are no paths.
    """

    static: Any
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

    def with_params(self, params: Mapping[str, Any]) -> Any:
        """Return a new pytree that has ``params`` in the places of the parameters."""
        leaves = list(self.leaves)
        for place, name in enumerate(self.names):
            if name is not None:
                leaves[place] = params[name]
        return jax.tree_util.tree_unflatten(self.tree, leaves)


def is_array(leaf: Any) -> bool:
    """Return whether a leaf is an array, or stands for one that is somewhere else (``jax.ShapeDtypeStruct``)."""
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)


def is_parameter(leaf: Any) -> bool:
    """Return whether a leaf is an array of numbers, and not one of random keys."""
    return is_array(leaf) and isinstance(leaf.dtype, np.dtype)


def canonical(leaf: Any) -> Any:
    """Return a numpy array, or what stands for an array, in the dtype that JAX gives it; anything else as it is."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype) if isinstance(leaf.dtype, np.dtype) else leaf.dtype
        return jax.ShapeDtypeStruct(leaf.shape, dtype, weak_type=leaf.weak_type)
    if not isinstance(leaf, np.ndarray):
        return leaf
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False)


def mode_warning(layers: Sequence[str], mode: str, remedy: str) -> str:
    """Return a warning that layers are exported as in inference, though the user's object is in another mode.

    Args:
        layers: their names.
        mode: the framework's name of the mode for inference.
        remedy: the call that puts the object in that mode.
    """
    listed = ", ".join(layers[:_LISTED])
    if len(layers) > _LISTED:
        listed += f" and {len(layers) - _LISTED} more"
    return (
        f"not in {mode} mode, exported as their inference selves (on a copy; your object is unchanged): {listed}. "
        f"Call {remedy} first to silence this warning, or pass training=True to export training behaviour."
    )
