"""Random bits: the hashes behind random keys, and the generator behind ``rbg`` keys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx._compat import bit_hashes
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jax

    from jax2onnx.registry import BoundLowerings

_U32 = np.dtype(np.uint32)


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.via_jax(
        {**bit_hashes(), "iota_2x32_shape": iota_2x32_shape, "rng_bit_generator": rng_bit_generator},
    )


def iota_2x32_shape(*, shape: Sequence[Any]) -> tuple[jax.Array, jax.Array]:
    """Count the elements of a shape, in 64 bits as two uint32 arrays, high and low."""
    low = lax.reshape(lax.iota(_U32, _size("iota_2x32_shape", shape)), tuple(shape))
    return jnp.zeros_like(low), low


def _size(primitive: str, shape: Sequence[Any]) -> Any:
    size = math.prod(shape)
    if isinstance(size, int) and size >= 1 << 32:
        what = f"{primitive}: an array of 2**32 elements or more"
        raise UnsupportedCaseError(what, remedy="draw fewer random numbers at once")
    return size


def rng_bit_generator(
    state: jax.Array, *, shape: Sequence[Any], dtype: Any, algorithm: int
) -> tuple[jax.Array, jax.Array]:
    """Say ``rng_bit_generator`` in JAX; on a CPU, XLA's default algorithm is Philox with a 128-bit counter.

    The state's low 64 bits are the key and the counter's high half, the others the counter's low half.
    """
    if int(algorithm) == int(lax.RandomAlgorithm.RNG_THREE_FRY):
        what = "rng_bit_generator: the algorithm RNG_THREE_FRY"
        raise UnsupportedCaseError(what, remedy="use RNG_PHILOX, or jax.random with a threefry2x32 key")
    size = _size("rng_bit_generator", shape)
    bits = np.dtype(dtype).itemsize * 8
    per_block = 2 if bits == 64 else 4
    blocks = (size + per_block - 1) // per_block
    words = state if state.dtype == _U32 else _halves(state)
    count = lax.iota(_U32, blocks)
    low, high = _add(words[2], words[3], count)
    carried = (high < words[3]) | ((high == words[3]) & (low < words[2]))
    top = _add(words[0], words[1], carried.astype(_U32))
    block = jnp.stack(_philox((low, high, *top), words[:2]), -1)
    if bits == 64:
        pairs = block.reshape((-1, 2)).astype(dtype)
        values = pairs[:, 0] | (pairs[:, 1] << 32)
    else:
        values = block.reshape((-1,))
    values = lax.convert_element_type(values[:size].reshape(tuple(shape)), dtype)
    low, high = _add(words[2], words[3], jnp.asarray(blocks, _U32))
    new = jnp.stack([words[0], words[1], low, high])
    if state.dtype != _U32:
        wide = new.reshape((2, 2)).astype(state.dtype)
        new = wide[:, 0] | (wide[:, 1] << 32)
    return new, values


def _halves(state: jax.Array) -> jax.Array:
    return jnp.stack([state.astype(_U32), (state >> 32).astype(_U32)], -1).reshape((-1,))


def _add(low: jax.Array, high: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    total = low + number
    return total, high + (total < low).astype(_U32)


def _philox(counter: Sequence[jax.Array], key: jax.Array) -> Sequence[jax.Array]:
    """Put 128-bit counters through the ten rounds of Philox-4x32."""

    def one_round(_: Any, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        a, b, c, d, k, l = carry  # noqa: E741
        high_a, low_a = _product(a, 0xD2511F53)
        high_c, low_c = _product(c, 0xCD9E8D57)
        state = (high_c ^ b ^ k, low_c, high_a ^ d ^ l, low_a)
        return (*state, k + np.uint32(0x9E3779B9), l + np.uint32(0xBB67AE85))

    start = (*jnp.broadcast_arrays(*counter), key[0], key[1])
    result: tuple[Any, ...] = lax.fori_loop(0, 10, one_round, start)
    return result[:4]


def _product(x: jax.Array, factor: int) -> tuple[jax.Array, jax.Array]:
    """Multiply in 64 bits, by halves of 16 bits; return the high and the low 32 bits."""
    low, high = x & 0xFFFF, x >> 16
    factor_low, factor_high = np.uint32(factor & 0xFFFF), np.uint32(factor >> 16)
    carry = high * factor_low + (low * factor_low >> 16)
    middle = low * factor_high + (carry & 0xFFFF)
    return high * factor_high + (carry >> 16) + (middle >> 16), x * np.uint32(factor)
