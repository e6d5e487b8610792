"""Drawn inputs: their sizes, their numbers, and how they are nudged."""

from __future__ import annotations

from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from jax import export

from jax2onnx.checking.inputs import draw, nudge
from jax2onnx.checking.sizes import assignments, concrete
from jax2onnx.errors import InputSpecError


def avals(*specs: tuple[Any, Any], constraints: tuple[str, ...] = ()) -> list[jax.ShapeDtypeStruct]:
    scope = export.SymbolicScope(constraints)
    return [
        jax.ShapeDtypeStruct(tuple(export.symbolic_shape(d, scope=scope)[0] if isinstance(d, str) else d for d in s), t)
        for s, t in specs
    ]


def test_sizes_differ_between_symbols_and_obey_constraints() -> None:
    two = avals((("B", "T"), np.float32))
    assert assignments(two, None) == [{"B": 1, "T": 3}, {"B": 3, "T": 7}, {"B": 7, "T": 1}]
    assert assignments(two, (2, 5)) == [{"B": 2, "T": 5}, {"B": 5, "T": 2}]
    constraints = ("T >= 4", "mod(T, 2) == 0")
    for env in assignments(avals((("B", "T"), np.float32), constraints=constraints), None, constraints):
        assert env["T"] >= 4
        assert env["T"] % 2 == 0
    for env in assignments(avals((("B - 4", "2*B + 1"), np.float32)), None):
        assert env["B"] >= 4
    with pytest.raises(InputSpecError, match=r"no sizes near .* T >= 1000"):
        assignments(two, None, ["T >= 1000"])
    assert assignments(two, [{"B": 1000, "T": 1}], ["B >= 1000"]) == [{"B": 1000, "T": 1}]


def test_concrete_shapes() -> None:
    (aval,) = avals((("2*B + 1", "floordiv(T, 2)", "max(B, T)", 5), np.float32))
    assert concrete(aval.shape, {"B": 2, "T": 7}) == (5, 3, 7, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_what_is_drawn_for_floats(dtype: Any) -> None:
    batches = {b.kind: b.arrays[0] for b in draw(avals((("B", 40), dtype)))}
    assert all(a.dtype == dtype for a in batches.values())
    ordinary, large, special = (batches[k].astype(np.float32) for k in ("ordinary", "large", "special"))
    assert np.isfinite(ordinary).all()
    assert (ordinary < 0).any()
    assert np.abs(large).max() > 2 * np.abs(ordinary).max()
    assert np.isnan(special).any()
    assert np.isfinite(special).any()
    tiny = float(ml_dtypes.finfo(dtype).tiny)
    assert all(((np.abs(a) >= tiny) | (a == 0) | np.isnan(a)).all() for a in (ordinary, large, special))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_what_is_drawn_for_integers(dtype: Any) -> None:
    batches = {b.kind: b.arrays[0] for b in draw(avals((("B", 40), dtype)))}
    info = np.iinfo(dtype)
    assert set(np.unique(batches["ordinary"])) <= set(range(10))
    assert {info.min, info.max} <= set(batches["large"].ravel().tolist())
    if info.min < 0:
        assert -1 in batches["special"]


def test_kinds() -> None:
    spec = avals((("B",), np.float32))
    assert [b.kind for b in draw(spec, (1, 2), kinds=["large", "special"])] == ["large", "large", "special"]


def test_rank_0_integers_stay_small() -> None:
    for batch in draw(avals(((), np.int32))):
        assert abs(int(batch.arrays[0])) <= 100


def test_drawing_is_reproducible() -> None:
    specs = avals((("B", 4), np.float32), ((3,), np.int32), ((2,), np.bool_))
    for a, b in zip(draw(specs, seed=5), draw(specs, seed=5), strict=True):
        for x, y in zip(a.arrays, b.arrays, strict=True):
            np.testing.assert_array_equal(x, y)


def test_nudging_moves_floats_by_their_last_place() -> None:
    x = np.array([1.1, -2.3, 0, np.nan, np.inf, 1, 2.5, 1e8], np.float32)
    for index in range(4):
        moved, same = nudge([x, np.array([1, 2])], index)
        np.testing.assert_allclose(moved, x, rtol=5e-7)
        np.testing.assert_array_equal(moved != x, [True, True, False, True, False, False, False, True])
        assert same.tolist() == [1, 2]
