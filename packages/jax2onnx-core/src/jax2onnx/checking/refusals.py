"""Refusals: sizes at which JAX itself has no answer, and the least ones at which it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jax2onnx._compat import unchecked
from jax2onnx.checking.inputs import draw
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.frontend.explain import named_error

if TYPE_CHECKING:
    from jax2onnx.checking.inputs import Batch
    from jax2onnx.checking.sizes import Assignment

__all__ = ["REFUSALS", "refused_sizes"]

REFUSALS = (TypeError, ValueError, IndexError, ZeroDivisionError, AssertionError)
"""What JAX raises where it has no answer."""

_FURTHEST = 64
"""How far above the sizes that were drawn others are tried."""
_MOST_SECONDS = 5.0


def refused_sizes(
    error: Exception,
    batch: Batch,
    avals: Sequence[Any],
    constraints: Sequence[str],
    program: Callable[[Sequence[Any]], Any],
) -> CheckError | None:
    """Return the error for sizes at which JAX raises one, with a constraint that keeps them away.

    Args:
        error: what JAX raised.
        batch: the inputs on which it did.
        avals: the abstract values of all inputs.
        constraints: what holds between the symbols.
        program: what JAX evaluates.

    Returns:
        The error; None if JAX raises one at larger sizes too, so that it is not about sizes.
    """

    def works(sizes: Assignment) -> bool:
        try:
            (trial,) = draw(avals, [sizes], constraints=constraints, kinds=("ordinary",))
        except InputSpecError:
            return False
        if trial.sizes != sizes:
            return False
        try:
            with unchecked():
                program(trial.arrays)
        except (Exception, SystemExit):  # noqa: BLE001 - a trial, of the user's code: it works or it does not
            return False
        return True

    end = time.monotonic() + _MOST_SECONDS
    for symbols, least in _larger(batch.sizes):
        if time.monotonic() > end:
            break
        larger = {**batch.sizes, **dict.fromkeys(symbols, least)}
        still_larger = {**batch.sizes, **dict.fromkeys(symbols, least + 1)}
        if works(larger) and works(still_larger):
            bounds = ", ".join(f"'{symbol} >= {least}'" for symbol in symbols)
            at = ", ".join(f"{symbol}={size}" for symbol, size in batch.sizes.items())
            return CheckError(
                f"nothing to compare with: JAX itself raises an error at {at}: {named_error(error)}; "
                f"pass constraints=[{bounds}], to to_onnx too, or sizes= for which JAX has an answer"
            )
    return None


def _larger(sizes: Assignment) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield symbols with a size that is larger than that of each: one symbol, or all that have the smallest size."""
    smallest = min(sizes.values(), default=0)
    together = tuple(symbol for symbol, size in sizes.items() if size == smallest)
    for step in range(1, _FURTHEST):
        for symbol, size in sizes.items():
            yield (symbol,), size + step
        if len(together) > 1:
            yield together, smallest + step
