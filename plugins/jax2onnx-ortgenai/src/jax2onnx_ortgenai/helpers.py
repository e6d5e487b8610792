"""Helpers: decoders of libraries, and of other calling forms, as steps; and JAX's own tokens to compare with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx_ortgenai.decoder import Decoder, Leaf
from jax2onnx_ortgenai.save import LanguageModel, language_model

__all__ = ["greedy", "tokenwise"]


def tokenwise(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return the step that takes any number of tokens, from one that takes one: ``step(token, cache, position)``.

    Token and position are int32 of (batch,), and the logits are of (batch, vocabulary). The step that is returned takes
    ``valid``: a token of the padding leaves the cache as it is.
    """

    def whole(tokens: Any, cache: Any, positions: Any, valid: Any) -> tuple[Any, Any]:
        def one(carried: Any, given: Any) -> tuple[Any, Any]:
            token, position, real = given
            logits, new = step(token, carried, position)

            def chosen(after: Any, before: Any) -> Any:
                return jnp.where(real.reshape(-1, *[1] * (after.ndim - 1)), after, before)

            return jax.tree.map(chosen, new, carried), logits

        cache, logits = lax.scan(one, cache, (tokens.T, positions.T, valid.T))
        return jnp.swapaxes(logits, 0, 1), cache

    return whole


def greedy(
    step: Callable[..., Any] | LanguageModel,
    cache: Callable[..., Any] | None,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    eos_token_id: int | Sequence[int] = (),
    prepared: Any = None,
    filled: int = 0,
) -> list[list[int]]:
    """Return the likeliest tokens that follow each prompt, as JAX computes them, one text after the other.

    Args:
        step: as ``save_genai`` takes it.
        cache: as ``save_genai`` takes it; None for a language model.
        prompts: token ids of each text.
        max_new_tokens: how many tokens to make.
        eos_token_id: tokens at which a text ends.
        prepared: the cache to begin with, for one text, instead of an empty one.
        filled: how many of its positions are filled.
    """
    model = language_model(step, cache)
    decoder = Decoder.of(model.step, model.cache)
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id)
    room = filled + max(map(len, prompts)) + max_new_tokens
    start = _Start(decoder, 0 if decoder.grows else room, prepared, filled)
    return [_ended(itertools.islice(start.tokens(prompt), max_new_tokens), ends) for prompt in prompts]


def _ended(text: Iterator[int], ends: set[int]) -> list[int]:
    made = []
    for token in text:
        made.append(token)
        if token in ends:
            break
    return made


@dataclass(frozen=True, slots=True)
class _Start:
    """A decoder, and the cache with which each text begins."""

    decoder: Decoder
    room: int
    prepared: Any
    filled: int

    def tokens(self, prompt: Sequence[int]) -> Iterator[int]:
        """Yield the likeliest tokens that follow a prompt, without an end."""
        called = jax.jit(self.decoder.called)
        tokens, index, arrays = np.asarray([prompt], np.int32), self.filled, self._cache()
        while True:
            positions = jnp.arange(index, index + tokens.shape[1], dtype=jnp.int32)[None]
            seen = self.room or index + tokens.shape[1]
            mask = jnp.arange(seen)[None, None] <= positions[..., None]
            given = {"mask": mask, "valid": jnp.ones(tokens.shape, bool), "index": jnp.int32(index)}
            logits, arrays = called(jnp.asarray(tokens), arrays, positions, given)
            index += tokens.shape[1]
            token = int(logits[0, -1].argmax())
            yield token
            tokens = np.asarray([[token]], np.int32)

    def _cache(self) -> list[Any]:
        decoder = self.decoder
        if self.prepared is None:
            return jax.tree.leaves(decoder.cache(1, self.room))
        arrays = jax.tree.leaves(self.prepared)
        if not self.room:
            return arrays
        return [_roomy(x, leaf, self.room) for x, leaf in zip(arrays, decoder.leaves, strict=True)]


def _roomy(x: Any, leaf: Leaf, room: int) -> Any:
    axis = leaf.axis("length")
    if axis is None:
        return x
    return jnp.pad(x, [(0, room - n if i == axis else 0) for i, n in enumerate(x.shape)])
