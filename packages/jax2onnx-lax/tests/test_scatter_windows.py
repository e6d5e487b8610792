"""Updates of a slice at a known place are few nodes, and give JAX's numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

EDGES = np.asarray([np.nan, -0.0, np.inf, -np.inf, 0.0, -3.5, 2.0, 7.0, 3e38], np.float32)


def values(*shapes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.choice(EDGES, shape) for shape in shapes]


# Programs of an array and of updates for it, the shapes, and how many nodes the model has at most.
PROGRAMS: dict[str, tuple[Callable[..., Any], list[Any], int]] = {
    "one_dim": (lambda x, u: x.at[:, 1:3].set(u), [("B", 5), ("B", 2)], 3),
    "one_dim_from_the_start": (lambda x, u: x.at[:2].set(u), [(5, 3), (2, 3)], 2),
    "one_dim_to_the_end": (lambda x, u: x.at[3:].set(u), [(5, 3), (2, 3)], 2),
    "two_dims": (lambda x, u: x.at[:, 1:3, 2:4].set(u), [("B", 5, 6), ("B", 2, 2)], 2),
    "an_element": (lambda x, u: x.at[2, 1].set(u), [(4, 3), ()], 3),
    "a_row": (lambda x, u: x.at[-1].set(u), [(4, 3), (3,)], 3),
    "a_column": (lambda x, u: x.at[:, 1].set(u), [("B", 3), ("B",)], 4),
    "all": (lambda x, u: x.at[:].set(u), [("B", 3), ("B", 3)], 1),
    "of_a_dynamic_dim": (lambda x, u: x.at[..., :1].set(u), [("B", "T"), ("B", 1)], 4),
    "a_number": (lambda x, u: x.at[:, 1:3].set(0.0) + u, [("B", 5), (5,)], 3),
    "a_number_of_negative_zero": (lambda x, u: x.at[:, 1:3].set(-0.0) * u, [("B", 5), (5,)], 3),
    "add": (lambda x, u: x.at[:, 1:3].add(u), [("B", 5), ("B", 2)], 3),
    "add_a_number": (lambda x, u: x.at[:, 1:3].add(1.0) * u, [("B", 5), (5,)], 4),
    "subtract": (lambda x, u: x.at[1:3, 1:3].subtract(u), [(5, 4), (2, 2)], 3),
    "multiply": (lambda x, u: x.at[1:3].multiply(u), [(5, 3), (2, 3)], 3),
    "minimum": (lambda x, u: x.at[1:3].min(u), [(5, 3), (2, 3)], 8),
    "maximum": (lambda x, u: x.at[1:3].max(u), [(5, 3), (2, 3)], 8),
    "out_of_bounds": (lambda x, u: x.at[9].set(u), [(4, 3), (3,)], 12),
    "clipped": (lambda x, u: x.at[9].set(u, mode="clip"), [(4, 3), (3,)], 3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_window(name: str) -> None:
    function, specs, most = PROGRAMS[name]
    model = to_onnx(function, specs)
    assert len(model.graph.node) <= most
    names = {"B": 3, "T": 6}
    shapes = [tuple(names.get(size, size) for size in spec) for spec in specs]
    check(model, function, specs, values=[values(*shapes)])


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("set", "bool"),
        ("max", "bool"),
        *itertools.product(["set", "add", "max"], ["bfloat16", "float16", "int8", "uint32", "int32"]),
    ],
)
def test_dtypes(kind: str, dtype: str) -> None:
    def function(x: jax.Array, u: jax.Array) -> Any:
        return getattr(x.at[1:3, :2], kind)(u)

    specs = [f"{dtype}[4,3]", f"{dtype}[2,2]"]
    check(to_onnx(function, specs), function, specs)


def test_a_window_of_nothing() -> None:
    def function(x: jax.Array, u: jax.Array) -> jax.Array:
        return x.at[:, :1].set(u) + x.at[:, 1:2].add(1.0)

    specs = [("B", 3), ("B", 1)]
    check(to_onnx(function, specs), function, specs, sizes=[0, 1, 7])


@pytest.mark.parametrize("value", [0.0, None])
def test_a_window_of_a_dim_that_is_empty_at_run_time(value: float | None) -> None:
    def function(x: jax.Array, u: jax.Array) -> Any:
        return x.at[..., :1].set(u if value is None else value), x.at[:1].set(1.0), x[..., :1], x[:, -1:], x[:2]

    specs = [("B", "N"), ("B", 1)]
    check(to_onnx(function, specs), function, specs, sizes=[0, 1, 7])


def test_jnp_functions_that_write_windows() -> None:
    def function(x: jax.Array) -> Any:
        padded = jnp.zeros((x.shape[0], 6)).at[:, 1:-1].set(x)
        return padded, jnp.insert(x, 1, 0.0, axis=1), jnp.concatenate([x, x]).at[0].multiply(2.0)

    check(to_onnx(function, [("B", 4)], constraints=["B >= 1"]), function, [("B", 4)], constraints=["B >= 1"])
