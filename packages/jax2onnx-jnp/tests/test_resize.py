"""Images resized, and arrays sliced with a step, over dynamic dims: few nodes, and JAX's numbers at many sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

PYTORCH = ("cubic-pytorch",) if "CUBIC_PYTORCH" in jax.image.ResizeMethod.__members__ else ()  # of a later jax
METHODS = ("nearest", "linear", "cubic", *PYTORCH, "lanczos3")
SIZES = [1, 4]

IMAGE = ("B", "H", "W", 3)
# Specs, and the factors of their dims.
LAYOUTS: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
    "channels_last": (IMAGE, (1, 2, 2, 1)),
    "channels_first": (("B", 3, "H", "W"), (1, 1, 2, 4)),
    "one_image": (("H", "W", 3), (4, 2, 1)),
    "no_channels": (("H", "W"), (2, 2)),
    "height": (IMAGE, (1, 2, 1, 1)),
    "sequence": (("B", "T", 5), (1, 2, 1)),
    "one_dim_is_known": (("B", "H", 4, 3), (1, 2, 1, 1)),
    "columns": (("B", 3, 4, "W"), (1, 1, 1, 2)),
    "rows_of_a_table": (("H", 5), (2, 1)),
}


def grown(method: str, factors: tuple[int, ...], *, antialias: bool = True) -> Callable[[jax.Array], jax.Array]:
    def function(x: jax.Array) -> jax.Array:
        shape = [size * factor for size, factor in zip(x.shape, factors, strict=True)]
        return jax.image.resize(x, shape, method, antialias=antialias)

    return function


def nodes(function: Any, spec: Any, **options: Any) -> list[str]:
    return [node.op_type for node in to_onnx(function, [spec], **options).graph.node]


@pytest.mark.parametrize("method", ["nearest", "linear"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_factor_over_dynamic_sizes(layout: str, method: str) -> None:
    spec, factors = LAYOUTS[layout]
    function = grown(method, factors)
    assert "Resize" in nodes(function, spec)
    # Two dynamic dims beside the one that grows become one, whose size is computed.
    assert len(nodes(function, spec)) <= (12 if layout == "height" and method == "linear" else 5)
    check(to_onnx(function, [spec]), function, [spec], sizes=SIZES, kinds=["ordinary"])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str, antialias: bool) -> None:  # noqa: FBT001 - a test's parameter
    function = grown(method, (1, 2, 2, 1), antialias=antialias)
    check(to_onnx(function, [IMAGE]), function, [IMAGE], sizes=SIZES, kinds=["ordinary"])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_smaller_image(method: str, antialias: bool) -> None:  # noqa: FBT001
    def function(x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        return jax.image.resize(x, (b, h // 2, w // 4, c), method, antialias=antialias)

    spec = ("B", "2*H", "4*W", 3)
    resized = {"linear", "cubic", "cubic-pytorch"} if antialias else {"linear"}
    assert ("Resize" in nodes(function, spec)) == (method in resized)
    check(to_onnx(function, [spec]), function, [spec], sizes=[1, 3], kinds=["ordinary"])


@pytest.mark.parametrize("method", METHODS)
def test_a_fixed_size(method: str) -> None:
    def function(x: jax.Array) -> jax.Array:
        return jax.image.resize(x, (x.shape[0], 6, 5, 3), method)

    check(to_onnx(function, [IMAGE]), function, [IMAGE], sizes=[1, 9], kinds=["ordinary"])


def test_a_factor_that_is_no_power_of_two() -> None:
    function = grown("linear", (1, 3, 1))
    spec = ("B", "T", 2)
    assert "Resize" not in nodes(function, spec)
    check(to_onnx(function, [spec]), function, [spec], sizes=[7], kinds=["ordinary"])
    assert nodes(grown("nearest", (1, 3, 1)), spec) == ["Resize"]


def resized(method: str, sizes: tuple[Any, ...], *, antialias: bool = True) -> Callable[[jax.Array], jax.Array]:
    def function(x: jax.Array) -> jax.Array:
        shape = [size(old) if callable(size) else size or old for old, size in zip(x.shape, sizes, strict=True)]
        return jax.image.resize(x, shape, method, antialias=antialias)

    return function


def half(size: Any) -> Any:
    return size // 2


def times_1_5(size: Any) -> Any:
    return size * 3 // 2


def times_3(size: Any) -> Any:
    return size * 3


TARGETS: dict[str, tuple[tuple[Any, ...], dict[str, int]]] = {
    "fixed": ((0, 32, 20, 0), {"nearest": 14, "linear": 37, "cubic": 61, "lanczos3": 57, "lanczos5": 57}),
    "one_fixed": ((0, 32, 0, 0), {"nearest": 7, "linear": 19, "cubic": 31, "lanczos3": 29, "lanczos5": 29}),
    "times_3": ((0, times_3, times_3, 0), {"nearest": 1, "linear": 38, "cubic": 62, "lanczos3": 58, "lanczos5": 58}),
    "half": ((0, half, half, 0), {"nearest": 26, "linear": 50, "cubic": 74, "lanczos3": 72, "lanczos5": 72}),
    "times_1_5": ((0, times_1_5, 0, 0), {"nearest": 14, "linear": 27, "cubic": 39, "lanczos3": 38, "lanczos5": 38}),
}
"""Target -> the new sizes, and the most nodes of each method."""


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("target", TARGETS)
def test_weights(target: str, method: str) -> None:
    sizes, most = TARGETS[target]
    function = resized(method, sizes)
    model = to_onnx(function, [IMAGE])
    assert len(model.graph.node) <= most[method]
    at = [{"B": 1, "H": 2, "W": 3}, {"B": 1, "H": 47, "W": 5}]
    check(model, function, [IMAGE], sizes=at, kinds=["ordinary"])


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos3", "lanczos5"])
def test_weights_without_a_filter(method: str) -> None:
    function = resized(method, (0, 32, 20, 0), antialias=False)
    model = to_onnx(function, [IMAGE])
    assert len(model.graph.node) <= {"linear": 33, "cubic": 57}.get(method, 53)
    at = [{"B": 1, "H": 1, "W": 43}]
    check(model, function, [IMAGE], sizes=at, kinds=["ordinary"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_in_every_layout(layout: str) -> None:
    spec, factors = LAYOUTS[layout]
    function = resized("linear", tuple(0 if factor == 1 else 7 for factor in factors))
    model = to_onnx(function, [spec])
    (at,) = [{symbol: 4 + i for i, symbol in enumerate(s for s in spec if isinstance(s, str))}]
    check(model, function, [spec], sizes=[at], kinds=["ordinary"])
    assert "Greater" not in {node.op_type for node in model.graph.node}


def keys(x: Any) -> Any:
    far = np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0)
    return np.where(x < 1, ((1.5 * x - 2.5) * x) * x + 1, far)


KERNELS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: np.maximum(0, 1 - x),
    "cubic": keys,
    "lanczos3": lambda x: np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0),
    "lanczos5": lambda x: np.where(x < 5, np.sinc(x) * np.sinc(x / 5), 0),
}


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("method", KERNELS)
def test_the_sum_of_weights_is_never_small(method: str, antialias: bool) -> None:  # noqa: FBT001
    """What the shorter form relies on: JAX's guard against a sum of 0 never acts."""
    kernel = KERNELS[method]
    for m in (*range(1, 24), 61, 128):
        for n in (1, 2, 3, 5, 8, 13, 40, 127, 128, 500):
            step = m / n
            at = (np.arange(n) + 0.5) * step - 0.5
            assert at.min() >= -0.5
            assert at.max() <= m - 0.5
            distance = np.abs(at - np.arange(m)[:, None]) / (max(step, 1) if antialias else 1)
            assert np.sum(kernel(distance), axis=0).min() > 0.4


def test_what_is_not_finite_stays_near() -> None:
    # In JAX, an infinity in one place is NaN in all of a product with a matrix of weights.
    function = grown("linear", (1, 2, 1))
    x = np.asarray([np.inf, 1.0, 2.0, 3.0], np.float32).reshape(1, 4, 1)
    spec = ("B", "T", 1)
    model = to_onnx(function, [spec])
    (result,) = Runner(model).run([x])
    assert np.isnan(function(x)).sum() > np.isnan(result).sum()
    check(model, function, [spec], values=[[x]])


@pytest.mark.parametrize("layout", ["one_dim_is_known", "columns", "rows_of_a_table"])
def test_what_is_not_finite_stays_in_its_row(layout: str) -> None:
    """A dim that stays as it is has no part in the interpolation, where 0 times infinity would be NaN."""
    spec, factors = LAYOUTS[layout]
    function = grown("linear", factors)
    check(to_onnx(function, [spec]), function, [spec], sizes=[1], kinds=["special"])


def test_dtypes_without_a_kernel() -> None:
    for dtype in ("float16", "bfloat16", "int32"):
        spec = f"{dtype}[B,H,3]"
        function = grown("nearest" if dtype == "int32" else "linear", (1, 2, 1))
        check(to_onnx(function, [spec]), function, [spec], sizes=[3], kinds=["ordinary"])


def test_between_convolutions() -> None:
    kernel = np.ones((3, 3, 4, 4), np.float32)

    def function(x: jax.Array) -> jax.Array:
        def conv(y: jax.Array) -> jax.Array:
            return jax.lax.conv_general_dilated(y, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

        return conv(grown("linear", (1, 2, 2, 1))(conv(x)))

    spec = ("B", "H", "W", 4)
    assert nodes(function, spec, inputs_as_nchw=True, outputs_as_nchw=True) == ["Conv", "Resize", "Conv"]


# -- slices ----------------------------------------------------------------------------------------------------------

SLICES: dict[str, tuple[Callable[[jax.Array], jax.Array], int]] = {
    "reversed": (lambda x: x[::-1], 1),
    "reversed_last": (lambda x: x[..., ::-1], 1),
    "every_second": (lambda x: x[::2], 1),
    "from_the_second": (lambda x: x[:, 1::3], 1),
    "backwards_by_two": (lambda x: x[:, ::-2], 1),
}


@pytest.mark.parametrize("name", SLICES)
def test_slices_with_a_step(name: str) -> None:
    function, most = SLICES[name]
    for spec in (("N", "M"), "int32[N,M]", "bool[N,M]"):
        model = to_onnx(function, [spec])
        assert [node.op_type for node in model.graph.node] == ["Slice"] * most
        check(model, function, [spec], sizes=[1, 2, 7] if "1::" in name else [0, 1, 2, 7])
