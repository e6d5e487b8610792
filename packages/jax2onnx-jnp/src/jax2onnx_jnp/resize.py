"""Emit ``jax.image.resize`` of dynamic sizes as ``Resize`` where the two agree, else by weights, as JAX does.

The operator rounds the coordinates otherwise than JAX if a factor is no power of two. It has no Lanczos kernels.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import export

from jax2onnx.plugin import Decline, Fusion, is_symbolic, permuted
from jax2onnx_jnp.resize_weights import METHODS, nearest_by_places, resized_by_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_LARGEST_FACTOR = 16
"""Factors that are tried: coordinates are far enough from where the nearest element changes."""

_LAYOUTS = (
    *("1,H,W,3", "H,W,3", "1,3,H,W", "H,W"),
    *("1,H,8,3", "1,8,W,3", "1,3,H,8", "1,3,8,W"),
    *("1,H,3", "1,3,H", "H,3", "3,H", "H"),
)
"""Images for the structures: those of the dims that are symbols are resized."""

_SIZE = 5
"""The fixed size in the structures."""


def _resized(
    method: str,
    antialias: bool,  # noqa: FBT001 - bound by name of the method
    size: int | None,
    x: Any,
    *,
    shape: Sequence[Any] | None = None,
) -> Any:
    """Resize; without a shape, make the symbolic dims twice as large, or give them the size."""
    if shape is None:
        shape = [(size or 2 * dim) if is_symbolic(dim) else dim for dim in x.shape]
    return jax.image.resize(x, shape, method, antialias)


def _shape(candidate: Candidate) -> list[dict[str, Any]]:
    return [{"shape": tuple(candidate.result.shape)}]


def _factors(old: Sequence[Any], new: Sequence[Any]) -> dict[int, int]:
    """Return for each axis that is resized by which factor it grows, or shrinks (then negative).

    Raises:
        Decline: a factor is no whole number.
    """
    factors: dict[int, int] = {}
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        if before == after:
            continue
        for factor in range(2, _LARGEST_FACTOR + 1):
            if after == factor * before:
                factors[axis] = factor
            elif before == factor * after:
                factors[axis] = -factor
        if axis not in factors:
            raise Decline(f"the sizes {before} and {after} are no small multiples of each other")
    return factors


def _nearest(ctx: LoweringContext, x: ir.Value, *, shape: Sequence[Any]) -> ir.Value:
    """Emit a resize to the nearest elements."""
    try:
        return _repeated(ctx, x, shape)
    except Decline:
        return nearest_by_places(ctx, x, shape)


def _repeated(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
    """Emit a resize that repeats elements."""
    factors = _factors(ctx.avals_in[0].shape, shape)
    if min(factors.values()) < 0:
        raise Decline("the nearest element of a smaller image depends on how JAX rounds coordinates")
    _require_kernel(ctx)
    scales = np.asarray([factors.get(axis, 1) for axis in range(len(shape))], np.float32)
    return ctx.op.Resize(
        x,
        None,
        ctx.constant(scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _interpolated(
    method: str,
    attributes: dict[str, Any],
    antialias: bool,  # noqa: FBT001 - bound by name of the method
    ctx: LoweringContext,
    x: ir.Value,
    *,
    shape: Sequence[Any],
) -> ir.Value:
    """Emit a resize between elements."""
    try:
        return _as_operator(ctx, x, shape, attributes, antialias=antialias)
    except Decline:
        if method not in METHODS:
            raise
        return resized_by_weights(ctx, x, shape, method, antialias=antialias)


def _as_operator(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    attributes: dict[str, Any],
    *,
    antialias: bool,
) -> ir.Value:
    """Emit ``Resize``: of the last two of four dims, as runtimes have it."""
    if not attributes:
        raise Decline("ONNX has no such method")
    old = ctx.avals_in[0].shape
    factors = _factors(old, shape)
    _require_kernel(ctx)
    if any(abs(factor) & (abs(factor) - 1) for factor in factors.values()):
        raise Decline("JAX rounds the coordinates where a factor is no power of two")
    axes = list(factors)
    others = [axis for axis in range(len(old)) if axis not in factors]
    if len(axes) > 2 or len(others) > 4 - len(axes):
        raise Decline("runtimes resize at most two of four dims")
    shrinks = min(factors.values()) < 0
    if shrinks and not antialias and attributes["mode"] == "cubic":
        raise Decline("onnxruntime moves transposes past the node, and has no such kernel then")
    order = [*others, *axes]
    arranged = _transposed(ctx, x, old, order)
    image = ctx.reshape(arranged, permuted(old, order), _image(old, others, axes))
    if antialias and shrinks:
        attributes = {**attributes, "antialias": 1, "exclude_outside": 1}
    target = _image(shape, others, axes)
    if not shrinks:
        scales = np.ones(4, np.float32)
        scales[4 - len(axes) :] = [factors[axis] for axis in axes]
        result = ctx.op.Resize(image, None, ctx.constant(scales), **attributes)
    else:
        result = ctx.op.Resize(image, None, None, ctx.shape(target), **attributes)
    new = permuted(shape, order)
    flat = ctx.reshape(ctx.stamp(result, target), target, new)
    return _transposed(ctx, flat, new, np.argsort(order).tolist())


def _image(shape: Sequence[Any], others: Sequence[int], axes: Sequence[int]) -> tuple[Any, ...]:
    """Return a shape of four dims whose last two are, of these axes, those that are resized; or 1, and the only one.

    A further dim there would be interpolated by a factor of 1, which makes NaN of zero times infinity.
    """
    outer = permuted(shape, others)
    if len(outer) > 2:
        outer = (outer[0], math.prod(outer[1:]))
    inner = permuted(shape, axes)
    return (*[1] * (2 - len(outer)), *outer, *[1] * (2 - len(inner)), *inner)


def _transposed(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], perm: Sequence[int]) -> ir.Value:
    if list(perm) == sorted(perm):
        return x
    return ctx.stamp(ctx.op.Transpose(x, perm=list(perm)), [shape[axis] for axis in perm])


def _require_kernel(ctx: LoweringContext) -> None:
    if not ctx.supports("Resize", ctx.aval_out.dtype):
        raise Decline(f"the target has no Resize of {ctx.aval_out.dtype}")


def _fusions(name: str, method: str, emit: Any, *, antialias: bool, primitives: Sequence[str]) -> Iterator[Fusion]:
    """Yield the fusions of a method: to multiples of the sizes, and to fixed sizes."""
    for size, place in ((None, ""), (_SIZE, ", to a fixed size")):
        yield Fusion(
            name=f"jax.image.resize({name}{place})",
            reference=functools.partial(_resized, method, antialias, size),
            examples=[_example(layout) for layout in _LAYOUTS],
            kwargs=_shape,
            emit={18: emit},
            primitives=frozenset({"dim_as_value", "iota", *primitives}),
        )


def _example(layout: str) -> list[Any]:
    return [jax.ShapeDtypeStruct(export.symbolic_shape(layout), np.float32)]


def _interpolation(method: str, *, antialias: bool, **attributes: Any) -> Iterator[Fusion]:
    smooth = ", antialias" if antialias else ""
    emit = functools.partial(_interpolated, method, attributes, antialias)
    primitives = ["dot_general", "abs", "reduce_sum", "le", "and", *["sin"] * method.startswith("lanczos")]
    return _fusions(f"{method}{smooth}", method, emit, antialias=antialias, primitives=primitives)


def _to_multiples_by_pytorch() -> Fusion:
    """Return the fusion of PyTorch's cubic method, which is ``Resize`` or what JAX does: it has weights of its own."""
    antialias = False
    emit = functools.partial(_interpolated, "cubic-pytorch", _PYTORCH, antialias)
    to_multiples, _ = _fusions(
        "cubic-pytorch", "cubic-pytorch", emit, antialias=antialias, primitives=["dot_general", "scatter-add"]
    )
    return to_multiples


_CUBIC: dict[str, Any] = {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}
_PYTORCH: dict[str, Any] = {"mode": "cubic", "cubic_coeff_a": -0.75}

FUSIONS: tuple[Fusion, ...] = (
    *_fusions("nearest", "nearest", _nearest, antialias=True, primitives=["gather", "floor"]),
    *_interpolation("linear", antialias=True, mode="linear"),
    *_interpolation("linear", antialias=False, mode="linear"),
    *_interpolation("cubic", antialias=True, **_CUBIC),
    *_interpolation("cubic", antialias=False, **_CUBIC),
    *_interpolation("lanczos3", antialias=True),
    *_interpolation("lanczos3", antialias=False),
    *_interpolation("lanczos5", antialias=True),
    *_interpolation("lanczos5", antialias=False),
)

if "CUBIC_PYTORCH" in jax.image.ResizeMethod.__members__:  # an older jax lacks it
    FUSIONS += (_to_multiples_by_pytorch(),)
