"""Programs of which onnxruntime's optimiser once made others: optimised, they give JAX's numbers.

What the optimiser does to single nodes is in ``test_ort_workarounds.py``; ``scripts/optimiser_table.py`` tries all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.testing import Runner, operators, x64

if TYPE_CHECKING:
    from collections.abc import Callable

DIVISORS = [1, 2, 3, 4, -3]
ONE = np.array([[1]], np.int32)


def _looped(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda n: lax.fori_loop(0, 3, lambda _, c: c + step(n), jnp.zeros_like(n))


@onnx_function
def _remainder(x: Any, n: Any) -> Any:
    return lax.rem(x, n)


def _twice(n: Any) -> Any:
    quotient = lax.div(jnp.ones_like(n), n)
    return quotient * n, quotient * (n + 2)


REMAINDERS: dict[str, Callable[[Any], Any]] = {
    "mod": lambda n: 1 % n,
    "rem": lambda n: lax.rem(jnp.ones_like(n), n),
    "divmod": lambda n: jnp.divmod(1, n),
    "fmod": lambda n: jnp.fmod(1, n),
    "quotient": lambda n: lax.div(jnp.ones_like(n), n) * (n + 1),
    "swapped": lambda n: (n + 1) * lax.div(jnp.ones_like(n), n),
    "floor_divide": lambda n: (1 // n) * n,
    "known_divisor": lambda n: n * lax.div(np.array(1, n.dtype), np.array(2, n.dtype)),
    "one_element": lambda n: jnp.asarray(ONE.astype(n.dtype)) % n[:1],
    "loop": _looped(lambda n: 1 % n),
    "one_element_in_a_loop": _looped(lambda n: (jnp.asarray(ONE.astype(n.dtype)) % 2)[0, 0]),
    "branch": lambda n: lax.cond(n[0] > 0, lambda: 1 % n, lambda: n),
    "scalar": lambda n: 1 % n[3],
    "function": lambda n: _remainder(jnp.ones((), n.dtype), n[1]),
    "twice": _twice,
}


def _agrees(function: Callable[[Any], Any], n: Any) -> None:
    got = Runner(to_onnx(function, [n])).run([np.asarray(n)])
    for one, want in zip(got, jax.tree.leaves(jax.jit(function)(n)), strict=True):
        np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", REMAINDERS)
def test_remainders_of_one(name: str, dtype: str) -> None:
    with x64(enabled=True):
        _agrees(REMAINDERS[name], np.array(DIVISORS, dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "uint32", "uint64"])
def test_remainders_of_one_in_other_dtypes(dtype: str) -> None:
    """They are computed in wider ones, or the optimiser passes over them: all in one model."""
    n = np.abs(DIVISORS).astype(dtype) if dtype.startswith("u") else np.array(DIVISORS, dtype)
    with x64(enabled=True):
        _agrees(lambda n: [f(n) for f in REMAINDERS.values()], n)


def test_what_is_not_one_needs_no_node_more() -> None:
    model = to_onnx(lambda n, i: (lax.rem(n, jnp.int32(3)), 5 % n, i % 3), ["int32[4]", "int32[]"])
    assert "Max" not in operators(model)
    assert "Max" in operators(to_onnx(lambda n: 1 % n, ["int32[4]"]))


def test_a_dimension_that_is_frozen_to_one() -> None:
    """Dims are constants to the optimiser once they are known."""
    f = lambda x: (x.shape[0] % 2) * jnp.ones((), jnp.int32) + lax.rem(jnp.int32(x.shape[0]), jnp.int32(2))  # noqa: E731
    model = to_onnx(f, [("B", 3)])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    check(model, f, [jax.ShapeDtypeStruct((1, 3), np.float32)])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int32", "int64"])
def test_bounds_of_a_relu(dtype: str) -> None:
    """Outside of float32 and float16 the optimiser fails where it merges the two."""
    with x64(enabled=True):
        x = jnp.array([-3, 0, 1, 5], dtype)
        zero, one, two = (np.asarray(n, dtype) for n in range(3))
        _agrees(lambda x: (lax.clamp(one, jax.nn.relu(x), two), lax.clamp(zero, jax.nn.relu(x + 1), two)), x)


@onnx_function
def _relu(x: Any) -> Any:
    return jax.nn.relu(x)


@onnx_function
def _clamped(x: Any) -> Any:
    return lax.clamp(1.0, x, 2.0)


def test_bounds_of_a_relu_across_functions() -> None:
    with x64(enabled=True):
        x = jnp.array([-3, 0, 1.5, 5])
        _agrees(lambda x: (lax.clamp(1.0, _relu(x), 2.0), _clamped(jax.nn.relu(x)), _clamped(_relu(x + 1))), x)
