"""Pixel shuffles and their like between convolutions are one node without a transpose, at any size."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jax2onnx import check, to_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

conv = nnx.Conv(4, 8, (3, 3), rngs=nnx.Rngs(0))


def depth_to_space(y: jax.Array) -> jax.Array:
    b, h, w, c = y.shape
    return y.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * 2, w * 2, c // 4)


def pixel_shuffle(y: jax.Array) -> jax.Array:
    b, h, w, c = y.shape
    return y.reshape(b, h, w, c // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(b, h * 2, w * 2, c // 4)


def space_to_depth(y: jax.Array) -> jax.Array:
    b, h, w, c = y.shape
    return y.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, c * 4)


def shuffle(y: jax.Array) -> jax.Array:
    b, h, w, c = y.shape
    return jnp.swapaxes(y.reshape(b, h, w, 2, c // 2), 3, 4).reshape(y.shape)


def windows(y: jax.Array) -> jax.Array:
    b, h, w, c = y.shape
    return y.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 2, 2, c)


STATIC = (2, 4, 6, 4)
PROGRAMS: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "depth_to_space": (depth_to_space, STATIC, "DepthToSpace"),
    "depth_to_space_dynamic": (depth_to_space, ("B", "H", "W", 4), "DepthToSpace"),
    "pixel_shuffle": (pixel_shuffle, STATIC, "DepthToSpace"),
    "pixel_shuffle_twice": (
        lambda y: pixel_shuffle(pixel_shuffle(jnp.concatenate([y, y], -1))),
        ("B", "H", 6, 4),
        "DepthToSpace",
    ),
    "space_to_depth": (space_to_depth, STATIC, "SpaceToDepth"),
    "space_to_depth_dynamic": (space_to_depth, ("B", "2*H", "2*W", 4), "SpaceToDepth"),
    "shuffle": (shuffle, STATIC, "Gather"),
    "shuffle_dynamic": (shuffle, ("B", "H", "W", 4), "Gather"),
    "activation_between": (lambda y: jax.nn.relu(pixel_shuffle(jax.nn.relu(y))), STATIC, "DepthToSpace"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_between_channels_first_images(name: str) -> None:
    move, spec, operator = PROGRAMS[name]

    def function(x: jax.Array) -> jax.Array:
        return move(conv(x))

    nchw: dict[str, Any] = {"inputs_as_nchw": True, "outputs_as_nchw": True}
    model = to_onnx(function, [spec], **nchw)
    counts = collections.Counter(node.op_type for node in model.graph.node)
    assert counts[operator] >= 1
    assert counts["Transpose"] + counts["Reshape"] + counts["Shape"] == 0
    check(model, function, [spec], sizes=[1, 5], **nchw)


def test_windows_stay_what_they_are() -> None:
    def function(x: jax.Array) -> jax.Array:
        return windows(conv(x))

    model = to_onnx(function, [STATIC], inputs_as_nchw=True)
    check(model, function, [STATIC], inputs_as_nchw=True)


@pytest.mark.parametrize("move", [depth_to_space, pixel_shuffle, space_to_depth, shuffle])
def test_of_nothing(move: Callable[..., Any]) -> None:
    spec = ("B", "2*H", "2*W", 4)
    model = to_onnx(move, [spec], inputs_as_nchw=True, outputs_as_nchw=True)
    assert len(model.graph.node) == 1
    check(model, move, [spec], sizes=[0, 1, 3], inputs_as_nchw=True, outputs_as_nchw=True)
