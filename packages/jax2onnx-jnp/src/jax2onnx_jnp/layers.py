"""Read constants and axes for the fusions of layers, whatever library has them, and name their variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.plugin import Decline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

NOT_DOUBLE = frozenset({"float32", "float16", "bfloat16"})
"""Result dtypes for operators with a float32 attribute (epsilon, say), which would lose digits of a float64 program."""


def known_scalar(ctx: LoweringContext, operand: int) -> float:
    """Return the operand's value, as an attribute needs it.

    Raises:
        Decline: it is computed at run time, or an array.
    """
    value = ctx.known(operand)
    if value is None or value.shape != ():
        raise Decline("an attribute needs a constant scalar")
    return float(value.astype(ctx.avals_in[operand].dtype))


def trailing_axes(candidate: Candidate) -> tuple[int, ...] | None:
    """Return the normalised axes, which are those of the first sum; None unless they are the last ones."""
    axes = tuple(sorted(candidate.params("reduce_sum")[0]["axes"]))
    rank = len(candidate.result.shape)
    return axes if axes == tuple(range(rank - len(axes), rank)) else None


def trailing_axis(candidate: Candidate) -> Sequence[Mapping[str, tuple[int, ...]]]:
    """Read the normalised axis, as ``axes``, where it is the last one."""
    axes = trailing_axes(candidate)
    return [] if axes is None or len(axes) != 1 else [{"axes": axes}]


def ones_per_feature(ctx: LoweringContext) -> ir.Value:
    """Return a scale that changes nothing.

    Raises:
        Decline: the number of features is a symbol.
    """
    size = ctx.avals_in[0].shape[-1]
    if not isinstance(size, int):
        raise Decline("the number of features is not known at conversion")
    return ctx.constant(np.ones(size, ctx.aval_out.dtype))


def variant_name(layer: str, switches: Mapping[str, bool]) -> str:
    """Return a layer's name with the switches that are off."""
    off = [f"{name}=False" for name, on in switches.items() if not on]
    return f"{layer}({', '.join(off)})" if off else layer
