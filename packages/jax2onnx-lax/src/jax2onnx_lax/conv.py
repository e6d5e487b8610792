"""Lower convolutions (``conv_general_dilated``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, InconclusiveDimensionOperation, blind, has_zero, is_static, may_be_zero, permuted
from jax2onnx_lax import windows
from jax2onnx_lax.convert import convert
from jax2onnx_lax.dot import compute_dtype, from_product, narrow_dtypes
from jax2onnx_lax.shape import transposed

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, Eqn, LoweringContext

_MOST_DIMS = 3
"""How many spatial dims a convolution has at most that runtimes know."""

_BFLOAT16_OPSET = 22
"""The first opset whose ``Conv`` takes bfloat16."""


def _work(eqn: Eqn, _bodies: Sequence[float]) -> float:
    """Return how many products a convolution has at most: as many for each result as a kernel has weights."""
    work: float = eqn.outputs[0].aval.size * eqn.inputs[1].aval.size
    return work


FACTS = {"conv_general_dilated": Facts(zeros=blind, work=_work)}


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
    padding: windows.Padding
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
    padding: windows.Padding,
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
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    out = permuted(ctx.aval_out.shape, out_spec)
    if has_zero(*out, *left.shape, *right.shape):
        return ctx.op.Expand(ctx.constant(0, dtype), ctx.shape(ctx.aval_out.shape))
    compute = compute_dtype(left.dtype, right.dtype, dtype)
    if compute.name == "bfloat16" and ctx.opset < _BFLOAT16_OPSET:
        compute = np.dtype(np.float32)
    narrow = (compute, compute)
    if len(window_strides) <= _MOST_DIMS:
        narrow = narrow_dtypes(left.dtype, right.dtype, compute) or narrow
    x = transposed(ctx, convert(ctx, lhs, left.dtype, narrow[0]), left.shape, lhs_spec)
    x, shape = _batch_groups_as_features(ctx, x, permuted(left.shape, lhs_spec), narrow[0], batch_group_count)
    conv = _Conv(
        x=x,
        shape=shape,
        kernel=transposed(ctx, convert(ctx, rhs, right.dtype, narrow[1]), right.shape, rhs_spec),
        kernel_shape=permuted(right.shape, rhs_spec),
        out=out,
        dtype=narrow[0],
        strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        groups=feature_group_count * batch_group_count,
    )
    y = ctx.stamp(_emit(ctx, conv), out)
    y = from_product(ctx, y, compute, left.dtype, dtype)
    return transposed(ctx, y, out, np.argsort(out_spec).tolist())


def _batch_groups_as_features(
    ctx: LoweringContext, x: ir.Value, shape: windows.Shape, dtype: Any, groups: int
) -> tuple[ir.Value, windows.Shape]:
    """Move the groups from the batch (groups * N, C, …) to the features (N, groups * C, …)."""
    if groups == 1:
        return x, shape
    batch, features, *spatial = shape
    new = (batch // groups, groups * features, *spatial)

    def regroup(a: jax.Array) -> jax.Array:
        split = lax.reshape(a, (groups, batch // groups, features, *spatial))
        return lax.reshape(lax.transpose(split, [1, 0, *range(2, split.ndim)]), new)

    return ctx.via_jax(regroup, x, avals=[windows.aval(shape, dtype)]), new


def _emit(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    # onnxruntime's Conv is float32 only, and ONNX's takes no integers; ConvInteger takes those of 8 bits.
    is_float = conv.dtype.name in {"float16", "bfloat16", "float32"} or (
        conv.dtype.name == "float64" and ctx.supports("Conv", conv.dtype)
    )
    is_integer = conv.dtype.itemsize == 1
    native = (is_float or is_integer) and 1 <= conv.rank <= _MOST_DIMS
    if native and is_float and _is_transposed(conv):
        return _conv_transpose(ctx, conv)
    spread = [1, 1, *conv.lhs_dilation]
    zero = ctx.constant(0, conv.dtype)
    # ONNX's Conv has no input dilation: zeros are put between the elements.
    conv.x, conv.shape = windows.dilate(ctx, conv.x, conv.shape, dtype=conv.dtype, dilation=spread, fill=zero)
    return _conv(ctx, conv) if native else _unfolded(ctx, conv)


def _conv(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    window = conv.kernel_shape[2:]
    attributes: dict[str, Any] = {"strides": list(conv.strides), "dilations": list(conv.rhs_dilation)}
    if is_static(*window):
        attributes["kernel_shape"] = list(window)
    x, shape, pads = conv.x, conv.shape, windows.flat(conv.padding)
    undilated = list(conv.rhs_dilation) == [1] * conv.rank
    if undilated and windows.is_same(conv.shape[2:], window, conv.strides, conv.padding):
        attributes["auto_pad"] = "SAME_UPPER"
    elif is_static(*pads) and min(pads) >= 0:
        attributes["pads"] = list(map(int, pads))
    else:
        # Conv takes neither symbolic padding nor cropping.
        x, shape = windows.pad(ctx, x, shape, [(0, 0), (0, 0), *conv.padding], 0)
    convolve = ctx.op.ConvInteger if conv.dtype.itemsize == 1 else ctx.op.Conv
    y = convolve(x, conv.kernel, group=conv.groups, **attributes)
    # JAX takes every symbol to be at least 1. Only along one dim are sizes of 0 cheap enough to be thought of too.
    may_lack = may_be_zero if conv.rank == 1 else _is_open
    return windows.slid(ctx, y, shape, {**attributes, "kernel_shape": window}, may_lack)


def _is_open(dim: Any) -> bool:
    """Return whether JAX cannot tell that a dim is positive."""
    try:
        return not dim >= 1
    except InconclusiveDimensionOperation:
        return True


def _is_transposed(conv: _Conv) -> bool:
    """Return whether the convolution is what ONNX calls transposed: dilated input, steps of one."""
    ones = [1] * conv.rank
    return list(conv.lhs_dilation) != ones and list(conv.strides) == ones and is_static(*conv.kernel_shape)


def _conv_transpose(ctx: LoweringContext, conv: _Conv) -> ir.Value:
    kernel_aval = windows.aval(conv.kernel_shape, conv.dtype)
    kernel = ctx.via_jax(_transposed_kernel, conv.kernel, avals=[kernel_aval], groups=conv.groups)
    window = conv.kernel_shape[2:]
    crops: list[tuple[int, int]] = []
    outer: list[tuple[Any, Any]] = []
    shape = list(conv.out)
    for i, padding in enumerate(conv.padding):
        # ConvTranspose counts padding from the full result inwards, and takes no symbols and no negative numbers.
        reach = conv.rhs_dilation[i] * (window[i] - 1)
        low, high = (reach - p for p in padding)
        crops.append((_crop(low), _crop(high)))
        outer.append((crops[i][0] - low, crops[i][1] - high))
        shape[2 + i] = shape[2 + i] - outer[i][0] - outer[i][1]
    y = ctx.op.ConvTranspose(
        conv.x,
        kernel,
        group=conv.groups,
        strides=list(conv.lhs_dilation),
        dilations=list(conv.rhs_dilation),
        kernel_shape=list(window),
        pads=windows.flat(crops),
    )
    return windows.pad(ctx, ctx.stamp(y, shape), tuple(shape), [(0, 0), (0, 0), *outer], 0)[0]


def _crop(amount: Any) -> int:
    return amount if is_static(amount) and amount > 0 else 0


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
    places = [place + 1 for place in windows.places(window)]  # the groups are a dim of their own below
    groups, features = conv.groups, conv.out[1]

    def multiply(patches: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = lax.reshape(patches, (shape[0], groups, shape[1] // groups, *shape[2:]))
        sizes = permuted(patches.shape, places)
        kernel = lax.reshape(kernel, (groups, features // groups, kernel.shape[1], *sizes))
        contracting = [2, *range(3, kernel.ndim)], [2, *places]
        y = lax.dot_general(kernel, patches, (contracting, ([0], [1])))  # (groups, O / groups, N, spatial…)
        return lax.reshape(lax.transpose(y, [2, 0, 1, *range(3, y.ndim)]), conv.out)

    avals = [windows.aval(shape, conv.dtype), windows.aval(conv.kernel_shape, conv.dtype)]
    return ctx.via_jax(multiply, x, conv.kernel, avals=avals)  # type: ignore[no-any-return]
