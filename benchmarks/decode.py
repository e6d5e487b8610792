"""Measure one token of a decoder in JAX and as models: `nox -s decode` writes docs/coverage/decoding.md.

With the builder of onnxruntime-genai, its times beside ours are written to docs/benchmarks.md too.
Times are processor time of a process of one thread, so that other load of the machine counts less. The runs take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime as ort
from flax import nnx
from parts import write_part

from jax2onnx_ortgenai import save_genai

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "coverage" / "decoding.md"
WORDS, WIDTH, LAYERS, HEADS, SHARED, DEPTH, FURTHER = 32000, 512, 8, 8, 2, 64, 1408
BLOCK = 32
PLACES = ((256, 200), (4096, 2000))
"""Lengths of the cache, and the positions at which a token is made."""


def rotated(x: Any, positions: Any) -> Any:
    """Rotate features by the angles of positions."""
    angles = (positions[..., None] * 1e4 ** -(jnp.arange(0, DEPTH, 2) / DEPTH))[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class FourBits(nnx.Module):
    """A product by weights of 4 bits, with a scale for each 32 of a column."""

    def __init__(self, linear: nnx.Linear) -> None:
        kernel = np.asarray(linear.kernel[...])
        tiles = kernel.reshape(-1, BLOCK, kernel.shape[1])
        places = np.abs(tiles).argmax(axis=1, keepdims=True)
        scales = np.take_along_axis(tiles, places, axis=1) / -8
        rounded = np.clip(np.round(tiles / scales), -8, 7).astype(np.int8)
        self.kernel = nnx.Param(jnp.asarray(rounded.reshape(kernel.shape), jnp.int4))
        self.scales = nnx.Param(jnp.asarray(scales))

    def __call__(self, x: Any) -> Any:
        """Multiply by the weights."""
        kernel, scales = self.kernel[...], self.scales[...]
        return x @ (kernel.astype(jnp.float32).reshape(len(scales), BLOCK, -1) * scales).reshape(kernel.shape)


class Layer(nnx.Module):
    """Attention over a cache, and a gated MLP."""

    def __init__(self, rngs: nnx.Rngs, bits: int) -> None:
        def linear(inside: int, outside: int) -> nnx.Linear | FourBits:
            full = nnx.Linear(inside, outside, use_bias=False, rngs=rngs)
            return FourBits(full) if bits == 4 else full

        self.q, self.o = linear(WIDTH, HEADS * DEPTH), linear(HEADS * DEPTH, WIDTH)
        self.k, self.v = linear(WIDTH, SHARED * DEPTH), linear(WIDTH, SHARED * DEPTH)
        self.gate, self.up, self.down = linear(WIDTH, FURTHER), linear(WIDTH, FURTHER), linear(FURTHER, WIDTH)
        self.norms = nnx.List([nnx.RMSNorm(WIDTH, rngs=rngs) for _ in range(2)])

    def __call__(self, x: Any, cache: Any, positions: Any, mask: Any, index: Any) -> tuple[Any, Any]:
        """Return the new features and the new cache."""
        h = self.norms[0](x)
        q, k, v = (layer(h).reshape(*x.shape[:2], -1, DEPTH) for layer in (self.q, self.k, self.v))
        keys = jax.lax.dynamic_update_slice(cache[0], rotated(k, positions), (0, index, 0, 0))
        values = jax.lax.dynamic_update_slice(cache[1], v, (0, index, 0, 0))
        out = jax.nn.dot_product_attention(rotated(q, positions), keys, values, mask=mask[:, None])
        x = x + self.o(out.reshape(*x.shape[:2], -1))
        h = self.norms[1](x)
        return x + self.down(nnx.silu(self.gate(h)) * self.up(h)), (keys, values)


class Decoder(nnx.Module):
    """A llama."""

    def __init__(self, bits: int = 32) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.layers = nnx.List([Layer(rngs, bits) for _ in range(LAYERS)])
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        head = nnx.Linear(WIDTH, WORDS, use_bias=False, rngs=rngs)
        self.head = FourBits(head) if bits == 4 else head

    def __call__(self, tokens: Any, cache: Any, positions: Any, mask: Any, index: Any) -> tuple[Any, Any]:
        """Return logits and the new cache."""
        x, new = self.embed(tokens), []
        for layer, kept in zip(self.layers, cache, strict=True):
            x, kept_now = layer(x, kept, positions, mask, index)
            new.append(kept_now)
        return self.head(self.norm(x)), new


def empty(batch: int, length: int) -> Any:
    """Return an empty cache."""
    return [(jnp.zeros((batch, length, SHARED, DEPTH)),) * 2 for _ in range(LAYERS)]


VARIANTS: dict[int, dict[str, dict[str, Any]]] = {
    32: {
        "`GroupQueryAttention`, one text": {"batch": False},
        "`GroupQueryAttention`, several texts": {},
        "ONNX's operators, growing cache": {"contrib": False, "batch": False},
        "`TensorScatter`, static cache": {"layout": "static", "batch": False},
    },
    4: {
        "`GroupQueryAttention`, one text": {"batch": False},
        "`GroupQueryAttention`, one text, `round_activations`": {"batch": False, "round_activations": True},
        "ONNX's operators, growing cache": {"contrib": False, "batch": False},
    },
}
SESSIONS = 12
BUILDER = "the builder of onnxruntime-genai"
BUILT = {32: "fp32", 4: "int4"}


def in_jax(decoder: Decoder, length: int, place: int) -> Callable[[], Any]:
    """Return the call of JAX: a step on a cache with room, which it may overwrite."""
    graph, state = nnx.split(decoder)

    def step(cache: Any, token: Any, index: Any) -> Any:
        positions = index + jnp.zeros((1, 1), jnp.int32)
        mask = jnp.arange(length)[None, None] <= positions[..., None]
        return nnx.merge(graph, state)(token, cache, positions, mask, index)

    jitted = jax.jit(step, donate_argnums=0)
    held = [empty(1, length)]
    held = [jax.tree.map(jnp.array, held[0])]

    def call() -> Any:
        logits, held[0] = jitted(held[0], jnp.full((1, 1), 5, jnp.int32), jnp.int32(place))
        return jax.block_until_ready(logits)

    return call


def in_onnxruntime(folder: Path, length: int, place: int, *, shared: bool) -> Callable[[], Any]:
    """Return the call of a model, with a cache that is filled up to a position."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    given = {
        "input_ids": np.full((1, 1), 5),
        "attention_mask": np.ones((1, place + 1)),
        "position_ids": np.full((1, 1), place),
    }
    names = iter([value.name for value in session.get_outputs()][1:])
    binding.bind_output("logits")
    for value in session.get_inputs():
        past = value.name not in given
        if past:
            array = np.zeros((1, SHARED, length if shared else place, DEPTH), np.float32)
        else:
            array = given[value.name].astype(np.int64 if "int64" in value.type else np.int32)
        held = ort.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_input(value.name, held)
        if past and shared:
            binding.bind_ortvalue_output(next(names), held)
        elif past:
            binding.bind_output(next(names))

    def call() -> Any:
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    return call


def checkpoint(decoder: Decoder) -> dict[str, Any]:
    """Return the weights of a decoder by the names that they have in transformers, and its configuration."""
    arrays = {
        "model.embed_tokens.weight": decoder.embed.embedding[...],
        "model.norm.weight": decoder.norm.scale[...],
        "lm_head.weight": decoder.head.kernel[...].T,
    }
    for number, layer in enumerate(decoder.layers):
        parts = {f"self_attn.{name}_proj": getattr(layer, name) for name in "qkvo"}
        parts |= {f"mlp.{name}_proj": getattr(layer, name) for name in ("gate", "up", "down")}
        arrays |= {f"model.layers.{number}.{name}.weight": part.kernel[...].T for name, part in parts.items()}
        names = ("input_layernorm", "post_attention_layernorm")
        norms = zip(names, layer.norms, strict=True)
        arrays |= {f"model.layers.{number}.{name}.weight": norm.scale[...] for name, norm in norms}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "intermediate_size": FURTHER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": SHARED,
        "head_dim": DEPTH,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e4,
        "max_position_embeddings": PLACES[-1][0],
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {name: np.asarray(array) for name, array in arrays.items()} | {"config": np.asarray(json.dumps(config))}


def build(python: str, root: Path) -> None:
    """Make models of the same weights by the builder of onnxruntime-genai, in an environment that has torch."""
    np.savez(root / "weights.npz", **checkpoint(Decoder()))
    script = Path(__file__).with_name("builder.py")
    subprocess.run([python, script, root / "weights.npz", root / "built"], check=True, capture_output=True)


class Measured(NamedTuple):
    """What was measured of the variants of one decoder, by name: times in ms, numbers of nodes, errors."""

    times: dict[str, float]
    nodes: dict[str, int]
    errors: dict[str, float]


def timed(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the processor times of each call in ms; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    draw = random.Random(0)  # noqa: S311 - no secret
    for number in range(rounds + 3):
        # In another order each time: what runs before decides what the caches hold.
        for name, call in draw.sample(sorted(calls.items()), len(calls)):
            start = time.process_time()
            call()
            if number >= 3:
                times[name].append(1e3 * (time.process_time() - start))
    return times


def measured(bits: int, length: int, place: int, root: Path, rounds: int) -> Measured:
    """Export the variants of a decoder, and measure them; the medians are of times in several sessions each.

    Where in memory a session has its weights and its cache decides up to a tenth of its time. So the sessions are made
    in another order each time, too.
    """
    decoder = Decoder(bits)
    decoder.eval()
    folders = {}
    for name, options in VARIANTS[bits].items():
        folders[name] = root / f"{bits} {length} {len(folders)}"
        save_genai(decoder, folders[name], cache=empty, max_length=length, eos_token_id=0, **options)
    if (root / "built").exists():
        folders[BUILDER] = root / "built" / BUILT[bits]
    operators = {name: _operators(folder) for name, folder in folders.items()}
    in_place = {"GroupQueryAttention", "TensorScatter"}
    taken: dict[str, list[float]] = {}
    differences: dict[str, float] = {}
    draw = random.Random(0)  # noqa: S311 - no secret
    for _ in range(SESSIONS):
        calls = {"jax.jit": in_jax(decoder, length, place)}
        for name in draw.sample(sorted(folders), len(folders)):
            shared = not in_place.isdisjoint(operators[name])
            calls[name] = in_onnxruntime(folders[name], length, place, shared=shared)
        differences = errors(calls)
        for name, times in timed(calls, rounds).items():
            taken.setdefault(name, []).extend(times)
    medians = {name: statistics.median(taken[name]) for name in ("jax.jit", *folders)}
    return Measured(medians, {name: found.total() for name, found in operators.items()}, differences)


def _operators(folder: Path) -> Counter[str]:
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


def errors(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the largest differences of logits from JAX's, over the largest of these."""
    expected, *others = (np.asarray(call() if name == "jax.jit" else call().numpy()) for name, call in calls.items())
    largest = np.abs(expected).max()
    return {
        name: float(np.abs(one - expected).max() / largest) for name, one in zip(list(calls)[1:], others, strict=True)
    }


def main() -> None:
    """Measure, print, and write the page if that is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--builder", nargs="?", const=sys.executable, help="a Python that has onnxruntime-genai and torch"
    )
    given = parser.parse_args()
    text, beside = PREFACE, []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if given.builder:
            build(given.builder, root)
        for bits in VARIANTS:
            text += HEAD.format(WORDS_OF[bits])
            results = []
            for length, place in PLACES:
                results.append(measured(bits, length, place, root, given.rounds))
                print(bits, length, results[-1].times, flush=True)
            for name in results[0].times:
                cells = [f"{one.times[name]:.2f}" for one in results]
                cells += [f"{max(one.errors[name] for one in results):.0e}" if name in results[0].errors else ""]
                text += f"| {name} | {results[0].nodes.get(name, '')} | {' | '.join(cells)} |\n"
            beside += compared(bits, results)
    print(text)
    print(*beside, sep="\n")
    if given.write:
        PAGE.write_text(text)
    if given.write and given.builder:
        write_beside(beside)


def compared(bits: int, results: list[Measured]) -> list[str]:
    """Return the rows of docs/benchmarks.md: our models, JAX and the builder's model, none without that."""
    rows = []
    for (length, place), one in zip(PLACES, results, strict=True):
        built = one.times.get(BUILDER)
        for name in VARIANTS[bits] if built else ():
            ours, jitted = one.times[name], one.times["jax.jit"]
            cells = [BUILT[bits], f"{length}, {place}", name, f"{ours:.2f}", f"{built:.2f}", f"{ours / built:.2f}"]
            rows.append(f"| {' | '.join(cells)} | {ours / jitted:.2f} |")
    return rows


def write_beside(rows: list[str]) -> None:
    """Write the times beside the builder's model to docs/benchmarks.md."""
    write_part("decode", "\n".join([BESIDE, *rows]))


WORDS_OF = {32: "float32", 4: f"weights of 4 bits, a scale for each {BLOCK}"}
BESIDE = (
    "## Decoding\n\n"
    "Written by `nox -s decode -- --builder --write`, in one run, by turns. A token of a decoder, beside the model\n"
    "that the builder of onnxruntime-genai makes of the same weights, in ms of processor time of one thread. What is\n"
    "measured, and the errors: [decoding](coverage/decoding.md).\n\n"
    "| Weights | cache, position | Ours | ours, ms | the builder's, ms | ours / the builder's | ours / jax.jit |\n"
    "|---|---|---|---:|---:|---:|---:|"
)
HEAD = (
    "\n## {}\n\n| | Nodes | "
    + " | ".join(f"cache of {n}, position {at}" for n, at in PLACES)
    + " | error |\n|---|---:|---:|---:|---:|\n"
)
PREFACE = (
    "# Decoding\n\n"
    "Written by `nox -s decode` ([benchmarks/decode.py](../../benchmarks/decode.py)). One token of a decoder:\n"
    f"{LAYERS} layers of width {WIDTH}, {HEADS} heads over {SHARED}, {WORDS} words. Times are processor time\n"
    "in ms on one thread, the median of runs in twelve sessions that take turns; JAX overwrites its cache.\n"
    "*Error* is the largest difference of logits from those of `jax.jit`, over the largest of these; the positions\n"
    "before are empty. The weights are constants of the step that is compiled, of which XLA makes floats.\n\n"
    "The builder of onnxruntime-genai makes its models of the same weights: `nox -s decode -- --builder --write`,\n"
    "which installs torch (5 GB). In products by 4 bits it rounds the other operand to 8 bits, as with\n"
    "`round_activations`. The default of jax2onnx does not.\n\n"
    f"{platform.machine()}, Python {platform.python_version()}, jax {version('jax')}, "
    f"onnxruntime {version('onnxruntime')}.\n"
)


if __name__ == "__main__":
    main()
