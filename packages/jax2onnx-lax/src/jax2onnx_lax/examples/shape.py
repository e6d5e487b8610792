"""Examples of :mod:`jax2onnx_lax.shape`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _example(
    name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], operators: dict[str, int] | None = None
) -> Example:
    return Example(
        name=name, context="lax", component=f"jax.lax.{component}", make=lambda: fn, inputs=inputs, operators=operators
    )


def _typed(shape: tuple[Any, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


BROADCAST = [
    _example("broadcast_in_dim", "broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (3, 4), (0,)), [(3,)]),
    _example(
        "broadcast_in_dim_2d_to_3d",
        "broadcast_in_dim",
        lambda x: lax.broadcast_in_dim(x, (2, 3, 4), (1, 2)),
        [(3, 4)],
        {"Expand": 1, "Reshape": 0},
    ),
    _example("broadcast_in_dim_scalar", "broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3), ()), [()]),
    _example(
        "broadcast_in_dim_symbolic",
        "broadcast_in_dim",
        lambda x: lax.broadcast_in_dim(x, (2, x.shape[0], 5, 4), (1, 3)),
        [("B", 4)],
    ),
    _example("broadcast_in_dim_empty", "broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 0, 3), (2,)), [(3,)]),
    _example("expand_dims", "expand_dims", lambda x: lax.expand_dims(x, (0, 2)), [("B", 4)], {"Expand": 0}),
    _example("full_symbolic", "full", lambda x: x + lax.full(x.shape, 7, x.dtype), [("B", "T")]),
    _example("iota", "iota", lambda x: x + lax.iota(jnp.int16, 5), [_typed((5,), jnp.int16)]),
    _example(
        "broadcasted_iota",
        "broadcasted_iota",
        lambda x: x + lax.broadcasted_iota(jnp.float16, x.shape, 1),
        [_typed(("B", 40, 10), jnp.float16)],
    ),
    _example(
        "broadcasted_iota_symbolic",
        "broadcasted_iota",
        lambda x: x + lax.broadcasted_iota(jnp.int32, x.shape, 0),
        [_typed(("B", 3), jnp.int32)],
    ),
]

RESHAPE = [
    _example("reshape", "reshape", lambda x: lax.reshape(x, (9,)), [(3, 3)], {"Reshape": 1}),
    _example("reshape_dimensions", "reshape", lambda x: lax.reshape(x, (12,), dimensions=(1, 0)), [(3, 4)]),
    _example("reshape_order_f", "reshape", lambda x: x.ravel(order="F"), [("B", 4)]),
    _example("reshape_empty", "reshape", lambda x: lax.reshape(x, (4, 0, 2)), [(0, 3)]),
    _example("reshape_two_symbols", "reshape", lambda x: x.reshape(x.shape[0] * x.shape[1], 6), [("B", "T", 2, 3)]),
    _example("reshape_back", "reshape", lambda x: x.reshape(3, x.shape[0]), [("B", 3)]),
    _example("squeeze", "squeeze", lambda x: lax.squeeze(x, (0,)), [(1, 3)], {"Squeeze": 1}),
    _example("squeeze_symbolic", "squeeze", lambda x: lax.squeeze(x, (1, 3)), [("B", 1, "T", 1)]),
    _example("transpose_basic", "transpose", lambda x: lax.transpose(x, (1, 0)), [(2, 3)], {"Transpose": 1}),
    _example(
        "transpose_bfloat16", "transpose", lambda x: lax.transpose(x, (2, 0, 1)), [_typed(("B", 3, 4), jnp.bfloat16)]
    ),
    _example("transpose_rank_0", "transpose", lambda x: lax.transpose(x, ()), [()]),
    _example("rev", "rev", lambda x: lax.rev(x, (0, 2)), [("B", 3, 4)], {"Slice": 1}),
]

SLICE = [
    _example("slice_test1", "slice", lambda x: lax.slice(x, (1,), (3,)), [(5,)], {"Slice": 1}),
    _example("slice_strided", "slice", lambda x: lax.slice(x, (0, 1), (x.shape[0], 7), (1, 3)), [("B", 8)]),
    _example("slice_symbolic", "slice", lambda x: lax.slice(x, (x.shape[0] - 1, 0), (x.shape[0], 2)), [("B", 3)]),
    _example("slice_empty", "slice", lambda x: lax.slice(x, (2, 0), (2, 4)), [(3, 4)]),
    _example("pad", "pad", lambda x, v: lax.pad(x, v, ((1, 2, 0), (0, 3, 0))), [("B", 3), ()], {"Pad": 1}),
    _example("pad_negative", "pad", lambda x, v: lax.pad(x, v, ((-1, 2, 0), (3, -2, 0))), [(3, 4), ()]),
    _example("pad_all_away", "pad", lambda x, v: lax.pad(x, v, ((-9, 12, 0), (7, -7, 0))), [(3, 4), ()]),
    _example("pad_interior", "pad", lambda x, v: lax.pad(x, v, ((1, 0, 2), (-1, 1, 1))), [("B", 4), ()]),
    _example("pad_interior_empty", "pad", lambda x, v: lax.pad(x, v, ((1, 1, 2), (0, 0, 1))), [(0, 4), ()]),
    _example("pad_bool", "pad", lambda x, v: lax.pad(x, v, ((1, 1, 1),)), [_typed((4,), bool), _typed((), bool)]),
    _example(
        "pad_float16",
        "pad",
        lambda x, v: lax.pad(x, v, ((1, 1, 1),)),
        [_typed((4,), jnp.float16), _typed((), jnp.float16)],
    ),
    _example("pad_symbolic", "pad", lambda x, v: lax.pad(x, v, ((0, x.shape[0], 0),)), [("B",), ()]),
    Example(
        name="pad_undecided",
        context="lax",
        component="jax.lax.pad",
        make=lambda: lambda x, v: lax.pad(x, v, ((x.shape[0] - 2, 5, 0), (2 - x.shape[0], 9, 0))),
        inputs=[("B", 3), ()],
        options={"constraints": ["B <= 10"]},
    ),
    _example("pad_rank_0", "pad", lambda x, v: lax.pad(x, v, ()), [(), ()]),
]

JOIN = [
    _example("concatenate", "concatenate", lambda x, y: lax.concatenate((x, y), 0), [(3,), (3,)], {"Concat": 1}),
    _example("concatenate_axis1", "concatenate", lambda x, y: lax.concatenate((x, y), 1), [("B", 3), ("B", 4)]),
    _example("concatenate_dynamic", "concatenate", lambda x, y: lax.concatenate((x, y), 1), [("B", 10), ("B", 20)]),
    _example("concatenate_3d", "concatenate", lambda x, y: lax.concatenate((x, y), 1), [(2, 3, 4), (2, 5, 4)]),
    _example("concatenate_symbolic", "concatenate", lambda x, y: lax.concatenate((x, y, x), 0), [("B", 3), ("B", 3)]),
    _example("concatenate_empty", "concatenate", lambda x, y: lax.concatenate((x, y), 0), [(0, 3), (2, 3)]),
    _example("concatenate_bool", "concatenate", lambda x, y: lax.concatenate((x, y), 0), [_typed((3,), bool)] * 2),
    _example("split", "split", lambda x: lax.split(x, (1, 0, 3), axis=1), [("B", 4)], {"Split": 1}),
    _example("split_one", "split", lambda x: lax.split(x, (4,), axis=1), [("B", 4)], {"Split": 0}),
    _example("tile", "tile", lambda x: jnp.tile(x, (2, 1, 3)), [("B", 4)]),
    _example("tile_bfloat16", "tile", lambda x: jnp.tile(x, (2, 3)), [_typed((3, 4), jnp.bfloat16)]),
    _example("stack", "stack", lambda x, y: jnp.stack([x, y], 1), [("B", 4), ("B", 4)], {"Concat": 1}),
    _example("unstack", "unstack", lambda x: jnp.unstack(x, axis=1), [("B", 3)], {"Gather": 3}),
]

DIMENSIONS = [
    _example("dim_as_value", "dim_as_value", lambda x: x * x.shape[0] + x.shape[0] // 2, [("B", 3)]),
    _example("empty", "empty", lambda x: jnp.zeros_like(lax.empty((2, 3), jnp.float32)) + x, [(3,)]),
    Example(
        name="iota_x64",
        context="lax",
        component="jax.lax.iota",
        make=lambda: lambda x: x + lax.broadcasted_iota(np.uint64, x.shape, 0),
        inputs=[jax.ShapeDtypeStruct(("B", 3), np.uint64)],
        x64=True,
    ),
]

EXAMPLES: list[Example] = [*BROADCAST, *RESHAPE, *SLICE, *JOIN, *DIMENSIONS]
