"""Attention over a growing cache becomes the contrib operator where that is proven; the logits are those of JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx_ortgenai import Generator, save_genai
from jax2onnx_ortgenai.decoder import Decoder

VOCABULARY, WIDTH = 23, 24


def rotated(x, positions, *, pairs=False):
    frequencies = 1e4 ** -(jnp.arange(0, x.shape[-1], 2) / x.shape[-1])
    angles = (positions[..., None] * frequencies)[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if pairs:
        a, b = x[..., ::2], x[..., 1::2]
        return jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def decoder(heads=4, shared=2, depth=16, rotate=rotated, scale=None, masked=lambda mask: mask):  # noqa: PLR0917
    draw = np.random.default_rng(0)
    weight = lambda *shape: jnp.asarray(draw.normal(size=shape) / np.sqrt(shape[0]), jnp.float32)  # noqa: E731
    embedding, head = weight(VOCABULARY, WIDTH) * 5, weight(heads * depth, VOCABULARY)
    query, key, value = (weight(WIDTH, count * depth) for count in (heads, shared, shared))

    def step(tokens, cache, positions, mask, index):
        x, (keys, values) = embedding[tokens], cache[0]
        q, k, v = ((x @ w).reshape(*tokens.shape, -1, depth) for w in (query, key, value))
        q, k = rotate(q, positions), rotate(k, positions)
        keys = jax.lax.dynamic_update_slice(keys, k, (0, index, 0, 0))
        values = jax.lax.dynamic_update_slice(values, v, (0, index, 0, 0))
        out = jax.nn.dot_product_attention(q, keys, values, mask=masked(mask)[:, None], scale=scale)
        return out.reshape(*tokens.shape, -1) @ head, [(keys, values)]

    return step, lambda batch, length: [(jnp.zeros((batch, length, shared, depth)),) * 2]


KINDS = {
    "grouped": {},
    "as many": {"heads": 2},
    "one": {"shared": 1},
    "narrow": {"depth": 8},
    "pairs": {"rotate": functools.partial(rotated, pairs=True)},
    "not rotated": {"rotate": lambda x, _: x},
    "scaled": {"scale": 0.5},
}
ALL, FIRST, LATER, PADDED = (
    [[3, 1, 4, 1, 5]],
    [[2, 7, 1], [8, 2, 8]],
    [[1, 8], [2, 8]],
    [[0, 0, 9, 2], [5, 3, 5, 8]],
)


def operators(folder):
    return [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]


def compare(step, cache, folder, calls):
    """Call the model and JAX with the same rows one after the other; compare the logits of what is no padding."""
    generator, wanted = Generator(folder), Decoder.of(step, cache)
    batch, index = len(calls[0]), 0
    room = sum(len(rows[0]) for rows in calls)
    arrays = jax.tree.leaves(cache(batch, room))
    given, _ = generator._cache(batch, None)
    seen = np.zeros((batch, 0), np.int32)
    for rows in calls:
        tokens = np.asarray(rows, np.int32)
        seen = np.concatenate([seen, (tokens > 0).astype(np.int32)], 1)
        positions = np.maximum(seen.cumsum(1) - 1, 0)[:, index:].astype(np.int32)
        logits, given = generator._call(tokens, seen, positions, given)
        slots, own = np.arange(room)[None, None], index + np.arange(tokens.shape[1])[None, :, None]
        visible = np.pad(seen, ((0, 0), (0, room - seen.shape[1])))[:, None] > 0
        mask = (slots <= own) & visible | (slots == own)
        further = {"mask": jnp.asarray(mask), "valid": None, "index": index}
        expected, arrays = wanted.called(tokens, arrays, positions, further)
        np.testing.assert_allclose(logits[tokens > 0], np.asarray(expected)[tokens > 0], rtol=1e-4, atol=1e-4)
        index += tokens.shape[1]


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_jax(kind, batch, tmp_path):
    step, cache = decoder(**KINDS[kind])
    save_genai(step, tmp_path, cache=cache, max_length=32, batch=batch)
    found = operators(tmp_path)
    assert found.count("GroupQueryAttention") == 1
    inside = not batch and kind not in {"narrow", "not rotated"}
    assert found.count("RotaryEmbedding") == (0 if inside or kind == "not rotated" else 2)
    assert found.count("MatMul") == (2 if inside else 4)
    compare(step, cache, tmp_path, [ALL, [[9]], [[2]], [[6, 5]]])
    if batch:
        compare(step, cache, tmp_path, [PADDED, [[4], [7]], [[1], [3]]])


def test_other_masks_stay(tmp_path):
    def window(mask):
        slots = jnp.arange(mask.shape[2])
        return mask & (slots > mask.shape[2] - 3)

    step, cache = decoder(masked=window)
    save_genai(step, tmp_path, cache=cache, max_length=32)
    assert "GroupQueryAttention" not in operators(tmp_path)


def test_other_runtimes_get_no_contrib_operators(tmp_path):
    step, cache = decoder()
    save_genai(step, tmp_path, cache=cache, max_length=32, contrib=False)
    assert {node.domain for node in onnx.load(tmp_path / "model.onnx").graph.node} == {""}
    compare(step, cache, tmp_path, [PADDED, [[4], [7]], LATER])
