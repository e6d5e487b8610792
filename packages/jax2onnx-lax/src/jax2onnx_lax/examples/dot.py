"""Examples of :mod:`jax2onnx_lax.dot`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example


def _dot(contracting: Any, batch: Any = ((), ()), **options: Any) -> Callable[[], Callable[..., Any]]:
    return lambda: lambda x, y: lax.dot_general(x, y, (contracting, batch), **options)


def _example(name: str, make: Callable[[], Callable[..., Any]], inputs: Sequence[Any], **rest: Any) -> Example:
    return Example(name=name, context="lax", component="jax.lax.dot_general", make=make, inputs=inputs, **rest)


def _typed(*shapes: tuple[Any, ...], dtypes: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(s, d) for s, d in zip(shapes, dtypes, strict=True)]


def _integers(*dtypes: Any) -> Callable[[], Sequence[Sequence[Any]]]:
    """Products that leave the range of every integer dtype below 64 bits."""

    def values() -> Sequence[Sequence[Any]]:
        generator = np.random.default_rng(0)
        limits = [np.iinfo(d) for d in dtypes]
        x, y = (
            generator.integers(n.min, n.max, shape, n.dtype, endpoint=True)
            for n, shape in zip(limits, ((3, 5), (5, 4)), strict=True)
        )
        return [[x, y], [np.full_like(x, limits[0].min), np.full_like(y, limits[1].min)]]

    return values


_MATMUL = _dot(((1,), (0,)))


def _grouped(shapes: Sequence[tuple[int, ...]], before: tuple[int, ...]) -> Callable[[], Sequence[Sequence[Any]]]:
    """Groups that fill the ragged dim, one of them empty, and groups that leave some of it out."""

    def values() -> Sequence[Sequence[Any]]:
        generator = np.random.default_rng(0)
        arrays = [generator.normal(size=s).astype("float32") for s in shapes]
        full, partly = np.asarray([[2, 0, 3], [1, 1, 1]], "int32")
        several = np.where(np.arange(math.prod(before)).reshape(*before, 1) % 2, full, partly)
        arrays_with_infinity = [arrays[0], np.where(arrays[1] > 1.5, np.inf, arrays[1]).astype("float32")]
        return [[*arrays, several], [*arrays, np.broadcast_to(full, several.shape)], [*arrays_with_infinity, several]]

    return values


def _ragged(mode: Any) -> Callable[[], Callable[..., Any]]:
    return lambda: lambda x, y, sizes: lax.ragged_dot_general(x, y, sizes, mode)


EXAMPLES: list[Example] = [
    _example("dot_general", _MATMUL, [("B", 3), (3, 4)], operators={"MatMul": 1}),
    _example("dot_general_rank3", _dot(((2,), (0,))), [("B", 5, 3), (3, 4)], operators={"MatMul": 1}),
    _example("dot_general_two_symbols", _dot(((2,), (0,))), [("B", "T", 3), (3, 4)], operators={"MatMul": 1}),
    _example(
        "dot_general_batch", _dot(((2,), (1,)), ((0,), (0,))), [("B", 2, 3), ("B", 3, 4)], operators={"MatMul": 1}
    ),
    _example(
        "dot_general_one_product",  # no sum, so that -0 stays
        lambda: lambda x, y: 1 / (x @ y),
        [("B", 1), (1, 4)],
        values=lambda: [[np.array([[-0.0], [0], [2]], np.float32), np.array([[1, -1, 0, -0.0]], np.float32)]],
        operators={"Mul": 1},
    ),
    _example("dot_general_weight_gradient", _dot(((0,), (0,))), [("B", 3), ("B", 4)]),
    _example("dot_general_transposed_right", _dot(((1,), (1,))), [("B", 3), (4, 3)]),
    _example("dot_general_narrow_vectors", lambda: jnp.dot, ["uint8[B]", "uint8[B]"], operators={"MatMulInteger": 1}),
    _example("dot_general_unsigned_vectors", lambda: jnp.dot, ["uint32[B]", "uint32[B]"], operators={"MatMul": 1}),
    _example("dot_general_vectors", _dot(((0,), (0,))), [("B",), ("B",)], operators={"MatMul": 1}),
    _example("dot_general_vector_matrix", _dot(((0,), (0,))), [("B",), ("B", 4)], operators={"MatMul": 1}),
    _example("dot_general_matrix_vector", _dot(((1,), (0,))), [("B", 3), (3,)], operators={"MatMul": 1}),
    _example("dot_general_vector_rank3", _dot(((0,), (2,))), [(3,), ("B", 4, 3)]),
    _example("dot_general_rank3_rank3", _dot(((1,), (2,))), [("B", 3, 2), (5, 4, 3)]),
    _example("dot_general_attention", _dot(((3,), (3,)), ((0, 2), (0, 2))), [("B", "T", 3, 8), ("B", "S", 3, 8)]),
    _example("dot_general_batch_of_vectors", _dot(((1,), (1,)), ((0,), (0,))), [("B", "K"), ("B", "K")]),
    _example("dot_general_batch_elsewhere", _dot(((1,), (2,)), ((2,), (0,))), [("A", 3, "B", 5), ("B", "D", 3)]),
    _example("dot_general_two_contracted", _dot(((1, 3), (2, 0))), [("A", "C", 2, "E"), ("E", 4, "C")]),
    _example("dot_general_all_contracted", _dot(((0, 1), (1, 0))), [("B", 3), (3, "B")]),
    _example("dot_general_outer", _dot(((), ())), [("B", 2), (4,)], operators={"Mul": 1}),
    _example("dot_general_outer_batch", _dot(((), ()), ((0,), (1,))), [("B", 3), (4, "B")]),
    _example("dot_general_scalars", _dot(((), ())), [(), ()], operators={"Mul": 1}),
    _example("dot_general_empty_contraction", _MATMUL, [("B", 0), (0, 4)]),
    _example("dot_general_no_rows", _MATMUL, [(0, 3), (3, 4)]),
    _example("dot_general_no_batch", _dot(((2,), (1,)), ((0,), (0,))), [(0, 2, 3), (0, 3, 4)]),
    *(
        _example(
            f"dot_general_{a}_{b}" + (f"_to_{out}" if out else ""),
            _dot(((1,), (0,)), preferred_element_type=out),
            _typed((3, 5), (5, 4), dtypes=(a, b)),
            values=_integers(a, b),
        )
        for a, b, out in (
            ("int8", "int8", None),
            ("int8", "int8", "int32"),
            ("uint8", "int8", "int32"),
            ("int16", "int16", None),
            ("uint16", "uint16", None),
            ("int32", "int32", None),
            ("uint32", "uint32", None),
            ("int8", "int8", "float32"),
        )
    ),
    _example("dot_general_empty_uint32", _MATMUL, _typed((2, 0), (0, 4), dtypes=("uint32", "uint32"))),
    _example("dot_general_bool", _MATMUL, _typed((3, 5), (5, 4), dtypes=("bool", "bool"))),
    _example("dot_general_int8_float32", _MATMUL, _typed((3, 5), (5, 4), dtypes=("int8", "float32"))),
    _example("dot_general_float16", _MATMUL, _typed((3, 5), (5, 4), dtypes=("float16", "float16"))),
    _example("dot_general_bfloat16", _MATMUL, _typed((3, 5), (5, 4), dtypes=(jnp.bfloat16, jnp.bfloat16))),
    _example(
        "dot_general_bfloat16_to_float32",
        _dot(((1,), (0,)), preferred_element_type="float32"),
        _typed((3, 5), (5, 4), dtypes=(jnp.bfloat16, jnp.bfloat16)),
    ),
    _example(
        "dot_general_float32_to_int32",
        _dot(((1,), (0,)), preferred_element_type="int32"),
        _typed((3, 5), (5, 4), dtypes=("float32", "float32")),
    ),
    _example("dot_general_transposed_by_vector", lambda: lambda x, y: x.T @ y, [("N", "M"), ("N",)]),
    _example("dot_general_stack_by_vector", lambda: lambda x, y: x.swapaxes(1, 2) @ y, [("B", 3, 7), (3,)]),
    *(
        _example(f"dot_general_{dtype}", _MATMUL, _typed(("B", 3), (3, 4), dtypes=(dtype, dtype)), x64=True)
        for dtype in ("float64", "int64", "uint64")
    ),
    *(
        Example(
            name=f"ragged_dot_{what}",
            context="lax",
            component="jax.lax.ragged_dot_general",
            make=_ragged(lax.RaggedDotDimensionNumbers(numbers, [ragged], groups)),
            inputs=[*_typed(*shapes, dtypes=("float32", "float32")), jax.ShapeDtypeStruct((*before, 3), "int32")],
            values=_grouped(shapes, before),
            draw=False,
        )
        for what, numbers, ragged, groups, shapes, before in (
            ("rows", (((1,), (1,)), ((), ())), 0, [0], ((5, 4), (3, 4, 2)), ()),
            ("rows_group_last", (((1,), (0,)), ((), ())), 0, [1], ((5, 4), (4, 3, 2)), ()),
            ("rows_of_batch", (((2,), (2,)), ((0,), (0,))), 1, [1], ((2, 5, 4), (2, 3, 4, 2)), (2,)),
            ("rows_of_rows", (((0,), (1,)), ((2,), (2,))), 3, [0], ((4, 2, 6, 5), (3, 4, 6, 2)), (6, 2)),
            ("contraction", (((1,), (0,)), ((), ())), 1, [], ((4, 5), (5, 2)), ()),
            ("contraction_of_batch", (((1, 2), (2, 0)), ((0,), (1,))), 2, [], ((2, 3, 5, 4), (5, 2, 3, 6)), (2, 3)),
            ("batch", (((2,), (1,)), ((0,), (0,))), 0, [], ((5, 4, 3), (5, 3, 2)), ()),
        )
    ),
]
