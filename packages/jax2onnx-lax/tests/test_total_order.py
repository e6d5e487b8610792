"""The total order of floats, before the operator that reads their bits."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx

EDGES = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 1, -1, 1e-4], np.float32)
SORTED = np.array([-np.inf, -1, -0.0, 0, 0, 1, 2, np.inf, np.nan], np.float32)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.int32])
@pytest.mark.parametrize("primitive", [lax.eq_to_p, lax.lt_to_p, lax.le_to_p], ids=str)
def test_order_of_edges(primitive: Any, dtype: Any) -> None:
    numbers = EDGES if dtype != np.int32 else np.nan_to_num(EDGES, posinf=9, neginf=-9)
    left, right = (jnp.asarray(a.ravel(), dtype) for a in np.meshgrid(numbers, numbers))
    check(to_onnx(primitive.bind, [left, right]), primitive.bind, [left, right], values=[[left, right]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("method", ["scan", "scan_unrolled", "sort", "compare_all"])
def test_search(side: str, method: str) -> None:
    def search(numbers: Any, wanted: Any) -> Any:
        return jnp.searchsorted(numbers, wanted, side=side, method=method)

    check(to_onnx(search, [SORTED, EDGES]), search, [SORTED, EDGES], values=[[SORTED, EDGES]])
