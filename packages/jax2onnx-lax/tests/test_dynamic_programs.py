"""Loops, branches, attention and random numbers over symbolic dims, each exported once and right at many sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx.testing import Sized, run_sized, select

WEIGHTS = np.linspace(-0.5, 0.5, 6 * 3, dtype=np.float32).reshape(6, 3)


# -- loops and branches ----------------------------------------------------------------------------------------------


def running_sum(x):
    return lax.scan(lambda c, v: (c + v, c * v), jnp.zeros(x.shape[1:]), x)


def scan_reversed(x):
    return lax.scan(lambda c, v: (c * 0.5 + v, c), jnp.zeros(3), x, reverse=True)


def rnn(x):
    def step(h, v):
        h = jnp.tanh(jnp.concatenate([h, v], -1) @ WEIGHTS)
        return h, h

    last, all_of = lax.scan(step, jnp.zeros((x.shape[0], 3)), x.swapaxes(0, 1))
    return last, all_of.swapaxes(0, 1)


def gru_with_mask(x, lengths):
    def step(h, inputs):
        t, v = inputs
        new = jax.nn.sigmoid(h + v) * jnp.tanh(h - v)
        return jnp.where((t < lengths)[:, None], new, h), None

    return lax.scan(step, jnp.zeros((x.shape[0], 2)), (jnp.arange(x.shape[1]), x.swapaxes(0, 1)))[0]


def scan_of_dim_in_body(x):
    return lax.scan(lambda c, v: (c + v / x.shape[0], v * jnp.arange(x.shape[1])), jnp.zeros(x.shape[1]), x)


def nested_scan(x):
    return lax.scan(lambda c, row: (c + lax.scan(lambda a, v: (a * 0.5 + v, None), 0.0, row)[0], None), 0.0, x)[0]


def fori_sum(x):
    return lax.fori_loop(0, x.shape[0], lambda i, c: c + x[i] * i, jnp.zeros(x.shape[1]))


def fori_update(x):
    return lax.fori_loop(0, x.shape[0], lambda i, a: a.at[i].set(a[i] * 2 + i), x)


def fori_half(x):
    return lax.fori_loop(0, x.shape[0] // 2, lambda _, c: c + x.sum(), jnp.float32(0))


def while_of_dim(x):
    return lax.while_loop(lambda s: s[0] < x.shape[0], lambda s: (s[0] + 1, s[1] * 0.5 + x), (0, jnp.zeros_like(x)))


def while_until(x):
    return lax.while_loop(lambda c: c.sum() < x.shape[0] * 3.0, lambda c: c + 1.0, jnp.abs(x))


def cond_of_dim(x, p):
    return lax.cond(p, lambda v: v * jnp.arange(v.shape[0]), lambda v: v / (v.shape[0] + 1), x)


def switch_of_dim(x, i):
    return lax.switch(i, [lambda v: v[::-1], lambda v: jnp.full_like(v, v.shape[0]), jnp.cumsum], x)


def cond_on_size(x):
    return lax.cond(jnp.asarray(x.shape[0]) > 4, lambda v: v.sum(), lambda v: v.prod(), x)


def mapped(x):
    return lax.map(lambda v: jnp.sin(v).sum() + v.shape[0], x)


def associative(x):
    return lax.associative_scan(jnp.add, x)


def vmapped_cond(x):
    return jax.vmap(lambda v: lax.cond(v.sum() > 0, jnp.sin, jnp.cos, v))(x)


def vmapped_while(n):
    return jax.vmap(lambda v: lax.while_loop(lambda s: s < 20, lambda s: s * 2 + 1, v))(n)


def newton(x):
    return lax.fori_loop(0, 5, lambda _, y: 0.5 * (y + (jnp.abs(x) + 1) / y), jnp.ones_like(x))


def gradient(x):
    return jax.grad(lambda v: (jnp.tanh(v) * jnp.arange(v.shape[0])).mean())(x)


def gradient_of_scan(x):
    return jax.grad(lambda v: lax.scan(lambda c, u: (jnp.sin(c + u), None), 0.0, v)[0])(x)


def jacobian(x):
    return jax.vmap(jax.jacobian(lambda v: jnp.stack([v[0] * v[1], v[0] + v[1]])))(x)


# -- attention -------------------------------------------------------------------------------------------------------


def causal_mask(x):
    t = x.shape[1]
    return jnp.tril(jnp.ones((t, t), bool))[None] & (x[:, :, None] > -1)


def attention(q, k, v):
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1]).astype(np.float32)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)


def causal_attention(x):
    t = x.shape[1]
    scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), x @ x.swapaxes(1, 2), -1e9)
    return jax.nn.softmax(scores) @ x


def library_attention(q, k, v):
    return jax.nn.dot_product_attention(q, k, v)


def library_causal_attention(x):
    return jax.nn.dot_product_attention(x, x, x, is_causal=True)


def padded_attention(x, lengths):
    mask = jnp.arange(x.shape[1])[None, None] < lengths[:, None, None]
    scores = jnp.where(mask, x @ x.swapaxes(1, 2), -1e9)
    return jax.nn.softmax(scores) @ x


def windowed_attention(x):
    t = x.shape[0]
    near = jnp.abs(jnp.arange(t)[:, None] - jnp.arange(t)[None]) <= 2
    return jax.nn.softmax(jnp.where(near, x @ x.T, -1e9)) @ x


def alibi(x):
    t = x.shape[0]
    return x @ x.T - 0.5 * jnp.abs(jnp.arange(t)[:, None] - jnp.arange(t)[None])


def rotary(x):
    half = x.shape[-1] // 2
    angles = jnp.arange(x.shape[1])[:, None] * (1e4 ** (-jnp.arange(half) / half))
    cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def embedding(tokens):
    t = tokens.shape[1]
    table = jnp.arange(30.0).reshape(10, 3)
    return table[tokens] + jnp.sin(jnp.arange(t)[:, None] / jnp.array([1.0, 10.0, 100.0]))


def decode(cache, new, position):
    cache = lax.dynamic_update_slice(cache, new, (0, position, 0))
    seen = jnp.arange(cache.shape[1]) <= position
    scores = jnp.where(seen, jnp.einsum("btd,bsd->bts", new, cache), -1e9)
    return jnp.einsum("bts,bsd->btd", jax.nn.softmax(scores), cache), cache


def grown_cache(cache, new):
    cache = jnp.concatenate([cache, new], 1)
    return jax.nn.softmax(new @ cache.swapaxes(1, 2)) @ cache, cache


def last_token(x, lengths):
    return jnp.take_along_axis(x, jnp.maximum(lengths - 1, 0)[:, None, None], 1)[:, 0]


# -- random numbers --------------------------------------------------------------------------------------------------


def uniform(key, x):
    return x + jax.random.uniform(jax.random.wrap_key_data(key), x.shape)


def normal(key, x):
    return jax.random.normal(jax.random.wrap_key_data(key), (x.shape[0], 3))


def dropout(key, x):
    return jnp.where(jax.random.bernoulli(jax.random.wrap_key_data(key), 0.7, x.shape), x / 0.7, 0.0)


def randint(key, x):
    return jax.random.randint(jax.random.wrap_key_data(key), x.shape, 0, 100)


def categorical(key, x):
    return jax.random.categorical(jax.random.wrap_key_data(key), x)


KEY = "uint32[2]"
ATTENTION = [("B", "T", 2, 4), ("B", "S", 2, 4), ("B", "S", 2, 4)]

PROGRAMS = [
    Sized("scan", running_sum, [("T", 3)]),
    Sized("scan_reversed", scan_reversed, [("T", 3)]),
    Sized("scan_of_dim_in_body", scan_of_dim_in_body, [("T", "D")], ["T >= 1"]),
    Sized("scan_nested", nested_scan, [("T", "S")], heavy=True),
    Sized("rnn", rnn, [("B", "T", 3)]),
    Sized("gru_with_mask", gru_with_mask, [("B", "T", 2), "int32[B]"], heavy=True),
    Sized("fori_sum", fori_sum, [("T", 3)], ["T >= 1"]),
    Sized("fori_update", fori_update, [("T", 2)], ["T >= 1"], heavy=True),
    Sized("fori_half", fori_half, [("T",)]),
    Sized("fori_fixed", newton, [("B", "T")]),
    Sized("while_of_dim", while_of_dim, [("T",)]),
    Sized("while_until", while_until, [("T",)]),
    Sized("while_vmapped", vmapped_while, ["int32[B]"], heavy=True),
    Sized("cond_of_dim", cond_of_dim, [("T",), "bool[]"]),
    Sized("cond_on_size", cond_on_size, [("T",)]),
    Sized("cond_vmapped", vmapped_cond, [("B", "T")], heavy=True),
    Sized("switch_of_dim", switch_of_dim, [("T",), "int32[]"]),
    Sized("map", mapped, [("B", "T")]),
    Sized("gradient", gradient, [("T",)], ["T >= 1"]),
    Sized("gradient_of_scan", gradient_of_scan, [("T",)], heavy=True),
    Sized("jacobian", jacobian, [("B", 2)], heavy=True),
    Sized("mask_causal", causal_mask, [("B", "T")]),
    Sized("attention", attention, ATTENTION),
    Sized("attention_causal", causal_attention, [("B", "T", 4)]),
    # onnxruntime's Attention refuses to run on nothing.
    Sized("attention_of_library", library_attention, ATTENTION, ["B >= 1", "T >= 1", "S >= 1"]),
    Sized("attention_of_library_plain", library_attention, ATTENTION, options={"fusions": False}, heavy=True),
    Sized("attention_of_library_causal", library_causal_attention, [("B", "T", 2, 4)], heavy=True),
    Sized("attention_padded", padded_attention, [("B", "T", 4), "int32[B]"]),
    Sized("attention_windowed", windowed_attention, [("T", 4)], heavy=True),
    Sized("attention_alibi", alibi, [("T", 4)], heavy=True),
    Sized("rotary", rotary, [("B", "T", 2, 8)]),
    Sized("embedding", embedding, ["int32[B,T]"]),
    Sized("decode", decode, [("B", "S", 4), ("B", 1, 4), "int32[]"], ["S >= 1"]),
    Sized("decode_grown", grown_cache, [("B", "S", 4), ("B", "T", 4)], ["T >= 1"], heavy=True),
    Sized("last_token", last_token, [("B", "T", 2), "int32[B]"], ["T >= 9"]),
    Sized("random_uniform", uniform, [KEY, ("B", "T")]),
    Sized("random_normal", normal, [KEY, ("B",)], heavy=True),
    Sized("random_dropout", dropout, [KEY, ("B", 3)], heavy=True),
    Sized("random_integers", randint, [KEY, ("B", "T")], heavy=True),
    Sized("random_categorical", categorical, [KEY, ("B", 4)], heavy=True),
]


@pytest.mark.parametrize("program", select(PROGRAMS), ids=str)
def test_program(program):
    run_sized(program)
