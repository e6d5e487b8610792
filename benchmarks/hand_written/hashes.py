"""Threefry's hashes and what is drawn by them, written by hand.

A row is of one hash. Rounds are three nodes, as jax2onnx_lax/hash_lanes.py has them, but what a key adds stands beside
the lanes, which are then few, and constants have the shape of all rows: onnxruntime needs longer to repeat them.
"""

from __future__ import annotations

import functools
import itertools
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx_lax.hash_lanes import hash_of

if TYPE_CHECKING:
    from .graph import Array, Graph

_STEPS = 6
_FEW = 36
"""Of how many rows a hash on numbers of twice the size is the faster one."""
_PARITY = np.array([[0, 0, 0x1BD11BDA, 1]], np.uint64)
_HALF = 1 << 32
_PAIRED = np.array([[1, 0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 1, 0]], np.uint64)
"""What makes of two words what a key is mixed of: (a, b, a, 0) and (0, 0, b, 0)."""


def counts_of(*numbers: int) -> Array:
    """Return what is hashed for so many numbers of each key."""
    lows = np.concatenate([np.arange(number) for number in numbers])
    return np.stack([np.zeros_like(lows), lows], axis=1)


def key_of(g: Graph, words: str) -> str:
    """Return a key of two words as a row of what it is mixed of."""
    return g.MatMul(g.Cast(g.Reshape(words, [1, 2]), to=13), _PAIRED)


def hashed(g: Graph, key: str, counts: Array, rows: Array | None = None, *, to: Array = _PAIRED) -> Any:
    """Return hashes of pairs of counts, by one key, or each by that of a row; ``to`` is what is made of both words.

    The words have anything above 32 bits.
    """
    if len(counts) > _FEW:
        words = _many(g, key, counts, np.zeros(len(counts), int) if rows is None else rows)
        return g.MatMul(g.Cast(g.Concat(*words, axis=1), to=13), to)
    plan = hash_of((((), ()),) * _STEPS)
    key_steps = [plan.first, *(step for step in plan.steps if not step.is_round)]
    matrices = [*(step.matrix.shape[1] for step in key_steps), to.shape[1]]
    factors = _factors([*(step.shifts for step in key_steps), None], to)
    mixed = g.BitwiseXor(g.BitwiseXor(*g.Split(key, count=2, axis=1, num_outputs=2)), _PARITY)
    if rows is not None:
        mixed = g.Gather(mixed, rows)
    added = g.Split(g.MatMul(mixed, factors), np.array(matrices), count=_STEPS, axis=1)
    count = len(counts)
    lanes = _shifted(g, g.Add(added[0], counts.astype(np.uint64) @ plan.counted), plan.first.shifts, count)
    later = iter(added[1:])
    for step in plan.steps:
        product = g.MatMul(lanes, step.matrix)
        if step.is_round:
            lanes = g.BitwiseXor(_shifted(g, product, step.shifts, count), product)
        else:
            lanes = _shifted(g, g.Add(product, next(later)), step.shifts, count)
    return g.Add(g.MatMul(lanes, plan.last @ to), next(later))


def _many(g: Graph, key: str, counts: Array, rows: Array) -> list[str]:
    """Return both words of hashes, as columns of uint32: of many rows, five nodes for a round take less time."""
    mixed = g.BitwiseXor(g.BitwiseXor(*g.Split(key, count=2, axis=1, num_outputs=2)), _PARITY)
    keys = g.Split(g.Gather(g.Cast(mixed, to=12), rows), np.array([1, 1, 1, 1]), count=4, axis=1)
    words = [g.Add(part, one) for part, one in zip(keys, np.split(counts.astype(np.uint32), 2, axis=1), strict=False)]
    for step in range(1, _STEPS):
        for turn in ((17, 29, 16, 24), (13, 15, 26, 6))[step % 2]:
            first = g.Add(*words)
            ahead, back = (np.full((len(counts), 1), bits, np.uint32) for bits in (turn, 32 - turn))
            left = g.BitShift(words[1], ahead, direction="LEFT")
            turned = g.BitwiseOr(left, g.BitShift(words[1], back, direction="RIGHT"))
            words = [first, g.BitwiseXor(turned, first)]
        second = g.Add(keys[(step + 1) % 3], np.full((len(counts), 1), step, np.uint32))
        words = [g.Add(words[0], keys[step % 3]), g.Add(words[1], second)]
    return words


def _shifted(g: Graph, x: str, shifts: Array, count: int) -> str:
    return g.BitShift(x, np.repeat(shifts[None], count, axis=0), direction="RIGHT")


def _factors(shifts: list[Any], to: Array) -> Array:
    """Return what a key and a one add to the lanes, before rounds and between, and at last to both words."""
    columns = []
    for step, lane_shifts in enumerate(shifts):
        words = np.zeros((4, 2), np.uint64)
        words[step % 3, 0] = words[(step + 1) % 3, 1] = 1
        words[3, 1] = step
        if lane_shifts is None:
            columns.append(words @ to)
        else:
            parts = np.zeros((2, len(lane_shifts)), np.uint64)
            parts[0, 0], parts[1, 1:] = 1, _HALF
            columns.append(words @ parts)
    return np.concatenate(columns, axis=1)


def uniform(g: Graph, key: str, counts: Array, rows: Array | None = None) -> str:
    """Return numbers of 23 bits as float32, one a row, which are not yet scaled to less than one."""
    upper = np.array([[_HALF, 0], [0, _HALF]], np.uint64)
    words = g.Split(hashed(g, key, counts, rows, to=upper), count=2, axis=1, num_outputs=2)
    return g.Cast(g.BitShift(g.BitwiseXor(*words), np.full((len(counts), 1), 41, np.uint64), direction="RIGHT"), to=1)


def uniform_of(g: Graph, key: str, paths: list[tuple[int, ...]]) -> str:
    """Return numbers of 23 bits, one a row; a path has what is hashed on the way from the key to its number.

    Hashes of one depth are done at once.
    """
    longest = max(map(len, paths))
    depths = [sorted({path[:depth] for path in paths if len(path) >= depth}) for depth in range(longest + 1)]
    found = []
    for before, here in itertools.pairwise(depths):
        rows = np.array([before.index(path[:-1]) for path in here])
        counts = np.array([[0, path[-1]] for path in here])
        key = hashed(g, key, counts, None if len(before) == len(here) == 1 else rows)
        found.append(key)
    places = {path: place for place, path in enumerate(itertools.chain(*depths[1:]))}
    rows = g.Gather(g.Concat(*found, axis=0), np.array([places[path] for path in paths]))
    mixed = g.Gather(g.BitwiseXor(*g.Split(rows, count=2, axis=1, num_outputs=2)), np.array([2]), axis=1)
    upper = g.BitShift(mixed, np.full((len(paths), 1), 32, np.uint64), direction="LEFT")
    return g.Cast(g.BitShift(upper, np.full((len(paths), 1), 41, np.uint64), direction="RIGHT"), to=1)


def scaled(g: Graph, bits: str, *, factor: float = 2.0**-23, added: float = 0.0) -> str:
    """Return a column of numbers times a factor, and something added.

    A constant has as many dims: where it has less, onnxruntime adds it to each row by itself.
    """
    product = g.Mul(bits, np.full((1, 1), factor))
    return g.Add(product, np.full((1, 1), added)) if added else product


def normal(g: Graph, bits: str, *, are_many: bool = False) -> str:
    """Return what ``jax.random.normal`` makes of bits: one polynomial is exact to 1e-6, where JAX has two."""
    x = scaled(g, bits, factor=2.0**-22, added=np.nextafter(np.float32(-1), np.float32(0)))
    logs = g.Add(g.Log(g.Sub(np.ones((1, 1)), g.Mul(x, x))), np.full((1, 1), 8.0))
    coefficients = _inverse_error_function()
    if not are_many:
        powers = g.Pow(logs, np.arange(len(coefficients), dtype=np.float32)[None])
        return g.Mul(g.Gemm(powers, coefficients[:, None]), x)
    value: Any = coefficients[-1].reshape(1, 1)
    for coefficient in coefficients[-2::-1]:
        value = g.Add(g.Mul(value, logs), coefficient.reshape(1, 1))
    return g.Mul(value, x)


@functools.cache
def _inverse_error_function() -> Array:
    """Return a polynomial in ``8 + log(1 - x**2)``: ``x`` times that is ``sqrt(2)`` times this function of ``x``."""
    points = np.cos(np.linspace(0, np.pi, 400)) * 8
    x = np.sqrt(-np.expm1(np.minimum(points - 8, -1e-9)))
    # The normal quantile of (1 + x) / 2, from its other side, where there are more digits.
    below = np.exp(np.minimum(points - 8, -1e-9)) / (1 + x) / 2
    ratio = -np.array([statistics.NormalDist().inv_cdf(part) for part in below]) / x
    fitted = np.polynomial.Chebyshev.fit(points, ratio, 14, domain=[-8, 8])
    return fitted.convert(kind=np.polynomial.Polynomial).coef
