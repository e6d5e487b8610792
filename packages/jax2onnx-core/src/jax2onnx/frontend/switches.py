"""Switches: scalar bools that a program uses as Python bools, exported with the program for both of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jax2onnx.errors import TraceError

__all__ = ["call_with_switches"]


def call_with_switches(
    fn: Callable[[Sequence[Any]], Any], arguments: Sequence[Any], switches: Sequence[int], names: Sequence[str]
) -> Any:
    """Call a function so that some of its arguments are Python bools: ``lax.cond`` chooses between their values.

    Args:
        fn: takes the arguments as one sequence.
        arguments: the traced arguments.
        switches: the indices of those that become Python bools.
        names: the names of the arguments, for the message.

    Raises:
        TraceError: the structure, the shapes or the dtypes of the result depend on such an argument.
    """
    if not switches:
        return fn(arguments)
    first, *rest = switches
    described: dict[bool, str] = {}

    def call(*, value: bool) -> Any:
        fixed = list(arguments)
        fixed[first] = value
        result = call_with_switches(fn, fixed, rest, names)
        described[value] = str(jax.tree_util.tree_map(_shape_and_dtype, result))
        return result

    try:
        return jax.lax.cond(arguments[first], lambda: call(value=True), lambda: call(value=False))
    except TypeError as error:
        is_complete = len(described) == 2
        if not is_complete or described[True] == described[False]:
            raise
        name = names[first]
        raise TraceError(
            f"the result is {described[True]} where {name} is true, and {described[False]} where it is false",
            remedy=f"return the same structure, shapes and dtypes in both cases, or bind {name} (functools.partial)",
        ) from error


def _shape_and_dtype(leaf: Any) -> Any:
    """Return the shape and the dtype of an array, and anything else as it is."""
    if not isinstance(leaf, jax.Array):
        return leaf
    aval = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
