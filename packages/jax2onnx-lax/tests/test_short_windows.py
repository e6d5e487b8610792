"""Windows over arrays that are shorter than a window, or empty, at run time: the result is empty, as JAX's is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.testing import Runner, operators

if TYPE_CHECKING:
    from collections.abc import Callable

KERNEL = np.ones((2, 3, 3), np.float32)


def _window(initial: float, binary: Any, size: Any, strides: Any, padding: Any = "VALID", **more: Any) -> Any:
    return lambda x: lax.reduce_window(x, initial, binary, size, strides, padding, **more)


def _conv(strides: int, padding: Any, dilation: int = 1) -> Any:
    numbers = ("NWC", "OWI", "NWC")
    return lambda x: lax.conv_general_dilated(
        x, jnp.asarray(KERNEL, x.dtype), (strides,), padding, rhs_dilation=(dilation,), dimension_numbers=numbers
    )


LINES: dict[str, Callable[[Any], Any]] = {
    "sum": _window(0.0, lax.add, (1, 3, 1), (1, 1, 1)),
    "maximum": _window(-jnp.inf, lax.max, (1, 3, 1), (1, 2, 1)),
    "minimum": _window(jnp.inf, lax.min, (1, 3, 1), (1, 2, 1)),
    "product": _window(1.0, lax.mul, (1, 3, 1), (1, 1, 1)),
    "padded": _window(-jnp.inf, lax.max, (1, 4, 1), (1, 1, 1), ((0, 0), (1, 0), (0, 0))),
    "dilated": _window(-jnp.inf, lax.max, (1, 2, 1), (1, 1, 1), window_dilation=(1, 3, 1)),
    "several_axes": _window(0.0, lax.add, (2, 3, 2), (1, 1, 1)),
    "conv": _conv(1, "VALID"),
    "conv_of_halves": lambda x: _conv(2, "VALID")(x.astype(jnp.bfloat16)).astype(jnp.float32),
    "conv_dilated": _conv(2, "VALID", 2),
    "conv_same": _conv(1, "SAME"),
    "conv_padded": _conv(1, [(1, 0)]),
    "conv_with_bias": nnx.Conv(3, 4, kernel_size=(3,), padding="VALID", rngs=nnx.Rngs(0)),
    "avg_pool": lambda x: nnx.avg_pool(x, (3,), (3,)),
    "avg_pool_same": lambda x: linen.avg_pool(x, (3,), (1,), "SAME", count_include_pad=False),
    "max_pool": lambda x: linen.max_pool(x, (3,), (2,)),
    "one_after_the_other": lambda x: nnx.avg_pool(nnx.max_pool(x, (2,), (1,)), (2,), (1,)),
    "read_later": lambda x: jnp.sum(nnx.max_pool(x, (3,), (1,)), 1),
}
IMAGES: dict[str, Callable[[Any], Any]] = {
    "conv": nnx.Conv(3, 4, kernel_size=(3, 2), strides=2, padding="VALID", rngs=nnx.Rngs(0)),
    "max_pool": lambda x: nnx.max_pool(x, (2, 2), (2, 2)),
    "avg_pool": lambda x: nnx.avg_pool(x, (2, 2), (2, 2)),
}


def _agrees(function: Callable[..., Any], spec: Any, shapes: Any) -> None:
    runner = Runner(to_onnx(function, [spec]))
    for shape in shapes:
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        (got,), want = runner.run([x]), function(jnp.asarray(x))
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LINES)
def test_lines(name: str) -> None:
    _agrees(LINES[name], ("B", "N", 3), [(2, n, 3) for n in (7, 4, 3, 2, 1, 0)])


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    shapes = [(2, 5, 4, 3), (2, 3, 1, 3), (2, 1, 6, 3), (2, 1, 1, 3), (2, 0, 4, 3), (0, 1, 4, 3)]
    _agrees(IMAGES[name], ("B", "H", "W", 3), shapes)


def test_a_kernel_longer_than_the_array() -> None:
    def convolved(kernel: Any) -> Any:
        return lax.conv_general_dilated(
            jnp.ones((1, 5, 3)), kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )

    _agrees(convolved, ("N", 3, 2), [(n, 3, 2) for n in (1, 5, 6, 7)])


@pytest.mark.parametrize("name", ["conv", "max_pool", "avg_pool"])
def test_a_bound_of_the_sizes_costs_nothing(name: str) -> None:
    guarded = operators(to_onnx(IMAGES[name], [("B", "H", "W", 3)]))
    plain = operators(to_onnx(IMAGES[name], [("B", "H", "W", 3)], constraints=["H >= 3", "W >= 3"]))
    assert guarded["Pad"] == guarded["Slice"] == 1
    assert "Pad" not in plain
    assert "Slice" not in plain


def test_cumulative_logarithms_of_integers_are_refused_as_jax_does() -> None:
    def logarithms(x: Any) -> Any:
        return lax.cumlogsumexp(x)

    with pytest.raises(UnsupportedCaseError, match=r"astype\(jnp.float32\)"):
        to_onnx(logarithms, ["int32[4]"])
    _agrees(lambda x: lax.cumlogsumexp(x.astype(jnp.float32)), (4,), [(4,)])
    to_onnx(logarithms, ["int32[0]"])


def test_a_last_dim_of_no_windows_may_be_empty() -> None:
    """onnxruntime pools no channels of size 0, but a batch of that size."""

    def rows(x: Any) -> Any:
        return _window(0.0, lax.add, (1, 3), (1, 1), "SAME")(x), _window(-jnp.inf, lax.max, (1, 3), (1, 1))(x)

    runner = Runner(to_onnx(rows, ["float32[B,6]"]))
    for batch in (0, 1, 7):
        x = np.arange(batch * 6, dtype=np.float32).reshape(batch, 6)
        for got, want in zip(runner.run([x]), rows(jnp.asarray(x)), strict=True):
            np.testing.assert_allclose(got, want)
