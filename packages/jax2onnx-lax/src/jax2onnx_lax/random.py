"""Draw random bits in JAX: the hashes behind random keys, and the generator behind ``rbg`` keys."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import threefry2x32_p

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.plugin import Facts, bit_hashes, is_static
from jax2onnx_lax import folding
from jax2onnx_lax.few_hashes import FEW, are_few, hash_of_few
from jax2onnx_lax.shape import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import jax
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, Eqn, LoweringContext

_U32 = np.dtype(np.uint32)
_MOST_HASHED = 2**16
"""Of how many numbers hashes are computed at once; of many, joining and cutting them takes its time, too."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    counted = Facts(fold=folding.counted)
    registry.facts({"threefry2x32": Facts(together=hashed_together), "iota_2x32_shape": counted})
    others = {name: function for name, function in bit_hashes().items() if name != "threefry2x32"}
    registry.via_jax({**others, "iota_2x32_shape": iota_2x32_shape, "rng_bit_generator": rng_bit_generator})
    registry.add("threefry2x32", threefry2x32)


def hashed_together(eqns: Sequence[Eqn]) -> Callable[..., list[jax.Array]] | None:
    """Return the function that computes some hashes at once: one takes more than a hundred nodes."""
    shapes = [eqn.outputs[0].aval.shape for eqn in eqns]
    if not all(is_static(*shape) for shape in shapes) or sum(map(math.prod, shapes)) > _MOST_HASHED:
        return None
    sizes = list(map(math.prod, shapes))
    return functools.partial(_hashed_in_pairs if sum(sizes) <= FEW else _hashed, shapes, sizes)


def _hashed(shapes: Sequence[tuple[int, ...]], sizes: Sequence[int], *operands: jax.Array) -> list[jax.Array]:
    """Return both words of some hashes, one after the other."""
    words = threefry2x32_p.bind(*[_lanes(operands[position::4], shapes, sizes) for position in range(4)])
    parts = [lax.split(word, sizes) for word in words]
    return [part.reshape(shape) for shape, *pair in zip(shapes, *parts, strict=True) for part in pair]


def _hashed_in_pairs(shapes: Sequence[tuple[int, ...]], sizes: Sequence[int], *operands: jax.Array) -> list[jax.Array]:
    """Return both words of some hashes, which are joined and cut in pairs.

    A pair is what a key is: where keys become keys, or bits, nothing takes their words apart.
    """
    counters = [_lanes(operands[position::4], shapes, sizes) for position in (2, 3)]
    words = threefry2x32_p.bind(*_words(_keys(operands[::4], operands[1::4], shapes)), *counters)
    pairs = lax.split(jnp.stack(words, -1), sizes)
    return [word for pair, shape in zip(pairs, shapes, strict=True) for word in _words(pair.reshape((*shape, 2)))]


def _lanes(parts: Sequence[jax.Array], shapes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> jax.Array:
    """Return one operand of some hashes as one array."""
    if all(part.size == 1 for part in parts):
        numbers = lax.concatenate([lax.reshape(part, (1,)) for part in parts], 0)
        return jnp.take(numbers, np.repeat(np.arange(len(parts)), sizes), mode="clip")
    wide = [jnp.broadcast_to(part, shape) for part, shape in zip(parts, shapes, strict=True)]
    return lax.concatenate([lax.reshape(part, (size,)) for part, size in zip(wide, sizes, strict=True)], 0)


def _keys(firsts: Sequence[jax.Array], seconds: Sequence[jax.Array], shapes: Sequence[tuple[int, ...]]) -> jax.Array:
    """Return the keys of some hashes, a row for each number that is hashed."""
    rows, places = [], []
    count = 0
    for first, second, shape in zip(firsts, seconds, shapes, strict=True):
        pair = jnp.stack(jnp.broadcast_arrays(first, second), -1)
        places.append(np.broadcast_to(np.arange(count, count + pair.size // 2).reshape(pair.shape[:-1]), shape).ravel())
        rows.append(pair.reshape((-1, 2)))
        count += len(rows[-1])
    joined = lax.concatenate(rows, 0)
    wanted = np.concatenate(places)
    return joined if np.array_equal(wanted, np.arange(count)) else jnp.take(joined, wanted, axis=0, mode="clip")


def _words(pairs: jax.Array) -> list[jax.Array]:
    """Return both words of some pairs."""
    return [lax.squeeze(word, (-1,)) for word in lax.split(pairs, (1, 1), axis=pairs.ndim - 1)]


def threefry2x32(ctx: LoweringContext, *operands: ir.Value) -> Sequence[ir.Value]:
    """Emit a hash: of few numbers in few nodes, if the runtime has kernels of uint64 for them."""
    if are_few(ctx):
        return hash_of_few(ctx, operands)
    results: Sequence[ir.Value] = ctx.via_jax(bit_hashes()["threefry2x32"], *operands)
    return results


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
    """Return new state and bits; on a CPU, XLA's default algorithm is Philox."""
    words = state if state.dtype == _U32 else _halves(state)
    threefry = int(algorithm) == int(lax.RandomAlgorithm.RNG_THREE_FRY)
    generate = _threefry_bits if threefry else _philox_bits
    new, values = generate(words, tuple(shape), np.dtype(dtype).itemsize * 8)
    if state.dtype != _U32:
        wide = new.reshape((2, 2)).astype(state.dtype)
        new = wide[:, 0] | (wide[:, 1] << 32)
    return new, lax.convert_element_type(values, dtype)


def _philox_bits(words: jax.Array, shape: tuple[Any, ...], width: int) -> tuple[jax.Array, jax.Array]:
    """Return new state and bits; the low 64 bits of the state are the key and the counter's high half."""
    size = _size("rng_bit_generator", shape)
    per_block = 2 if width == 64 else 4
    blocks = (size + per_block - 1) // per_block
    count = lax.iota(_U32, blocks)
    low, high = _add(words[2], words[3], count)
    carried = (high < words[3]) | ((high == words[3]) & (low < words[2]))
    top = _add(words[0], words[1], carried.astype(_U32))
    block = jnp.stack(_philox((low, high, *top), words[:2]), -1)
    values = _joined(block.reshape((-1, 2))) if width == 64 else block.reshape((-1,))
    low, high = _add(words[2], words[3], jnp.asarray(blocks, _U32))
    return jnp.stack([words[0], words[1], low, high]), values[:size].reshape(shape)


def _threefry_bits(words: jax.Array, shape: tuple[Any, ...], width: int) -> tuple[jax.Array, jax.Array]:
    """Return new state and bits; the low 64 bits of the state are the key, the others the counter.

    A hash has 64 bits. For narrower numbers, its halves lie next to each other along the first even dimension, or
    along the first of the largest if all are odd.
    """
    if not is_static(*shape):
        what = "rng_bit_generator: a symbolic shape with the algorithm RNG_THREE_FRY"
        raise UnsupportedCaseError(what, remedy="use RNG_PHILOX, or give the shape in numbers")
    dims = shape or (1,)
    split = next((i for i, d in enumerate(dims) if d % 2 == 0), int(np.argmax(dims)))
    half = dims if width == 64 else replaced(dims, split, (dims[split] + 1) // 2)
    count = _size("rng_bit_generator", half)
    low, high = _add(words[2], words[3], lax.iota(_U32, count))
    pair = [x.reshape(half) for x in bit_hashes()["threefry2x32"](words[0], words[1], low, high)]
    if width == 64:
        values = _joined(jnp.stack(pair, -1))
    else:
        values = jnp.stack(pair, split + 1).reshape(replaced(dims, split, 2 * half[split]))
        values = lax.slice_in_dim(values, 0, dims[split], axis=split)
    low, high = _add(words[2], words[3], jnp.asarray(count, _U32))
    return jnp.stack([words[0], words[1], low, high]), values.reshape(shape)


def _joined(pairs: jax.Array) -> jax.Array:
    wide = pairs.astype(np.uint64)
    return wide[..., 0] | (wide[..., 1] << 32)


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
