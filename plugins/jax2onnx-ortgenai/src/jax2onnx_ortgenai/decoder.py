"""Decoders: what a step of a language model takes and gives, read off its signature and its shapes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jax2onnx.errors import InputSpecError

__all__ = ["Decoder", "Leaf"]

Cache = Callable[..., Any]
"""``cache(batch, length, **sizes)``: an empty cache, a pytree of arrays."""

_OPTIONAL = ("mask", "valid", "index")
_CACHE = "return it with the arrays, and in the shapes, of cache(batch, length)"
_BATCH, _LENGTH, _TOKENS = 2, 16, 3
"""Sizes at which a decoder is tried; no two dims of a cache are told apart by them, only by how they change."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An array of a cache.

    Attributes:
        path: its path in the pytree, such as ``[0]['k']``.
        shape: its shape, with names for the dims that vary: ``batch``, ``length``, and the cache's further sizes.
        dtype: its dtype.
    """

    path: str
    shape: tuple[int | str, ...]
    dtype: Any

    def axis(self, name: str) -> int | None:
        """Return the axis of a dim that varies, None if the array has none of this name."""
        return self.shape.index(name) if name in self.shape else None

    @property
    def is_attention(self) -> bool:
        """Whether the array holds keys or values: positions, heads and their depths for each row of a batch."""
        return len(self.shape) == 4 and {"batch", "length"} <= set(self.shape)

    @property
    def heads_and_depth(self) -> tuple[int, int]:
        """The axes of the heads and of their depths."""
        heads, depth = (axis for axis, dim in enumerate(self.shape) if dim not in ("batch", "length"))
        return heads, depth


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder in the calling form ``step(tokens, cache, positions) -> logits, cache``.

    Attributes:
        step: the function. It may have more parameters, which are passed by name: ``mask``, bools of (batch, tokens,
            length) that say which positions of the cache a token sees; ``valid``, bools of (batch, tokens) that say
            which tokens are no padding; and ``index``, the position of the cache at which the first token is written.
        cache: ``cache(batch, length)`` returns an empty cache.
        takes: which of these parameters the step has.
        leaves: the arrays of the cache.
        tree: the structure of the cache.
        grows: whether the step returns a longer cache, instead of writing into the one that it gets.
        vocabulary: how many tokens there are.
    """

    step: Callable[..., Any]
    cache: Cache
    takes: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    tree: Any
    grows: bool
    vocabulary: int

    @classmethod
    def of(cls, step: Callable[..., Any], cache: Cache) -> Decoder:
        """Read what there is to know about a decoder.

        Raises:
            InputSpecError: it has another calling form.
        """
        takes = _parameters(step)
        leaves, tree = _leaves(cache)
        probe = _Probe(step, takes, cache)
        logits, grows = probe.results(leaves, tree)
        return cls(step, cache, takes, leaves, tree, grows, int(logits.shape[-1]))

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the further sizes that the cache has."""
        return _sizes(self.cache)

    @property
    def is_attention(self) -> bool:
        """Whether the cache is keys and values, in turn, of one layer after the other."""
        return bool(self.leaves) and len(self.leaves) % 2 == 0 and all(leaf.is_attention for leaf in self.leaves)

    @property
    def has_length(self) -> bool:
        """Whether the cache has a place for each position, as attention needs; a recurrent state has not."""
        return any(leaf.axis("length") is not None for leaf in self.leaves)

    def called(
        self, tokens: Any, cache: Sequence[Any], positions: Any, given: Mapping[str, Any]
    ) -> tuple[Any, list[Any]]:
        """Call the step with the leaves of a cache; return logits of (batch, tokens, vocabulary) and the new leaves."""
        tree = jax.tree.unflatten(self.tree, cache)
        logits, new = self.step(tokens, tree, positions, **{name: given[name] for name in self.takes})
        logits = logits if logits.ndim == 3 else logits[:, None]
        return logits.astype(jnp.float32), jax.tree.leaves(new)


def _parameters(step: Callable[..., Any]) -> tuple[str, ...]:
    try:
        known = inspect.signature(step).parameters
    except (TypeError, ValueError) as error:
        raise InputSpecError(
            f"step: {step!r} has no signature; wrap it in a function of tokens, cache, positions"
        ) from error
    return tuple(name for name in _OPTIONAL if name in known)


def _sizes(cache: Cache) -> tuple[str, ...]:
    names = tuple(inspect.signature(cache).parameters)
    if len(names) < 2:
        raise InputSpecError("cache: expected a function of the batch and the length; write cache(batch, length)")
    return names[2:]


def _shapes(cache: Cache, sizes: Mapping[str, int]) -> tuple[list[Any], Any]:
    batch, length, *further = sizes.values()
    made = jax.eval_shape(lambda: cache(batch, length, *further))
    leaves, tree = jax.tree.flatten(made)
    return leaves, tree


def _leaves(cache: Cache) -> tuple[tuple[Leaf, ...], Any]:
    """Return the arrays of a cache, their dims named by the size with which each changes, and their tree."""
    sizes = {"batch": _BATCH, "length": _LENGTH, **{name: 5 + 2 * i for i, name in enumerate(_sizes(cache))}}
    first, tree = _shapes(cache, sizes)
    names: list[list[int | str]] = [list(leaf.shape) for leaf in first]
    for name, size in sizes.items():
        changed, _ = _shapes(cache, {**sizes, name: size + 4})
        for known, before, leaf in zip(names, first, changed, strict=True):
            for axis, dim in enumerate(leaf.shape):
                if dim == before.shape[axis]:
                    continue
                if dim != size + 4 or before.shape[axis] != size:
                    raise InputSpecError(
                        f"cache: a dim of {tuple(leaf.shape)} depends on {name} and is not {name} itself; "
                        "give the array an axis of its own for that"
                    )
                known[axis] = name
    paths = [
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_flatten_with_path(jax.tree.unflatten(tree, first))[0]
    ]
    return tuple(Leaf(*one) for one in zip(paths, map(tuple, names), [leaf.dtype for leaf in first], strict=True)), tree


@dataclass(frozen=True, slots=True)
class _Probe:
    """Traces a step at small sizes, to see what it returns."""

    step: Callable[..., Any]
    takes: tuple[str, ...]
    cache: Cache

    def results(self, leaves: Sequence[Leaf], tree: Any) -> tuple[Any, bool]:
        """Return the logits and whether the cache grows."""
        logits, shapes = self._returned(tree, leaves, grows=False)
        given = [self._shape(leaf, _LENGTH) for leaf in leaves]
        grown = [self._shape(leaf, _LENGTH + _TOKENS) for leaf in leaves]
        if shapes == given:
            return logits, False
        if shapes == grown:
            return self._returned(tree, leaves, grows=True)[0], True
        for leaf, was, new in zip(leaves, given, shapes, strict=True):
            if new not in (was, self._shape(leaf, _LENGTH + _TOKENS)):
                raise InputSpecError(f"step: it gets cache{leaf.path} of {was} and returns {new}; {_CACHE}")
        raise InputSpecError("step: some arrays of the cache grow, and others do not; all have to do the same")

    def _shape(self, leaf: Leaf, length: int) -> tuple[int, ...]:
        known = self._known(length)
        return tuple(known[dim] if isinstance(dim, str) else dim for dim in leaf.shape)

    def _known(self, length: int) -> dict[str, int]:
        further = {name: 5 + 2 * i for i, name in enumerate(_sizes(self.cache))}
        return {"batch": _BATCH, "length": length, **further}

    def _returned(self, tree: Any, leaves: Sequence[Leaf], *, grows: bool) -> tuple[Any, list[tuple[int, ...]]]:
        seen = _LENGTH + _TOKENS if grows else _LENGTH
        arrays = [jax.ShapeDtypeStruct(self._shape(leaf, _LENGTH), leaf.dtype) for leaf in leaves]
        tokens = jax.ShapeDtypeStruct((_BATCH, _TOKENS), jnp.int32)
        given = {
            "mask": jax.ShapeDtypeStruct((_BATCH, _TOKENS, seen), jnp.bool_),
            "valid": jax.ShapeDtypeStruct((_BATCH, _TOKENS), jnp.bool_),
            "index": jax.ShapeDtypeStruct((), jnp.int32),
        }
        named = {name: given[name] for name in self.takes}
        try:
            result = jax.eval_shape(self.step, tokens, jax.tree.unflatten(tree, arrays), tokens, **named)
        except (TypeError, ValueError) as error:
            if not grows and "mask" in self.takes:
                return self._returned(tree, leaves, grows=True)
            raise InputSpecError(
                f"step: called with tokens and positions of {tokens.shape} and a cache of length {_LENGTH}, "
                f"it raises {type(error).__name__}: {error}; call it with such arrays"
            ) from error
        if not isinstance(result, tuple) or len(result) != 2:
            raise InputSpecError("step: expected a function that returns logits and the new cache; return a pair")
        logits, new = result
        if jax.tree.structure(new) != tree:
            raise InputSpecError(
                f"step: it returns a cache of {jax.tree.structure(new)} where it gets {tree}; {_CACHE}"
            )
        return logits, [tuple(leaf.shape) for leaf in jax.tree.leaves(new)]
