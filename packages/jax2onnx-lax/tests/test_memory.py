"""No array of a model is much greater than what JAX has; ``scripts/memory_table.py`` tries more programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax
from placed_operators import bodies_in

from jax2onnx import to_onnx
from jax2onnx.testing import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

TALL, WIDE = (400, 2), (2, 400)


def _greatest(model: onnx.ModelProto) -> int:
    sizes = [0]
    whole = onnx.shape_inference.infer_shapes(model).graph
    for graph in (whole, *bodies_in(whole)):
        shapes = [value.type.tensor_type.shape.dim for value in graph.value_info]
        sizes += [math.prod(dim.dim_value or 1 for dim in dims) for dims in shapes]
        sizes += [math.prod(tensor.dims) for tensor in graph.initializer]
    return max(sizes)


@pytest.mark.parametrize("shape", [TALL, WIDE])
@pytest.mark.parametrize(
    "function",
    [jnp.linalg.pinv, jnp.linalg.qr, lambda a: jnp.linalg.svd(a, full_matrices=False), jnp.linalg.cond],
    ids=["pinv", "qr", "svd", "cond"],
)
def test_long_matrices(function: Callable[..., Any], shape: tuple[int, int]) -> None:
    assert _greatest(to_onnx(function, [shape])) < 10 * math.prod(TALL)


def test_a_pseudo_inverse() -> None:
    a = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
    got = Runner(to_onnx(jnp.linalg.pinv, [(300, 2)])).run([a])[0]
    np.testing.assert_allclose(got, np.linalg.pinv(a), atol=1e-6)


WINDOWS: list[tuple[Any, ...]] = [
    ((2, 80), (1, 50), (1, 1), "SAME", {}),
    ((20, 30), (7, 9), (2, 3), ((3, 1), (0, 5)), {"base_dilation": (1, 2)}),
    ((60, 4), (33, 3), (5, 1), ((-2, 40), (1, 1)), {}),
    ((20, 3), (40, 1), (1, 1), "VALID", {"base_dilation": (3, 1)}),
    ((100, 2), (37, 2), (1, 1), "VALID", {"window_dilation": (2, 1)}),
    ((100,), (60,), (1,), ((70, 70),), {}),
]
OPERATIONS: list[tuple[Any, ...]] = [
    (lax.max, -np.inf, "float32"),
    (lax.min, 2**31 - 1, "int32"),
    (lax.add, 0, "int32"),
    (lax.mul, 1, "float32"),
    (lax.bitwise_xor, 0, "uint8"),
]


@pytest.mark.parametrize("window", range(len(WINDOWS)))
@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
def test_large_windows(window: int, operation: int) -> None:
    shape, size, strides, padding, dilations = WINDOWS[window]
    function, initial, dtype = OPERATIONS[operation]

    def reduce(x: Any) -> Any:
        return lax.reduce_window(x, np.asarray(initial, dtype), function, size, strides, padding, **dilations)

    x = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    x = (x * 100 if dtype != "float32" else x).astype(dtype)
    if dtype == "float32" and function is lax.max:
        x[5 % shape[0]] = np.nan
    model = to_onnx(reduce, [x])
    np.testing.assert_allclose(Runner(model).run([x])[0], jax.jit(reduce)(x), rtol=1e-5)
    # Dilated and padded, an array has more elements than before.
    assert _greatest(model) <= 4 * x.size
