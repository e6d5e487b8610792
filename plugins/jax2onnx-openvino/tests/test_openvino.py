"""Models for OpenVINO, executed there and compared with JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import ConversionError
from jax2onnx_openvino import OpenVINO

WIDE = np.array([2**31 - 1, -(2**31), 2**30 + 3, -5, 0, 7], np.int32)
SMALL = np.array([1, 1, 7, -3, 5, 2**31 - 1], np.int32)


def scan_of_captured(x: jax.Array, y: jax.Array) -> Any:
    return lax.scan(lambda state, row: (state * 0.5 + y, state.sum() + row.sum()), x[0], x)


def scan_without_inputs(x: jax.Array) -> Any:
    return lax.scan(lambda state, _: (state * 0.5 + 1, state.sum()), x, None, length=4)


def scan_in_scan(x: jax.Array, y: jax.Array) -> Any:
    def outer(state: jax.Array, row: jax.Array) -> Any:
        inner, rows = lax.scan(lambda s, v: (s + v * row, s.sum()), state, y, reverse=True)
        return inner, rows.sum()

    return lax.scan(outer, y[0], x, reverse=False)


def chosen_in_loop(x: jax.Array) -> jax.Array:
    return lax.cumprod(x)


def padded(x: jax.Array, v: jax.Array) -> jax.Array:
    return lax.pad(x, v, [(1, 2, 0), (0, 1, 1)])


def noise(seed: jax.Array) -> jax.Array:
    return jax.random.bits(jax.random.wrap_key_data(seed), (5,))


def sizes(x: jax.Array) -> jax.Array:
    return jnp.sum(x > 0, axis=0) + jnp.argmax(x, axis=0)


def ordered(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    return x < y, x >= y, x > y, x <= y, x == y, jnp.maximum(x, y), jnp.minimum(x, y)


PROGRAMS: dict[str, tuple[Any, list[Any], list[Any] | None]] = {
    "scan that reads a value from outside": (scan_of_captured, ["float32[5,3]", "float32[3]"], None),
    "scan without inputs": (scan_without_inputs, ["float32[3,3]"], None),
    "scan in a scan": (scan_in_scan, ["float32[5,3]", "float32[4,3]"], None),
    "choice in a loop": (chosen_in_loop, ["int32[6]"], [[WIDE]]),
    "pad by a computed value": (padded, ["float32[3,4]", "float32[]"], None),
    "pad by a large integer": (
        lambda x: lax.pad(x, np.int32(2**31 - 1), [(1, 2, 0)]),
        ["int32[6]"],
        [[WIDE]],
    ),
    "one number": (lambda x: (x * 3 + 1, 5 - x), ["int32[6]"], [[WIDE]]),
    "softplus": (jax.nn.softplus, ["float32[7]"], [[np.array([-60, -20, -5, 0, 1, 8, 40], np.float32)]]),
    "function": (onnx_function(lambda x: jnp.tanh(x) * 2), ["float32[B,3]"], None),
    "choice between numbers": (lambda x: jnp.where(x > 0, 3, -(2**31)), ["int32[6]"], [[WIDE]]),
    "random numbers": (noise, ["uint32[2]"], [[np.array([3, 2**32 - 5], np.uint32)]]),
    "division": (lax.div, ["int32[6]"] * 2, [[WIDE, SMALL], [SMALL, np.where(WIDE == 0, 3, WIDE)]]),
    "remainder": (lax.rem, ["int32[6]"] * 2, [[WIDE, SMALL], [SMALL, np.where(WIDE == 0, 3, WIDE)]]),
    "order of uint32": (
        ordered,
        ["uint32[6]"] * 2,
        [[WIDE.view(np.uint32), SMALL.view(np.uint32)], [WIDE.view(np.uint32), (WIDE - 1).view(np.uint32)]],
    ),
    "order of int32": (ordered, ["int32[6]"] * 2, [[WIDE, SMALL], [WIDE, WIDE - 1], [WIDE, WIDE]]),
    "sum of integers": (jnp.sum, ["int32[6]"], [[WIDE], [SMALL]]),
    "truth": (lambda x: x.astype(bool), ["int32[6]"], [[WIDE]]),
    "counting": (sizes, ["float32[B,4]"], None),
    "sort": (lambda x: jnp.sort(x, axis=-1), ["float32[B,5]"], None),
    "int8 wraps": (
        lambda x, y: x + y,
        ["int8[3]"] * 2,
        [[np.array([127, -128, 5], np.int8), np.array([1, -1, 5], np.int8)]],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_agrees_with_jax_on_finite_numbers(name: str) -> None:
    fn, specs, values = PROGRAMS[name]
    model = to_onnx(fn, specs, target="openvino")
    check(model, fn, specs, values=values, kinds=["ordinary", "moderate"], runtime=OpenVINO)


@pytest.mark.parametrize(
    ("fn", "specs", "words"),
    [
        (jnp.sin, ["float64[3]"], "float64 is computed in float32; use float32"),
        (lambda x: x + 1, ["int64[3]"], "64-bit integers are computed in 32 bits"),
        (jnp.matmul, ["int32[3,4]", "int32[4,2]"], "no kernel for MatMul"),
    ],
)
def test_what_it_would_compute_wrongly_is_refused(fn: Any, specs: list[str], words: str) -> None:
    with jax.enable_x64(new_val=True), pytest.raises(ConversionError, match=words):
        to_onnx(fn, specs, target="openvino")
