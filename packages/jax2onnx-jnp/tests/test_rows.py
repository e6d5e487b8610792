"""One element of each row, taken and written by ``x[jnp.arange(x.shape[0]), i]``: few nodes, and JAX's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx


def taken(x: jax.Array, i: jax.Array) -> jax.Array:
    return x[jnp.arange(x.shape[0]), i]


def several(x: jax.Array, i: jax.Array) -> jax.Array:
    return x[jnp.arange(x.shape[0])[:, None], i]


def written(x: jax.Array, i: jax.Array, new: jax.Array) -> jax.Array:
    return x.at[jnp.arange(x.shape[0]), i].set(new)


def added(x: jax.Array, i: jax.Array, new: jax.Array) -> jax.Array:
    return x.at[jnp.arange(x.shape[0]), i].add(new)


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "taken": (taken, 4),
    "written": (written, 9),
    "added": (added, 10),
}
SHAPES: Sequence[tuple[Any, ...]] = (
    ("B", 5),
    ("B", 5, 3),
    ("B", 5, 2, 3),
    (7, 5),
    (7, 5, 3),
    ("B", "N"),
    ("B", "N", 3),
)
PLACES = np.array([0, 4, -1, -5, 5, -6, 2**31 - 1, -(2**31), 2, 3], np.int32)
"""Indices within five elements, counted from the end, and out of bounds."""


def exported(function: Callable[..., Any], shape: tuple[Any, ...], dtype: str) -> tuple[onnx.ModelProto, list[Any]]:
    def spec(*dims: Any) -> str:
        return f"{dtype}[{','.join(map(str, dims))}]"

    specs = [spec(*shape), f"int32[{shape[0]}]"]
    if function is not taken:
        specs.append(spec(shape[0], *shape[2:]))
    return to_onnx(function, specs), specs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_few_nodes(name: str, shape: tuple[Any, ...]) -> None:
    function, most = FUNCTIONS[name]
    model, specs = exported(function, shape, "float32")
    assert len(model.graph.node) <= most + 5 * ("N" in shape)
    check(model, function, specs)


DTYPES = ("float32", "bfloat16", "int32", "uint8", "bool")
PAIRS = [(name, dtype) for name in FUNCTIONS for dtype in DTYPES if (name, dtype) != ("added", "bool")]  # as in JAX


@pytest.mark.parametrize(("name", "dtype"), PAIRS)
def test_indices_out_of_bounds(name: str, dtype: str) -> None:
    function, _ = FUNCTIONS[name]
    generator = np.random.default_rng(0)
    rows = len(PLACES)
    numbers = generator.integers(0, 100, (rows, 5, 3)).astype(jnp.dtype(dtype))
    new = generator.integers(0, 100, (rows, 3)).astype(jnp.dtype(dtype))
    if dtype == "float32":
        numbers[:, :, 0], new[::2, 1] = np.nan, -np.inf
    values = [[numbers, PLACES] if function is taken else [numbers, PLACES, new]]
    model, specs = exported(function, ("B", 5, 3), dtype)
    check(model, function, specs, values=values)


@pytest.mark.parametrize("number", [3, "K"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_several_of_each_row(shape: tuple[Any, ...], number: Any) -> None:
    specs = [shape, f"int32[{shape[0]},{number}]"]
    model = to_onnx(several, specs)
    assert len(model.graph.node) <= 4 + 5 * ("N" in shape)
    check(model, several, specs)
    generator = np.random.default_rng(0)
    sizes = [size if isinstance(size, int) else 7 for size in shape]
    places = generator.choice(PLACES, (sizes[0], 3))
    check(model, several, specs, values=[[generator.normal(size=sizes).astype(np.float32), places]])


def test_the_sign_of_zeros() -> None:
    def function(x: jax.Array, i: jax.Array, new: jax.Array) -> jax.Array:
        return 1 / written(x, i, new)

    specs = [("B", 5), "int32[B]", ("B",)]
    zeros = np.zeros((4, 5), np.float32)
    zeros[::2] = -0.0
    new = np.array([-0.0, 0.0, -0.0, 0.0], np.float32)
    check(to_onnx(function, specs), function, specs, values=[[zeros, PLACES[2:6], new]])


def test_no_rows() -> None:
    for function, _ in FUNCTIONS.values():
        model, specs = exported(function, ("B", 5, 3), "float32")
        check(model, function, specs, sizes=[0, 1])
