"""Emit average pooling of flax.nnx; max pooling is one primitive already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flax import nnx

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion, permuted, to_channels_first
from jax2onnx_lax import windows
from jax2onnx_lax.pool import average_with_padding
from jax2onnx_nnx.fusions._layers import channels_first

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_NONE = (0, 0)


def _window(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the window off the sum over it: spatial dims between batch and channels."""
    params = candidate.params("reduce_window_sum")[0]
    window, strides, padding = (tuple(params[n]) for n in ("window_dimensions", "window_strides", "padding"))
    if len(window) < 3 or (window[0], window[-1]) != (1, 1) or (padding[0], padding[-1]) != (_NONE, _NONE):
        return []
    size, steps = tuple(map(int, window[1:-1])), tuple(map(int, strides[1:-1]))
    return [{"window_shape": size, "strides": steps, "padding": padding[1:-1]}]


def _avg_pool(*, count_include_pad: bool) -> Fusion:
    def reference(
        x: Any, *, window_shape: Sequence[int] = (2, 2), strides: Sequence[int] = (1, 1), padding: Any = "VALID"
    ) -> Any:
        return nnx.avg_pool(x, window_shape, strides, padding, count_include_pad=count_include_pad)

    def emit(
        ctx: LoweringContext, x: ir.Value, *, window_shape: Sequence[int], strides: Sequence[int], padding: Any
    ) -> ir.Value:
        pads = windows.flat(padding)
        supported = ctx.supports("AveragePool", ctx.aval_out.dtype)
        if not supported or len(window_shape) > 3 or not windows.are_inside(pads, window_shape):
            raise Decline("AveragePool takes paddings smaller than its window, over one to three dims")
        attributes: dict[str, Any] = {"kernel_shape": list(window_shape), "strides": list(strides)}
        if any(pads):
            attributes["pads"] = pads
        shape, order = ctx.avals_in[0].shape, to_channels_first(ctx.avals_in[0].ndim)
        second = permuted(shape, order)

        def pool(x: ir.Value) -> ir.Value:
            if not count_include_pad:
                return windows.slid(ctx, ctx.op.AveragePool(x, **attributes), second, attributes)
            return average_with_padding(ctx, x, second, [(0, 0), (0, 0), *padding], attributes)

        return channels_first(ctx, x, shape, pool, ctx.aval_out.shape)

    return Fusion(
        name="flax.nnx.avg_pool" + ("" if count_include_pad else "(count_include_pad=False)"),
        reference=reference,
        examples=[[(2, 6, 6, 3)]],
        kwargs=_window,
        emit={MIN_OPSET: emit},
    )


FUSIONS: tuple[Fusion, ...] = (_avg_pool(count_include_pad=True), _avg_pool(count_include_pad=False))
