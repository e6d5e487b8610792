"""Models for OpenVINO, executed there and compared with JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from jax import lax

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import ConversionError
from jax2onnx_openvino import OpenVINO
from jax2onnx_openvino.target import openvino

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


BITS = WIDE.view(np.uint32)
TIES = np.arange(3 * 500, dtype=np.int32).reshape(3, 500) % 5


def recurrence(decay: jax.Array, x: jax.Array) -> Any:
    return lax.scan(lambda state, row: (row[0] * state + row[1], state.sum()), jnp.zeros((3, 4)), (decay, x))


def delayed(x: jax.Array) -> Any:
    return lax.scan(lambda state, row: (row, state), jnp.zeros((3, 4)), x)


def backwards(x: jax.Array) -> Any:
    return lax.scan(lambda state, row: (state + row, state * row), jnp.zeros((3, 4)), x, reverse=True)


def loop_in_loop(n: jax.Array, x: jax.Array) -> jax.Array:
    def outer(i: jax.Array, state: jax.Array) -> jax.Array:
        return lax.fori_loop(0, n - i, lambda _, inner: inner * 2, state) + 1

    return lax.fori_loop(0, 3, outer, x)


def loop_that_never_runs(x: jax.Array) -> jax.Array:
    return lax.while_loop(lambda state: state[0] < 0, lambda state: (state[0] + 1, state[1] * 2), (0, x))[1]


def windows(x: jax.Array) -> jax.Array:
    def largest(image: jax.Array) -> jax.Array:
        return lax.reduce_window(image, -jnp.inf, lax.max, (2, 2), (1, 1), "SAME").sum()

    return jax.grad(largest)(x)


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
    "largest integers": (
        lambda x: (jnp.max(x, 0), jnp.min(x, -1)),
        ["int32[2,3]"],
        [[WIDE.reshape(2, 3)], [-WIDE.reshape(2, 3)]],
    ),
    "largest of uint32": (
        lambda x: (jnp.max(x), jnp.min(x), jnp.argmax(x), jnp.argsort(x), jnp.sort(x)),
        ["uint32[6]"],
        [[BITS], [BITS[::-1].copy()]],
    ),
    "uint32 and floats": (
        lambda x, y: (x.astype(np.float32), y.astype(np.uint32)),
        ["uint32[6]", "float32[3]"],
        [[BITS, np.array([2.0**31, 4294967040, 7.5], np.float32)]],
    ),
    "constants of uint32": (lambda x: (x * np.uint32(3**20), x ^ np.uint32(2**32 - 5)), ["uint32[6]"], [[BITS]]),
    "shifts": (lambda x: (x << 31, x >> 3), ["uint32[6]"], [[BITS]]),
    "shifts of bytes": (
        lambda x: (x << 3, x >> 2),
        ["int8[5]"],
        [[np.array([-128, 127, -3, 5, 0], np.int8)]],
    ),
    "loop over uint32": (lambda x: lax.fori_loop(0, 5, lambda _, state: state * x, x), ["uint32[6]"], [[BITS]]),
    "products of int16": (
        lax.cumprod,
        ["int16[6]"],
        [[np.array([32767, -3, 181, 7, -32768, 5], np.int16)]],
    ),
    "order of equal numbers": (
        lambda x, y: (jnp.argsort(x), lax.top_k(y, 7)),
        ["int32[3,500]", "float32[3,500]"],
        [[TIES, TIES.astype(np.float32)], [-TIES, -TIES.astype(np.float32)]],
    ),
    "first of equal numbers": (lambda x: lax.top_k(x, 1), ["float32[3,500]"], [[TIES.astype(np.float32)]]),
    "largest of a batch": (lambda x: lax.top_k(x, 3), ["bfloat16[B,N+3]"], None),
    "linear recurrence": (recurrence, ["float32[5,3,4]"] * 2, None),
    "delay": (delayed, ["float32[5,3,4]"], None),
    "backwards": (backwards, ["float32[T,3,4]"], None),
    "loop in a loop": (
        loop_in_loop,
        ["int32[]", "float32[6]"],
        [[np.int32(n), np.arange(6, dtype=np.float32)] for n in (3, 0, 2, -1)],
    ),
    "loop that never runs": (loop_that_never_runs, ["float32[6]"], None),
    "gradient of windows": (windows, ["float32[5,6]"], None),
    "logarithm of one more than an exponential": (
        lambda x: jnp.log(1 + jnp.exp(x)),
        ["float32[4]"],
        [[np.array([-5, -1, 0, 20], np.float32)]],
    ),
    "factors whose product is too large, or too small": (
        lambda x, y: (x * 1e30 * 1e10 * 1e-30, x / 1e-30 / 1e-10, y * 1e-30 * 1e-20),
        ["float32[3]"] * 2,
        [[np.array([1e-3, -3e-4, 1e-6], np.float32), np.array([1e35, -1e33, 1e30], np.float32)]],
    ),
    "erf of small numbers": (
        jax.scipy.special.erf,
        ["float32[7]"],
        [[np.array([1e-6, -3e-4, 0.1, 0.49, 0.51, -2, 0], np.float32)]],
    ),
    "truth of a slice": (lambda x: (x[:1] * 2, x[1:].astype(bool)), ["float32[3,2]"], None),
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


MADE_OF_CONSTANTS = """<ir_version: 10, opset_import: ["": 23]>
combined (int32[3] x) => (int32[3] y) <int32[3] a = {5, 3, 9}, int32[3] b = {2, 7, 1}>
{ c = BitwiseXor(a, b) y = BitwiseAnd(c, x) }"""


def test_what_is_made_of_constants_is_the_same_in_the_second_run() -> None:
    values = [np.array([-1, 6, 3], np.int32), np.array([7, -1, -1], np.int32)]
    model = ir.from_proto(onnx.parser.parse_model(MADE_OF_CONSTANTS))
    target = openvino()
    assert target.finish is not None
    target.finish(model)
    runner = OpenVINO(ir.to_proto(model))
    for value in values:
        np.testing.assert_array_equal(runner.run([value])[0], value & np.array([7, 4, 8]))


@pytest.mark.parametrize(
    ("fn", "specs", "words"),
    [
        (jnp.sin, ["float64[3]"], "float64 is computed in float32; use float32"),
        (lambda x: x + 1, ["int64[3]"], "64-bit integers are computed in 32 bits"),
        (jnp.argsort, ["int32[50000]"], "equal ones are brought into order among 46340"),
        (jnp.matmul, ["int32[3,4]", "int32[4,2]"], "no kernel for MatMul"),
    ],
)
def test_what_it_would_compute_wrongly_is_refused(fn: Any, specs: list[str], words: str) -> None:
    with jax.enable_x64(new_val=True), pytest.raises(ConversionError, match=words):
        to_onnx(fn, specs, target="openvino")
