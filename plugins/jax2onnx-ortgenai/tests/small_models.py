"""Small decoders as people write them: dense, with experts, recurrent, behind an encoder, behind an image."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

VOCABULARY, WIDTH, LAYERS, HEADS, SHARED, DEPTH, FURTHER = 61, 32, 2, 4, 2, 8, 48


def rope(x, positions):
    frequencies = 1e4 ** -(jnp.arange(0, x.shape[-1], 2) / x.shape[-1])
    angles = (positions[..., None] * frequencies)[:, :, None]
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * jnp.cos(angles) - b * jnp.sin(angles), b * jnp.cos(angles) + a * jnp.sin(angles)], -1)


def linear(inside, outside, rngs):
    return nnx.Linear(inside, outside, use_bias=False, rngs=rngs)


class Mlp(nnx.Module):
    def __init__(self, rngs):
        self.gate, self.up, self.down = (
            linear(*s, rngs) for s in ((WIDTH, FURTHER), (WIDTH, FURTHER), (FURTHER, WIDTH))
        )

    def __call__(self, x):
        return self.down(nnx.silu(self.gate(x)) * self.up(x))


class Experts(nnx.Module):
    """Two of four experts for each token, computed densely or by ``lax.ragged_dot``."""

    def __init__(self, rngs, *, ragged=False, count=4, chosen=2):
        self.router = linear(WIDTH, count, rngs)
        self.up = nnx.Param(0.3 * jax.random.normal(rngs.params(), (count, WIDTH, FURTHER)))
        self.down = nnx.Param(0.3 * jax.random.normal(rngs.params(), (count, FURTHER, WIDTH)))
        self.ragged, self.count, self.chosen = ragged, count, chosen

    def __call__(self, x):
        weights, which = jax.lax.top_k(jax.nn.softmax(self.router(x)), self.chosen)
        weights = weights / weights.sum(-1, keepdims=True)
        return (self._ragged if self.ragged else self._dense)(x, weights, which)

    def _dense(self, x, weights, which):
        gates = (jax.nn.one_hot(which, self.count) * weights[..., None]).sum(-2)
        inner = jax.nn.gelu(jnp.einsum("btd,edf->btef", x, self.up[...]))
        return jnp.einsum("btef,efd,bte->btd", inner, self.down[...], gates)

    def _ragged(self, x, weights, which):
        rows = jnp.repeat(x.reshape(-1, WIDTH), self.chosen, 0)
        order = jnp.argsort(which.reshape(-1), stable=True)
        sizes = (which.reshape(-1, 1) == jnp.arange(self.count)).sum(0, dtype=jnp.int32)
        inner = jax.nn.gelu(jax.lax.ragged_dot(rows[order], self.up[...], sizes))
        out = jax.lax.ragged_dot(inner, self.down[...], sizes)
        out = jnp.zeros_like(out).at[order].set(out).reshape(*which.shape, WIDTH)
        return (out * weights[..., None]).sum(-2)


class Attention(nnx.Module):
    def __init__(self, rngs):
        sizes = (WIDTH, HEADS * DEPTH), (WIDTH, SHARED * DEPTH), (WIDTH, SHARED * DEPTH), (HEADS * DEPTH, WIDTH)
        self.q, self.k, self.v, self.o = (linear(*size, rngs) for size in sizes)

    def __call__(self, x, cache, positions, mask, index):
        (keys, values), rows = cache, x.shape[:2]
        q = rope(self.q(x).reshape(*rows, HEADS, DEPTH), positions)
        k = rope(self.k(x).reshape(*rows, SHARED, DEPTH), positions)
        keys = jax.lax.dynamic_update_slice(keys, k, (0, index, 0, 0))
        values = jax.lax.dynamic_update_slice(values, self.v(x).reshape(*rows, SHARED, DEPTH), (0, index, 0, 0))
        out = jax.nn.dot_product_attention(q, keys, values, mask=mask[:, None])
        return self.o(out.reshape(*rows, -1)), (keys, values)

    def over(self, x, keys, values):
        q = self.q(x).reshape(*x.shape[:2], HEADS, DEPTH)
        return self.o(jax.nn.dot_product_attention(q, keys, values).reshape(*x.shape[:2], -1))

    def memory(self, x):
        return tuple(layer(x).reshape(*x.shape[:2], SHARED, DEPTH) for layer in (self.k, self.v))


class Decoder(nnx.Module):
    """A llama, whose MLPs may be experts, and which may look at an encoder's memory."""

    def __init__(self, feed=Mlp, *, crossed=False, seed=0):
        rngs = nnx.Rngs(seed)
        self.embed = nnx.Embed(VOCABULARY, WIDTH, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
        self.attention = nnx.List([Attention(rngs) for _ in range(LAYERS)])
        self.feed = nnx.List([feed(rngs) for _ in range(LAYERS)])
        self.norms = nnx.List([nnx.RMSNorm(WIDTH, rngs=rngs) for _ in range(2 * LAYERS + 1)])
        self.cross = nnx.List([Attention(rngs) for _ in range(LAYERS)]) if crossed else None
        self.head = linear(WIDTH, VOCABULARY, rngs)

    def __call__(self, tokens, cache, positions, mask, index):
        return self.decode(self.embed(tokens), cache, positions, mask, index)

    def decode(self, x, cache, positions, mask, index, memory=None):  # noqa: PLR0917
        new = []
        for i, layer in enumerate(self.attention):
            attended, kept = layer(self.norms[2 * i](x), cache[i], positions, mask, index)
            x = x + attended
            if memory is not None:
                x = x + self.cross[i].over(x, *memory[i])
            x = x + self.feed[i](self.norms[2 * i + 1](x))
            new.append(kept)
        return self.head(self.norms[-1](x)), new


def empty(batch, length):
    return [(jnp.zeros((batch, length, SHARED, DEPTH)),) * 2 for _ in range(LAYERS)]


class Mamba(nnx.Module):
    """A selective state space model, one token at a time: a convolution over the last inputs, and a state."""

    STATE, WINDOW = 4, 3

    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.embed = nnx.Embed(VOCABULARY, WIDTH, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
        self.inside = nnx.List([linear(WIDTH, 2 * WIDTH, rngs) for _ in range(LAYERS)])
        self.select = nnx.List([linear(WIDTH, 2 * self.STATE + 1, rngs) for _ in range(LAYERS)])
        self.outside = nnx.List([linear(WIDTH, WIDTH, rngs) for _ in range(LAYERS)])
        self.filters = nnx.Param(jax.random.normal(rngs.params(), (LAYERS, self.WINDOW, WIDTH)))
        self.rates = nnx.Param(jnp.tile(jnp.log(jnp.arange(1.0, self.STATE + 1)), (LAYERS, WIDTH, 1)))
        self.head = linear(WIDTH, VOCABULARY, rngs)

    def __call__(self, token, cache, position):
        x, new = self.embed(token), []
        for i, (earlier, before) in enumerate(cache):
            u, gate = jnp.split(self.inside[i](x), 2, -1)
            window = jnp.concatenate([earlier[:, 1:], u[:, None]], 1)
            u = nnx.silu((window * self.filters[i]).sum(1))
            b, c, step = jnp.split(self.select[i](u), [self.STATE, 2 * self.STATE], -1)
            step = jax.nn.softplus(step)
            state = jnp.exp(-step[..., None] * jnp.exp(self.rates[i])) * before + (step * u)[..., None] * b[:, None]
            x = x + self.outside[i]((state * c[:, None]).sum(-1) * nnx.silu(gate))
            new.append((window, state))
        return self.head(x), new

    @classmethod
    def empty(cls, batch, length):
        return [(jnp.zeros((batch, cls.WINDOW, WIDTH)), jnp.zeros((batch, WIDTH, cls.STATE))) for _ in range(LAYERS)]


class Translator(nnx.Module):
    """An encoder, and a decoder with caches over its memory."""

    def __init__(self):
        self.decoder = Decoder(crossed=True, seed=1)
        self.mix = linear(WIDTH, WIDTH, nnx.Rngs(2))

    def prepare(self, source):
        x = self.decoder.embed(source)
        x = x + jnp.tanh(self.mix(x.mean(1, keepdims=True) + x))
        memory = [cross.memory(x) for cross in self.decoder.cross]
        return {"memory": memory, "own": empty(source.shape[0], 0)}

    def __call__(self, tokens, cache, positions, mask, index):
        x = self.decoder.embed(tokens)
        logits, own = self.decoder.decode(x, cache["own"], positions, mask, index, cache["memory"])
        return logits, {"memory": cache["memory"], "own": own}

    @staticmethod
    def empty(batch, length, source):
        memory = [(jnp.zeros((batch, source, SHARED, DEPTH)),) * 2 for _ in range(LAYERS)]
        return {"memory": memory, "own": empty(batch, length)}


class Captioner(nnx.Module):
    """A decoder whose text begins behind the patches of an image."""

    PATCHES = 4

    def __init__(self):
        self.decoder = Decoder(seed=3)
        self.patches = nnx.Conv(3, WIDTH, (4, 4), strides=4, rngs=nnx.Rngs(4))

    def prepare(self, image):
        x = self.patches(image).reshape(image.shape[0], self.PATCHES, WIDTH)
        positions = jnp.tile(jnp.arange(self.PATCHES), (image.shape[0], 1))
        mask = jnp.ones((image.shape[0], self.PATCHES, self.PATCHES), bool)
        _, cache = self.decoder.decode(x, empty(image.shape[0], self.PATCHES), positions, mask, 0)
        return cache

    def __call__(self, tokens, cache, positions, mask, index):
        return self.decoder(tokens, cache, positions, mask, index)


PROMPTS = [[5, 47, 34, 9], [3, 9], [1, 2, 3, 4, 5, 6, 7]]
IMAGE = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
SOURCE = np.asarray([[7, 3, 11, 40, 2]], np.int32)
