"""Let decoders of libraries make 64 tokens in JAX and as models, and write docs/coverage/generation.md.

`nox -s generation` installs the libraries. Weights are random; all sizes are small.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from click.testing import CliRunner

from jax2onnx_ortgenai import (
    command,
    from_equinox,
    from_gemma,
    from_keras_hub,
    from_nnx,
    greedy,
    save_genai,
    tokenwise,
)

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "generation.md"
COUNT, VOCABULARY = 64, 256
PROMPT = [5, 77, 234, 9, 31]
CASES: dict[str, Callable[[], tuple[Any, Any]]] = {}


def case(name: str) -> Callable[[Callable[[], tuple[Any, Any]]], Callable[[], tuple[Any, Any]]]:
    """Register a decoder: a function that returns a step and its cache, or a language model and None."""

    def add(make: Callable[[], tuple[Any, Any]]) -> Callable[[], tuple[Any, Any]]:
        CASES[name] = make
        return make

    return add


def shaken(params: Any) -> Any:
    """Return parameters with noise: a model of random weights would repeat one token."""
    return jax.tree.map(lambda a: a + 0.05 * jax.random.normal(jax.random.key(a.size % 97), a.shape, a.dtype), params)


@case("gemma: Gemma 3, six layers, one of them global")
def gemma() -> tuple[Any, Any]:
    """Return a small Gemma 3."""
    from gemma import gm

    known = gm.nn.Gemma3_270M().config
    config = dataclasses.replace(
        known,
        num_embed=VOCABULARY,
        embed_dim=64,
        hidden_dim=96,
        num_heads=4,
        head_dim=16,
        attention_types=known.attention_types[:6],
        sliding_window_size=16,
    )
    model = gm.nn.Transformer(config=config, dtype=jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    return from_gemma(model, shaken(params)), None


def keras_model(causal: Any, backbone: Any) -> tuple[Any, Any]:
    """Return a model of keras-hub with noise on its weights."""
    model = causal(backbone=backbone, preprocessor=None)
    for variable in model.weights:
        value = np.asarray(variable)
        if np.issubdtype(value.dtype, np.floating):
            variable.assign(value + 0.05 * np.random.default_rng(value.size % 97).normal(size=value.shape))
    return from_keras_hub(model), None


@case("keras-hub: Llama")
def keras_llama() -> tuple[Any, Any]:
    """Return a small Llama of keras-hub."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)

    sizes = {"num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 64, "intermediate_dim": 96}
    backbone = keras_hub.models.LlamaBackbone(vocabulary_size=VOCABULARY, **sizes)
    return keras_model(keras_hub.models.LlamaCausalLM, backbone)


@case("keras-hub: GPT-2")
def keras_gpt2() -> tuple[Any, Any]:
    """Return a small GPT-2 of keras-hub."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)

    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 96, "max_sequence_length": 128}
    backbone = keras_hub.models.GPT2Backbone(vocabulary_size=VOCABULARY, **sizes)
    return keras_model(keras_hub.models.GPT2CausalLM, backbone)


@case("flax.nnx: `MultiHeadAttention(decode=True)`")
def nnx_decode() -> tuple[Any, Any]:
    """Return a decoder that keeps its cache in variables."""
    from flax import nnx

    class Decoder(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.embed = nnx.Embed(VOCABULARY, 32, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
            heads = functools.partial(nnx.MultiHeadAttention, 4, 32, decode=True, rngs=rngs)
            self.layers = nnx.List([heads() for _ in range(2)])
            self.norms = nnx.List([nnx.LayerNorm(32, rngs=rngs) for _ in range(2)])
            self.head = nnx.Linear(32, VOCABULARY, rngs=rngs)

        def __call__(self, tokens: Any) -> Any:
            x = self.embed(tokens)
            for layer, norm in zip(self.layers, self.norms, strict=True):
                x = x + layer(norm(x))
            return self.head(x)

    def make(batch: int, length: int) -> Any:
        model = Decoder()
        for layer in model.layers:
            layer.init_cache((batch, length, 32))
        return model

    return from_nnx(make), None


@case("equinox: a decoder of one text, mapped")
def equinox_decoder() -> tuple[Any, Any]:
    """Return a decoder written for one text."""
    import equinox as eqx

    class Decoder(eqx.Module):
        embed: Any
        query: Any
        key: Any
        value: Any
        out: Any
        head: Any

        def __init__(self) -> None:
            keys = iter(jax.random.split(jax.random.key(1), 6))
            self.embed = eqx.nn.Embedding(VOCABULARY, 32, key=next(keys))
            self.query = eqx.nn.Linear(32, 64, use_bias=False, key=next(keys))
            self.key = eqx.nn.Linear(32, 32, use_bias=False, key=next(keys))
            self.value = eqx.nn.Linear(32, 32, use_bias=False, key=next(keys))
            self.out = eqx.nn.Linear(64, 32, use_bias=False, key=next(keys))
            self.head = eqx.nn.Linear(32, VOCABULARY, key=next(keys))

        def __call__(self, tokens: Any, cache: Any, positions: Any, mask: Any, index: Any) -> tuple[Any, Any]:
            x = jax.vmap(self.embed)(tokens) + jnp.sin(positions[:, None] * jnp.arange(1.0, 33.0) / 8)
            q, k, v = (jax.vmap(w)(x).reshape(x.shape[0], -1, 16) for w in (self.query, self.key, self.value))
            keys = jax.lax.dynamic_update_slice(cache[0], k, (index, 0, 0))
            values = jax.lax.dynamic_update_slice(cache[1], v, (index, 0, 0))
            out = jax.nn.dot_product_attention(q, keys, values, mask=mask[None])
            x = x + jax.vmap(self.out)(out.reshape(x.shape[0], -1))
            return jax.vmap(self.head)(x), (keys, values)

    def cache(length: int) -> Any:
        return (jnp.zeros((length, 2, 16)),) * 2

    return from_equinox(Decoder(), cache), None


def small(name: str) -> tuple[Any, Any]:
    """Return one of the decoders that the tests of the plugin have."""
    sys.path.insert(0, str(ROOT / "plugins" / "jax2onnx-ortgenai" / "tests"))
    import small_models as models

    if name == "mamba":
        return tokenwise(models.Mamba()), models.Mamba.empty
    feed = {"dense": models.Mlp, "experts": models.Experts, "ragged": functools.partial(models.Experts, ragged=True)}
    return models.Decoder(feed[name]), models.empty


CASES["flax.nnx: a llama over a cache that is written in place"] = functools.partial(small, "dense")
CASES["a mixture of experts, dense"] = functools.partial(small, "experts")
CASES["a mixture of experts by `lax.ragged_dot`"] = functools.partial(small, "ragged")
CASES["a Mamba: selective state space"] = functools.partial(small, "mamba")


def row(name: str) -> str:
    """Return the line of one decoder."""
    model, cache = CASES[name]()
    prompt = [token % 50 + 1 for token in PROMPT]
    wanted = greedy(model, cache, [prompt], COUNT)
    end = min(set(range(VOCABULARY)) - set(wanted[0]))  # onnxruntime-genai needs one; the text does not end by it
    told, counts = [], Counter()
    for layout in ("growing", "static"):
        with tempfile.TemporaryDirectory() as folder:
            options = {"cache": cache, "max_length": 80, "layout": layout, "eos_token_id": end, "batch": False}
            problems = save_genai(model, folder, **options)
            if layout == "growing":
                counts = Counter(node.op_type for node in onnx.load(f"{folder}/model.onnx").graph.node)
            told.append(equal(generated(folder, prompt, "onnxruntime"), wanted))
            if layout == "growing":
                told.append("not its kind" if problems else equal(generated(folder, prompt, "genai"), wanted))
    own, genai, static = told
    grouped = counts["GroupQueryAttention"]
    return f"| {own} | {static} | {genai} | {len(set(wanted[0]))} | {counts.total()} | {grouped or ''} |"


def generated(folder: str, prompt: list[int], engine: str) -> list[int]:
    """Return what ``jax2onnx generate`` prints."""
    given = ["--tokens", ",".join(map(str, prompt)), "--ids", "--max-new-tokens", str(COUNT), "--engine", engine]
    done = CliRunner().invoke(command.generate, [folder, *given], catch_exceptions=False)
    if done.exit_code:
        raise RuntimeError(done.output)
    return [int(token) for token in done.output.split(",")]


def equal(made: list[int], wanted: list[list[int]]) -> str:
    """Return how many of JAX's tokens a model makes."""
    (row,) = wanted
    same = next((i for i, (x, y) in enumerate(zip(made, row, strict=False)) if x != y), min(len(made), len(row)))
    return f"all {same}" if same == len(row) == len(made) else f"**{same} of {len(row)}**"


def main() -> None:
    """Write the page, row by row; words on the command line choose decoders, whose rows replace the old ones."""
    warnings.simplefilter("ignore")
    rows = dict(re.findall(r"^\| ([^|]+) (\|.*\|)$", PAGE.read_text(), re.MULTILINE)) if PAGE.exists() else {}
    chosen = [name for name in CASES if not sys.argv[1:] or any(word in name for word in sys.argv[1:])]
    for name in chosen:
        try:
            rows[name] = row(name)
        except Exception as error:  # noqa: BLE001 - a row of the table, whatever it is
            traceback.print_exc()
            first = (str(error).splitlines() or [""])[0]
            rows[name] = f"| {type(error).__name__}: {first[:120]} | | | | | |"
        print(name, rows[name], flush=True)
        write(rows)


def write(rows: dict[str, str]) -> None:
    """Write the page with the rows that there are."""
    names = ("jax", "flax", "equinox", "gemma", "keras-hub", "onnxruntime", "onnxruntime-genai")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    lines = [f"| {name} {rows[name]}" for name in CASES if name in rows]
    PAGE.write_text(
        "# Tokens of libraries' decoders\n\n"
        "Written by `nox -s generation`: small decoders with random weights continue a prompt of five tokens greedily\n"
        f"by {COUNT} tokens, in JAX and by `jax2onnx generate`. A cell says how many are JAX's. Models\n"
        "are of one text (`batch=False`). *Different* is how many tokens of the text differ from each other.\n\n"
        f"With {versions}.\n\n"
        "| Decoder | onnxruntime, growing | onnxruntime, static | onnxruntime-genai "
        "| Different | Nodes | GroupQueryAttention |\n"
        "|---|---|---|---|---:|---:|---:|\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
