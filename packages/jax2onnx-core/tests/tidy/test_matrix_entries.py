"""Matrix entries: what is computed entry by entry is computed at once, whichever way entries are taken and joined."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

SPECIAL = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 0.5, -3.0, 1e30, -1e-30, 2.5], np.float32)


def _product(a, b):
    """Multiply matrices as simulations do whose matrices are small."""
    rows = [[sum(a[i, k] * b[k, j] for k in range(3)) for j in range(3)] for i in range(3)]
    return jnp.array(rows)


def _rotation(q):
    """Return the matrix of a quaternion."""
    p = jnp.outer(q, q)
    return jnp.array(
        [
            [p[0, 0] + p[1, 1] - p[2, 2] - p[3, 3], 2 * (p[1, 2] - p[0, 3]), 2 * (p[1, 3] + p[0, 2])],
            [2 * (p[1, 2] + p[0, 3]), p[0, 0] - p[1, 1] + p[2, 2] - p[3, 3], 2 * (p[2, 3] - p[0, 1])],
            [2 * (p[1, 3] - p[0, 2]), 2 * (p[2, 3] + p[0, 1]), p[0, 0] - p[1, 1] - p[2, 2] + p[3, 3]],
        ]
    )


def _stacked(a):
    """Join rows along an axis that has others after it."""
    return jnp.stack([jnp.stack([a[i, j] * a[j, i] for j in range(3)]) for i in range(3)])


def _of_rows(a):
    """Take rows of a stack of matrices."""
    return jnp.stack([jnp.stack([a[i, j] + 2 * a[j, i] for j in range(2)]) for i in range(2)])


def _turned(q, m):
    rotation = _rotation(q)
    return _product(_product(rotation, m), rotation.T)


def _walk(a):
    """Multiply in a loop."""
    return lax.fori_loop(0, 20, lambda _, m: _product(m, a) * 0.5, a)


def _of_columns(a):
    """Join columns, whose entries do not lie next to each other in the matrix."""
    return jnp.stack([jnp.stack([a[i, j] * a[j, 0] for j in range(3)], -1) for i in range(3)], -1)


def _cross(x):
    """Stack along the first axis, which a map turns."""
    return jnp.stack([x[1] * x[3], x[2] * x[0], x[0] * x[1]])


CASES = {
    "a product": (_product, [(3, 3), (3, 3)], 7),
    "products": (jax.vmap(_product), [(7, 3, 3), (7, 3, 3)], 7),
    "products of a symbolic batch": (jax.vmap(_product), [("B", 3, 3), ("B", 3, 3)], 14),
    "products of two symbolic dims": (jax.vmap(jax.vmap(_product)), [("B", "N", 3, 3), ("B", "N", 3, 3)], 14),
    "a rotation": (_rotation, [(4,)], 28),
    "rotations": (jax.vmap(_rotation), [("B", 4)], 28),
    "a matrix that is turned": (_turned, [(4,), (3, 3)], 37),
    "entries stacked": (_stacked, [(3, 3)], 4),
    "rows of a stack": (_of_rows, [(2, 2, 5)], 5),
    "columns": (_of_columns, [(3, 3)], 5),
    "a map of vectors": (jax.vmap(_cross), [("B", 4)], 3),
    "in a loop": (_walk, [(3, 3)], 9),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_entries_are_computed_at_once(case):
    function, inputs, most = case
    model = to_onnx(function, inputs)
    assert sum(operators(model).values()) <= most, operators(model)
    check(model, function, inputs)


def test_special_numbers_stay_in_their_entries():
    rng = np.random.default_rng(0)
    values = [[rng.choice(SPECIAL, (3, 3)) for _ in range(2)] for _ in range(20)]
    inputs = [(3, 3), (3, 3)]
    check(to_onnx(_product, inputs), _product, inputs, values=values)


def test_integers_are_joined_by_rows():
    inputs = [jax.ShapeDtypeStruct((3, 3), jnp.int32)] * 2
    check(to_onnx(_product, inputs), _product, inputs)


def test_a_single_entry_is_taken_as_it_is():
    model = to_onnx(lambda a: a[1, 2] * 2, [(3, 3)])
    assert not operators(model)["Gather"]


def test_entries_of_a_batch_that_may_be_empty():
    function, inputs = jax.vmap(_product), [("B", 3, 3), ("B", 3, 3)]
    model = to_onnx(function, inputs)
    for size in (0, 1, 7):
        values = [[np.ones((size, 3, 3), np.float32)] * 2]
        check(model, function, inputs, values=values)
