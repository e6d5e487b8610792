"""Weights that are looked up in a table of 16 numbers: they stay in 4 bits, and the numbers are JAX's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest

from jax2onnx import save_onnx, to_onnx
from jax2onnx.inspect.costs import costs
from jax2onnx.testing import Runner, operators

RNG = np.random.default_rng(0)
NF4 = [
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334],
    [-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224],
    [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0],
]
TABLE = jnp.asarray(np.concatenate(NF4), jnp.float32)
OTHER = jnp.asarray(np.sort(RNG.normal(size=16)), jnp.float32)
INNER, COLUMNS = 64, 48


def codes(*shape, dtype=ml_dtypes.uint4, low=0, high=16):
    return jnp.asarray(RNG.integers(low, high, shape), dtype)


U4, I4 = codes(INNER, COLUMNS), codes(INNER, COLUMNS, dtype=ml_dtypes.int4, low=-8, high=8)
WIDE = codes(INNER, 1200, dtype=np.int32)
BIG = codes(1024, 1200)
COLUMN, BLOCK = (jnp.asarray(RNG.random(shape) + 0.1, jnp.float32) for shape in ((COLUMNS,), (2, 1, COLUMNS)))
SMALL_BLOCK = jnp.asarray(RNG.random((8, 1, COLUMNS)) + 0.1, jnp.float32)
ROW = jnp.asarray(RNG.random((INNER, 1)) + 0.1, jnp.float32)
HEADS = jnp.asarray(RNG.random((1, 4, 12)) + 0.1, jnp.float32)


def looked_up(w, table=TABLE):
    """Return the numbers of codes as qwix looks them up: one after the other."""
    return jax.vmap(lambda one: table[one])(w.ravel()).reshape(w.shape)


def blocked(w, scale, table=TABLE):
    return (looked_up(w, table).reshape(scale.shape[0], -1, w.shape[1]) * scale).reshape(w.shape)


PACKED = {"MatMulBnb4": 1}
CASES = {
    "blocks": (lambda x: x @ blocked(U4, BLOCK), (7, INNER), PACKED),
    "scales per column": (lambda x: x @ (looked_up(U4) * COLUMN), (7, INNER), PACKED),
    "one scale": (lambda x: x @ (looked_up(U4) * 0.3), (7, INNER), PACKED),
    "no scale": (lambda x: x @ looked_up(U4), (7, INNER), PACKED),
    "at once": (lambda x: x @ (TABLE[U4.astype(jnp.int32)] * COLUMN), (7, INNER), PACKED),
    "signed codes": (lambda x: x @ (TABLE[I4.astype(jnp.int32) + 8] * COLUMN), (7, INNER), PACKED),
    "in another order": (lambda x: x @ (TABLE[::-1][U4.astype(jnp.int32)] * COLUMN), (7, INNER), PACKED),
    "transposed": (lambda x: x @ (looked_up(U4) * ROW).T, (7, COLUMNS), PACKED),
    "a bias": (lambda x: x @ blocked(U4, BLOCK) + COLUMN, (7, INNER), PACKED | {"Add": 1}),
    "a vector": (lambda x: x @ blocked(U4, BLOCK), (INNER,), PACKED),
    "more dims": (lambda x: x @ blocked(U4, BLOCK), (2, 3, INNER), PACKED),
    "heads": (
        lambda x: jnp.einsum("bd,dnh->bnh", x, looked_up(U4.reshape(INNER, 4, 12)) * HEADS),
        (7, INNER),
        PACKED | {"Reshape": 1},
    ),
    "tiles": (lambda x: x @ looked_up(BIG), (7, 1024), {"MatMulBnb4": 5, "Concat": 1}),
    "two products": (
        lambda x: x @ (w := blocked(U4, BLOCK)) + (x + 1) @ w,
        (7, INNER),
        {"MatMulBnb4": 2, "Gather": 0},
    ),
    "blocks of 8": (lambda x: x @ blocked(U4, SMALL_BLOCK), (7, INNER), {"Gather": 1, "MatMul": 1}),
    "scales per row": (lambda x: x @ (looked_up(U4) * ROW), (7, INNER), {"Gather": 1}),
    "on the left": (lambda x: looked_up(U4).T @ x, (INNER, 7), {"MatMulBnb4": 0}),
    "another table": (lambda x: x @ blocked(U4, BLOCK, OTHER), (7, INNER), {"Gather": 1, "MatMul": 1}),
    "less a number": (lambda x: x @ ((looked_up(U4) - 1) * COLUMN), (7, INNER), {"MatMulBnb4": 0, "Sub": 1}),
}


def stored(model):
    """Return how many bytes the initializers of a model have."""
    return sum(len(one.raw_data) for one in model.graph.initializer)


@pytest.mark.parametrize("target", ["onnxruntime", "onnx"])
@pytest.mark.parametrize("kind", CASES)
def test_codes_are_stored_in_four_bits(kind, target):
    fn, shape, expected = CASES[kind]
    model = to_onnx(fn, [shape], target=target)
    counts = operators(model)
    if target == "onnx":
        assert not counts["MatMulBnb4"]
    else:
        assert {name: counts[name] for name in expected} == expected
    size = BIG.size if kind == "tiles" else INNER * COLUMNS
    # A scale for each 8 weights, and the table: floats would be 4 bytes each.
    assert stored(model) <= size / 2 + size / 2 + 256
    runner = Runner(model)
    for x in (RNG.normal(size=shape), RNG.normal(size=shape) * 1e30, RNG.normal(size=shape) * 1e-30, np.zeros(shape)):
        given = x.astype(np.float32)
        wanted = np.asarray(fn(jnp.asarray(given)))
        np.testing.assert_allclose(runner.run([given])[0], wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["blocks", "tiles", "two products"])
def test_numbers_that_are_none_and_batches_of_none(kind):
    fn, shape, _ = CASES[kind]
    model = to_onnx(fn, [("B", *shape[1:])])
    runner = Runner(model)
    x = RNG.normal(size=shape).astype(np.float32)
    x[1, 3], x[2, 0], x[3, -1] = np.nan, np.inf, -np.inf
    wanted = np.asarray(fn(jnp.asarray(x)))
    (got,) = runner.run([x])
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(wanted))
    finite = np.isfinite(wanted)
    np.testing.assert_allclose(got[finite], wanted[finite], rtol=1e-5, atol=1e-5 * np.abs(wanted[finite]).max())
    for batch in (0, 1):
        (got,) = runner.run([x[:batch]])
        assert got.shape == (batch, wanted.shape[1])


def test_onnxruntime_makes_no_floats_of_them(tmp_path):
    fn, shape, _ = CASES["blocks"]
    save_onnx(fn, [shape], tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    loaded = onnx.load(tmp_path / "loaded.onnx")
    floats = [one for one in loaded.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(one.dims)) for one in floats) == BLOCK.size


def test_their_operations_are_counted():
    fn, shape, _ = CASES["blocks"]
    (cost,) = [one for name, one in costs(to_onnx(fn, [shape]), "operator").rows.items() if "MatMulBnb4" in name]
    assert cost.flops == 2 * 7 * INNER * COLUMNS


def test_tables_that_are_no_codebooks_stay():
    """Rows of a table, indices that are inputs, and few numbers are looked up as they were."""
    rows = jnp.asarray(RNG.normal(size=(16, 4)), jnp.float32)
    few = codes(3, dtype=np.int32)

    def fn(x, i):
        return x + rows[WIDE[0]].sum(), TABLE[i], TABLE[few] * x[:3]

    model = to_onnx(fn, [(8,), "int32[5]"])
    assert not operators(model)["MatMulBnb4"]
    x, i = RNG.normal(size=8).astype(np.float32), np.asarray([0, 15, 3, 2, 9], np.int32)
    for got, wanted in zip(Runner(model).run([x, i]), fn(x, i), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_older_opsets():
    """Before opset 21 there are no dtypes of 4 bits: codes that are integers of a program stay such."""
    model = to_onnx(lambda x: x @ (looked_up(WIDE) * 0.3), [(7, INNER)], opset=18)
    x = RNG.normal(size=(7, INNER)).astype(np.float32)
    (got,) = Runner(model).run([x])
    np.testing.assert_allclose(got, x @ np.asarray(looked_up(WIDE) * 0.3), rtol=1e-5, atol=1e-5)
