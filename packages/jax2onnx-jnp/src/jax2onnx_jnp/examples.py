"""Examples of ``jax.numpy``: array functions that need no fusion, as the rules of jax2onnx-lax emit them well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jax2onnx.plugin import Example


def _example(
    name: str, fn: Callable[..., Any], inputs: Sequence[Any], operators: dict[str, int] | None = None
) -> Example:
    function = name.split("_", maxsplit=1)[0]
    component = f"jax.numpy.{'concatenate' if function == 'concat' else function}"
    return Example(name=name, context="jnp", component=component, make=lambda: fn, inputs=inputs, operators=operators)


def _einsum(equation: str, **options: Any) -> Callable[..., Any]:
    return lambda *xs: jnp.einsum(equation, *xs, **options)


def _tile(*repeats: int) -> Callable[..., Any]:
    return lambda x: jnp.tile(x, repeats)


def _pad(mode: str, *widths: tuple[int, int]) -> Callable[..., Any]:
    return lambda x: jnp.pad(x, widths, mode=mode)


def _squeeze(axis: int | tuple[int, ...] | None = None) -> Callable[..., Any]:
    return lambda x: jnp.squeeze(x, axis)


def _transpose(axes: tuple[int, ...] | None = None) -> Callable[..., Any]:
    return lambda x: jnp.transpose(x, axes)


BASIC = [
    _example("add", jnp.add, [(3,), (3,)], {"Add": 1}),
    _example("concat", lambda x, y: jnp.concat([x, y], axis=0), [(3,), (4,)], {"Concat": 1}),
]

EINSUM = [
    _example("einsum", _einsum("ij,j->i"), [(3, 4), (4,)]),
    _example("einsum_preferred_element_type", _einsum("ij,j->i", preferred_element_type=jnp.float32), [(3, 4), (4,)]),
    _example("einsum_matmul", _einsum("ij,jk->ik"), [(4, 3), (3, 5)], {"MatMul": 1}),
    _example("einsum_dynamic", _einsum("ij,j->i"), [("B", 3), (3,)]),
    _example("einsum_dynamic_matmul", _einsum("bij,jk->bik"), [("B", 5, 3), (3, 4)], {"MatMul": 1}),
    _example("einsum_transpose", _einsum("ij->ji"), [(3, 5)], {"Transpose": 1}),
    _example("einsum_dynamic_transpose", _einsum("bij->bji"), [("B", 3, 5)], {"Transpose": 1}),
    _example("einsum_dynamic_matmul2", _einsum("bij,jk->bik"), [("B", 5, 3), (3, 4)]),
    _example("einsum_dynamic_matmul3", _einsum("bij,bjk->bik"), [("B", 5, 3), ("B", 3, 4)], {"MatMul": 1}),
]

MATMUL = [
    _example("matmul_1d", jnp.matmul, [(4,), (4,)]),
    _example("matmul_1d_2d", jnp.matmul, [(4,), (4, 5)]),
    _example("matmul_2d", jnp.matmul, [(3, 4), (4, 5)], {"MatMul": 1}),
    _example("matmul_2d_1d", jnp.matmul, [(3, 4), (4,)]),
    _example("matmul_3d", jnp.matmul, [(2, 3, 4), (2, 4, 5)], {"MatMul": 1}),
    _example("matmul_dynamic", jnp.matmul, [("B", 3, 4), ("B", 4, 5)], {"MatMul": 1}),
    _example("matmul_dynamic_a", jnp.matmul, [("B", 3), (3, 4)], {"MatMul": 1}),
    _example("matmul_dynamic_b", jnp.matmul, [(3, 4), (4, "B")], {"MatMul": 1}),
]

_IMAGE = ("B", 5, 6, 3)
_AROUND = ((0, 0), (2, 1), (1, 1), (0, 0))

PAD = [
    _example("pad_edge", _pad("edge", *_AROUND), [_IMAGE], {"Pad": 1}),
    _example("pad_reflect", _pad("reflect", *_AROUND), [_IMAGE], {"Pad": 1}),
    _example("pad_reflect_before", _pad("reflect", (2, 0), (0, 0)), [(4, "B")], {"Pad": 1}),
    _example("pad_reflect_again", _pad("reflect", (0, 0), (7, 4)), [("B", 3)]),
    _example("pad_reflect_one", _pad("reflect", (0, 0), (2, 2)), [("B", 1)]),
    _example("pad_symmetric_one", _pad("symmetric", (2, 1), (0, 0)), [(1, "B")]),
    _example("pad_symmetric", _pad("symmetric", *_AROUND), [_IMAGE]),
    _example("pad_wrap", _pad("wrap", *_AROUND), [_IMAGE], {"Pad": 1}),
    _example("pad_wrap_after", _pad("wrap", (0, 0), (0, 3)), [("B", 4)], {"Pad": 1}),
]

RESHAPE = [
    _example("reshape_1", lambda x: jnp.reshape(x, (2, 6)), [(3, 4)], {"Reshape": 1}),
    _example("reshape_2", lambda x: jnp.reshape(x, (-1, 2)), [(3, 4)], {"Reshape": 1}),
    _example("reshape_3", lambda x: jnp.reshape(x, (2, -1)), [(10, 10)], {"Reshape": 1}),
    _example("reshape_4", lambda x: jnp.reshape(x, (x.shape[0], -1)), [("B", 3, 4)], {"Reshape": 1}),
    _example("reshape_to_scalar", lambda x: jnp.reshape(x, ()), [(1,)]),
    _example("reshape_from_scalar", lambda x: jnp.reshape(x, (1,)), [()]),
]

SQUEEZE = [
    _example("squeeze_single_dim", _squeeze(0), [(1, 3, 1)], {"Squeeze": 1}),
    _example("squeeze_multiple_dims", _squeeze((0, 2)), [(1, 3, 1, 4)], {"Squeeze": 1}),
    _example("squeeze_vit_output", _squeeze(1), [(1, 1, 10)], {"Squeeze": 1}),
    _example("squeeze_dynamic_batch", _squeeze(1), [("B", 1, 10)], {"Squeeze": 1}),
    _example("squeeze_all_dims", _squeeze(), [(1, 1, 1)], {"Squeeze": 1}),
    _example("squeeze_negative_axis", _squeeze(-1), [(1, 3, 1)], {"Squeeze": 1}),
    _example("squeeze_negative_axis_tuple", _squeeze((-1, -3)), [(1, 3, 1)], {"Squeeze": 1}),
    _example("squeeze_dynamic_and_negative_axis", _squeeze((-1, -3)), [(1, "B", 1)], {"Squeeze": 1}),
]

TILE = [
    _example("tile_a", _tile(1, 2), [(2, 3)]),
    _example("tile_b", _tile(1, 2, 1), [(1, 5, 5)]),
    _example("tile_c", _tile(1, 4), [(3, 3)]),
    _example("tile_d", _tile(2), [(3, 3)]),
    _example("tile_dynamic", _tile(1, 1, 2), [("B", 2, 3)]),
    _example("tile_pad", _tile(2, 3, 4), [(4, 5)]),
]

TRANSPOSE = [
    _example("transpose_basic", _transpose((1, 0)), [(2, 3)], {"Transpose": 1}),
    _example("transpose_reverse", _transpose((2, 1, 0)), [(2, 3, 4)], {"Transpose": 1}),
    _example("transpose_4d", _transpose((0, 2, 3, 1)), [(2, 3, 4, 5)], {"Transpose": 1}),
    _example("transpose_square_matrix", _transpose((1, 0)), [(3, 3)], {"Transpose": 1}),
    _example("transpose_high_dim", _transpose((4, 3, 2, 1, 0)), [(2, 3, 4, 5, 6)], {"Transpose": 1}),
    _example("transpose_no_axes", _transpose(), [(2, 3)], {"Transpose": 1}),
    _example("transpose_dynamic", _transpose((0, 2, 1)), [("B", 3, 4)], {"Transpose": 1}),
]

SEARCHES = [
    _example("searchsorted", jnp.searchsorted, [(8,), ("B",)], {"ArgMax": 1, "Scan": 0}),
    _example("searchsorted_right", lambda x, v: jnp.searchsorted(x, v, side="right"), [(5,), (3,)], {"ArgMax": 1}),
]

EXAMPLES: list[Example] = [*BASIC, *EINSUM, *MATMUL, *PAD, *RESHAPE, *SEARCHES, *SQUEEZE, *TILE, *TRANSPOSE]
