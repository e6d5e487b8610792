"""Branching: scalar bools that a program uses as Python bools, exported with both of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jax2onnx.errors import TraceError


def branch(
    call: Callable[[Sequence[Any]], Any], given: Sequence[Any], switches: Sequence[int], names: Sequence[str]
) -> Any:
    """Call a function so that some of its arguments are Python bools, joining all their values by ``lax.cond``.

    Args:
        call: takes the arguments as one sequence.
        given: the arguments, traced.
        switches: which of them are to be Python bools.
        names: names of the arguments, for the message.

    Raises:
        TraceError: the result's structure, shapes or dtypes depend on such an argument.
    """
    if not switches:
        return call(given)
    first, *rest = switches
    results: dict[bool, str] = {}

    def fixed(*, value: bool) -> Any:
        result = branch(call, [value if i == first else leaf for i, leaf in enumerate(given)], rest, names)
        results[value] = str(jax.tree_util.tree_map(_described, result))
        return result

    try:
        return jax.lax.cond(given[first], lambda: fixed(value=True), lambda: fixed(value=False))
    except TypeError as error:
        if results.get(True) == results.get(False) or len(results) < 2:
            raise
        name = names[first]
        raise TraceError(
            f"the result is {results[True]} where {name} is true, and {results[False]} where it is false",
            remedy=f"return the same structure, shapes and dtypes in both cases, or bind {name} (functools.partial)",
        ) from error


def _described(leaf: Any) -> Any:
    aval = jax.typeof(leaf) if isinstance(leaf, jax.Array) else leaf
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype) if isinstance(leaf, jax.Array) else aval
