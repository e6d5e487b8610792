"""Examples of :mod:`jax2onnx_lax.conv`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.registry import Example

_NHWC = ("NHWC", "HWIO", "NHWC")
_IMAGE, _KERNEL = ("B", 3, 9, 8), (4, 3, 3, 2)


def _conv(strides: Sequence[int] = (1, 1), padding: Any = "VALID", **options: Any) -> Callable[[], Callable[..., Any]]:
    return lambda: lambda x, w: lax.conv_general_dilated(x, w, strides, padding, **options)


def _example(name: str, make: Callable[[], Callable[..., Any]], inputs: Sequence[Any], **rest: Any) -> Example:
    return Example(name=name, context="lax", component="jax.lax.conv_general_dilated", make=make, inputs=inputs, **rest)


def _typed(*shapes: tuple[Any, ...], dtype: Any) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(s, dtype) for s in shapes]


def _integers(dtype: Any) -> Callable[[], Sequence[Sequence[Any]]]:
    def values() -> Sequence[Sequence[Any]]:
        generator = np.random.default_rng(0)
        limits = np.iinfo(dtype)
        return [
            [generator.integers(limits.min, limits.max, s, dtype, endpoint=True) for s in ((3, *_IMAGE[1:]), _KERNEL)]
        ]

    return values


def _gradient(argument: int, **options: Any) -> Callable[[], Callable[..., Any]]:
    """The gradient of a convolution's sum with regard to one argument, at output weights that differ."""

    def make() -> Callable[..., Any]:
        def loss(x: Any, w: Any) -> Any:
            y = lax.conv_general_dilated(x, w, (2, 2), "SAME", **options)
            return jnp.sum(y * jnp.cos(y))

        return jax.grad(loss, argument)

    return make


EXAMPLES: list[Example] = [
    Example(
        name="conv",
        context="lax",
        component="jax.lax.conv",
        make=lambda: lambda x, w: lax.conv(x, w, (1, 1), "VALID"),
        inputs=[("B", 3, 28, 28), (16, 3, 3, 3)],
        operators={"Conv": 1},
    ),
    _example("conv2", _conv((2, 2), "SAME", dimension_numbers=_NHWC), [("B", 28, 28, 3), (3, 3, 3, 16)]),
    _example("conv_same_symbolic", _conv((2, 2), "SAME"), [("B", 3, "H", "W"), _KERNEL], operators={"Conv": 1}),
    _example("conv_same_dilated_symbolic", _conv((2, 2), "SAME", rhs_dilation=(2, 2)), [("B", 3, "H", "W"), _KERNEL]),
    _example("conv_same_wide_strides", _conv((3, 3), "SAME"), [("B", 3, "H", "W"), _KERNEL]),
    _example("conv_any_layout", _conv(dimension_numbers=("CWNH", "OWIH", "HNCW")), [(3, 8, "B", 9), (4, 3, 3, 2)]),
    _example("conv_padding", _conv((2, 1), ((3, 2), (1, 1)), rhs_dilation=(2, 3)), [_IMAGE, _KERNEL]),
    _example("conv_negative_padding", _conv((1, 1), ((-1, 2), (0, -2))), [_IMAGE, _KERNEL]),
    _example("conv_feature_groups", _conv(feature_group_count=3), [_IMAGE, (6, 1, 3, 2)], operators={"Conv": 1}),
    _example("conv_batch_groups", _conv(batch_group_count=2), [(4, 3, 9, 8), _KERNEL]),
    _example("conv_1d", _conv((1,), "SAME"), [("B", 3, "L"), (4, 3, 3)], operators={"Conv": 1}),
    _example("conv_3d", _conv((1, 2, 1), "SAME"), [("B", 3, 5, 6, 4), (4, 3, 3, 2, 2)], operators={"Conv": 1}),
    _example("conv_4d", _conv((1, 2, 1, 1), "SAME"), [("B", 3, 5, 4, 4, 3), (4, 3, 3, 2, 2, 1)]),
    _example("conv_no_spatial", _conv((), ()), [("B", 3), (4, 3)]),
    _example("conv_input_dilation", _conv((1, 1), ((2, 1), (1, 1)), lhs_dilation=(2, 3)), [_IMAGE, _KERNEL]),
    _example(
        "conv_input_dilation_symbolic",
        _conv((1, 1), ((2, 1), (1, 1)), lhs_dilation=(2, 3)),
        [("B", 3, "H", "W"), _KERNEL],
        operators={"ConvTranspose": 1, "Conv": 0},
    ),
    _example("conv_input_dilation_crop", _conv((1, 1), ((-2, 1), (1, -4)), lhs_dilation=(2, 3)), [_IMAGE, _KERNEL]),
    _example(
        "conv_input_dilation_wide_padding",
        _conv((1, 1), ((5, 4), (6, 3)), lhs_dilation=(2, 3), rhs_dilation=(2, 1)),
        [_IMAGE, _KERNEL],
    ),
    _example("conv_input_dilation_strides", _conv((2, 1), ((2, 1), (1, 1)), lhs_dilation=(2, 3)), [_IMAGE, _KERNEL]),
    _example(
        "conv_input_dilation_groups",
        _conv((1, 1), ((2, 1), (1, 1)), lhs_dilation=(2, 3), feature_group_count=3),
        [_IMAGE, (6, 1, 3, 2)],
    ),
    _example(
        "conv_transpose",
        lambda: lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=_NHWC),
        [("B", 9, 8, 3), (3, 3, 3, 4)],
        operators={"ConvTranspose": 1},
    ),
    _example(
        "conv_transpose_kernel",
        lambda: lambda x, w: lax.conv_transpose(x, w, (2, 3), "VALID", dimension_numbers=_NHWC, transpose_kernel=True),
        [("B", 9, 8, 3), (3, 2, 4, 3)],
    ),
    _example("conv_empty_batch", _conv(), [(0, 3, 9, 8), _KERNEL]),
    _example("conv_no_channels", _conv(), [(2, 0, 9, 8), (4, 0, 3, 2)]),
    _example("conv_empty_result", _conv(), [(2, 3, 2, 8), _KERNEL]),
    _example("conv_gradient_input", _gradient(0), [_IMAGE, _KERNEL]),
    _example("conv_gradient_kernel", _gradient(1), [_IMAGE, _KERNEL]),
    _example("conv_gradient_kernel_groups", _gradient(1, feature_group_count=3), [(3, 3, 9, 8), (6, 1, 3, 2)]),
    _example("conv_float16", _conv(), _typed(_IMAGE, _KERNEL, dtype="float16")),
    _example("conv_bfloat16", _conv(), _typed(_IMAGE, _KERNEL, dtype=jnp.bfloat16)),
    _example(
        "conv_bfloat16_to_float32",
        _conv(preferred_element_type="float32"),
        _typed(_IMAGE, _KERNEL, dtype=jnp.bfloat16),
    ),
    _example("conv_float64", _conv((2, 1), "SAME"), _typed(("B", 3, "H", 8), _KERNEL, dtype="float64"), x64=True),
    _example(
        "conv_float64_input_dilation",
        _conv((2, 1), ((1, 2), (-1, 1)), lhs_dilation=(2, 2), rhs_dilation=(1, 2), feature_group_count=3),
        _typed(_IMAGE, (6, 1, 3, 2), dtype="float64"),
        x64=True,
    ),
    _example("conv_int32", _conv(), _typed(_IMAGE, _KERNEL, dtype="int32"), values=_integers("int32")),
    _example("conv_int8", _conv(), _typed(_IMAGE, _KERNEL, dtype="int8"), values=_integers("int8")),
    _example(
        "conv_int8_to_int32",
        _conv(preferred_element_type="int32"),
        _typed(_IMAGE, _KERNEL, dtype="int8"),
        values=_integers("int8"),
    ),
]
