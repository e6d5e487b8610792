"""Normalisation layers."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from flax import nnx

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_nnx.fusions._layers import NO_RANDOM, NOT_DOUBLE, channels_first, given, known_scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_SWITCHES = tuple(itertools.product((True, False), repeat=2))
_C = (6,)


def _fusion(
    layer: str,
    reference: Callable[..., Any],
    examples: Sequence[Any],
    kwargs: Callable[[Candidate], Iterable[Mapping[str, Any]]],
    emit: Callable[..., Any],
    *,
    opset: int = MIN_OPSET,
    dtypes: frozenset[str] = NOT_DOUBLE,
    **switches: bool,
) -> Fusion:
    """Return the fusion of one variant of a layer, named by how it is switched from the default."""
    changed = ", ".join(f"{name}={value}" for name, value in switches.items() if not value)
    return Fusion(
        name=f"flax.nnx.{layer}" + (f"({changed})" if changed else ""),
        reference=reference,
        examples=examples,
        kwargs=kwargs,
        emit={opset: emit},
        dtypes=dtypes,
        primitives=frozenset({"rsqrt"}),
    )


class _Arrays:
    """Takes a variant's inputs ``*fixed, [scale], [bias], epsilon`` apart, and fills what it lacks."""

    def __init__(self, arrays: Sequence[Any], *, fixed: int = 0, scale: bool, bias: bool) -> None:
        rest = list(arrays[fixed:])
        self.fixed = arrays[:fixed]
        self.scale = rest.pop(0) if scale else None
        self.bias = rest.pop(0) if bias else None
        (self.epsilon,) = rest

    @staticmethod
    def shapes(*, fixed: int = 0, scale: bool, bias: bool) -> list[tuple[int, ...]]:
        """Return example shapes of what follows ``x``."""
        return [*[_C] * (fixed + scale + bias), ()]

    def options(self) -> dict[str, Any]:
        """Return the arguments of a layer's constructor that give it these arrays."""
        options: dict[str, Any] = {"epsilon": self.epsilon, "rngs": NO_RANDOM}
        for name, array in (("scale", self.scale), ("bias", self.bias)):
            options |= {f"use_{name}": False} if array is None else {f"{name}_init": given(array)}
        return options

    def values(self, ctx: LoweringContext, size: int, dtype: Any) -> tuple[ir.Value, ir.Value]:
        """Return scale and bias, ones and zeros where there is none."""
        scale = ctx.constant(np.ones(size, dtype)) if self.scale is None else self.scale
        bias = ctx.constant(np.zeros(size, dtype)) if self.bias is None else self.bias
        return scale, bias


def _features(ctx: LoweringContext, axis: int = -1) -> int:
    """Return the number of features, which the operators need at conversion."""
    size = ctx.avals_in[0].shape[axis]
    if not isinstance(size, int):
        msg = "the number of features is not known at conversion"
        raise Decline(msg)
    return size


# -- LayerNorm and RMSNorm -------------------------------------------------------------------------------------------


def _reduced(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the normalised axes off the first mean; the operators take trailing ones only."""
    axes = tuple(sorted(candidate.params("reduce_sum")[0]["axes"]))
    rank = len(candidate.result.shape)
    return [{"axes": axes}] if axes == tuple(range(rank - len(axes), rank)) else []


def _per_feature(ctx: LoweringContext, array: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Give a parameter per feature the shape of all normalised axes, as the operators want it."""
    if len(axes) <= 1:
        return array
    shape = ctx.avals_in[0].shape[-len(axes) :]
    return ctx.stamp(ctx.op.Expand(array, ctx.shape(shape)), shape)


def _layer_norm(*, scale: bool, bias: bool, fast: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, axes: Any = -1) -> Any:
        given_arrays = _Arrays(arrays, scale=scale, bias=bias)
        options = given_arrays.options()
        return nnx.LayerNorm(x.shape[-1], reduction_axes=axes, use_fast_variance=fast, **options)(x)

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value, axes: Sequence[int]) -> ir.Value:
        epsilon, size = known_scalar(ctx, len(arrays)), _features(ctx)
        taken = _Arrays(arrays, scale=scale, bias=bias)
        weight, _ = taken.values(ctx, size, ctx.aval_out.dtype)
        weight = _per_feature(ctx, weight, axes)
        shift = None if taken.bias is None else _per_feature(ctx, taken.bias, axes)
        return ctx.op.LayerNormalization(x, weight, shift, axis=-len(axes), epsilon=epsilon)

    shapes = _Arrays.shapes(scale=scale, bias=bias)
    examples = [[(2, *_C), *shapes], [(2, 5, *_C), *shapes], [_C, *shapes]]
    return _fusion(
        "LayerNorm", reference, examples, _reduced, emit, use_scale=scale, use_bias=bias, use_fast_variance=fast
    )


def _rms_norm(*, scale: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, axes: Any = -1) -> Any:
        options = _Arrays(arrays, scale=scale, bias=False).options()
        del options["use_bias"]
        return nnx.RMSNorm(x.shape[-1], reduction_axes=axes, **options)(x)

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value, axes: Sequence[int]) -> ir.Value:
        epsilon, size = known_scalar(ctx, len(arrays)), _features(ctx)
        if not ctx.supports("RMSNormalization", np.float32):
            msg = "the target has no RMSNormalization"
            raise Decline(msg)
        weight, _ = _Arrays(arrays, scale=scale, bias=False).values(ctx, size, ctx.aval_out.dtype)
        return ctx.op.RMSNormalization(x, _per_feature(ctx, weight, axes), axis=-len(axes), epsilon=epsilon)

    shapes = _Arrays.shapes(scale=scale, bias=False)
    examples = [[(2, *_C), *shapes], [(2, 5, *_C), *shapes]]
    return _fusion("RMSNorm", reference, examples, _reduced, emit, opset=23, use_scale=scale)


# -- BatchNorm and GroupNorm -----------------------------------------------------------------------------------------


def _feature_axis(candidate: Candidate) -> Iterator[Mapping[str, Any]]:
    """Try the last axis, then the others that have as many features as there are statistics."""
    shape, features = candidate.result.shape, candidate.inputs[1].shape
    for axis in (len(shape) - 1, *range(len(shape) - 1)):
        if features == shape[axis : axis + 1]:
            yield {"axis": axis}


def _batch_norm(*, scale: bool, bias: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, axis: int = -1) -> Any:
        given_arrays = _Arrays(arrays, fixed=2, scale=scale, bias=bias)
        layer = nnx.BatchNorm(x.shape[axis], axis=axis, use_running_average=True, **given_arrays.options())
        mean, var = given_arrays.fixed
        layer.mean, layer.var = nnx.BatchStat(mean), nnx.BatchStat(var)
        return layer(x)

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value, axis: int) -> ir.Value:
        epsilon, size = known_scalar(ctx, len(arrays)), _features(ctx, axis)
        shape = ctx.avals_in[0].shape
        if axis not in {1, len(shape) - 1} or len(shape) < 2:
            msg = "the operator takes channels second"
            raise Decline(msg)
        taken = _Arrays(arrays, fixed=2, scale=scale, bias=bias)
        params = [*taken.values(ctx, size, ctx.aval_out.dtype), *taken.fixed]

        def operator(value: ir.Value) -> ir.Value:
            return ctx.op.BatchNormalization(value, *params, epsilon=epsilon)

        return operator(x) if axis == 1 else channels_first(ctx, x, shape, operator)

    # In smaller dtypes flax rounds after each step, where an operator rounds once.
    return _fusion(
        "BatchNorm",
        reference,
        [[(2, *_C), *_Arrays.shapes(fixed=2, scale=scale, bias=bias)]],
        _feature_axis,
        emit,
        dtypes=frozenset({"float32"}),
        use_scale=scale,
        use_bias=bias,
    )


def _groups(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the number of groups off the reshape that makes them."""
    sizes = candidate.params("reshape")[0]["new_sizes"]
    return [{"groups": sizes[-2]}] if len(sizes) >= 2 and isinstance(sizes[-2], int) else []


def _group_norm(*, scale: bool, bias: bool, fast: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, groups: int = 2) -> Any:
        options = _Arrays(arrays, scale=scale, bias=bias).options()
        return nnx.GroupNorm(x.shape[-1], num_groups=groups, use_fast_variance=fast, **options)(x)

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value, groups: int) -> ir.Value:
        epsilon, size = known_scalar(ctx, len(arrays)), _features(ctx)
        taken = _Arrays(arrays, scale=scale, bias=bias)
        operator = _grouped if ctx.target is not None or ctx.opset < 21 else _group_operator

        def emit_channels_first(value: ir.Value) -> ir.Value:
            return operator(ctx, value, taken, size, epsilon=epsilon, groups=groups)

        return channels_first(ctx, x, ctx.aval_out.shape, emit_channels_first)

    shapes = _Arrays.shapes(scale=scale, bias=bias)
    return _fusion(
        "GroupNorm",
        reference,
        [[(2, 5, *_C), *shapes], [(2, *_C), *shapes]],
        _groups,
        emit,
        use_scale=scale,
        use_bias=bias,
        use_fast_variance=fast,
    )


def _group_operator(
    ctx: LoweringContext, x: ir.Value, arrays: _Arrays, size: int, *, epsilon: float, groups: int
) -> ir.Value:
    weight, offset = arrays.values(ctx, size, ctx.aval_out.dtype)
    return ctx.op.GroupNormalization(x, weight, offset, epsilon=epsilon, num_groups=groups)


def _grouped(ctx: LoweringContext, x: ir.Value, arrays: _Arrays, size: int, *, epsilon: float, groups: int) -> ir.Value:
    """Normalise each group as an instance.

    Where a runtime expands GroupNormalization by its definition, the variance is E[x^2] - E[x]^2 and can come out
    negative; JAX clips it.
    """
    batch, *dims = ctx.aval_out.shape
    moved = (batch, size, *dims[:-1])
    grouped = (batch, groups, math.prod(dims) // groups)
    wide = ctx.cast(x, np.float32)
    ones, zeros = ctx.constant(np.ones(groups, np.float32)), ctx.constant(np.zeros(groups, np.float32))
    value = ctx.op.InstanceNormalization(ctx.reshape(wide, moved, grouped), ones, zeros, epsilon=epsilon)
    value = ctx.reshape(ctx.stamp(value, grouped), grouped, moved)
    for array, combine in ((arrays.scale, ctx.op.Mul), (arrays.bias, ctx.op.Add)):
        if array is not None:
            per_channel = ctx.reshape(ctx.cast(array, np.float32), (size,), (size, *[1] * (len(moved) - 2)))
            value = ctx.stamp(combine(value, per_channel), moved)
    return ctx.cast(value, ctx.aval_out.dtype)


FUSIONS: tuple[Fusion, ...] = (
    *(_layer_norm(scale=s, bias=b, fast=fast) for fast in (True, False) for s, b in _SWITCHES),
    *(_rms_norm(scale=s) for s in (True, False)),
    *(_batch_norm(scale=s, bias=b) for s, b in _SWITCHES),
    *(_group_norm(scale=s, bias=b, fast=fast) for fast in (True, False) for s, b in _SWITCHES),
)
