"""Basic slices over dynamic sizes, with flips, strides, numbers and new axes, take hardly any nodes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators

S = np.s_
MATRIX, IMAGE = ("N", "M"), ("B", "H", "W", 3)
MATRICES, IMAGES = ((4, 7), (1, 1), (2, 0), (3, 5)), ((2, 5, 4, 3), (1, 1, 1, 3), (0, 3, 2, 3))
# name -> index, shape, sizes, and how many nodes it takes
CASES: dict[str, tuple[Any, Any, Any, int]] = {
    "flip and stride": (S[::-1, ::2], MATRIX, MATRICES, 2),
    "flips": (S[::-1, ::-1], MATRIX, MATRICES, 2),
    "strides": (S[::2, ::3], MATRIX, MATRICES, 2),
    "strides backwards": (S[::-2, ::-3], MATRIX, MATRICES, 2),
    "offsets": (S[1::2, ::-1], MATRIX, MATRICES, 2),
    "one axis": (S[::-1], MATRIX, MATRICES, 1),
    "a static axis": (S[::-1, ::2], ("N", 6), ((4, 6), (0, 6)), 2),
    "a slice beside": (S[::-1, 2:], ("N", 6), ((4, 6), (0, 6)), 2),
    "a number before": (S[0, ::-1], MATRIX, MATRICES, 2),
    "a number behind": (S[::-1, -1], ("N", 6), ((4, 6), (0, 6)), 2),
    "a new axis": (S[None, ::-1, None, ::2], MATRIX, MATRICES, 4),
    "dots": (S[..., ::2, ::-1, :], IMAGE, IMAGES, 2),
    "dots before": (S[::-1, ..., ::2, 0], IMAGE, IMAGES, 3),
    "subsampled": (S[:, ::2, ::2], IMAGE, IMAGES, 2),
    "last": (S[-1], MATRIX, MATRICES, 2),
    "last column": (S[:, -1], MATRIX, ((4, 7), (1, 1), (0, 5)), 2),
    "last but one": (S[-2], ("N + 1", "M"), MATRICES[:1], 2),
    "ends": (S[-3:, -2:], MATRIX, MATRICES, 8),
    "without the last": (S[:-1], MATRIX, MATRICES, 1),
    "without the edges": (S[:, 2:-2], ("N", "M + 4"), ((3, 7), (1, 5)), 1),
    "the last, a new axis, a flip": (S[-1, None, ::-1], MATRIX, MATRICES, 4),
    "a number and the last": (S[0, ..., -1], IMAGE, IMAGES[:2], 3),
    "last rows in dots": (S[..., -1:, :], IMAGE, IMAGES, 1),
    "offset image": (S[:, 1::2, ::2], IMAGE, IMAGES, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_slices_of_several_axes(name: str) -> None:
    index, spec, shapes, nodes = CASES[name]
    model = to_onnx(lambda x: x[index], [spec])
    assert operators(model).total() <= nodes
    runner = Runner(model)
    for shape in shapes:
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        (got,) = runner.run([x])
        np.testing.assert_array_equal(got, jnp.asarray(x)[index])


def test_other_indices_are_gathered_as_before() -> None:
    def function(x: Any, i: Any) -> Any:
        return x[i, ::-1], x[jnp.asarray([0, 2]), ::2], x[::-1, i]

    model = to_onnx(function, [MATRIX, "int32[]"])
    x, i = np.arange(12, dtype=np.float32).reshape(3, 4), np.asarray(1, np.int32)
    for got, want in zip(Runner(model).run([x, i]), function(jnp.asarray(x), i), strict=True):
        np.testing.assert_array_equal(got, want)
