"""Normalisation as users, keras and haiku write it becomes one operator; what is nearly one stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

if TYPE_CHECKING:
    from collections.abc import Callable

SCALE, OFFSET = jnp.linspace(0.5, 2, 6), jnp.linspace(-1, 1, 6)


def _mean(x: Any) -> Any:
    return jnp.mean(x, axis=-1, keepdims=True)


def quotient_of_var(x: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * SCALE + OFFSET


def reused_difference(x: Any) -> Any:
    centred = x - _mean(x)
    return SCALE * (centred * lax.rsqrt(_mean(centred**2) + 1e-5)) + OFFSET


def scaled_before(x: Any) -> Any:
    mean = _mean(x)
    return OFFSET + SCALE * (x - mean) / jnp.sqrt(_mean(jnp.square(x - mean)) + 1e-5)


def scale_only(x: Any) -> Any:
    return SCALE * ((x - _mean(x)) * lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5))


def offset_only(x: Any) -> Any:
    return (x - _mean(x)) * lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-5) + OFFSET[None, None]


def neither(x: Any) -> Any:
    mean = _mean(x)
    return (x - mean) * lax.rsqrt(_mean(jnp.square(x)) - jnp.square(mean) + 1e-5)


def haiku(x: Any) -> Any:
    scale, offset = jnp.broadcast_to(SCALE, x.shape), jnp.broadcast_to(OFFSET, x.shape)
    variance = jnp.var(x, -1, keepdims=True)
    inverse = scale * lax.rsqrt(variance + lax.convert_element_type(1e-5, variance.dtype))
    return inverse * (x - _mean(x)) + offset


def keras(x: Any) -> Any:
    mean = _mean(x)
    inverse = lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-3) * SCALE
    return x * inverse + (-mean * inverse + OFFSET)


def float32_inside(x: Any) -> Any:
    return quotient_of_var(x.astype(jnp.float32)).astype(jnp.float16)


def rms(x: Any) -> Any:
    return x * lax.rsqrt(_mean(jnp.square(x)) + 1e-6) * SCALE


def rms_of_powers(x: Any) -> Any:
    return SCALE * (x / jnp.sqrt(_mean(x**2) + 1e-6))


def rms_of_products(x: Any) -> Any:
    return x * lax.rsqrt(_mean(x * x) + 1e-6)


def rms_scaled_first(x: Any) -> Any:
    return x * (SCALE * lax.rsqrt(_mean(jnp.square(x)) + 1e-6))


def rms_haiku(x: Any) -> Any:
    mean_square = jnp.broadcast_to(_mean(jnp.square(x)), x.shape)
    return jnp.broadcast_to(SCALE, x.shape) * lax.rsqrt(mean_square + 1e-5) * x


def rms_of_gemma(x: Any) -> Any:
    return x * lax.rsqrt(_mean(jnp.square(x)) + 1e-6) * (1 + jnp.expand_dims(SCALE, range(x.ndim - 1)))


def rms_of_reciprocal(x: Any) -> Any:
    return x * (1 / jnp.sqrt(_mean(x**2) + 1e-6)) * SCALE


def rms_of_keras(x: Any) -> Any:
    return x * jnp.reciprocal(jnp.sqrt(_mean(jnp.power(x, 2)) + 1e-6)) * SCALE


def rms_of_power(x: Any) -> Any:
    return (_mean(x**2) + 1e-6) ** -0.5 * x * SCALE


def rms_scaled_before(x: Any) -> Any:
    return SCALE * x / jnp.sqrt(1e-6 + _mean(x**2))


def rms_without_axis(x: Any) -> Any:
    return x * lax.rsqrt(jnp.mean(x**2, -1)[..., None] + 1e-6) * SCALE


def rms_of_one(x: Any) -> Any:
    return jax.vmap(jax.vmap(lambda row: SCALE * (row * lax.rsqrt(jnp.mean(jnp.square(row)) + 1e-6))))(x)


LAYER_NORMS = (quotient_of_var, reused_difference, scaled_before, scale_only, offset_only, neither, haiku, keras)
RMS_NORMS = (
    rms,
    rms_of_powers,
    rms_of_products,
    rms_scaled_first,
    rms_haiku,
    rms_of_gemma,
    rms_of_reciprocal,
    rms_of_keras,
    rms_of_power,
    rms_scaled_before,
    rms_without_axis,
    rms_of_one,
)


@pytest.mark.parametrize("function", LAYER_NORMS)
def test_layer_norm(function: Callable[[Any], Any]) -> None:
    model = to_onnx(function, [("B", 5, 6)])
    assert operators(model) == {"LayerNormalization": 1}
    check(model, function, [("B", 5, 6)], sizes=(1, 3))


@pytest.mark.parametrize("function", RMS_NORMS)
def test_rms_norm(function: Callable[[Any], Any]) -> None:
    model = to_onnx(function, [("B", 5, 6)], opset=23)
    assert operators(model) == {"RMSNormalization": 1}
    check(model, function, [("B", 5, 6)], sizes=(1, 3))


def test_halves_are_normalised_in_float32() -> None:
    model = to_onnx(float32_inside, ["float16[B,6]"])
    assert operators(model) == {"LayerNormalization": 1, "Cast": 2}
    check(model, float32_inside, ["float16[B,6]"], sizes=(1, 3))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("expanded", [True, False])
def test_rms_norm_takes_a_scale_that_is_computed(dtype: str, expanded: bool) -> None:  # noqa: FBT001
    def gemma(x: Any, scale: Any) -> Any:
        wide = x.astype(jnp.float32)
        normed = wide * lax.rsqrt(_mean(jnp.square(wide)) + 1e-6)
        scale = jnp.expand_dims(scale, range(x.ndim - 1)) if expanded else scale
        return (normed * (1 + scale.astype(jnp.float32))).astype(x.dtype)

    inputs = [f"{dtype}[B,5,6]", f"{dtype}[6]"]
    model = to_onnx(gemma, inputs, opset=23)
    found = operators(model)
    assert (found["RMSNormalization"], found["Mul"]) == (1, 0)
    check(model, gemma, inputs, sizes=(1, 3))


OTHERS: dict[str, Callable[[Any], Any]] = {
    "another axis": lambda x: (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-5),
    "another variance": lambda x: (x - _mean(x)) / jnp.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-5),
    "without epsilon": lambda x: (x - _mean(x)) / jnp.sqrt(x.var(-1, keepdims=True)),
    "a scale per row": lambda x: rms_of_products(x) * jnp.arange(5.0)[:, None],
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_another_function_agrees_too(name: str) -> None:
    model = to_onnx(OTHERS[name], [("B", 5, 6)])
    assert operators(model)["LayerNormalization"] == 0
    check(model, OTHERS[name], [("B", 5, 6)], kinds=("ordinary",), sizes=(1, 3))


def test_what_a_gradient_reads_of_a_norm_of_nothing_stays_known() -> None:
    def gradient(x: jax.Array) -> jax.Array:
        return 1 / jax.grad(lambda v: jax.nn.standardize(v).sum())(lax.rsqrt(jnp.expm1(x)))

    specs = [jax.ShapeDtypeStruct((2, 0), jnp.float32)]
    check(to_onnx(gradient, specs), gradient, specs)
