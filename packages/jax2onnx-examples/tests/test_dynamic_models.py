"""Models whose batch, time or image size is dynamic: exported once, right at ten sizes, and hardly longer for it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.testing import cases, check_shapes, draw, operators, static, validate

GROWTH = 1.05
"""How many times as many nodes an export may have where its batch is dynamic."""
FREQUENCIES = np.logspace(0, -2, 16, dtype=np.float32)


class Transformer(nnx.Module):
    """Token embedding, sines of the positions, causal blocks, logits."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(20, 16, rngs=rngs)
        self.blocks = nnx.List([Block(16, 4, rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.head = nnx.Linear(16, 20, rngs=rngs)

    def __call__(self, tokens):
        t = tokens.shape[1]
        x = self.embed(tokens) + jnp.sin(jnp.arange(t)[:, None] * FREQUENCIES)
        mask = nnx.make_causal_mask(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


class Block(nnx.Module):
    """Attention and an MLP."""

    def __init__(self, width, heads, rngs):
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=heads, in_features=width, decode=False, rngs=rngs)
        self.norm2 = nnx.RMSNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 32, rngs=rngs)
        self.down = nnx.Linear(32, width, rngs=rngs)

    def __call__(self, x, mask):
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class ResNet(nnx.Module):
    """A strided stem, a max-pool, two residual blocks, a global mean."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (7, 7), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.blocks = nnx.List([Residual(8, 8, 1, rngs), Residual(8, 12, 2, rngs)])
        self.head = nnx.Linear(12, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(jax.nn.relu(self.norm(self.stem(x))), (3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class Residual(nnx.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, features, out, stride, rngs):
        self.conv1 = nnx.Conv(features, out, (3, 3), strides=stride, rngs=rngs)
        self.norm1 = nnx.BatchNorm(out, use_running_average=True, rngs=rngs)
        self.conv2 = nnx.Conv(out, out, (3, 3), rngs=rngs)
        self.short = nnx.Conv(features, out, (1, 1), rngs=rngs)
        self.stride = stride

    def __call__(self, x):
        y = self.conv2(jax.nn.relu(self.norm1(self.conv1(x))))
        if self.stride > 1:
            x = nnx.avg_pool(x, (2, 2), strides=(2, 2), padding="SAME", count_include_pad=False)
        return jax.nn.relu(y + self.short(x))


class Recurrent(nnx.Module):
    """A GRU, scanned over time, and a linear layer on every state."""

    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.GRUCell(6, 8, rngs=rngs))
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x, initial_carry=jnp.zeros((x.shape[0], 8))))


class Decode(nnx.Module):
    """One step of a decoder: the new token's key and value go into the caches at the position, which it attends to."""

    def __init__(self, rngs):
        self.query, self.key, self.value, self.out = (nnx.Linear(8, 8, rngs=rngs) for _ in range(4))

    def __call__(self, x, keys, values, position):
        b, s, _ = keys.shape
        keys = lax.dynamic_update_slice(keys, self.key(x), (0, position, 0))
        values = lax.dynamic_update_slice(values, self.value(x), (0, position, 0))
        heads = [a.reshape(b, -1, 2, 4) for a in (self.query(x), keys, values)]
        seen = (jnp.arange(s) <= position)[None, None, None]
        mixed = jax.nn.dot_product_attention(*heads, mask=seen)
        return x + self.out(mixed.reshape(b, 1, 8)), keys, values


def sizes(**of_symbols):
    """Return ten assignments, from one list of sizes per symbol."""
    return [dict(zip(of_symbols, row, strict=True)) for row in zip(*of_symbols.values(), strict=True)]


BATCHES = [1, 2, 3, 1, 5, 8, 4, 2, 7, 1]
TIMES = [1, 2, 5, 9, 16, 3, 33, 64, 7, 100]
MODELS = {
    "transformer": (Transformer, ["int32[B,T]"], sizes(B=BATCHES, T=TIMES)),
    "resnet": (
        ResNet,
        [("B", "H", "W", 3)],
        sizes(B=BATCHES, H=[32, 17, 64, 8, 25, 1, 40, 33, 12, 96], W=[32, 31, 48, 9, 1, 7, 64, 20, 50, 56]),
    ),
    "rnn": (Recurrent, [("B", "T", 6)], sizes(B=BATCHES, T=TIMES)),
    "decode": (Decode, [("B", 1, 8), ("B", "S", 8), ("B", "S", 8), "int32[]"], sizes(B=BATCHES, S=TIMES)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_exported_once_and_right_at_ten_sizes(name):
    make, inputs, wanted = MODELS[name]
    module = make(nnx.Rngs(0))
    module.eval()
    model = to_onnx(module, inputs)
    validate(model)
    batches = draw([s.aval for s in parse_inputs(module, inputs).specs], wanted, kinds=("ordinary",))
    assert len({tuple(b.sizes.values()) for b in batches}) == 10
    # flax does not let a scanned module be jitted with its parameters elsewhere.
    function = module if make is Recurrent else nnx.jit(module)
    check(model, function, inputs, values=[b.arrays for b in batches])
    check_shapes(model, batches)


def test_a_loop_over_no_steps():
    model = to_onnx(Recurrent(nnx.Rngs(0)), [("B", "T", 6)])
    check(model, Recurrent(nnx.Rngs(0)), [("B", "T", 6)], values=[[np.zeros((2, 0, 6), np.float32)]])


ACROSS = {
    "training_step": "its loss is a mean over the batch, whose size is a number in the program",
    "gaussian_process": "each row meets all others",
}
"""Examples that compute across the batch, and how."""

SHORTER = {"vae_sampling": "up to 64 numbers take a shorter form of the inverse error function"}
"""Examples of which the export is shorter where the batch is known, and why."""


def has_only_a_batch(case):
    """Return whether the one symbolic dim is the batch, of rows that the program does not mix; others are lengths."""
    symbols = set(re.findall(r"(?<=[\[,'\"( ])[A-Z]+(?=[\],'\")])", str(case.inputs)))
    return symbols == {"B"} and case.example.name not in ACROSS | SHORTER


DYNAMIC = [c for c in cases("examples") if c.dynamic and c.fusions and has_only_a_batch(c)]


def test_most_examples_have_a_batch_alone():
    assert len(DYNAMIC) > 20
    assert {c.example.name for c in cases("examples")} >= set(ACROSS | SHORTER)


@pytest.mark.parametrize("case", DYNAMIC, ids=str)
def test_a_dynamic_batch_adds_hardly_any_nodes(case):
    example = case.example
    inputs = (static(example.inputs), example.inputs)
    before, after = (length(to_onnx(example.make(), specs, **example.options)) for specs in inputs)
    assert after <= GROWTH * before, f"{before} nodes, {after} with a dynamic batch"


def length(model):
    """Count the nodes of a model, those of its functions included."""
    return sum(operators(model).values()) + sum(len(f.node) for f in model.functions)
