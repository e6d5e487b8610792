"""Programs that arrange and index arrays of symbolic dims, each exported once and right at many sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from jax2onnx.testing import Sized, run_sized, select

LONGER = (5, 6, 9, 17)


def halves(x):
    return jnp.split(x, 2)


def scattered(x, i):
    return jnp.zeros((x.shape[0], 3)).at[i].add(1.0)


def segments(x, i):
    return jax.ops.segment_sum(x, i, num_segments=x.shape[0])


def interleave(x, y):
    return jnp.stack([x, y], 1).reshape(2 * x.shape[0])


def patches(x):
    b, t, _ = x.shape
    return x.reshape(b, t // 2, 2, 6).transpose(0, 2, 1, 3).reshape(b, 2, -1)


def tokens(x):
    return x.reshape(x.shape[0], -1, 4)


def outer_sum(x, y):
    return x[:, None] + y[None, :]


def window(x, start):
    return lax.dynamic_slice(x, (start, 0), (x.shape[0] // 2, 2))


def cache(x, update, start):
    return lax.dynamic_update_slice(x, update, (start, 0))


def heads(x):
    b, t, d = x.shape
    return x.reshape(b, t, 2, d // 2).transpose(0, 2, 1, 3)


def table(x):
    return jnp.take(x, jnp.arange(x.shape[0])[::-1], axis=0)


def mesh(x, y):
    return jnp.meshgrid(jnp.arange(x.shape[0]), jnp.arange(y.shape[0]), indexing="ij")


def linspaced(x):
    return x * jnp.arange(x.shape[0]) / x.shape[0]


def diagonal(x):
    return jnp.diagonal(x @ x.T) + jnp.eye(x.shape[0]).sum(0)


def positions(x):
    return jnp.broadcast_to(jnp.arange(x.shape[1])[None], x.shape)


def blocks(x):
    return lax.pad(x, 0.0, ((1, x.shape[0], 0), (0, 2, 1)))


def sizes_as_numbers(x):
    b, t = x.shape
    return x / b + jnp.float32(t) * 2, jnp.asarray(b * t - t // 2)


def untouched(x, y):
    del x
    return y + 1


def foreign(*dims):
    return jax.ShapeDtypeStruct(export.symbolic_shape(", ".join(dims)), np.float32)


SHAPES = [
    Sized("reshape_flatten", jnp.ravel, [("B", "T", 3)]),
    Sized("reshape_merge", lambda x: x.reshape(-1, 3), [("B", "T", 3)]),
    Sized("reshape_keep_batch", lambda x: x.reshape(x.shape[0], -1), [("B", "T", 3)], ["B >= 1"]),
    Sized("reshape_split_features", heads, [("B", "T", 8)]),
    Sized("reshape_split_dynamic", tokens, [("B", "T", 8)], ["B >= 1"]),
    Sized("reshape_of_even_dim", lambda x: x.reshape(-1, 2), [("2*B",)]),
    Sized("reshape_patches", patches, [("B", "2*T", 6)], constraints=["T >= 1", "B >= 1"]),
    Sized("reshape_by_constraint", lambda x: x.reshape(-1, 2), [("B",)], constraints=["mod(B, 2) == 0"]),
    Sized("reshape_order_f", lambda x: jnp.ravel(x, order="F"), [("B", 3)]),
    Sized("reshape_to_two_unknown", lambda x, y: x.reshape(y.shape), [("6*B",), ("2*B", 3)]),
    Sized("expand_dims", lambda x: jnp.expand_dims(x, (0, 2)), [("B", "T")]),
    Sized("squeeze", lambda x: jnp.squeeze(x, 1), [("B", 1, "T")]),
    Sized("transpose", lambda x: x.transpose(2, 0, 1), [("B", "T", 3)]),
    Sized("moveaxis", lambda x: jnp.moveaxis(x, 0, -1), [("B", "T", 3)]),
    Sized("broadcast_to_other", lambda x, y: jnp.broadcast_to(x, y.shape), [(3,), ("B", "T", 3)]),
    Sized("broadcast_scalar", lambda x: jnp.full(x.shape, 2.5), [("B", "T")]),
    Sized("broadcast_in_the_middle", lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 4, 2)), [("B", 2)]),
    Sized("outer_sum", outer_sum, [("B",), ("T",)]),
    Sized("outer_product_of_one", lambda x: jnp.outer(x, x), [("B",)]),
    Sized("zeros_like", jnp.zeros_like, [("B", "T")]),
    Sized("ones_of_product", lambda x: jnp.ones((x.shape[0] * x.shape[1],)), [("B", "T")]),
    Sized("arange", lambda x: jnp.arange(x.shape[0]), [("B",)]),
    Sized("arange_from", lambda x: jnp.arange(2, x.shape[0] + 2), [("B",)]),
    Sized("arange_step", lambda x: jnp.arange(0, 2 * x.shape[0], 2), [("B",)]),
    Sized("arange_float", lambda x: jnp.arange(x.shape[0], dtype=jnp.float32) * x, [("B",)]),
    Sized("iota_2d", lambda x: lax.broadcasted_iota(jnp.int32, x.shape, 1), [("B", "T")]),
    Sized("iota_other_axis", lambda x: lax.broadcasted_iota(jnp.float32, (x.shape[0], 3), 1), [("B",)]),
    Sized("positions", positions, [("B", "T")]),
    Sized("linspaced", linspaced, [("B",)]),
    Sized("meshgrid", mesh, [("B",), ("T",)], heavy=True),
    Sized("eye", lambda x: jnp.eye(x.shape[0]) * x, [("B",)]),
    Sized("diagonal", diagonal, [("B", 3)]),
    Sized("tril", jnp.tril, [("B", "T", "T")]),
    Sized("triu_offset", lambda x: jnp.triu(x, 1), [("T", "S")]),
    Sized("tri_of_size", lambda x: jnp.tri(x.shape[0], x.shape[1]), [("T", "S")]),
    Sized("one_hot", lambda i: jax.nn.one_hot(i, 5), ["int32[B,T]"]),
    Sized("one_hot_of_dynamic_width", lambda i, x: jax.nn.one_hot(i, x.shape[0]), ["int32[B]", ("T",)]),
    Sized("concatenate", lambda x, y: jnp.concatenate([x, y]), [("B", 3), ("T", 3)]),
    Sized("concatenate_itself", lambda x: jnp.concatenate([x, x, x], 1), [("B", "T")]),
    Sized("concatenate_constant", lambda x: jnp.concatenate([jnp.ones((1, 3)), x]), [("B", 3)]),
    Sized("concatenate_class_token", lambda x: jnp.concatenate([jnp.zeros((x.shape[0], 1, 4)), x], 1), [("B", "T", 4)]),
    Sized("stack", lambda x, y: jnp.stack([x, y], -1), [("B", "T"), ("B", "T")]),
    Sized("interleave", interleave, [("B",), ("B",)]),
    Sized("hstack_vstack", lambda x, y: (jnp.hstack([x, y]), jnp.vstack([x, x])), [("B", 2), ("B", 3)]),
    Sized("split_features", lambda x: jnp.split(x, 3, axis=-1), [("B", "T", 6)]),
    Sized("split_even", halves, [("2*B", 3)]),
    Sized("split_at", lambda x: jnp.split(x, [1, 3]), [("T", 2)], constraints=["T >= 3"], sizes=LONGER),
    Sized(
        "split_at_dim", lambda x: lax.split(x, (x.shape[0] - 2, 2)), [("T", 2)], constraints=["T >= 2"], sizes=LONGER
    ),
    Sized("array_split_by_constraint", halves, [("B", 2)], constraints=["mod(B, 2) == 0"]),
    Sized("slice_head", lambda x: x[:2], [("T", 3)], constraints=["T >= 2"], sizes=LONGER),
    Sized("slice_tail", lambda x: x[1:], [("T", 3)], constraints=["T >= 1"]),
    Sized("slice_last", lambda x: x[:, -1], [("B", "T", 3)], constraints=["T >= 1"]),
    Sized("slice_negative", lambda x: x[-3:], [("T",)], constraints=["T >= 3"], sizes=LONGER),
    Sized("slice_strided", lambda x: x[::2], [("T", 3)]),
    Sized("slice_strided_tail", lambda x: x[1::3], [("T",)], constraints=["T >= 1"]),
    Sized("slice_differences", lambda x: x[1:] - x[:-1], [("T", 2)], constraints=["T >= 1"]),
    Sized("slice_middle", lambda x: x[: x.shape[0] // 2], [("T",)]),
    Sized("slice_reversed", lambda x: x[::-1], [("T", 2)]),
    Sized(
        "slice_min_of_two",
        lambda x, y: x[: min(x.shape[0], 4)] * y,
        [("T",), (1,)],
        constraints=["T >= 5"],
        sizes=LONGER,
    ),
    Sized("diff", lambda x: jnp.diff(x, axis=0), [("T", 2)], constraints=["T >= 1"]),
    Sized(
        "dynamic_slice", lambda x, i: lax.dynamic_slice_in_dim(x, i, 2), [("T", 3), "int32[]"], ["T >= 2"], sizes=LONGER
    ),
    Sized("dynamic_slice_of_dynamic_size", window, [("T", 3), "int32[]"]),
    Sized("dynamic_index", lambda x, i: lax.dynamic_index_in_dim(x, i, 1), [("B", "T"), "int32[]"], ["T >= 1"]),
    Sized("dynamic_update", cache, [("S", 3), ("T", 3), "int32[]"], ["S >= T"]),
    Sized("dynamic_update_one", cache, [("S", 3), (1, 3), "int32[]"], ["S >= 1"]),
    Sized("gather_rows", lambda x, i: x[i], [("V", 3), "int32[B,T]"], ["V >= 1"]),
    Sized("gather_embedding", lambda i: jnp.arange(20.0).reshape(10, 2)[i], ["int32[B,T]"]),
    Sized("gather_pairs", lambda x, i, j: x[i, j], [("B", "T"), "int32[N]", "int32[N]"], ["B >= 1", "T >= 1"]),
    Sized("gather_batched", lambda x, i: jnp.take_along_axis(x, i, 1), [("B", "T"), "int32[B,3]"], ["T >= 1"]),
    Sized("gather_clip", lambda x, i: jnp.take(x, i, axis=0, mode="clip"), [("V", 3), "int32[B]"], ["V >= 1"]),
    Sized(
        "gather_fill",
        lambda x, i: x.at[i].get(mode="fill", fill_value=-1),
        [("V",), "int32[B]"],
        ["V >= 1"],
        heavy=True,
    ),
    Sized("gather_negative", lambda x, i: x[i - 9], [("V", 2), "int32[B]"], ["V >= 9"]),
    Sized("gather_by_arange", table, [("B", 3)]),
    Sized("gather_vmapped", jax.vmap(lambda x, i: x[i]), [("B", "T"), "int32[B]"], ["T >= 1"], heavy=True),
    Sized("gather_first_of_sequence", lambda x: x[:, 0], [("B", "T", 2)], ["T >= 1"]),
    Sized("scatter_add", scattered, [("B",), "int32[N]"]),
    Sized("scatter_set_column", lambda x: x.at[:, 1].set(7.0), [("B", 3)]),
    Sized("scatter_set_rows", lambda x, u: x.at[1:].set(u[1:]), [("T", 3), ("T", 3)], ["T >= 1"]),
    Sized("scatter_max", lambda x, i, u: x.at[i].max(u), [("V", 2), "int32[N]", ("N", 2)]),
    Sized("scatter_apply_last", lambda x: x.at[:, -1].multiply(2.0), [("B", "T")], ["T >= 1"]),
    Sized("segment_sum", segments, [("B", 2), "int32[B]"], heavy=True),
    Sized("bincount", lambda i: jnp.bincount(i, length=10), ["int32[N]"], heavy=True),
    Sized("pad", lambda x: jnp.pad(x, ((1, 2), (0, 1))), [("B", "T")]),
    Sized("pad_to_multiple", lambda x: jnp.pad(x, ((0, -x.shape[0] % 4), (0, 0))), [("T", 2)]),
    Sized("pad_edge", lambda x: jnp.pad(x, ((2, 1),), mode="edge"), [("T",)], ["T >= 1"]),
    Sized(
        "pad_reflect",
        lambda x: jnp.pad(x, ((1, 1), (0, 0)), mode="reflect"),
        [("T", 2)],
        ["T >= 2"],
        heavy=True,
        sizes=LONGER,
    ),
    Sized("pad_interior", blocks, [("T", 2)]),
    Sized("pad_negative", lambda x: lax.pad(x, 0.0, ((-1, 2, 0),)), [("T",)], ["T >= 1"]),
    Sized("tile", lambda x: jnp.tile(x, (2, 3)), [("B", "T")]),
    Sized("tile_by_dim", lambda x, y: jnp.tile(x, (y.shape[0], 1)), [(2, 3), ("B",)]),
    Sized("repeat", lambda x: jnp.repeat(x, 3, axis=1), [("B", "T", 2)]),
    Sized("repeat_heads", lambda x: jnp.repeat(x, 2, axis=0), [("B", 2)]),
    Sized("roll", lambda x: jnp.roll(x, 2, axis=1), [("B", "T")]),
    Sized("roll_back", lambda x: jnp.roll(x, -1, axis=0), [("T", 2)]),
    Sized("roll_by_value", lambda x, i: jnp.roll(x, i, axis=0), [("T", 2), "int32[]"], heavy=True),
    Sized("flip", lambda x: jnp.flip(x, (0, 1)), [("B", "T")]),
    Sized("rot90", jnp.rot90, [("H", "W", 3)]),
    Sized("where_by_position", lambda x: jnp.where(jnp.arange(x.shape[1]) < 2, x, 0.0), [("B", "T")]),
    Sized("select_by_dim", lambda x: jnp.where(jnp.arange(x.shape[0]) >= x.shape[0] // 2, x, -x), [("T",)]),
    Sized("sizes_as_numbers", sizes_as_numbers, [("B", "T")], ["B >= 1"]),
    Sized("symbols_shared", lambda x, y, z: (x + y, y[0] * z), [("B", "T"), ("B", "T"), ("T",)], ["B >= 1"]),
    Sized("symbol_known_from_an_unused_input", untouched, [("B",), ("2*B",)]),
    Sized("expression_both_ways", lambda x, y: x + y.reshape(-1, 2).sum(1), [("T",), ("2*T",)]),
    Sized("expression_alone", lambda x: x[x.shape[0] // 2 :], [("2*T + 2",)]),
    Sized("expression_with_offset", lambda x, y: x[1:] + y, [("T + 1", 2), ("T", 2)]),
    Sized("anonymous_dims", lambda x: x.sum(-1).reshape(-1), [(..., None, 3)]),
    Sized("anonymous_text", lambda x, i: x.reshape(-1)[: x.shape[0]] + i.sum(), ["float32[..., 2]", "int32[_]"]),
    Sized("export_dims", lambda x: jnp.concatenate([x, x], 1).mean(-1), [foreign("b", "t + 1", "3")]),
    Sized("pytree_of_symbols", lambda d: d["a"] + d["b"][0], [{"a": ("B", 2), "b": [("B", 1)]}]),
    Sized("keywords", lambda *, x, y: x * y.sum(0), {"x": ("B", "T"), "y": ("N", "T")}),
]


@pytest.mark.parametrize("program", select(SHAPES), ids=str)
def test_program(program):
    run_sized(program)
