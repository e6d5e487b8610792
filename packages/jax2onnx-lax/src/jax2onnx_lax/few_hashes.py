"""Hash few numbers in few nodes: the 20 rounds of threefry on uint64, whose halves hold the words.

A node takes as long for a few numbers as for one, so a round is written in three or four nodes instead of the five
that adding, rotating and mixing words of 32 bits are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import is_static
from jax2onnx_lax.hash_lanes import Hash, Matrix, Sums, hash_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

__all__ = ["FEW", "are_few", "hash_of_few"]

_U32 = np.dtype(np.uint32)
_HALF = np.uint64(32)
_UPPER = 1 << 32
_PARITY = np.uint32(0x1BD11BDA)
_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))
"""By how many bits the rounds of a hash rotate: these four and those four by turns, and the key is added between."""
_STEPS = 5
"""How often four rounds are done."""
FEW = 64
"""Of how many numbers a hash of fewer nodes, on numbers of twice the size, is the faster one."""
_FEWEST = 3
"""Of how many numbers a hash is faster whose rounds are three nodes, of which one is a product with a larger matrix.

From four rows on, onnxruntime multiplies matrices of integers by a routine that takes twice as long to begin.
"""
_KERNELS = ("Add", "BitShift", "BitwiseXor", "MatMul", "Mul")


def are_few(ctx: LoweringContext) -> bool:
    """Return whether a hash is of few numbers, and both words of its keys and of its counters have one shape."""
    shape = ctx.avals_out[0].shape
    if not is_static(*shape) or not 0 < math.prod(shape) <= FEW:
        return False
    first, second, high, low = [aval.shape for aval in ctx.avals_in]
    is_one_shape = bool(first == second and high == low)
    return is_one_shape and all(ctx.supports(name, np.uint64) for name in _KERNELS)


def hash_of_few(ctx: LoweringContext, operands: Sequence[ir.Value]) -> list[ir.Value]:
    """Emit a hash of some numbers, with both words of each in one array."""
    shape = ctx.avals_out[0].shape
    emit = _in_lanes if math.prod(shape) <= _FEWEST else _in_pairs
    words = ctx.stamp(ctx.cast(emit(ctx, operands), _U32), (*shape, 2))
    columns = ctx.op.many("Split", words, outputs=2, axis=len(shape), num_outputs=2)
    return [ctx.reshape(ctx.stamp(column, (*shape, 1)), (*shape, 1), shape) for column in columns]


def _in_pairs(ctx: LoweringContext, operands: Sequence[ir.Value]) -> ir.Value:
    """Emit a hash such that a round is four nodes.

    ::

        before: x0 = x0 + x1; x1 = (x1 << r | x1 >> 32 - r) ^ x0                        five nodes
        after:  x = (x @ [[H, H], [H, H]] ^ x * [0, H * 2**r + 2**r]) >> 32             with H = 2**32

    The word is in the upper half of a number: sums wrap there, and a product with ``H * 2**r + 2**r`` has the word
    rotated. What is in the lower half, the shift drops. A step of the key is added before it, to both words at once.
    """
    op, shape = ctx.op, ctx.avals_out[0].shape
    halves = _for_each(shape, np.array([_HALF, _HALF]))
    added = _added(ctx, operands[:2])
    mixed = op.Add(_counters(ctx, operands[2:]), added[0])
    for step in range(_STEPS):
        for turn in _TURNS[step % 2]:
            words = op.BitShift(mixed, halves, direction="RIGHT")
            turned = op.Mul(words, _for_each(shape, np.array([0, (_UPPER + 1) << turn], np.uint64)))
            mixed = op.BitwiseXor(op.MatMul(words, np.full((2, 2), _UPPER, np.uint64)), turned)
        mixed = op.Add(mixed, added[step + 1])
    return op.BitShift(mixed, halves, direction="RIGHT")


def _for_each(shape: Sequence[int], constant: Matrix) -> Matrix:
    """Return what is one number's constant for all numbers: onnxruntime takes longer to repeat it at each node."""
    return np.broadcast_to(constant, (*shape, len(constant))).copy()


def _added(ctx: LoweringContext, key: Sequence[ir.Value]) -> Sequence[Any]:
    """Return what a key adds to the upper halves: at first, and after every four rounds."""
    matrix = (_schedule() * _UPPER).reshape((4, 12)).astype(np.uint64)
    one, two = ctx.known(0), ctx.known(1)
    if one is not None and two is not None:
        stacked = np.stack([one, two, one ^ two ^ _PARITY, np.ones_like(one)], -1)
        return np.split(stacked.astype(np.uint64) @ matrix, 6, axis=-1)
    return ctx.op.many("Split", ctx.op.MatMul(_key(ctx, key), matrix), outputs=6, axis=-1, num_outputs=6)


def _key(ctx: LoweringContext, key: Sequence[ir.Value]) -> ir.Value:
    """Return both words of a key, their mixture and a one, as uint64."""
    shape = ctx.avals_in[0].shape
    words = [_column(ctx, word, shape) for word in key]
    mixture = ctx.op.BitwiseXor(ctx.op.BitwiseXor(*words), _PARITY)
    return ctx.cast(ctx.op.Concat(*words, mixture, np.ones((*shape, 1), _U32), axis=-1), np.uint64)


def _counters(ctx: LoweringContext, words: Sequence[ir.Value]) -> Any:
    """Return the numbers that are hashed, in the upper halves of both words."""
    high, low = ctx.known(2), ctx.known(3)
    if high is not None and low is not None:
        return np.stack([high, low], -1).astype(np.uint64) << _HALF
    columns = [_column(ctx, word, ctx.avals_in[2].shape) for word in words]
    return ctx.op.BitShift(ctx.cast(ctx.op.Concat(*columns, axis=-1), np.uint64), _HALF, direction="LEFT")


def _column(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
    return ctx.reshape(x, shape, (*shape, 1))


def _schedule() -> Any:
    """Return of what the sums are that are added to both words, six times: of the key's words, mixture and a one."""
    sums = np.zeros((4, _STEPS + 1, 2), object)
    for step in range(_STEPS + 1):
        sums[step % 3, step, 0] = 1
        sums[(step + 1) % 3, step, 1] = 1
        sums[3, step, 1] = step
    return sums


def _in_lanes(ctx: LoweringContext, operands: Sequence[ir.Value]) -> ir.Value:
    """Emit a hash such that a round is three nodes, of which one is a product with a larger matrix."""
    op, shape = ctx.op, ctx.avals_out[0].shape
    key, sums = _lanes_of_key(ctx, operands[:2])
    plan = hash_of(sums)
    shifts = _for_each(shape, plan.first.shifts)
    lanes = op.BitShift(_start(ctx, operands[2:], key, plan), shifts, direction="RIGHT")
    for step in plan.steps:
        product = op.MatMul(lanes, step.matrix)
        shifted = op.BitShift(product, _for_each(shape, step.shifts), direction="RIGHT")
        lanes = op.BitwiseXor(shifted, product) if step.is_round else shifted
    return op.MatMul(lanes, plan.last)


def _lanes_of_key(ctx: LoweringContext, key: Sequence[ir.Value]) -> tuple[Any, Sums]:
    """Return the words of a key, and what is added of them; of one key that is known, a one, and numbers."""
    one, two = ctx.known(0), ctx.known(1)
    schedule = _schedule()
    if one is None or two is None:
        return _key(ctx, key), _sums(schedule)
    words = np.stack([one, two, one ^ two ^ _PARITY, np.ones_like(one)], -1).astype(np.uint64)
    if one.size > 1:
        return words, _sums(schedule)
    numbers = np.tensordot(words.reshape(1, 4).astype(object), schedule, 1)
    return np.ones((*one.shape, 1), np.uint64), _sums(numbers)


def _sums(schedule: Any) -> Sums:
    """Return a schedule as :func:`~jax2onnx_lax.hash_lanes.hash_of` takes it."""
    return tuple((tuple(step[0]), tuple(step[1])) for step in np.moveaxis(schedule, 0, -1).tolist())


def _start(ctx: LoweringContext, words: Sequence[ir.Value], key: Any, plan: Hash) -> Any:
    """Return the lanes before they are shifted first: what is hashed, and the key added to it."""
    op, shape = ctx.op, ctx.avals_in[2].shape
    known = [ctx.known(operand) for operand in (2, 3)]
    constant = np.zeros((*shape, plan.counted.shape[-1]), np.uint64)
    for word, row in zip(known, plan.counted, strict=True):
        if word is not None:
            constant += word[..., None].astype(np.uint64) * row
    lanes = _with_constant(ctx, key, plan.first.matrix, constant)
    given = [operand for operand in (0, 1) if known[operand] is None]
    if given:
        columns = [_column(ctx, words[operand], shape) for operand in given]
        joined = op.Concat(*columns, axis=-1) if len(columns) > 1 else columns[0]
        lanes = op.Add(op.MatMul(ctx.cast(joined, np.uint64), plan.counted[given]), lanes)
    return lanes


def _with_constant(ctx: LoweringContext, key: Any, matrix: Matrix, constant: Matrix) -> Any:
    """Return the lanes of a key, plus a constant; one that is the same for all numbers is added to the last lane."""
    if isinstance(key, np.ndarray):
        return key @ matrix + constant
    rows = constant.reshape(-1, constant.shape[-1])
    if ctx.avals_in[0].shape == ctx.avals_out[0].shape and np.all(rows == rows[0]):
        # The last lane of a key is one.
        added = matrix.copy()
        added[-1] += rows[0]
        return ctx.op.MatMul(key, added)
    return ctx.op.Add(ctx.op.MatMul(key, matrix), constant)
