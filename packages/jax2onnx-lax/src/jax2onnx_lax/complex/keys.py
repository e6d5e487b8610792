"""Define the primitives of random keys as functions of the words of the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from jax2onnx.plugin import key_implementation, sample_gamma

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = jax.Array


def _over(axes: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function over leading axes."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def _seed(eqn: Any) -> Callable[..., Any]:
    return _over(len(eqn.invars[0].aval.shape), eqn.params["impl"].seed)


def _split(eqn: Any) -> Callable[..., Any]:
    keys = eqn.invars[0].aval
    split = key_implementation(keys.dtype).split
    return _over(len(keys.shape), lambda key: split(key, eqn.params["shape"]))


def _fold_in(eqn: Any) -> Callable[..., Any]:
    keys, data = (v.aval for v in eqn.invars)
    shape = eqn.outvars[0].aval.shape
    fold_in = key_implementation(keys.dtype).fold_in

    def function(words: Array, number: Array) -> Any:
        words = jax.numpy.broadcast_to(words, (*shape, *words.shape[len(keys.shape) :]))
        return _over(len(shape), fold_in)(words, jax.numpy.broadcast_to(number, shape))

    return fold_in if not keys.shape and not data.shape else function


def _bits(eqn: Any) -> Callable[..., Any]:
    keys = eqn.invars[0].aval
    bits = key_implementation(keys.dtype).random_bits
    return _over(len(keys.shape), lambda key: bits(key, eqn.params["bit_width"], eqn.params["shape"]))


def _gamma(eqn: Any) -> Callable[..., Any]:
    impl = key_implementation(eqn.invars[0].aval.dtype)

    def function(words: Array, shape: Array) -> Any:
        return sample_gamma(jax.random.wrap_key_data(words, impl=impl.name), shape, **eqn.params)

    return function


def _same(_eqn: Any) -> Callable[..., Any]:
    return lambda words: words


KEYS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "random_bits": _bits,
    "random_fold_in": _fold_in,
    "random_gamma": _gamma,
    "random_seed": _seed,
    "random_split": _split,
    "random_unwrap": _same,
    "random_wrap": _same,
}
"""Primitive name -> what makes, from an equation, the function of words that does its work."""
