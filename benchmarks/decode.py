"""Measure one token of a decoder in JAX and as models, and write docs/coverage/decoding.md: `nox -s decode`.

Times are processor time of a process of one thread, so that other load of the machine counts less. The runs take turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime as ort
from flax import nnx

from jax2onnx_ortgenai import save_genai

PAGE = Path(__file__).parents[1] / "docs" / "coverage" / "decoding.md"
WORDS, WIDTH, LAYERS, HEADS, SHARED, DEPTH, FURTHER = 32000, 512, 8, 8, 2, 64, 1408
PLACES = ((256, 200), (4096, 2000))
"""Lengths of the cache, and the positions at which a token is made."""


def rotated(x: Any, positions: Any) -> Any:
    """Rotate features by the angles of positions."""
    angles = (positions[..., None] * 1e4 ** -(jnp.arange(0, DEPTH, 2) / DEPTH))[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Layer(nnx.Module):
    """Attention over a cache, and a gated MLP."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        def linear(inside: int, outside: int) -> nnx.Linear:
            return nnx.Linear(inside, outside, use_bias=False, rngs=rngs)

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

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.layers = nnx.List([Layer(rngs) for _ in range(LAYERS)])
        self.norm = nnx.RMSNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, WORDS, use_bias=False, rngs=rngs)

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


VARIANTS: dict[str, dict[str, Any]] = {
    "`GroupQueryAttention`, one text": {"batch": False},
    "`GroupQueryAttention`, several texts": {},
    "ONNX's operators, growing cache": {"contrib": False, "batch": False},
    "`TensorScatter`, static cache": {"layout": "static", "batch": False},
}


def in_jax(decoder: Decoder, length: int, place: int) -> Callable[[], object]:
    """Return the call of JAX: a step on a cache with room, which it may overwrite."""
    graph, state = nnx.split(decoder)

    def step(cache: Any, token: Any, index: Any) -> Any:
        positions = index + jnp.zeros((1, 1), jnp.int32)
        mask = jnp.arange(length)[None, None] <= positions[..., None]
        return nnx.merge(graph, state)(token, cache, positions, mask, index)

    jitted = jax.jit(step, donate_argnums=0)
    held = [empty(1, length)]
    held = [jax.tree.map(jnp.array, held[0])]

    def call() -> None:
        logits, held[0] = jitted(held[0], jnp.full((1, 1), 5, jnp.int32), jnp.int32(place))
        jax.block_until_ready(logits)

    return call


def in_onnxruntime(folder: Path, length: int, place: int, *, shared: bool) -> Callable[[], object]:
    """Return the call of a model, with a cache that is filled up to a position."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    sizes = {"B": 1, "P": length if shared else place, "S": length}
    binding = session.io_binding()
    given = {
        "input_ids": np.full((1, 1), 5, np.int32),
        "attention_mask": np.ones((1, place + 1), np.int32),
        "position_ids": np.full((1, 1), place, np.int32),
    }
    names = iter([value.name for value in session.get_outputs()][1:])
    binding.bind_output("logits")
    for value in session.get_inputs():
        past = value.name not in given
        shape = [sizes[dim] if isinstance(dim, str) else dim for dim in value.shape] if past else ()
        array = np.zeros(shape, np.float32) if past else given[value.name]
        held = ort.OrtValue.ortvalue_from_numpy(array)
        binding.bind_ortvalue_input(value.name, held)
        if past and shared:
            binding.bind_ortvalue_output(next(names), held)
        elif past:
            binding.bind_output(next(names))
    return lambda: session.run_with_iobinding(binding)


def measured(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median processor time of each call in ms; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if number >= 3:
                times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Measure, print, and write the page if that is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    decoder, results, nodes = Decoder(), {}, {}
    decoder.eval()
    for length, place in PLACES:
        calls = {"jax.jit": in_jax(decoder, length, place)}
        with tempfile.TemporaryDirectory() as root:
            for name, options in VARIANTS.items():
                folder = Path(root) / str(len(calls))
                save_genai(decoder, folder, cache=empty, max_length=length, eos_token_id=0, **options)
                graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
                found = Counter(node.op_type for node in graph.node)
                nodes[name] = found.total()
                calls[name] = in_onnxruntime(
                    folder, length, place, shared=bool({"GroupQueryAttention", "TensorScatter"} & set(found))
                )
            results[length] = measured(calls, given.rounds)
        print(length, results[length], flush=True)
    lines = []
    for name in results[PLACES[0][0]]:
        times = " | ".join(f"{results[length][name]:.2f}" for length, _ in PLACES)
        lines.append(f"| {name} | {nodes.get(name, '')} | {times} |")
    text = PREFACE + "\n".join(lines) + "\n"
    print(text)
    if given.write:
        PAGE.write_text(text)


PREFACE = (
    "# Decoding\n\n"
    "Written by `nox -s decode` ([benchmarks/decode.py](../../benchmarks/decode.py)). One token of a decoder in\n"
    f"float32: {LAYERS} layers of width {WIDTH}, {HEADS} heads over {SHARED}, {WORDS} words. Times are processor time\n"
    "in ms, the median of runs that take turns, on one thread; JAX overwrites its cache. Models of the builder of\n"
    "onnxruntime-genai are not measured here: it needs torch.\n\n"
    f"{platform.machine()}, Python {platform.python_version()}, jax {version('jax')}, "
    f"onnxruntime {version('onnxruntime')}.\n\n"
    "| | Nodes | " + " | ".join(f"cache of {n}, position {at}" for n, at in PLACES) + " |\n|---|---:|---:|---:|\n"
)


if __name__ == "__main__":
    main()
