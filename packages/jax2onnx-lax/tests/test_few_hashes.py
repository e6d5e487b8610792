"""Hashes of few numbers are JAX's to the last bit: of keys and counters that are given or known, alone or many."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

from jax2onnx import to_onnx
from jax2onnx.testing import Runner
from jax2onnx_lax.few_hashes import FEW

if TYPE_CHECKING:
    import onnx

WORDS = np.array([0, 1, 5, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
"""Words whose sums carry, wrap, or have no bit set."""


def _pairs(count: int, seed: int) -> tuple[Any, Any]:
    """Return pairs of words: all of the special ones as often as others."""
    rng = np.random.default_rng(seed)
    special = np.array(list(itertools.product(WORDS, WORDS)), np.uint32)
    drawn = rng.integers(0, 2**32, (max(count, len(special)), 2), np.uint32)
    both = np.concatenate([special, drawn])
    one, two = rng.permutation(both)[:count].T
    return one, two


def _hash(*operands: Any) -> Any:
    return threefry2x32_p.bind(*operands)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, FEW, FEW + 1])
def test_given(count: int) -> None:
    model = Runner(to_onnx(_hash, [jax.ShapeDtypeStruct((count,), np.uint32)] * 4))
    for seed in range(3 + 60 // count):
        given = [*_pairs(count, seed), *_pairs(count, seed + 1000)]
        for expected, actual in zip(_hash(*given), model.run(given), strict=True):
            np.testing.assert_array_equal(actual, expected, strict=True)


@pytest.mark.parametrize("known", [(), (0, 1), (2, 3), (2,), (3,), (0, 2), (0, 1, 2), (0, 1, 3)])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 3), (7,)])
def test_known(shape: tuple[int, ...], known: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    words = [word.reshape(shape) for seed in (1, 2) for word in _pairs(count, seed)]
    given = [word for place, word in enumerate(words) if place not in known]

    def function(*operands: Any) -> Any:
        rest = iter(operands)
        return _hash(*[words[place] if place in known else next(rest) for place in range(4)])

    actual = Runner(to_onnx(function, given)).run(given)
    for expected, result in zip(function(*given), actual, strict=True):
        np.testing.assert_array_equal(result, expected, strict=True)


@pytest.mark.parametrize("known_key", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_one_key(count: int, *, known_key: bool) -> None:
    key = np.array([2**32 - 1, 7], np.uint32)
    function = (lambda: jax.random.split(key, count)) if known_key else (lambda k: jax.random.split(k, count))
    given = [] if known_key else [key]
    (actual,) = Runner(to_onnx(function, given)).run(given)
    np.testing.assert_array_equal(actual, jax.random.split(key, count))


def _split(numbers: int) -> onnx.GraphProto:
    return to_onnx(lambda key: jax.random.split(key, numbers), [np.array([3, 7], np.uint32)]).graph


def test_nodes() -> None:
    """Of three numbers a round is three nodes; of more, four."""
    assert len(_split(3).node) < 20 * 3 + 20
    assert 20 * 4 < len(_split(4).node) < 20 * 4 + 20


@pytest.mark.parametrize("numbers", [2, 3, 4, 9])
def test_constants_are_not_repeated_by_nodes(numbers: int) -> None:
    """What the nodes of a round shift and multiply by has a row for each number."""
    graph = _split(numbers)
    shapes = {constant.name: tuple(constant.dims) for constant in graph.initializer}
    read = [shapes[node.input[1]] for node in graph.node if node.op_type in {"BitShift", "Mul"}]
    assert len(read) >= 20
    assert {shape[0] for shape in read} == {numbers}
