"""Emit slices with a step over a dynamic dim, ``x[::-1]`` and ``x[1::2]``, as ``Slice``, where JAX gathers indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jax import export

from jax2onnx.plugin import Const, Fusion
from jax2onnx_jnp.padding import DTYPES

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_FIRST = np.iinfo(np.int64).min
_LAST = np.iinfo(np.int64).max


def _sliced(x: Any, *, axis: int = 0, start: int | None = None, step: int = 2) -> Any:
    return x[(*[slice(None)] * axis, slice(start, None, step))]


def _reversed(x: Any, *, axis: int = 0, start: int | None = None, step: int = -1) -> Any:
    return _sliced(x, axis=axis, start=start, step=step)


def _slices(candidate: Candidate) -> list[dict[str, Any]]:
    """Read the axis, the step and the start off the arithmetic of the indices."""
    (gather,) = candidate.params("gather")
    steps = _literals(candidate, "mul")
    starts = _literals(candidate, "add")
    axes = gather["dimension_numbers"].collapsed_slice_dims
    if len(axes) != 1 or len(steps) != 1 or len(starts) > 1:
        return []
    # Backwards, the start is a size of the array, and no literal.
    start = starts[0] if starts and steps[0] > 0 else None
    return [{"axis": int(axes[0]), "start": start or None, "step": steps[0]}]


def _literals(candidate: Candidate, primitive: str) -> list[int]:
    """Return the whole numbers among the operands of a primitive."""
    found: list[int] = []
    for eqn in candidate.equations:
        if eqn.primitive == primitive:
            numbers = [atom for atom in eqn.inputs if isinstance(atom, Const) and atom.aval.shape == ()]
            found.extend(int(atom.value) for atom in numbers)
    return found


def _emit(ctx: LoweringContext, x: ir.Value, *, axis: int, start: int | None, step: int) -> ir.Value:
    """Emit the ``Slice``; -1 is the last element, and what lies before the first is the end of going backwards."""
    first = start or 0 if step > 0 else -1
    end = _LAST if step > 0 else _FIRST
    return ctx.op.Slice(x, ctx.ints(first), ctx.ints(end), ctx.ints(axis), ctx.ints(step))


def _fusion(name: str, reference: Any, primitives: set[str]) -> Fusion:
    return Fusion(
        name=f"jax.numpy.ndarray.__getitem__({name})",
        reference=reference,
        examples=[[export.symbolic_shape("N,3")]],
        kwargs=_slices,
        emit={18: _emit},
        dtypes=DTYPES,
        primitives=frozenset({"gather", "iota", "mul", *primitives}),
    )


FUSIONS = (_fusion("::step", _sliced, {"add"}), _fusion("::-step", _reversed, {"rev", "dim_as_value"}))
