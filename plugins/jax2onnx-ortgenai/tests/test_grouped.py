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


def few_bits(w, bits, block):
    """Return a function that multiplies by weights of few bits, with a scale for each column or block of a column."""
    rows = w.reshape(-1, block or w.shape[0], w.shape[1])
    scales = jnp.abs(rows).max(axis=1, keepdims=True) / 2 ** (bits - 1)
    numbers = jnp.clip(jnp.round(rows / scales), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    stored = numbers.astype(jnp.int4 if bits == 4 else jnp.int8).reshape(w.shape)
    return lambda x: x @ (stored.astype(jnp.float32).reshape(rows.shape) * scales).reshape(w.shape)


def capped(q, k, v, mask, cap):
    """Return attention whose logits are bounded, as of Gemma 2."""
    logits = jnp.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5
    logits = jnp.where(mask[:, None], jnp.tanh(logits / cap) * cap, -2.3819763e38)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits, -1), v)


def every(mask, slots, own):
    return mask


def decoder(heads=4, shared=2, depth=16, rotate=rotated, scale=None, masked=every, bits=32, block=0, cap=None):  # noqa: PLR0917
    draw = np.random.default_rng(0)
    weight = lambda *shape: jnp.asarray(draw.normal(size=shape) / np.sqrt(shape[0]), jnp.float32)  # noqa: E731
    embedding, head = weight(VOCABULARY, WIDTH) * 5, weight(heads * depth, VOCABULARY)
    drawn = [weight(WIDTH, count * depth) for count in (heads, shared, shared)]
    products = [few_bits(w, bits, block) if bits < 32 else (lambda x, w=w: x @ w) for w in drawn]

    def step(tokens, cache, positions, mask, index):
        x, (keys, values) = embedding[tokens], cache[0]
        q, k, v = (of(x).reshape(*tokens.shape, -1, depth) for of in products)
        q, k = rotate(q, positions), rotate(k, positions)
        keys = jax.lax.dynamic_update_slice(keys, k, (0, index, 0, 0))
        values = jax.lax.dynamic_update_slice(values, v, (0, index, 0, 0))
        mask = masked(mask, jnp.arange(mask.shape[2]), positions[..., None])
        if cap:
            out = capped(q, keys, values, mask, cap)
        else:
            out = jax.nn.dot_product_attention(q, keys, values, mask=mask[:, None], scale=scale)
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


@pytest.mark.parametrize(
    ("bits", "block", "expected"), [(4, 0, "MatMulNBits"), (4, 12, "MatMul"), (8, 0, "FusedMatMul")]
)
def test_products_of_few_bits_are_joined(bits, block, expected, tmp_path):
    step, cache = decoder(bits=bits, block=block)
    save_genai(step, tmp_path, cache=cache, max_length=32, batch=False)
    found = operators(tmp_path)
    assert found.count("GroupQueryAttention") == 1
    assert found.count(expected) == (2 if expected == "MatMul" else 1)
    assert found.count("DequantizeLinear") == (expected != "MatMulNBits")
    compare(step, cache, tmp_path, [ALL, [[9]], [[2]], [[6, 5]]])


def test_sums_are_normalised_where_they_are_computed(tmp_path):
    step, cache = decoder()
    scale = jnp.linspace(0.5, 2, VOCABULARY)

    def normalised(tokens, cache, positions, mask, index):
        def norm(x):
            return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale

        logits, cache = step(tokens, cache, positions, mask, index)
        first = norm(logits + jnp.sin(logits))  # its sum has no other use
        second = logits + first
        return second + norm(second) + norm(second + scale), cache  # one sum is of a vector that broadcasts

    save_genai(normalised, tmp_path, cache=cache, max_length=32, batch=False)
    found = operators(tmp_path)
    assert found.count("SkipSimplifiedLayerNormalization") == 2
    assert found.count("RMSNormalization") == 1
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    unused = [list(node.output[1:3]) for node in nodes if node.op_type == "SkipSimplifiedLayerNormalization"]
    assert unused == [["", ""]] * 2
    compare(normalised, cache, tmp_path, [ALL, [[9]]])
    save_genai(normalised, tmp_path / "plain", cache=cache, max_length=32, batch=False, contrib=False)
    assert operators(tmp_path / "plain").count("RMSNormalization") == 3


NEAR = {
    "a difference": lambda mask, slots, own: mask & (own - slots < 3),
    "the other one": lambda mask, slots, own: (slots - own > -3) & mask,
    "a lower bound": lambda mask, slots, own: mask & (slots > own - 3),
    "an upper bound": lambda mask, slots, own: mask & (slots + 2 >= own),
}
OTHERS = {
    "of the last ones": lambda mask, slots, own: mask & (slots > mask.shape[2] - 3),
    "of every other one": lambda mask, slots, own: mask & (own - 2 * slots < 3),
    "of the far ones": lambda mask, slots, own: mask & (own - slots >= 0) & ((own - slots > 3) | (slots == own)),
}


@pytest.mark.parametrize("near", NEAR)
def test_windows_are_those_of_the_operator(near, tmp_path):
    step, cache = decoder(masked=NEAR[near])
    save_genai(step, tmp_path, cache=cache, max_length=32, batch=False)
    (node,) = (node for node in onnx.load(tmp_path / "model.onnx").graph.node if node.op_type == "GroupQueryAttention")
    assert [a.i for a in node.attribute if a.name == "local_window_size"] == [3]
    compare(step, cache, tmp_path, [ALL, [[9]], [[2]], [[6, 5]]])


@pytest.mark.parametrize("masked", [every, NEAR["a difference"]])
def test_logits_are_capped_by_the_operator(masked, tmp_path):
    step, cache = decoder(heads=2, cap=1.5, masked=masked)
    save_genai(step, tmp_path, cache=cache, max_length=32, batch=False)
    found = operators(tmp_path)
    assert found.count("GroupQueryAttention") == 1
    assert "Tanh" not in found
    compare(step, cache, tmp_path, [ALL, [[9]], [[2]], [[6, 5]]])


@pytest.mark.parametrize("masked", OTHERS)
@pytest.mark.parametrize("batch", [True, False])
def test_other_masks_stay(masked, batch, tmp_path):
    step, cache = decoder(masked=OTHERS[masked])
    save_genai(step, tmp_path, cache=cache, max_length=32, batch=batch)
    assert "GroupQueryAttention" not in operators(tmp_path)


def test_other_runtimes_get_no_contrib_operators(tmp_path):
    step, cache = decoder()
    save_genai(step, tmp_path, cache=cache, max_length=32, contrib=False)
    assert {node.domain for node in onnx.load(tmp_path / "model.onnx").graph.node} == {""}
    compare(step, cache, tmp_path, [PADDED, [[4], [7]], LATER])
