"""Examples of :mod:`jax2onnx_lax.conv`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_Make = Callable[[], Callable[..., Any]]
_NHWC = ("NHWC", "HWIO", "NHWC")
_IMAGE, _KERNEL = ("B", 3, 9, 8), (4, 3, 3, 2)


def _conv(strides: Sequence[int] = (1, 1), padding: Any = "VALID", **options: Any) -> _Make:
    return lambda: lambda x, w: lax.conv_general_dilated(x, w, strides, padding, **options)


def _example(name: str, make: _Make, inputs: Sequence[Any], **rest: Any) -> Example:
    return Example(name=name, context="lax", component="jax.lax.conv_general_dilated", make=make, inputs=inputs, **rest)


def _typed(*shapes: tuple[Any, ...], dtype: Any) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(s, dtype) for s in shapes]


def _kernel(shape: Sequence[int], dtype: Any = "float32") -> Any:
    """Weights; finite, as what infinity times padding is depends on XLA's algorithm."""
    generator = np.random.default_rng(0)
    if np.dtype(dtype).kind == "i":
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return generator.normal(size=shape).astype(dtype)


def _layer(shape: Sequence[int], *arguments: Any, dtype: Any = "float32", **options: Any) -> _Make:
    convolve = _conv(*arguments, **options)
    return lambda: lambda x: convolve()(x, _kernel(shape, dtype))


def _input_gradient(shape: Sequence[int], kernel: Sequence[int], **options: Any) -> _Make:
    """The gradient with regard to an image of ``shape``, as a function of the gradient of the result."""
    convolve = _conv((2, 2), "SAME", **options)
    return lambda: (
        lambda g: jax.vjp(lambda x: convolve()(x, _kernel(kernel)), jnp.zeros((g.shape[0], *shape), "float32"))[1](g)[0]
    )


def _kernel_gradient(kernel: Sequence[int], **options: Any) -> _Make:
    """The gradient with regard to the kernel, as a function of the image, for a fixed gradient of the result."""
    convolve = _conv((2, 2), "SAME", **options)

    def gradient(x: Any) -> Any:
        y, pull = jax.vjp(lambda w: convolve()(x, w), jnp.zeros(kernel, "float32"))
        return pull(jnp.broadcast_to(jnp.asarray(_kernel(y.shape[1:])), y.shape))[0]

    return lambda: gradient


_GROUPED = (6, 1, 3, 2)

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
    _example("conv_same_symbolic", _layer(_KERNEL, (2, 2), "SAME"), [("B", 3, "H", "W")], operators={"Conv": 1}),
    _example("conv_same_dilated_symbolic", _layer(_KERNEL, (2, 2), "SAME", rhs_dilation=(2, 2)), [("B", 3, "H", "W")]),
    _example("conv_same_wide_strides", _layer(_KERNEL, (3, 3), "SAME"), [("B", 3, "H", "W")]),
    _example("conv_any_layout", _conv(dimension_numbers=("CWNH", "OWIH", "HNCW")), [(3, 8, "B", 9), _KERNEL]),
    _example("conv_padding", _layer(_KERNEL, (2, 1), ((3, 2), (1, 1)), rhs_dilation=(2, 3)), [_IMAGE]),
    _example("conv_negative_padding", _layer(_KERNEL, (1, 1), ((-1, 2), (0, -2))), [_IMAGE]),
    _example("conv_feature_groups", _conv(feature_group_count=3), [_IMAGE, _GROUPED], operators={"Conv": 1}),
    _example(
        "conv_batch_groups",
        _conv(batch_group_count=2),
        [(4, 3, 9, 8), _KERNEL],
        # What is not finite in one group, XLA's CPU code spreads to the others.
        values=lambda: [[_kernel((4, 3, 9, 8)), _kernel(_KERNEL)]],
        draw=False,
    ),
    _example("conv_1d", _layer((4, 3, 3), (1,), "SAME"), [("B", 3, "L")], operators={"Conv": 1}),
    _example("conv_3d", _layer((4, 3, 3, 2, 2), (1, 2, 1), "SAME"), [("B", 3, 5, 6, 4)], operators={"Conv": 1}),
    _example("conv_4d", _layer((4, 3, 3, 2, 2, 1), (1, 2, 1, 1), "SAME"), [("B", 3, 5, 4, 4, 3)]),
    _example("conv_no_spatial", _conv((), ()), [("B", 3), (4, 3)]),
    *(
        _example(f"conv_input_dilation{name}", _layer(kernel, strides, padding, **options), [shape], operators=found)
        for name, kernel, strides, padding, options, shape, found in (
            ("", _KERNEL, (1, 1), ((2, 1), (1, 1)), {"lhs_dilation": (2, 3)}, _IMAGE, {"ConvTranspose": 1}),
            (
                "_symbolic",
                _KERNEL,
                (1, 1),
                ((2, 1), (1, 1)),
                {"lhs_dilation": (2, 3)},
                ("B", 3, "H", "W"),
                {"ConvTranspose": 1, "Conv": 0},
            ),
            ("_crop", _KERNEL, (1, 1), ((-2, 1), (1, -4)), {"lhs_dilation": (2, 3)}, _IMAGE, None),
            (
                "_wide_padding",
                _KERNEL,
                (1, 1),
                ((5, 4), (6, 3)),
                {"lhs_dilation": (2, 3), "rhs_dilation": (2, 1)},
                _IMAGE,
                None,
            ),
            ("_strides", _KERNEL, (2, 1), ((2, 1), (1, 1)), {"lhs_dilation": (2, 3)}, _IMAGE, {"Conv": 1}),
            (
                "_groups",
                _GROUPED,
                (1, 1),
                ((2, 1), (1, 1)),
                {"lhs_dilation": (2, 3), "feature_group_count": 3},
                _IMAGE,
                None,
            ),
        )
    ),
    _example(
        "conv_transpose",
        lambda: lambda x: lax.conv_transpose(x, _kernel((3, 3, 3, 4)), (2, 2), "SAME", dimension_numbers=_NHWC),
        [("B", 9, 8, 3)],
        operators={"ConvTranspose": 1},
    ),
    _example(
        "conv_transpose_kernel",
        lambda: (
            lambda x: lax.conv_transpose(
                x, _kernel((3, 2, 4, 3)), (2, 3), "VALID", dimension_numbers=_NHWC, transpose_kernel=True
            )
        ),
        [("B", 9, 8, 3)],
    ),
    _example("conv_empty_batch", _conv(), [(0, 3, 9, 8), _KERNEL]),
    _example("conv_no_channels", _conv(), [(2, 0, 9, 8), (4, 0, 3, 2)]),
    _example("conv_empty_result", _conv(), [(2, 3, 2, 8), _KERNEL]),
    _example("conv_gradient_input", _input_gradient((3, 9, 8), _KERNEL), [("B", 4, 5, 4)]),
    _example("conv_gradient_kernel", _kernel_gradient(_KERNEL), [_IMAGE]),
    _example("conv_gradient_kernel_groups", _kernel_gradient(_GROUPED, feature_group_count=3), [(3, 3, 9, 8)]),
    _example("conv_float16", _conv(), _typed(_IMAGE, _KERNEL, dtype="float16")),
    _example("conv_bfloat16", _conv(), _typed(_IMAGE, _KERNEL, dtype=jnp.bfloat16)),
    _example(
        "conv_bfloat16_to_float32",
        _conv(preferred_element_type="float32"),
        _typed(_IMAGE, _KERNEL, dtype=jnp.bfloat16),
    ),
    _example(
        "conv_float64",
        _layer(_KERNEL, (2, 1), "SAME", dtype="float64"),
        _typed(("B", 3, "H", 8), dtype="float64"),
        x64=True,
    ),
    _example(
        "conv_float64_input_dilation",
        _layer(_KERNEL, (2, 1), ((1, 2), (-1, 1)), dtype="float64", lhs_dilation=(2, 2), rhs_dilation=(1, 2)),
        _typed(_IMAGE, dtype="float64"),
        x64=True,
    ),
    _example(
        "conv_float64_feature_groups",
        _layer(_GROUPED, (2, 1), dtype="float64", feature_group_count=3),
        _typed((3, 3, 9, 8), dtype="float64"),
        # What is not finite in one group, XLA's CPU code spreads to the others in float64.
        values=lambda: [[_kernel((3, 3, 9, 8), "float64")]],
        draw=False,
        x64=True,
    ),
    *(
        _example(
            f"conv_{dtype}" + (f"_to_{out}" if out else ""),
            _layer(_KERNEL, dtype=dtype, preferred_element_type=out),
            _typed(_IMAGE, dtype=dtype),
            values=lambda dtype=dtype: [[_kernel((3, 3, 9, 8), dtype)]],
        )
        for dtype, out in (("int32", None), ("int8", None), ("int8", "int32"))
    ),
]
