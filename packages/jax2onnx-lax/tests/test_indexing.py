"""Gather and scatter by their dimension numbers: every arrangement, mode and dtype, against JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.lax import GatherDimensionNumbers, GatherScatterMode, ScatterDimensionNumbers

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Dims = tuple[int, ...]
MODES = ("clip", "fill", "promise_in_bounds")
DTYPES = ("float32", "float16", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "bool")


def draw(shape: Dims, dtype: Any = "float32") -> np.ndarray[Any, Any]:
    """Small numbers, all different as far as the dtype goes, none of them zero."""
    return (np.arange(np.prod(shape)) - 3.5).reshape(shape).astype("float32").astype(jnp.dtype(dtype))


def places(shape: Dims, seed: int = 0) -> np.ndarray[Any, Any]:
    """Index vectors of which some lie before and some after the array."""
    return np.random.default_rng(seed).integers(-2, 9, shape).astype(np.int32)


def specs(arrays: Sequence[Any], shapes: Sequence[tuple[Any, ...] | None]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(s or a.shape, a.dtype) for a, s in zip(arrays, shapes, strict=True)]


def compare(fn: Callable[..., Any], arrays: Sequence[Any], shapes: Sequence[tuple[Any, ...] | None]) -> None:
    inputs = specs(arrays, shapes)
    constraints = ["B >= 3"] if any("B" in s.shape for s in inputs) else []
    model = to_onnx(fn, inputs, constraints=constraints)
    check(model, fn, inputs, values=[list(arrays)], constraints=constraints)


# name: operand, indices, numbers, slice sizes (None: the whole dim), symbolic operand, symbolic indices
GATHERS: dict[str, tuple[Dims, Dims, Any, Any, Any, Any]] = {
    "row": ((5, 4), (1,), ((0,), (0,), (0,)), (1, None), None, None),
    "rows": ((5, 4), (3, 1), ((1,), (0,), (0,)), (1, None), ("B", 4), ("N", 1)),
    "columns": ((5, 4), (3, 1), ((0,), (1,), (1,)), (None, 1), ("B", 4), None),
    "between": ((5, 4, 3), (2, 3, 1), ((0, 3), (1,), (1,)), (None, 1, None), None, None),
    "moved": ((5, 4, 3), (2, 3, 1), ((2, 3), (1,), (1,)), (None, 1, None), None, None),
    "kept": ((5, 4), (3, 1), ((1, 2), (), (0,)), (1, None), None, None),
    "window": ((5, 4), (3, 1), ((1, 2), (), (0,)), (2, None), ("B", 4), None),
    "one_window": ((5, 4), (1,), ((0, 1), (), (0,)), (2, None), ("B", 4), None),
    "one_window_of_two_axes": ((5, 6), (2,), ((0, 1), (), (1, 0)), (2, 3), ("B", 6), None),
    "window_1d": ((7,), (3, 1), ((1,), (), (0,)), (3,), None, None),
    "windows": ((5, 6), (3, 2), ((0, 2), (), (0, 1)), (2, 3), ("B", 6), None),
    "windows_swapped": ((5, 6), (3, 2), ((1, 2), (), (1, 0)), (2, 3), None, None),
    "window_not_indexed": ((5, 6), (3, 1), ((1, 2), (), (0,)), (2, 3), None, None),
    "window_symbolic": ((5, 7), (3, 2), ((1, 2), (), (0, 1)), (None, 3), ("B", 7), None),
    "points": ((5, 6, 2), (3, 2), ((1,), (0, 1), (0, 1)), (1, 1, None), ("B", 6, 2), None),
    "points_behind": ((2, 5, 6), (3, 2), ((0,), (1, 2), (1, 2)), (None, 1, 1), None, None),
    "points_around": ((5, 2, 6), (3, 2), ((1,), (0, 2), (0, 2)), (1, None, 1), None, None),
    "point_and_window": ((5, 2, 6), (3, 2), ((1, 2), (0,), (0, 2)), (1, None, 4), None, None),
    "index_without_room": ((5, 6), (3, 2), ((0,), (0,), (0, 1)), (1, None), None, None),
    "only_without_room": ((5, 6), (3, 1), ((0, 1), (), (1,)), (None, None), None, None),
    "collapsed_not_indexed": ((5, 6), (3, 1), ((), (0, 1), (1,)), (1, 1), None, None),
    "no_components": ((5, 6), (3, 0), ((1, 2), (), ()), (None, None), None, None),
    "along": ((3, 4), (3, 2, 1), ((), (1,), (1,), (0,), (0,)), (1, 1), ("B", 4), ("B", 2, 1)),
    "along_first": ((4, 3), (3, 2, 1), ((), (0,), (0,), (1,), (0,)), (1, 1), None, None),
    "along_one": ((3, 4), (3, 1), ((), (1,), (1,), (0,), (0,)), (1, 1), None, None),
    "along_two": ((3, 4), (2, 3, 5, 1), ((), (1,), (1,), (0,), (1,)), (1, 1), None, None),
    "batched_window": ((3, 7), (3, 1), ((1,), (), (1,), (0,), (0,)), (1, 4), ("B", 7), ("B", 1)),
    "batched_windows": ((3, 7, 5), (2, 3, 2), ((1, 2), (), (2, 1), (0,), (1,)), (1, 3, 2), None, None),
    "batched_without_room": ((3, 7), (3, 2, 1), ((2,), (), (1,), (0,), (0,)), (1, None), None, None),
    "batched_twice": (
        (3, 2, 7, 5),
        (2, 3, 4, 1),
        ((3,), (2,), (2,), (0, 1), (1, 0)),
        (1, 1, 1, None),
        ("B", 2, 7, 5),
        (2, "B", 4, 1),
    ),
    "no_indices": ((5, 4), (0, 1), ((1,), (0,), (0,)), (1, None), None, ("N", 1)),
    "empty_window": ((5, 4), (3, 1), ((1, 2), (), (0,)), (0, None), None, None),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GATHERS)
def test_gather(name: str, mode: str) -> None:
    operand, indices, numbers, sizes, *symbolic = GATHERS[name]
    dims = GatherDimensionNumbers(*numbers)

    def fn(x: jax.Array, i: jax.Array) -> jax.Array:
        full = [n if s is None else s for n, s in zip(x.shape, sizes, strict=True)]
        return lax.gather(x, i, dims, full, mode=mode)

    arrays = draw(operand), places(indices)
    compare(fn, arrays, (None, None))
    if any(symbolic):
        compare(fn, arrays, symbolic)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_fills_with_the_default_of_each_dtype(dtype: str) -> None:
    dims = GatherDimensionNumbers((1,), (0, 1), (0, 1))

    def fn(x: jax.Array, i: jax.Array) -> jax.Array:
        return lax.gather(x, i, dims, (1, 1, 2), mode="fill")

    compare(fn, (draw((5, 6, 2), dtype), places((7, 2))), (None, None))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "uint32"])
def test_indices_of_any_integer_dtype(dtype: str) -> None:
    indices = np.append(places((6, 1)), [[0x7FFFFFFF], [-1]], axis=0).astype(dtype)
    compare(
        lambda x, i: lax.gather(x, i, GatherDimensionNumbers((1,), (0,), (0,)), (1, 4)),
        (draw((5, 4)), indices),
        (None, None),
    )


KINDS: dict[str, Callable[..., Any]] = {
    "set": lax.scatter,
    "add": lax.scatter_add,
    "mul": lax.scatter_mul,
    "min": lax.scatter_min,
    "max": lax.scatter_max,
}

# name: operand, indices, updates, numbers, symbolic shapes of the three
SCATTERS: dict[str, tuple[Dims, Dims, Dims, Any, Any]] = {
    "row": ((5, 4), (1,), (4,), ((0,), (0,), (0,)), None),
    "rows": ((5, 4), (3, 1), (3, 4), ((1,), (0,), (0,)), [("B", 4), ("N", 1), ("N", 4)]),
    "columns": ((5, 4), (3, 1), (5, 3), ((0,), (1,), (1,)), [("B", 4), None, ("B", 3)]),
    "between": ((5, 4, 2), (3, 6, 1), (5, 2, 3, 6), ((0, 1), (1,), (1,)), None),
    "points": ((5, 4), (7, 2), (7,), ((), (0, 1), (0, 1)), [("B", 4), None, None]),
    "points_swapped": ((5, 4), (7, 2), (7,), ((), (0, 1), (1, 0)), None),
    "points_before": ((5, 4, 2), (7, 2), (7, 2), ((1,), (0, 1), (0, 1)), None),
    "points_around": ((5, 2, 4), (7, 2), (7, 2), ((1,), (0, 2), (0, 2)), [("B", 2, 4), None, None]),
    "points_behind": ((2, 5, 4), (7, 2), (2, 7), ((0,), (1, 2), (1, 2)), None),
    "window": ((7, 4), (3, 1), (3, 2, 4), ((1, 2), (), (0,)), [("B", 4), None, None]),
    "one_window": ((7, 4), (1,), (2, 4), ((0, 1), (), (0,)), [("B", 4), None, None]),
    "windows": ((7, 6), (3, 2), (2, 3, 3), ((0, 2), (), (1, 0)), None),
    "window_not_indexed": ((7, 6), (3, 1), (3, 2, 3), ((1, 2), (), (0,)), None),
    "window_symbolic": ((5, 4), (3, 1), (3, 5, 2), ((1, 2), (), (1,)), [("B", 4), None, (3, "B", 2)]),
    "without_room": ((5, 4), (1,), (5, 4), ((0, 1), (), (0,)), None),
    "no_components": ((5, 4), (0,), (5, 4), ((0, 1), (), ()), None),
    "inserted_not_indexed": ((5, 4), (0,), (4,), ((0,), (0,), ()), None),
    "batched": ((3, 5), (3, 2, 1), (3, 2), ((), (1,), (1,), (0,), (0,)), [("B", 5), ("B", 2, 1), ("B", 2)]),
    "batched_rows": ((3, 5, 4), (3, 2, 1), (3, 2, 4), ((2,), (1,), (1,), (0,), (0,)), None),
    "batched_twice": ((3, 5, 2, 4), (2, 6, 3, 2), (2, 6, 3), ((), (1, 3), (3, 1), (0, 2), (2, 0)), None),
    "batched_window": ((5, 3), (2, 3, 1), (2, 3, 4), ((2,), (), (0,), (1,), (1,)), None),
    "no_indices": ((5, 4), (0, 1), (0, 4), ((1,), (0,), (0,)), [None, ("N", 1), ("N", 4)]),
}


def scatter(kind: str, numbers: Any, mode: str, **options: Any) -> Callable[..., Any]:
    dims, parsed = ScatterDimensionNumbers(*numbers), GatherScatterMode.from_any(mode)
    return lambda x, i, updates: KINDS[kind](x, i, updates, dims, mode=parsed, **options)


@pytest.mark.parametrize(("kind", "mode"), [*[("set", m) for m in MODES], ("add", "clip"), ("max", "fill")])
@pytest.mark.parametrize("name", SCATTERS)
def test_scatter(name: str, kind: str, mode: str) -> None:
    operand, indices, updates, numbers, symbolic = SCATTERS[name]
    arrays = draw(operand), places(indices), -draw(updates)
    compare(scatter(kind, numbers, mode), arrays, (None, None, None))
    if symbolic:
        compare(scatter(kind, numbers, mode), arrays, symbolic)


# JAX adds and multiplies no booleans.
@pytest.mark.parametrize(
    ("kind", "dtype"), [(k, d) for k in KINDS for d in DTYPES if d != "bool" or k in ("set", "min", "max")]
)
def test_scatter_dtypes(kind: str, dtype: str) -> None:
    fn = scatter(kind, ((), (0, 1), (0, 1)), "fill")
    arrays = draw((5, 4), dtype), places((6, 2)), draw((6,), dtype)
    compare(fn, arrays, (None, None, None))


@pytest.mark.parametrize("mode", ["clip", "fill"])
@pytest.mark.parametrize("name", SCATTERS)
def test_update_functions(name: str, mode: str) -> None:
    operand, indices, updates, numbers, _ = SCATTERS[name]
    dims, parsed = ScatterDimensionNumbers(*numbers), GatherScatterMode.from_any(mode)

    def fn(x: jax.Array, i: jax.Array) -> jax.Array:
        return lax.scatter_apply(x, i, lambda v: 2 * v + 1, dims, update_shape=updates, mode=parsed)

    compare(fn, (draw(operand), places(indices)), (None, None))


@pytest.mark.parametrize("kind", ["mul", "max"])
@pytest.mark.parametrize("name", ["rows", "batched_rows", "batched_twice", "batched_window"])
def test_complex_scatter(name: str, kind: str) -> None:
    operand, indices, updates, numbers, _ = SCATTERS[name]
    fn = scatter(kind, numbers, "fill")

    def of_parts(re: jax.Array, im: jax.Array, i: jax.Array, u: jax.Array) -> list[jax.Array]:
        z = fn(lax.complex(re, im), i, lax.complex(u, -2 * u))
        return [z.real, z.imag]

    compare(of_parts, (draw(operand), -draw(operand), places(indices), draw(updates)), (None,) * 4)


def test_repeated_places_keep_every_addition() -> None:
    fn = scatter("add", ((), (0,), (0,)), "promise_in_bounds")
    count = 200_000
    arrays = np.zeros(4, np.int32), (np.arange(count, dtype=np.int32) % 4)[:, None], np.ones(count, np.int32)
    compare(fn, arrays, (None, None, None))


PLAIN: dict[str, tuple[Callable[..., Any], dict[str, int]]] = {
    "first": (lambda x: x[:, 0], {"Gather": 1}),
    "last": (lambda x: x[..., -1], {"Gather": 1}),
    "tail": (lambda x: x[:, 1:], {"Slice": 1}),
    "strided": (lambda x: x[..., ::2], {"Slice": 1}),
    "head": (lambda x: x[: x.shape[0] - 1, :, 1:3], {"Slice": 1}),
    "picked": (lambda x: x[:, :, jnp.asarray([3, 0, -1])], {"Gather": 1}),
}


@pytest.mark.parametrize("name", PLAIN)
def test_constant_places_leave_one_node(name: str) -> None:
    fn, expected = PLAIN[name]
    inputs = [("B", "T", 4)]
    model = to_onnx(fn, inputs)
    check(model, fn, inputs)
    found = operators(model)
    assert {k: v for k, v in found.items() if k not in ("Shape", "Sub", "Concat")} == expected


@pytest.mark.parametrize("dtype", ["int32", "uint8", "uint32"])
def test_constant_indices_of_any_integer_dtype(dtype: str) -> None:
    indices = np.asarray([[2], [250], [-1]]).astype(dtype)
    dims = GatherDimensionNumbers((1,), (0,), (0,))

    def fn(x: jax.Array) -> jax.Array:
        return lax.gather(x, jnp.asarray(indices), dims, (1, 4), mode="fill")

    compare(fn, (draw((5, 4)),), (None,))


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "uint64"])
@pytest.mark.parametrize("number", [-7, 300, 2.75, -1e3])
def test_what_fills_in_is_converted_as_jax_does(dtype: str, number: float) -> None:
    def fn(x: jax.Array, i: jax.Array) -> jax.Array:
        filled = x.at[i].get(mode="fill", fill_value=number)
        return filled if dtype == "bool" else filled[jnp.clip(filled.astype(jnp.int32), 0, 2)]

    with jax.enable_x64("64" in dtype):
        inputs = [jax.ShapeDtypeStruct((3,), dtype), jax.ShapeDtypeStruct((5,), np.int32)]
        given = [np.arange(3).astype(jnp.dtype(dtype)), np.asarray([0, 7, -9, 2, 3], np.int32)]
        check(to_onnx(fn, inputs), fn, inputs, values=[given])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_out_of_bounds_is_filled_as_jax_does(dtype):
    def function(x, i):
        numbers = lax.GatherDimensionNumbers((1,), (0,), (0,))
        return lax.gather(x, i[:, None], numbers, (1, 2), mode="fill")

    inputs = [f"{dtype}[3,2]", "int32[5]"]
    values = (jnp.asarray([[0, 1], [1, 0], [1, 1]], dtype), np.asarray([0, 2, 3, -1, -4], np.int32))
    check(to_onnx(function, inputs), function, inputs, values=[values])


@pytest.mark.parametrize("operands", [(), (0,), (1,), (0, 1)])
def test_windows_are_transposed(operands: tuple[int, ...]) -> None:
    """What the rule itself transposes, and the user again, has a shape."""
    numbers = GatherDimensionNumbers((0, 2), (), (1, 0))

    def turned(*arrays: jax.Array) -> jax.Array:
        x, i = (array.T if place in operands else array for place, array in enumerate(arrays))
        return lax.gather(x, i, numbers, (2, 3), mode="clip").T

    arrays = [draw((5, 6)), places((4, 2))]
    arrays = [array.T if place in operands else array for place, array in enumerate(arrays)]
    compare(turned, arrays, [None, None])


FAR: dict[str, Callable[..., Any]] = {
    "row": lambda x, i: x[i],
    "one_row": lambda x, i: x[i[0]],
    "column": lambda x, i: x[:, i],
    "element": lambda x, i: x[i[:4], i[4:8]],
    "of_each_row": lambda x, i: x[jnp.arange(5), i[:5]],
    "clip": lambda x, i: x.at[i].get(mode="clip"),
    "fill": lambda x, i: x.at[i].get(mode="fill"),
    "take": lambda x, i: jnp.take(x, i, axis=0),
    "take_along": lambda x, i: jnp.take_along_axis(x, i[:, None], 0),
    "set": lambda x, i: x.at[i].set(7.0),
    "add": lambda x, i: x.at[i].add(1.0),
    "set_drop": lambda x, i: x.at[i].set(7.0, mode="drop"),
    "set_one": lambda x, i: x.at[i[0], i[1]].set(7.0),
    "gather": lambda x, i: lax.gather(x, i[:, None], GatherDimensionNumbers((1,), (0,), (0,)), (1, 4), mode="clip"),
    "gather_fill": lambda x, i: lax.gather(
        x, i[:, None], GatherDimensionNumbers((1,), (0,), (0,)), (1, 4), mode="fill"
    ),
    "gather_constant": lambda x, i: x.at[np.array([2**32 + 1, 3, 2**31]).astype(i.dtype)].get(mode="fill"),
    "scatter": lambda x, i: lax.scatter(
        x, i[:, None], jnp.tile(x[:1], (len(i), 1)), ScatterDimensionNumbers((1,), (0,), (0,)), mode="clip"
    ),
    "scatter_drop": lambda x, i: lax.scatter(
        x, i[:, None], jnp.tile(x[:1], (len(i), 1)), ScatterDimensionNumbers((1,), (0,), (0,)), mode="drop"
    ),
    "dynamic_slice": lambda x, i: lax.dynamic_slice(x, (i[0], i[1]), (2, 2)),
    "dynamic_index": lambda x, i: lax.dynamic_index_in_dim(x, i[0], keepdims=False),
    "dynamic_update": lambda x, i: lax.dynamic_update_slice(x, x[:2, :2], (i[0], i[1])),
}
"""What takes indices: JAX makes int32 of those of 64 bits, in some of them."""


@pytest.mark.parametrize("dtype", ["int64", "uint64", "uint32"])
@pytest.mark.parametrize("name", FAR)
def test_indices_beyond_32_bits(name: str, dtype: str) -> None:
    """Of symbolic sizes JAX makes no int32."""
    far = [1, 2**32 + 1, 2**31, 2**31 + 3, 2**33 - 1, 2**60 + 2, 2**32 - 2, 2**62 + 2**32]
    below = [-1, -(2**32) + 1, -(2**31) - 1, -(2**60), -(2**63), -3]
    numbers = {"int64": [*far, *below], "uint64": [*far, 2**64 - 1, 2**63], "uint32": [i % 2**32 for i in far]}[dtype]
    x = draw((5, 4))
    with jax.enable_x64(new_val=True):
        for turn in range(0, len(numbers), 3):
            i = np.roll(np.array(numbers, dtype), turn)
            compare(FAR[name], [x, i], [None, None])
