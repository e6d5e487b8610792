"""Libraries: decoders of gemma, keras-hub, flax.nnx and equinox as steps with a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jax2onnx.errors import InputSpecError
from jax2onnx_ortgenai.save import LanguageModel

__all__ = ["from_equinox", "from_gemma", "from_keras_hub", "from_nnx"]


def from_gemma(model: Any, params: Any) -> LanguageModel:
    """Return a transformer of ``gemma`` as a language model.

    Args:
        model: a ``gm.nn.Transformer``.
        params: its parameters.
    """

    def empty(batch: int, length: int) -> Any:
        return model.init_cache(batch_size=batch, dtype=model.dtype, cache_length=length)

    def cache(batch: int, length: int) -> list[tuple[Any, Any]]:
        made = jax.eval_shape(lambda: empty(batch, length))
        layers = [made[name] for name in _ordered(made)]
        return [
            (jnp.zeros(one["k"].shape, one["k"].dtype), jnp.zeros(one["v"].shape, one["v"].dtype)) for one in layers
        ]

    names = _ordered(jax.eval_shape(lambda: empty(1, 2)))

    def step(tokens: Any, pairs: Any, positions: Any, mask: Any, index: Any) -> tuple[Any, Any]:
        batch, count = tokens.shape
        last = index + count - 1
        slots = jnp.arange(mask.shape[2], dtype=jnp.int32)[None] - (last - positions[:, -1:])
        start = jnp.zeros((batch,), jnp.int32) + index
        given = {
            name: {"k": k, "v": v, "end_index": start, "positions": slots}
            for name, (k, v) in zip(names, pairs, strict=True)
        }
        out = model.apply(params, tokens, positions=positions, cache=given, attention_mask=mask)
        return out.logits, [(out.cache[name]["k"], out.cache[name]["v"]) for name in names]

    return LanguageModel(step, cache)


def _ordered(layers: Any) -> list[str]:
    return sorted(layers, key=lambda name: int(name.rpartition("_")[2]))


def from_keras_hub(model: Any) -> LanguageModel:
    """Return a causal language model of ``keras_hub`` as a language model of one text at a time.

    Args:
        model: a ``keras_hub.models.CausalLM`` on the jax backend: it has ``call_with_cache``.
    """
    if not hasattr(model, "call_with_cache"):
        raise InputSpecError(
            f"from_keras_hub: {type(model).__name__} has no call_with_cache; give save_genai a step and a cache"
        )
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    whole = jax.eval_shape(lambda ids: model._build_cache(ids)[1], tokens)  # noqa: SLF001 - no public name has it
    _, layers, _, _, heads, depth = whole.shape

    def cache(batch: int, length: int) -> list[tuple[Any, Any]]:
        return [(jnp.zeros((batch, length, heads, depth), whole.dtype),) * 2 for _ in range(layers)]

    def step(tokens: Any, pairs: Any, positions: Any, index: Any) -> tuple[Any, Any]:
        del positions  # the model counts from the index
        stacked = jnp.stack([jnp.stack(pair, 1) for pair in pairs], 1)
        logits, _, new = model.call_with_cache(tokens, stacked, index)
        return logits, [(new[:, i, 0], new[:, i, 1]) for i in range(layers)]

    return LanguageModel(step, cache)


def from_nnx(make: Callable[[int, int], Any], params: Any = None) -> LanguageModel:
    """Return a decoder of flax.nnx that keeps its cache in variables (``nnx.Cache``) as a model of one text at a time.

    Args:
        make: ``make(batch, length)`` returns the decoder in decoding mode, with an empty cache of this size. Called
            with tokens of (batch, 1), it returns logits of (batch, 1, vocabulary).
        params: the state whose parameters count (``nnx.state(model, nnx.Param)``); by default those of ``make``.
    """
    from flax import nnx

    def split(model: Any) -> tuple[Any, ...]:
        return nnx.split(model, nnx.Cache, ...)

    weights = nnx.state(make(1, 2), nnx.Param) if params is None else params

    def cache(batch: int, length: int) -> Any:
        _, kept, _ = split(make(batch, length))
        return [x for x in jax.tree.leaves(kept) if x.ndim]

    def step(tokens: Any, arrays: Any, positions: Any, index: Any) -> tuple[Any, Any]:
        del positions

        def one(carried: Any, given: Any) -> tuple[Any, Any]:
            token, at = given
            graph, kept, rest = split(nnx.eval_shape(lambda: make(1, 2)))
            leaves, tree = jax.tree.flatten(kept)
            held = iter(carried)
            filled = jax.tree.unflatten(tree, [next(held) if x.ndim else at.astype(x.dtype) for x in leaves])
            model = nnx.merge(graph, filled, rest)
            nnx.update(model, weights)
            logits = model(token[:, None])
            _, new, _ = split(model)
            return [x for x in jax.tree.leaves(new) if x.ndim], logits[:, 0]

        places = index + jnp.arange(tokens.shape[1], dtype=jnp.int32)
        arrays, logits = lax.scan(one, list(arrays), (tokens.T, places))
        return jnp.swapaxes(logits, 0, 1), arrays

    return LanguageModel(step, cache)


def from_equinox(model: Callable[..., Any], cache: Callable[[int], Any]) -> LanguageModel:
    """Return a decoder of equinox, which is written for one text, as a language model of many.

    Args:
        model: ``model(tokens, cache, positions, mask, index) -> logits, cache``, without a batch.
        cache: ``cache(length)`` returns an empty cache of one text.
    """

    def step(tokens: Any, caches: Any, positions: Any, mask: Any, index: Any) -> tuple[Any, Any]:
        mapped = jax.vmap(model, in_axes=(0, 0, 0, 0, None))
        logits, new = mapped(tokens, caches, positions, mask, index)
        return logits, new

    def whole(batch: int, length: int) -> Any:
        return jax.tree.map(lambda x: jnp.zeros((batch, *x.shape), x.dtype), jax.eval_shape(lambda: cache(length)))

    return LanguageModel(step, whole)
