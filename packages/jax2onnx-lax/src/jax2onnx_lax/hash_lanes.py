"""Hashes in lanes: the 20 rounds of threefry as products with matrices, each of which one node mixes.

A lane is a number of 64 bits. There is one for the sum of the words, some for the second word ``x1``, and one for each
word of the key, so that adding the key is linear too. With ``H = 2**32``, a round is three nodes::

    before: x0 = x0 + x1; x1 = (x1 << r | x1 >> 32 - r) ^ x0                    five nodes
    after:  u = lanes @ matrix; lanes = u >> shifts ^ u                         three nodes

A lane of ``u`` has ``x0 + x1`` in its upper half, where sums wrap, and the rotated word in its lower half. Shifted by
32 it is mixed with itself: the lower half is the new ``x1``. To rotate is linear in a word and its highest bits::

    rotated(x1, r) = x1 * 2**r - (x1 >> 32 - r) * (2**32 - 1)

Such a part of a word, ``x1 >> c``, has a lane of its own, which is made as the word is, but with the shift 32 + c.
Which parts are needed before a round is known from those that are needed after it: there are at most four. After a
round, the upper halves of the lanes of words have what the lane of the sum has, and a product subtracts that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Hash", "Layer", "Matrix", "Sums", "hash_of"]

Sums: TypeAlias = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
"""What is added to both words, at first and after every four rounds: a factor for each lane of the key."""
_Row: TypeAlias = np.ndarray[Any, Any]
"""A sum of lanes: the factor of each, as Python's integers, which are meant modulo 2**64."""

_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))
"""By how many bits rounds rotate: four rounds by these, the next four by those."""
_WIDTH = 32
_UPPER = 1 << _WIDTH
_UNMIXED = 63
"""A number below 2**63 stays as it is where it is mixed with itself, shifted by so many bits."""


Matrix: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One step: a product with a matrix, and a shift of each lane; in a round, both are mixed.

    Attributes:
        matrix: the factors, a row for each lane before, a column for each lane after.
        shifts: by how many bits lanes are shifted to the right.
        is_round: whether the lanes are what is shifted, mixed with the product.
    """

    matrix: Matrix
    shifts: Matrix
    is_round: bool = False


@dataclass(frozen=True, slots=True)
class Hash:
    """All steps of a hash.

    Attributes:
        counted: what both words of what is hashed add to the lanes before their first shift, a row for each word.
        first: the first step, which begins with the words of the key.
        steps: the others, but the last.
        last: the last product, which is both words, and anything above 32 bits.
    """

    counted: Matrix
    first: Layer
    steps: tuple[Layer, ...]
    last: Matrix


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Which lanes there are: the sum, the word and its parts, the words of the key.

    Attributes:
        cuts: by how many bits the parts of the word are shifted.
        keys: how many lanes the key has.
        is_mixed: whether the upper halves of the word and its parts hold the sum.
    """

    cuts: tuple[int, ...]
    keys: int
    is_mixed: bool

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return 2 + len(self.cuts) + self.keys

    def unit(self, lane: int) -> _Row:
        """Return a lane as a sum of lanes."""
        row = np.zeros(self.count, object)
        row[lane] = 1
        return row

    @property
    def total(self) -> _Row:
        """The first word, and anything above 32 bits."""
        return self.unit(0)

    def part(self, cut: int) -> _Row:
        """Return the second word, shifted by one of the cuts, or by none."""
        lane = self.unit(1 + (0, *self.cuts).index(cut))
        return lane - _UPPER * self.total if self.is_mixed else lane

    def added(self, factors: Sequence[int]) -> _Row:
        """Return a sum of the key's words."""
        row = np.zeros(self.count, object)
        row[self.count - self.keys :] = factors
        return row

    def kept(self) -> list[_Row]:
        """Return the words of the key."""
        return [self.unit(lane) for lane in range(self.count - self.keys, self.count)]


@functools.lru_cache(maxsize=16)
def hash_of(sums: Sums) -> Hash:
    """Return the steps of a hash."""
    keys = len(sums[0][0])
    steps = []
    lanes: _Lanes | None = None
    for step, added in enumerate(sums[:-1]):
        turns = _TURNS[step % 2]
        cuts = _cuts(turns)
        steps.append(_key_added(lanes, added, cuts[0]))
        lanes = _Lanes(cuts[0], keys, is_mixed=False)
        for turn, after in zip(turns, cuts[1:], strict=True):
            steps.append(_round(lanes, turn, after))
            lanes = _Lanes(after, keys, is_mixed=True)
    assert lanes is not None
    words = _with_key(lanes, sums[-1])
    return Hash(_counted(steps[0].shifts), steps[0], tuple(steps[1:]), _matrix(words))


def _counted(shifts: Matrix) -> Matrix:
    """Return what both words of what is hashed add to the lanes: to the sum, and to what is shifted to be the word."""
    return _matrix([lane == 0, _UPPER * bool(shift)] for lane, shift in enumerate(shifts))


def _with_key(lanes: _Lanes, added: tuple[tuple[int, ...], tuple[int, ...]]) -> list[_Row]:
    """Return both words, after the key is added to them."""
    before = [lanes.total, lanes.part(0)]
    return [row + lanes.added(factors) for row, factors in zip(before, added, strict=True)]


def _cuts(turns: Sequence[int]) -> list[tuple[int, ...]]:
    """Return which parts of the word are needed before each of some rounds; none is needed after the last one."""
    found: list[tuple[int, ...]] = [()]
    for turn in reversed(turns):
        found.insert(0, tuple(sorted({(cut - turn) % _WIDTH for cut in (0, *found[0])} - {0})))
    return found


def _key_added(lanes: _Lanes | None, added: tuple[tuple[int, ...], tuple[int, ...]], cuts: tuple[int, ...]) -> Layer:
    """Return the step that adds the key to both words, and makes the parts that the rounds after it need."""
    if lanes is None:
        words = [np.array(factors, object) for factors in added]
        kept = list(np.eye(len(added[0]), dtype=object))
    else:
        words, kept = _with_key(lanes, added), lanes.kept()
    parts = [_UPPER * words[1]] * (1 + len(cuts))
    shifts = [0, _WIDTH, *(_WIDTH + cut for cut in cuts), *[0] * len(kept)]
    return Layer(_matrix([words[0], *parts, *kept]), np.array(shifts, np.uint64))


def _round(lanes: _Lanes, turn: int, after: tuple[int, ...]) -> Layer:
    """Return the step that is one round."""
    total = lanes.total + lanes.part(0)
    parts = [_UPPER * total + _rotated(lanes, turn, cut) for cut in (0, *after)]
    kept = lanes.kept()
    shifts = [_UNMIXED, _WIDTH, *(_WIDTH + cut for cut in after), *[_UNMIXED] * len(kept)]
    return Layer(_matrix([total, *parts, *kept]), np.array(shifts, np.uint64), is_round=True)


def _rotated(lanes: _Lanes, turn: int, cut: int) -> _Row:
    """Return the word, rotated and then shifted, as a sum of lanes: its bits from the cut on are two runs of bits."""
    high = _WIDTH - turn
    upper = lanes.part(high)
    row: _Row
    if cut >= turn:
        row = lanes.part(cut - turn) - upper * 2 ** (_WIDTH - cut)
    else:
        row = (lanes.part(0) - upper * 2**high) * 2 ** (turn - cut) + lanes.part((cut - turn) % _WIDTH)
    return row


def _matrix(columns: Iterable[Any]) -> Matrix:
    """Return columns of integers as a matrix modulo 2**64."""
    exact = np.stack([np.array(column, object) for column in columns], axis=1)
    return (exact % (1 << 64)).astype(np.uint64)
