"""Emit normalisation layers, which flax.nnx and flax.linen have under the same names and with the same arguments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from flax import nnx

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_jnp.layers import NOT_DOUBLE, known_scalar, trailing_axes, variant_name
from jax2onnx_nnx.fusions._layers import NO_RANDOM, channels_first, given

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_FEATURES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A normalisation layer.

    Attributes:
        name: its name.
        switches: names of its boolean arguments that make a variant each.
        arrays: names of its arrays, in the order of the fusion's inputs; one is left out where ``use_<name>`` is off.
        shapes: example shapes of what is normalised.
        read: reads arguments of the layer off the equations found.
        emit: ``emit(ctx, x, arrays, epsilon, **arguments)``; the arrays by name.
        options: further arguments.
        opset: the oldest opset that has the operator.
        dtypes: names of the result dtypes for which the fusions are tried.
    """

    name: str
    switches: Sequence[str]
    arrays: Sequence[str] = ("scale", "bias")
    shapes: Sequence[tuple[int, ...]]
    read: Callable[[Candidate], Iterable[Mapping[str, Any]]]
    emit: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    opset: int = MIN_OPSET
    dtypes: frozenset[str] = NOT_DOUBLE


Reference = Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]
"""``reference(x, arrays, arguments)``: apply a layer that has these arrays."""


def fusions(library: str, reference: Callable[[Layer], Reference]) -> Iterator[Fusion]:
    """Yield the fusions of all layers of a library, switched in every way."""
    for layer in LAYERS:
        for values in itertools.product((True, False), repeat=len(layer.switches)):
            switches = dict(zip(layer.switches, values, strict=True))
            yield _fusion(library, layer, switches, reference(layer))


def _fusion(library: str, layer: Layer, switches: Mapping[str, bool], apply: Reference) -> Fusion:
    names = [name for name in layer.arrays if switches.get(f"use_{name}", True)]

    def reference(x: Any, *arrays: Any, **arguments: Any) -> Any:
        *held, epsilon = arrays
        return apply(
            x, dict(zip(names, held, strict=True)), {**layer.options, **switches, **arguments, "epsilon": epsilon}
        )

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value, **arguments: Any) -> ir.Value:
        epsilon = known_scalar(ctx, len(arrays))
        value: ir.Value = layer.emit(ctx, x, dict(zip(names, arrays[:-1], strict=True)), epsilon, **arguments)
        return value

    # A name lists what is off: first scale and bias, then how the variance is computed.
    ordered = {name: switches[name] for name in ("use_scale", "use_bias", "use_fast_variance") if name in switches}
    return Fusion(
        name=variant_name(f"{library}.{layer.name}", ordered),
        reference=reference,
        examples=[[shape, *[(_FEATURES,)] * len(names), ()] for shape in layer.shapes],
        kwargs=layer.read,
        emit={layer.opset: emit},
        dtypes=layer.dtypes,
        primitives=frozenset({"rsqrt"}),
    )


def _features(ctx: LoweringContext, axis: int = -1) -> int:
    """Return the number of features, which the operators need at conversion."""
    size = ctx.avals_in[0].shape[axis]
    if not isinstance(size, int):
        raise Decline("the number of features is not known at conversion")
    return size


def _scale_and_bias(ctx: LoweringContext, arrays: Mapping[str, ir.Value], size: int) -> tuple[ir.Value, ir.Value]:
    """Return scale and bias, ones and zeros where there is none."""
    dtype = ctx.aval_out.dtype
    scale = arrays["scale"] if "scale" in arrays else ctx.constant(np.ones(size, dtype))
    bias = arrays["bias"] if "bias" in arrays else ctx.constant(np.zeros(size, dtype))
    return scale, bias


# -- LayerNorm and RMSNorm -------------------------------------------------------------------------------------------


def _reduction_axes(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the normalised axes; the operators take trailing ones only."""
    axes = trailing_axes(candidate)
    return [] if axes is None else [{"reduction_axes": axes}]


def _per_feature(ctx: LoweringContext, array: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Give a parameter per feature the shape of all normalised axes, as the operators want it."""
    if len(axes) <= 1:
        return array
    shape = ctx.avals_in[0].shape[-len(axes) :]
    return ctx.stamp(ctx.op.Expand(array, ctx.shape(shape)), shape)


def _layer_norm(
    ctx: LoweringContext, x: ir.Value, arrays: Mapping[str, ir.Value], epsilon: float, *, reduction_axes: Sequence[int]
) -> ir.Value:
    scale, bias = _scale_and_bias(ctx, arrays, _features(ctx))
    params = [_per_feature(ctx, scale, reduction_axes)]
    if "bias" in arrays:
        params.append(_per_feature(ctx, bias, reduction_axes))
    return ctx.op.LayerNormalization(x, *params, axis=-len(reduction_axes), epsilon=epsilon)


def _rms_norm(
    ctx: LoweringContext, x: ir.Value, arrays: Mapping[str, ir.Value], epsilon: float, *, reduction_axes: Sequence[int]
) -> ir.Value:
    size = _features(ctx)
    if not ctx.supports("RMSNormalization", np.float32):
        raise Decline("the target has no RMSNormalization")
    scale, _ = _scale_and_bias(ctx, arrays, size)
    scale = _per_feature(ctx, scale, reduction_axes)
    return ctx.op.RMSNormalization(x, scale, axis=-len(reduction_axes), epsilon=epsilon)


# -- BatchNorm and GroupNorm -----------------------------------------------------------------------------------------


def _feature_axis(candidate: Candidate) -> Iterator[Mapping[str, Any]]:
    """Try the last axis, then the others that have as many features as there are statistics."""
    shape, features = candidate.result.shape, candidate.inputs[1].shape
    for axis in (len(shape) - 1, *range(len(shape) - 1)):
        if features == shape[axis : axis + 1]:
            yield {"axis": axis}


def _batch_norm(
    ctx: LoweringContext, x: ir.Value, arrays: Mapping[str, ir.Value], epsilon: float, *, axis: int
) -> ir.Value:
    size, shape = _features(ctx, axis), ctx.avals_in[0].shape
    if axis not in {1, len(shape) - 1} or len(shape) < 2:
        raise Decline("the operator takes channels second")
    params = [*_scale_and_bias(ctx, arrays, size), arrays["mean"], arrays["var"]]

    def operator(value: ir.Value) -> ir.Value:
        return ctx.op.BatchNormalization(value, *params, epsilon=epsilon)

    return operator(x) if axis == 1 else channels_first(ctx, x, shape, operator)


def _groups(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the number of groups off the reshape that makes them."""
    sizes = candidate.params("reshape")[0]["new_sizes"]
    return [{"num_groups": sizes[-2]}] if len(sizes) >= 2 and isinstance(sizes[-2], int) else []


def _group_norm(
    ctx: LoweringContext, x: ir.Value, arrays: Mapping[str, ir.Value], epsilon: float, *, num_groups: int
) -> ir.Value:
    size = _features(ctx)

    def operator(value: ir.Value) -> ir.Value:
        if ctx.target is not None or ctx.opset < 21:
            return _instance_norm(ctx, value, arrays, size, epsilon=epsilon, groups=num_groups)
        params = _scale_and_bias(ctx, arrays, size)
        return ctx.op.GroupNormalization(value, *params, epsilon=epsilon, num_groups=num_groups)

    return channels_first(ctx, x, ctx.aval_out.shape, operator)


def _instance_norm(
    ctx: LoweringContext, x: ir.Value, arrays: Mapping[str, ir.Value], size: int, *, epsilon: float, groups: int
) -> ir.Value:
    """Normalise each group as an instance.

    Where a runtime expands GroupNormalization by its definition, the variance is E[x^2] - E[x]^2 and can come out
    negative; JAX clips it.
    """
    batch, *dims = ctx.aval_out.shape
    shape = (batch, size, *dims[:-1])
    grouped = (batch, groups, math.prod(dims) // groups)
    wide = ctx.cast(x, np.float32)
    ones, zeros = ctx.constant(np.ones(groups, np.float32)), ctx.constant(np.zeros(groups, np.float32))
    value = ctx.op.InstanceNormalization(ctx.reshape(wide, shape, grouped), ones, zeros, epsilon=epsilon)
    value = ctx.reshape(ctx.stamp(value, grouped), grouped, shape)
    for name, combine in (("scale", ctx.op.Mul), ("bias", ctx.op.Add)):
        if name in arrays:
            array = ctx.cast(arrays[name], np.float32)
            per_channel = ctx.reshape(array, (size,), (size, *[1] * (len(shape) - 2)))
            value = ctx.stamp(combine(value, per_channel), shape)
    return ctx.cast(value, ctx.aval_out.dtype)


LAYERS = (
    Layer(
        name="LayerNorm",
        switches=("use_fast_variance", "use_scale", "use_bias"),
        shapes=[(2, _FEATURES), (2, 5, _FEATURES), (_FEATURES,)],
        read=_reduction_axes,
        emit=_layer_norm,
    ),
    Layer(
        name="RMSNorm",
        switches=("use_scale",),
        arrays=("scale",),
        shapes=[(2, _FEATURES), (2, 5, _FEATURES)],
        read=_reduction_axes,
        emit=_rms_norm,
        opset=23,
    ),
    Layer(
        name="BatchNorm",
        switches=("use_scale", "use_bias"),
        arrays=("mean", "var", "scale", "bias"),
        shapes=[(2, _FEATURES)],
        read=_feature_axis,
        emit=_batch_norm,
        options={"use_running_average": True},
        # In smaller dtypes flax rounds after each step, where an operator rounds once.
        dtypes=frozenset({"float32"}),
    ),
    Layer(
        name="GroupNorm",
        switches=("use_fast_variance", "use_scale", "use_bias"),
        shapes=[(2, 5, _FEATURES), (2, _FEATURES)],
        read=_groups,
        emit=_group_norm,
        options={"num_groups": 2},
    ),
)


def _reference(layer: Layer) -> Reference:
    def reference(x: Any, arrays: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        statistics = {name: nnx.BatchStat(arrays[name]) for name in ("mean", "var") if name in arrays}
        inits = {f"{name}_init": given(array) for name, array in arrays.items() if name not in statistics}
        built = getattr(nnx, layer.name)(x.shape[arguments.get("axis", -1)], rngs=NO_RANDOM, **inits, **arguments)
        for name, statistic in statistics.items():
            setattr(built, name, statistic)
        return built(x)

    return reference


FUSIONS: tuple[Fusion, ...] = tuple(fusions("flax.nnx", _reference))
