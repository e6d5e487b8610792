"""Hashes in loops are done ahead of them, or earlier, also where loops, choices and calls are inside one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jax2onnx.plugin import open_jaxpr
from jax2onnx_lax.draws_ahead import draw_ahead
from jax2onnx_lax.hash_equations import holds_hash, is_call
from jax2onnx_lax.hashes_earlier import hash_earlier

__all__ = ["scan_with_hashes_ahead", "while_with_earlier_hashes"]


def scan_with_hashes_ahead(eqn: Any) -> Callable[..., Any] | None:
    """Return the function of a ``scan`` whose random numbers are drawn ahead; None if there are none."""
    return draw_ahead(eqn, _opened)


def while_with_earlier_hashes(eqn: Any) -> Callable[..., Any] | None:
    """Return the function of a ``while`` that hashes for the next step; None where no hash waits for another."""
    return hash_earlier(eqn, _opened)


def _opened(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, of a call or of a loop with some hashes before it; else None.

    What is before an inner loop is ahead of the outer one, too, where it depends on keys alone.
    """
    if not holds_hash(eqn):
        return None
    if is_call(eqn):
        return open_jaxpr(eqn.params["jaxpr"])
    before = _BEFORE.get(eqn.primitive.name)
    function = before(eqn) if before is not None else None
    return open_jaxpr(jax.make_jaxpr(function)(*(v.aval for v in eqn.invars))) if function is not None else None


_BEFORE = {"scan": scan_with_hashes_ahead, "while": while_with_earlier_hashes}
