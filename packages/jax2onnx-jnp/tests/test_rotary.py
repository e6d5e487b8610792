"""Rotary embeddings in the forms that people write become one operator; what is nearly one stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import Runner, operators

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = jnp.outer(jnp.arange(16.0), 1e4 ** -(jnp.arange(4) / 4))


def _angles(positions: Any, size: int = 8) -> Any:
    return positions[..., None] * 1e4 ** -(jnp.arange(0, size, 2) / size)


def halves(x: Any, positions: Any) -> Any:
    angles = _angles(positions)[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def halves_of_slices(x: Any, positions: Any) -> Any:
    cos, sin = jnp.cos(TABLE)[positions][:, :, None, :], jnp.sin(TABLE)[positions][:, :, None, :]
    a, b = x[..., :4], x[..., 4:]
    return jnp.concatenate([cos * a - sin * b, sin * a + cos * b], axis=-1)


def turned_halves(x: Any, positions: Any) -> Any:
    angles = _angles(positions)
    angles = jnp.concatenate([angles, angles], -1)
    cos, sin = jnp.cos(angles)[:, :, None, :], jnp.sin(angles)[:, :, None, :]
    return x * cos + jnp.concatenate([-x[..., 4:], x[..., :4]], -1) * sin


def pairs(x: Any, positions: Any) -> Any:
    angles = _angles(positions)[:, :, None]
    a, b = x[..., ::2], x[..., 1::2]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


def pairs_of_a_reshape(x: Any, positions: Any) -> Any:
    angles = _angles(positions)[:, :, None]
    split = x.reshape(*x.shape[:-1], -1, 2)
    a, b = split[..., 0], split[..., 1]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


def heads_second(x: Any, positions: Any) -> Any:
    angles = _angles(positions)[:, None]
    a, b = jnp.split(x.transpose(0, 2, 1, 3), 2, axis=-1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def one_row_of_positions(x: Any, positions: Any) -> Any:
    angles = _angles(jnp.arange(x.shape[1]))[:, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x + positions[..., None, None], 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def partial(x: Any, positions: Any) -> Any:
    angles = _angles(positions, 4)[:, :, None]
    a, b = jnp.split(x[..., :4], 2, axis=-1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1), x[..., 4:]], -1)


FORMS = (
    halves,
    halves_of_slices,
    turned_halves,
    pairs,
    pairs_of_a_reshape,
    heads_second,
    one_row_of_positions,
    partial,
)
SPECS = ["float32[B,T,3,8]", "int32[B,T]"]


@pytest.mark.parametrize("function", FORMS)
def test_one_operator(function: Callable[..., Any]) -> None:
    model = to_onnx(function, SPECS, opset=23)
    assert operators(model)["RotaryEmbedding"] == 1
    check(model, function, SPECS, kinds=["ordinary"], sizes=(2,))


def test_the_default_before_opset_23_has_the_steps() -> None:
    model = to_onnx(halves, SPECS, opset=22)
    assert operators(model)["RotaryEmbedding"] == 0
    check(model, halves, SPECS, kinds=["ordinary"], sizes=(2,))


def other_sign(x: Any, positions: Any) -> Any:
    angles = _angles(positions)[:, :, None]
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * jnp.cos(angles) + b * jnp.sin(angles), b * jnp.cos(angles) - a * jnp.sin(angles)], -1)


def angles_by_head(x: Any, positions: Any) -> Any:
    angles = _angles(positions)[:, :, None] * jnp.arange(3)[:, None]
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * jnp.cos(angles) - b * jnp.sin(angles), b * jnp.cos(angles) + a * jnp.sin(angles)], -1)


def other_angles_in_the_second_half(x: Any, positions: Any) -> Any:
    angles = jnp.concatenate([_angles(positions), 2 * _angles(positions)], -1)[:, :, None, :]
    return x * jnp.cos(angles) + jnp.concatenate([-x[..., 4:], x[..., :4]], -1) * jnp.sin(angles)


@pytest.mark.parametrize("function", [other_sign, angles_by_head, other_angles_in_the_second_half])
def test_what_is_another_function_agrees_too(function: Callable[..., Any]) -> None:
    model = to_onnx(function, SPECS, opset=23)
    assert operators(model)["RotaryEmbedding"] == 0
    check(model, function, SPECS, kinds=["ordinary"], sizes=(2,))


def test_of_no_rows_nothing_is_rotated() -> None:
    specs = ["float32[0,5,3,8]", "int32[1,5]"]
    model = to_onnx(halves, specs, opset=23)
    (got,) = Runner(model).run([np.zeros((0, 5, 3, 8), np.float32), np.zeros((1, 5), np.int32)])
    assert got.shape == (0, 5, 3, 8)
