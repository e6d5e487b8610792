"""Hashes in loops are done ahead of them, or earlier, also where loops, choices and calls are inside one another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx.plugin import is_static, open_jaxpr
from jax2onnx_lax.counted_loops import literals_of, scan_of_while
from jax2onnx_lax.draws_ahead import draw_ahead
from jax2onnx_lax.draws_in_blocks import draw_in_blocks
from jax2onnx_lax.hash_equations import BEYOND, holds_hash, is_call
from jax2onnx_lax.hashes_earlier import hash_earlier

if TYPE_CHECKING:
    from jax2onnx_lax.scan_steps import Open

__all__ = ["scan_with_hashes_ahead", "while_with_earlier_hashes"]

_FEWEST_LOOPS = 3
"""Of how many loops in a scan the first steps' hashes, done for all of them at once, take less time."""


def scan_with_hashes_ahead(eqn: Any) -> Callable[..., Any] | None:
    """Return the function of a ``scan`` whose random numbers are drawn ahead; None if there are none."""
    length = eqn.params["length"]
    are_many = is_static(length) and length >= _FEWEST_LOOPS
    return draw_ahead(eqn, _opened_in_blocks if are_many else _opened)


def while_with_earlier_hashes(eqn: Any) -> Callable[..., Any] | None:
    """Return the function of a ``while`` that hashes for the next step; None where no hash waits for another."""
    return hash_earlier(eqn, _opened)


def _opened(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, of a call or of a loop with some hashes before it; else None.

    What is before an inner loop is ahead of the outer one, too, where it depends on keys alone.
    """
    return _replaced(eqn, while_with_earlier_hashes, _opened)


def _opened_in_blocks(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the same, with what the first steps of while loops draw before these."""
    return _replaced(eqn, functools.partial(draw_in_blocks, open_equation=_opened_in_blocks), _opened_in_blocks)


def _replaced(
    eqn: Any, of_while: Callable[[Any], Callable[..., Any] | None], open_equation: Open
) -> tuple[Any, Sequence[Any]] | None:
    if not holds_hash(eqn):
        return None
    if is_call(eqn):
        return open_jaxpr(eqn.params["jaxpr"]) if eqn.params["name"] != BEYOND else None
    if eqn.primitive.name == "while":
        function = scan_of_while(eqn, literals_of(eqn)) or of_while(eqn)
    else:
        function = draw_ahead(eqn, open_equation) if eqn.primitive.name == "scan" else None
    return open_jaxpr(jax.make_jaxpr(function)(*(v.aval for v in eqn.invars))) if function is not None else None
