"""Lost: arrays that have no value any more, or not yet, and that a program uses as if they had one."""

from __future__ import annotations

from typing import Any

import jax

from jax2onnx.errors import TraceError

__all__ = ["reason_without_value", "require_value"]


def reason_without_value(array: Any) -> str:
    """Return why an array of JAX has no value, in words; empty for one that has, and for anything else."""
    if isinstance(array, jax.core.Tracer):
        return "belongs to a trace, and has no value"
    if isinstance(array, jax.Array) and array.is_deleted():
        return "was deleted, or donated to a jitted function"
    return ""


def require_value(array: Any, what: str = "an array") -> None:
    """Raise TraceError for an array that was deleted or donated, or that belongs to another trace.

    Args:
        array: anything; what is no array of JAX is left alone.
        what: what the array is to the program, for the message.
    """
    lost = reason_without_value(array)
    if lost:
        raise TraceError(
            f"the callable uses {what} of shape {array.shape} that {lost}",
            remedy="export with arrays that have values: what the donating call returned, or what a traced function "
            "returns instead of storing it",
        )
