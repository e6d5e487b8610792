"""Convolutions: ``conv_general_dilated``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, blind
from jax2onnx_lax import windows
from jax2onnx_lax.dot import compute_dtype, convert

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

_BFLOAT16_OPSET = 22
"""The first opset whose ``Conv`` takes bfloat16."""


FACTS = {"conv_general_dilated": Facts(zeros=blind)}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table({"conv_general_dilated": conv_general_dilated})


@dataclass(slots=True)
class _Conv:
    """A convolution of an array (N, C, spatial…) with a kernel (O, C / groups, spatial…) into (N, O, spatial…)."""

    x: ir.Value
    shape: windows.Shape
    kernel: ir.Value
    kernel_shape: windows.Shape
    out: windows.Shape
    dtype: np.dtype[Any]
    strides: Sequence[int]
    padding: Sequence[tuple[Any, Any]]
    lhs_dilation: Sequence[int]
    rhs_dilation: Sequence[int]
    groups: int

    @property
    def rank(self) -> int:
        """Number of spatial dims."""
        return len(self.strides)


def conv_general_dilated(
    ctx: LoweringContext,
    lhs: ir.Value,
    rhs: ir.Value,
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[Any, Any]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    preferred_element_type: Any,
) -> ir.Value:
    """Lower ``conv_general_dilated``."""
    del preferred_element_type  # the dtype of the result says it
    left, right = ctx.avals_in
    dtype = ctx.aval_out.dtype
    out_spec = dimension_numbers.out_spec
    out = tuple(ctx.aval_out.shape[i] for i in out_spec)
    if any(windows.known(d) and d == 0 for d in (*out, *left.shape, *right.shape)):
        return ctx.op.Expand(ctx.constant(0, dtype), ctx.shape(ctx.aval_out.shape))
    compute = _compute_dtype(ctx, left.dtype, right.dtype, dtype)
    x, shape = windows.transpose(ctx, ctx.cast(lhs, compute), left.shape, dimension_numbers.lhs_spec)
    x, shape = _batch_groups_as_features(ctx, x, shape, compute, batch_group_count)
    kernel, kernel_shape = windows.transpose(ctx, ctx.cast(rhs, compute), right.shape, dimension_numbers.rhs_spec)
    conv = _Conv(
        *(x, shape, kernel, kernel_shape, out),
        dtype=compute,
        strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        groups=feature_group_count * batch_group_count,
    )
    y = ctx.stamp(_emit(ctx, conv), out)
    y = convert(ctx, y, out, compute, dtype)
    return windows.transpose(ctx, y, out, [out_spec.index(i) for i in range(len(out_spec))])[0]


def _compute_dtype(ctx: LoweringContext, left: Any, right: Any, out: Any) -> np.dtype[Any]:
    compute = compute_dtype(left, right, out)
    if compute.name == "bfloat16" and ctx.opset < _BFLOAT16_OPSET:
        return np.dtype(np.float32)
    return compute


def _batch_groups_as_features(
    ctx: LoweringContext, x: ir.Value, shape: windows.Shape, dtype: Any, groups: int
) -> tuple[ir.Value, windows.Shape]:
    """Move the groups from the batch (groups * N, C, …) to the features (N, groups * C, …)."""
    if groups == 1:
        return x, shape
    batch, features, *spatial = shape
    split = (groups, batch // groups, features, *spatial)
    new = (batch // groups, groups * features, *spatial)

    def regroup(a: jax.Array) -> jax.Array:
        moved = lax.transpose(lax.reshape(a, split), [1, 0, *range(2, len(split))])
        return lax.reshape(moved, new)

    return ctx.via_jax(regroup, x, avals=[windows.aval(shape, dtype)]), new


def _emit(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    # onnxruntime's Conv is float32 only, and ONNX's takes no integers.
    is_float = conv.dtype.name in {"float16", "bfloat16", "float32"} or (
        conv.dtype.name == "float64" and ctx.supports("Conv", conv.dtype)
    )
    native = is_float and 1 <= conv.rank <= 3
    if native and _is_transposed(conv):
        return _conv_transpose(ctx, conv)
    spread = [1, 1, *conv.lhs_dilation]
    conv.x, conv.shape = windows.dilate(
        ctx, conv.x, conv.shape, dtype=conv.dtype, dilation=spread, fill=ctx.constant(0, conv.dtype)
    )
    return _conv(ctx, conv) if native else _unfolded(ctx, conv)


def _conv(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    attributes: dict[str, Any] = {"strides": list(conv.strides), "dilations": list(conv.rhs_dilation)}
    if windows.known(*conv.kernel_shape[2:]):
        attributes["kernel_shape"] = list(conv.kernel_shape[2:])
    x = conv.x
    plain = all(d == 1 for d in conv.rhs_dilation)
    if plain and windows.is_same(conv.shape[2:], conv.kernel_shape[2:], conv.strides, conv.padding):
        attributes["auto_pad"] = "SAME_UPPER"
    elif all(windows.known(low, high) and min(low, high) >= 0 for low, high in conv.padding):
        attributes["pads"] = windows.onnx_pads(conv.padding)
    else:
        x, _ = windows.pad(ctx, x, conv.shape, [(0, 0), (0, 0), *conv.padding], 0)
    return ctx.op.Conv(x, conv.kernel, group=conv.groups, **attributes)


def _is_transposed(conv: _Conv) -> bool:
    """Tell whether the convolution is what ONNX calls transposed: dilated input, steps of one."""
    return (
        any(d != 1 for d in conv.lhs_dilation)
        and all(s == 1 for s in conv.strides)
        and windows.known(*conv.kernel_shape)
    )


def _conv_transpose(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    kernel = ctx.via_jax(
        _transposed_kernel, conv.kernel, avals=[windows.aval(conv.kernel_shape, conv.dtype)], groups=conv.groups
    )
    reach = [d * (k - 1) for d, k in zip(conv.rhs_dilation, conv.kernel_shape[2:], strict=True)]
    # ConvTranspose counts padding from the full result inwards.
    crop = [r - p for side in (0, 1) for r, p in zip(reach, (pair[side] for pair in conv.padding), strict=True)]
    pads = [c if windows.known(c) and c > 0 else 0 for c in crop]
    rest = [p - c for p, c in zip(pads, crop, strict=True)]
    outer = list(zip(rest[: conv.rank], rest[conv.rank :], strict=True))
    shape = (*conv.out[:2], *(o - low - high for o, (low, high) in zip(conv.out[2:], outer, strict=True)))
    y = ctx.op.ConvTranspose(
        conv.x,
        kernel,
        group=conv.groups,
        strides=list(conv.lhs_dilation),
        dilations=list(conv.rhs_dilation),
        kernel_shape=list(conv.kernel_shape[2:]),
        pads=pads,
    )
    return windows.pad(ctx, ctx.stamp(y, shape), shape, [(0, 0), (0, 0), *outer], 0)[0]


def _transposed_kernel(kernel: jax.Array, *, groups: int) -> jax.Array:
    """Turn (O, C / groups, …) into (C, O / groups, …), reversed along the spatial dims."""
    features, inner, *spatial = kernel.shape
    kernel = lax.rev(kernel, range(2, kernel.ndim))
    if groups == 1:
        return lax.transpose(kernel, [1, 0, *range(2, kernel.ndim)])
    kernel = lax.reshape(kernel, (groups, features // groups, inner, *spatial))
    kernel = lax.transpose(kernel, [0, 2, 1, *range(3, kernel.ndim)])
    return lax.reshape(kernel, (groups * inner, features // groups, *spatial))


def _unfolded(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    """Unfold the windows and multiply them with the kernel as a matrix."""
    x, shape = windows.pad(ctx, conv.x, conv.shape, [(0, 0), (0, 0), *conv.padding], 0)
    window = (1, 1, *conv.kernel_shape[2:])
    x, shape = windows.unfold(
        ctx,
        x,
        shape,
        out=(*shape[:2], *conv.out[2:]),
        window=window,
        strides=(1, 1, *conv.strides),
        dilation=(1, 1, *conv.rhs_dilation),
    )
    places = windows.places(window)
    groups, features = conv.groups, conv.out[1]

    def multiply(patches: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = lax.reshape(patches, (shape[0], groups, shape[1] // groups, *shape[2:]))
        sizes = [patches.shape[place + 1] for place in places]
        kernel = lax.reshape(kernel, (groups, features // groups, kernel.shape[1], *sizes))
        contracting = [2, *range(3, kernel.ndim)], [2, *(place + 1 for place in places)]
        y = lax.dot_general(kernel, patches, (contracting, ([0], [1])))  # (groups, O / groups, N, spatial…)
        return lax.reshape(lax.transpose(y, [2, 0, 1, *range(3, y.ndim)]), conv.out)

    avals = [windows.aval(shape, conv.dtype), windows.aval(conv.kernel_shape, conv.dtype)]
    return ctx.via_jax(multiply, x, conv.kernel, avals=avals)  # type: ignore[no-any-return]
