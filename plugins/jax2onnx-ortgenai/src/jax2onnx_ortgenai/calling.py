"""Calling forms: from a decoder to the function that runtimes call: tokens, attention mask, position ids and past."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp

from jax2onnx_ortgenai.caches import lengthened

if TYPE_CHECKING:
    from jax2onnx_ortgenai.decoder import Decoder, Leaf

__all__ = ["Form", "Layout", "ordered"]

Layout = Literal["growing", "static"]

_HEADS_SECOND = ("batch", "heads", "length", "depth")


@dataclass(frozen=True, slots=True)
class Form:
    """The function that a model is, and the names and specs of its inputs.

    Attributes:
        decoder: what is called.
        layout: ``growing``: each call returns a cache that is longer by its tokens. ``static``: the cache has room for
            all positions from the beginning.
        batch: whether there may be several rows, if the decoder can ignore padding.
        max_length: how many positions there may be; 0 where that is not known.
    """

    decoder: Decoder
    layout: Layout
    batch: bool = True
    max_length: int = 0

    @property
    def batched(self) -> bool:
        """Whether there may be several rows: only a decoder that takes a mask ignores the padding of shorter ones."""
        return self.batch and not {"mask", "valid"}.isdisjoint(self.decoder.takes)

    @property
    def grows(self) -> bool:
        """Whether the cache of the model grows."""
        return self.layout == "growing" and self.decoder.has_length

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of the cache's arrays as inputs and as outputs."""
        if self.decoder.is_attention:
            ends = [f"{i // 2}.{'value' if i % 2 else 'key'}" for i in range(len(self.decoder.leaves))]
        else:
            ends = [_dotted(leaf.path) for leaf in self.decoder.leaves]
        return [f"past_key_values.{end}" for end in ends], [f"present.{end}" for end in ends]

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs before the cache. One text has no padding: its positions follow from the cache."""
        return ["input_ids", "attention_mask", *["position_ids"] * self.batched]

    def specs(self) -> list[Any]:
        """Return the specs of the inputs that have names, and of the arrays of the cache."""
        batch = "B" if self.batched else "1"
        total = "P+T" if self.grows else "A"
        ids, mask = f"int32[{batch},T]", f"int32[{batch},{total}]"
        cache = [self._spec(leaf) for leaf in self.decoder.leaves]
        return [ids, mask, *[ids] * self.batched, cache]

    def constraints(self) -> list[str]:
        """Return what holds between the sizes."""
        room = [f"T <= {self.max_length}"] if self.max_length else []
        if self.grows:
            return room
        return [*room, "A >= T", *["S >= A"] * self.decoder.has_length]

    def _spec(self, leaf: Leaf) -> Any:
        names = {"batch": "B" if self.batched else 1, "length": "P" if self.layout == "growing" else "S"}
        shape = [names.get(dim, dim) if isinstance(dim, str) else dim for dim in leaf.shape]
        return jax.ShapeDtypeStruct(tuple(shape[axis] for axis in ordered(leaf)), leaf.dtype)

    def function(self) -> Callable[..., Any]:
        """Return the function that is exported."""
        decoder = self.decoder
        orders = [ordered(leaf) for leaf in decoder.leaves]
        given = [_inverse(order) for order in orders]

        def padded(input_ids: Any, attention_mask: Any, position_ids: Any, past: Sequence[Any]) -> Any:
            return call(input_ids, attention_mask, position_ids, past)

        def single(input_ids: Any, attention_mask: Any, past: Sequence[Any]) -> Any:
            return call(input_ids, attention_mask, None, past)

        def call(input_ids: Any, attention_mask: Any, position_ids: Any, past: Sequence[Any]) -> Any:
            tokens = input_ids.shape[1]
            used = attention_mask.shape[1] - tokens
            cache = [jnp.transpose(array, order) for array, order in zip(past, given, strict=True)]
            cache = self._with_room(cache, tokens)
            further = {"valid": self._valid(attention_mask, used, tokens), "index": jnp.asarray(used, jnp.int32)}
            if "mask" in decoder.takes:
                further["mask"] = self._mask(attention_mask, tokens, used, cache)
            if position_ids is None:
                position_ids = (jnp.arange(tokens, dtype=jnp.int32) + used)[None]
            logits, new = decoder.called(input_ids, cache, position_ids, further)
            return logits, [jnp.transpose(array, order) for array, order in zip(new, orders, strict=True)]

        return padded if self.batched else single

    def _valid(self, attention_mask: Any, used: Any, tokens: Any) -> Any:
        """Return which tokens are no padding."""
        return attention_mask[:, used:] > 0 if self.batched else jnp.ones((1, tokens), jnp.bool_)

    def _with_room(self, cache: list[Any], tokens: Any) -> list[Any]:
        """Lengthen a cache that grows, where the step writes into the one that it gets."""
        if not self.grows or self.decoder.grows:
            return cache
        axes = [leaf.axis("length") for leaf in self.decoder.leaves]
        return [x if axis is None else lengthened(x, axis, tokens) for x, axis in zip(cache, axes, strict=True)]

    def _mask(self, attention_mask: Any, tokens: Any, used: Any, cache: Sequence[Any]) -> Any:
        """Return which positions of the cache each token sees: none that comes later, and no padding.

        A token of the padding sees itself, so that no row of the mask is empty.
        """
        length = self._length(attention_mask, cache)
        slots = jnp.arange(length, dtype=jnp.int32)[None]
        own = (jnp.arange(tokens, dtype=jnp.int32) + used)[:, None]
        if not self.batched:
            return (slots <= own)[None]
        visible = attention_mask > 0
        if not self.grows:
            visible = jnp.pad(visible, ((0, 0), (0, length - attention_mask.shape[1])))
        return ((slots <= own)[None] & visible[:, None]) | (slots == own)[None]

    def _length(self, attention_mask: Any, cache: Sequence[Any]) -> Any:
        if not self.grows:
            for leaf, array in zip(self.decoder.leaves, cache, strict=True):
                axis = leaf.axis("length")
                if axis is not None:
                    return array.shape[axis]
        return attention_mask.shape[1]


def ordered(leaf: Leaf) -> tuple[int, ...]:
    """Return the axes of an array in the order of the model: keys and values have their heads second."""
    if not leaf.is_attention:
        return tuple(range(len(leaf.shape)))
    heads, depth = leaf.heads_and_depth
    at: Mapping[str, Any] = {"batch": leaf.axis("batch"), "heads": heads, "length": leaf.axis("length"), "depth": depth}
    return tuple(at[name] for name in _HEADS_SECOND)


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _dotted(path: str) -> str:
    """Return ``[0]['k'].mean`` as ``0.k.mean``."""
    return path.replace("']", "").replace("['", ".").replace("[", ".").replace("]", "").strip(".")
