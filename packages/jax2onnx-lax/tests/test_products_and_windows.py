"""What products, convolutions and windows become for a runtime, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.testing import operators, x64


def max_pool(x):
    return lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def test_max_pool_is_guarded_against_nan_only_where_the_runtime_loses_it() -> None:
    inputs = [("B", 3, 8, 8)]
    assert operators(to_onnx(max_pool, inputs, target="onnx")) == {"MaxPool": 1}
    assert operators(to_onnx(max_pool, inputs))["If"] == 1


@pytest.mark.parametrize("positive", [jax.nn.relu, jnp.exp, lambda x: jax.nn.relu(x).astype(jnp.float16)])
@pytest.mark.parametrize("shape", [(2, 9, 8, 3), ("B", "H", 8, 3)])
def test_max_pool_of_positive_numbers_needs_no_branch(positive, shape) -> None:
    def function(x):
        return jax.lax.reduce_window(positive(x), -jnp.inf, jax.lax.max, (1, 3, 2, 1), (1, 2, 2, 1), "SAME")

    model = to_onnx(function, [shape], constraints=["H >= 1"] if "H" in shape else [])
    found = operators(model)
    assert "If" not in found
    assert (found["MaxPool"], found["AveragePool"], found["IsNaN"], found["Where"]) == (1, 1, 1, 1)
    for seed in range(2):
        check(model, function, [shape], seed=seed)


def test_float64_convolution_is_native_where_the_target_has_it() -> None:
    specs = [jax.ShapeDtypeStruct(s, "float32") for s in ((2, 3, 8, 8), (4, 3, 3, 3))]
    assert operators(to_onnx(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), specs)) == {"Conv": 1}
    with x64(enabled=True):
        wide = [jax.ShapeDtypeStruct(s.shape, "float64") for s in specs]
        model = to_onnx(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), wide, target="onnx")
        assert operators(model) == {"Conv": 1}
        assert "Conv" not in operators(to_onnx(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), wide))


def test_bfloat16_convolution_needs_a_new_opset() -> None:
    specs = [jax.ShapeDtypeStruct(s, "bfloat16") for s in ((2, 3, 8, 8), (4, 3, 3, 3))]
    old = to_onnx(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), specs, target="onnx", opset=18)
    new = to_onnx(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), specs, target="onnx", opset=22)
    assert (operators(old), operators(new)) == ({"Cast": 3, "Conv": 1}, {"Conv": 1})


def test_a_channel_last_layer_has_a_bias_and_one_transpose_at_each_end() -> None:
    w, b = np.ones((3, 3, 3, 4), "float32"), np.ones(4, "float32")

    def layer(x):
        return jax.nn.relu(
            lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        )

    assert operators(to_onnx(layer, [("B", 8, 8, 3)])) == {"Transpose": 2, "Conv": 1, "Relu": 1}


def test_the_gradient_of_a_pool_over_a_symbolic_window_is_refused() -> None:
    def gradient(x):
        return jax.grad(lambda v: lax.reduce_window(v, -np.inf, lax.max, x.shape, x.shape, "VALID").sum())(x)

    with pytest.raises(UnsupportedCaseError, match="symbolic size"):
        to_onnx(gradient, [("H",)])


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("seed", range(12))
def test_sums_over_padded_windows(seed, opset):
    """In the oldest runtime, averages over several dims are wrong for some paddings."""
    rng = np.random.default_rng(seed)
    spatial = seed % 3 + 1
    sizes, strides = rng.integers(1, 4, spatial).tolist(), rng.integers(1, 3, spatial).tolist()
    padding = [(int(rng.integers(0, s)), int(rng.integers(0, s))) for s in sizes]
    shape = (2, *rng.integers(3, 8, spatial).tolist(), 3)

    def function(x):
        return tuple(
            lax.reduce_window(x, np.float32(0), lax.add, (1, *sizes, 1), (1, *strides, 1), pad)
            for pad in ([(0, 0), *padding, (0, 0)], "SAME", "VALID")
        )

    model = to_onnx(function, [shape], opset=opset)
    assert "AveragePool" in operators(model) or sizes == [1] * spatial
    check(model, function, [shape])
    check(to_onnx(function, [("B", *shape[1:])], opset=opset), function, [("B", *shape[1:])])
