"""Examples of :mod:`jax2onnx_lax.dynamic`, :mod:`jax2onnx_lax.gather` and :mod:`jax2onnx_lax.scatter`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import GatherDimensionNumbers, GatherScatterMode, ScatterDimensionNumbers

from jax2onnx.plugin import Example

Array = np.ndarray[Any, Any]


def _example(name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], **rest: Any) -> Example:
    return Example(name=name, context="lax", component=component, make=lambda: fn, inputs=inputs, **rest)


def _int(*shape: Any, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _starts(*arrays: Array, count: int = 1, dtype: Any = np.int32) -> Callable[[], list[list[Array]]]:
    """Batches with every start between well before and well after the array."""
    return lambda: [
        [*arrays, *[np.asarray(s, dtype) for s in starts]]
        for starts in itertools.product((-9, -1, 0, 1, 3, 100), repeat=count)
    ]


def _places(indices: Any, *arrays: Array) -> Callable[[], list[list[Array]]]:
    """One batch: the first array, the indices, the other arrays."""
    return lambda: [[arrays[0], np.asarray(indices, np.int32), *arrays[1:]]]


# The primitive itself, which does not wrap negative starts as the public functions do.
def _slice(x: jax.Array, *starts: jax.Array, sizes: Sequence[Any]) -> jax.Array:
    sliced: jax.Array = lax.dynamic_slice_p.bind(x, *starts, slice_sizes=tuple(sizes))
    return sliced


DYNAMIC = [
    _example(
        "dynamic_slice_test1",
        "jax.lax.dynamic_slice",
        lambda x, i: lax.dynamic_slice(x, (i,), (2,)),
        [(5,), _int()],
        values=_starts(_floats(5)),
    ),
    _example(
        "dynamic_slice_2d",
        "jax.lax.dynamic_slice",
        lambda x, i, j: lax.dynamic_slice(x, (i, j), (2, 2)),
        [(4, 4), _int(), _int()],
        values=_starts(_floats(4, 4), count=2),
        operators={"Slice": 1},
    ),
    _example(
        "dynamic_slice_3d",
        "jax.lax.dynamic_slice",
        lambda x, i, j, k: lax.dynamic_slice(x, (i, j, k), (2, 3, 1)),
        [(3, 4, 5), _int(), _int(), _int()],
        values=_starts(_floats(3, 4, 5), count=3),
    ),
    _example(
        "dynamic_slice_clamps",
        "jax.lax.dynamic_slice",
        lambda x, i: _slice(x, i, i, sizes=(2, 3)),
        [(5, 4), _int()],
        values=_starts(_floats(5, 4)),
        operators={"Slice": 1},
    ),
    _example(
        "dynamic_slice_one",
        "jax.lax.dynamic_slice",
        lambda x, i: _slice(x, i, jnp.int32(0), sizes=(1, 4)),
        [(5, 4), _int()],
        values=_starts(_floats(5, 4)),
        operators={"Gather": 1, "Slice": 0},
    ),
    _example(
        "dynamic_slice_symbolic",
        "jax.lax.dynamic_slice",
        lambda x, i: lax.dynamic_slice(x, (i, i), (1, 2)),
        [("B", 4), _int()],
    ),
    _example(
        "dynamic_slice_constant_start",
        "jax.lax.dynamic_slice",
        lambda x: _slice(x, jnp.int32(9), jnp.int32(-1), sizes=(2, 3)),
        [(5, 4)],
        operators={"Slice": 1, "Clip": 0},
    ),
    _example(
        "dynamic_slice_uint8_start",
        "jax.lax.dynamic_slice",
        lambda x, i: lax.dynamic_slice(x, (i,), (2,)),
        [(5,), _int(dtype=jnp.uint8)],
        values=lambda: [[_floats(5), np.uint8(i)] for i in (0, 2, 4, 255)],
    ),
    _example(
        "dynamic_index_in_dim",
        "jax.lax.dynamic_index_in_dim",
        lambda x, i: lax.dynamic_index_in_dim(x, i, 1, keepdims=False),
        [("B", 4), _int()],
    ),
    _example(
        "dynamic_update_slice",
        "jax.lax.dynamic_update_slice",
        lambda x, u, i: lax.dynamic_update_slice_p.bind(x, u, i, jnp.int32(0)),
        [(5, 4), (2, 4), _int()],
        values=_starts(_floats(5, 4), _floats(2, 4, seed=1)),
        operators={"Concat": 1},
    ),
    _example(
        "dynamic_update_slice_3d",
        "jax.lax.dynamic_update_slice",
        lambda x, u, i, j: lax.dynamic_update_slice_p.bind(x, u, i, j, i),
        [(5, 4, 6), (2, 3, 6), _int(), _int()],
        values=_starts(_floats(5, 4, 6), _floats(2, 3, 6, seed=1), count=2),
    ),
    _example(
        "dynamic_update_slice_symbolic",
        "jax.lax.dynamic_update_slice",
        lambda cache, new, i: lax.dynamic_update_slice(cache, new, (0, i, 0)),
        [("B", 8, 4), ("B", 1, 4), _int()],
    ),
    _example(
        "dynamic_update_slice_bool_empty",
        "jax.lax.dynamic_update_slice",
        lambda x, u, i: lax.dynamic_update_slice(x, u, (i,)),
        [_int(5, dtype=bool), _int(0, dtype=bool), _int()],
    ),
]


def _gather(
    numbers: GatherDimensionNumbers, sizes: Sequence[int | None], mode: str = "clip", **options: Any
) -> Callable[..., Any]:
    """A gather whose size is None where it is that of the operand."""

    def fn(x: jax.Array, indices: jax.Array) -> jax.Array:
        full = [n if s is None else s for n, s in zip(x.shape, sizes, strict=True)]
        return lax.gather(x, indices, numbers, full, mode=mode, **options)

    return fn


ROWS = GatherDimensionNumbers((1,), (0,), (0,))

GATHER = [
    _example(
        "gather",
        "jax.lax.gather",
        _gather(ROWS, (1, None), mode="fill"),
        [(5, 3), _int(4, 1)],
        values=_places([[0], [4], [-1], [5]], _floats(5, 3)),
    ),
    _example("gather_rows", "jax.lax.gather", _gather(ROWS, (1, None)), [("B", 3), _int("N", 1)]),
    _example("gather_clip", "jax.lax.gather", _gather(ROWS, (1, None)), [(5, 3), _int(4, 1)], operators={"Gather": 1}),
    _example(
        "gather_promise",
        "jax.lax.gather",
        _gather(ROWS, (1, None), mode="promise_in_bounds"),
        [(5, 3), _int(4, 1)],
    ),
    _example(
        "gather_fill_value",
        "jax.lax.gather",
        _gather(ROWS, (1, None), mode="fill", fill_value=-7),
        [_int(5, 3, dtype=jnp.int16), _int(4, 1)],
    ),
    _example(
        "gather_columns",
        "jax.lax.gather",
        _gather(GatherDimensionNumbers((0, 3), (1,), (1,)), (None, 1, None)),
        [("B", 4, 3), _int(2, 3, 1)],
        operators={"Gather": 1, "Transpose": 0},
    ),
    _example(
        "gather_points",
        "jax.lax.gather",
        _gather(GatherDimensionNumbers((1,), (0, 1), (0, 1)), (1, 1, None), mode="fill"),
        [("B", 4, 3), _int(6, 2)],
        operators={"GatherND": 1},
    ),
    _example(
        "gather_windows",
        "jax.lax.gather",
        _gather(GatherDimensionNumbers((0, 2), (), (1, 0)), (2, 3)),
        [(5, 6), _int(4, 2)],
        values=_places([[0, 0], [3, 3], [4, -1], [9, 2]], _floats(5, 6)),
    ),
    _example(
        "gather_batched",
        "jax.lax.gather",
        _gather(GatherDimensionNumbers((), (1,), (1,), (0,), (0,)), (1, 1), mode="fill"),
        [("B", 4), _int("B", 2, 1)],
        operators={"GatherElements": 1},
    ),
    _example(
        "gather_batched_windows",
        "jax.lax.gather",
        _gather(GatherDimensionNumbers((1, 2), (), (2, 1), (0,), (1,)), (1, 3, 2)),
        [(3, 7, 5), _int(2, 3, 2)],
    ),
    _example("gather_no_indices", "jax.lax.gather", _gather(ROWS, (1, None)), [(5, 3), _int(0, 1)]),
    _example("gather_getitem", "jax.lax.gather", lambda x, i: x[:, i, None, ::2], [("B", 4, 6), _int(3)]),
    _example("gather_take", "jax.numpy.take", lambda x, i: jnp.take(x, i, axis=1), [("B", 4), _int(2, 3)]),
    _example(
        "gather_take_along_axis",
        "jax.numpy.take_along_axis",
        lambda x, i: jnp.take_along_axis(x, i, axis=1),
        [("B", 4), _int("B", 2)],
    ),
    _example(
        "gather_vmap_dynamic_slice",
        "jax.lax.gather",
        jax.vmap(lambda x, i: lax.dynamic_slice(x, (i,), (2,))),
        [("B", 5), _int("B")],
    ),
]


def _scatter(
    function: Callable[..., Any], numbers: ScatterDimensionNumbers, mode: str = "drop", **options: Any
) -> Callable[..., Any]:
    parsed = GatherScatterMode.from_any(mode)
    return lambda x, indices, updates: function(x, indices, updates, numbers, mode=parsed, **options)


UPDATE_ROWS = ScatterDimensionNumbers((1,), (0,), (0,))
UPDATE_POINTS = ScatterDimensionNumbers((), (0, 1), (0, 1))
_PLACES = [[0], [4], [-1], [5], [2], [2]]


def _nans() -> list[list[Array]]:
    x = np.asarray([1, np.nan, np.inf, -np.inf, 5, 0], np.float32)
    updates = np.asarray([np.nan, 3, 2, np.nan, 7, np.nan, np.inf, 1], np.float32)
    return [[x, np.asarray([[0], [0], [1], [2], [4], [9], [3], [3]], np.int32), updates]]


SCATTER = [
    _example(
        "scatter",
        "jax.lax.scatter",
        _scatter(lax.scatter, UPDATE_ROWS),
        [(5, 3), _int(6, 1), (6, 3)],
        values=_places(_PLACES, _floats(5, 3), _floats(6, 3, seed=1)),
        operators={"ScatterElements": 1},
    ),
    _example(
        "scatter_unique",
        "jax.lax.scatter",
        _scatter(lax.scatter, UPDATE_ROWS, unique_indices=True),
        [(5, 3), _int(4, 1), (4, 3)],
        values=_places(_PLACES[:4], _floats(5, 3), _floats(4, 3, seed=1)),
        draw=False,
        operators={"ScatterND": 1},
    ),
    _example(
        "scatter_clip",
        "jax.lax.scatter",
        _scatter(lax.scatter, ScatterDimensionNumbers((0,), (1,), (1,)), mode="clip"),
        [("B", 4), _int(1), ("B",)],
    ),
    _example(
        "scatter_window",
        "jax.lax.scatter",
        _scatter(lax.scatter, ScatterDimensionNumbers((0, 2), (), (1, 0))),
        [(7, 6), _int(3, 2), (2, 3, 3)],
        values=_places([[0, 0], [3, 5], [4, 4]], _floats(7, 6), _floats(2, 3, 3, seed=1)),
    ),
    _example(
        "scatter_bool",
        "jax.lax.scatter",
        lambda x, i: x.at[i].set(True),
        [_int("B", dtype=bool), _int(2)],
    ),
    _example("scatter_static", "jax.lax.scatter", lambda x: x.at[1].set(7.0).at[:, 2].add(1.0), [(5, 4)]),
    _example(
        "scatter_apply",
        "jax.lax.scatter_apply",
        lambda x, i: x.at[i].apply(lambda v: 2 * v + 1),
        [(5, 2), _int(4)],
        values=_places([3, 9, 1, 3], _floats(5, 2)),
    ),
    _example(
        "scatter_add",
        "jax.lax.scatter_add",
        _scatter(lax.scatter_add, UPDATE_ROWS),
        [("B", 3), _int("N", 1), ("N", 3)],
    ),
    _example(
        "scatter_add_many",
        "jax.lax.scatter_add",
        _scatter(lax.scatter_add, ScatterDimensionNumbers((), (0,), (0,))),
        [(4,), _int(60000, 1), (60000,)],
        values=lambda: [
            [np.zeros(4, np.float32), np.arange(60000, dtype=np.int32)[:, None] % 4, np.ones(60000, "float32")]
        ],
        draw=False,
    ),
    _example(
        "scatter_add_points",
        "jax.lax.scatter_add",
        _scatter(lax.scatter_add, UPDATE_POINTS, mode="clip"),
        [(5, 4), _int(6, 2), (6,)],
    ),
    _example(
        "scatter_add_batched",
        "jax.lax.scatter_add",
        _scatter(lax.scatter_add, ScatterDimensionNumbers((), (1,), (1,), (0,), (0,))),
        [("B", 5), _int("B", 2, 1), ("B", 2)],
    ),
    _example(
        "scatter_add_float16",
        "jax.lax.scatter_add",
        _scatter(lax.scatter_add, UPDATE_POINTS),
        [_int(5, 4, dtype=jnp.float16), _int(3, 2), _int(3, dtype=jnp.float16)],
    ),
    _example(
        "scatter_sub_uint8",
        "jax.lax.scatter_sub",
        lambda x, i: x.at[i].subtract(jnp.uint8(200)),
        [_int(5, dtype=jnp.uint8), _int(3)],
    ),
    _example(
        "scatter_mul",
        "jax.lax.scatter_mul",
        _scatter(lax.scatter_mul, ScatterDimensionNumbers((1,), (0, 2), (0, 2))),
        [(5, 2, 4), _int(3, 2), (3, 2)],
    ),
    _example(
        "scatter_min",
        "jax.lax.scatter_min",
        _scatter(lax.scatter_min, ScatterDimensionNumbers((), (0,), (0,))),
        [(6,), _int(8, 1), (8,)],
        values=_nans,
    ),
    _example(
        "scatter_max",
        "jax.lax.scatter_max",
        _scatter(lax.scatter_max, ScatterDimensionNumbers((), (0,), (0,))),
        [(6,), _int(8, 1), (8,)],
        values=_nans,
    ),
    _example(
        "scatter_max_bool",
        "jax.lax.scatter_max",
        _scatter(lax.scatter_max, ScatterDimensionNumbers((), (0,), (0,))),
        [_int(6, dtype=bool), _int(8, 1), _int(8, dtype=bool)],
    ),
    _example("scatter_gradient", "jax.grad", jax.grad(lambda x: (x[jnp.asarray([1, 1, 0])] ** 2).sum()), [(4, 3)]),
]

EXAMPLES: list[Example] = [*DYNAMIC, *GATHER, *SCATTER]
