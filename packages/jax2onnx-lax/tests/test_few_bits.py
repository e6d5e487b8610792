"""Numbers of 4 and 8 bits: products that overflow, extrema without infinities, sizes and loops of 4-bit integers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx

FLOATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
SMALL = (1, 2, -1, 0.5)
LARGE = (200, 240, -240, 30)


def _outer(x, y):
    return jnp.einsum("i,j->ij", x, y)


def _contracted(x, y):
    return jnp.dot(jnp.stack([x, y]), jnp.stack([y, x]).T)


def _wide(x, y):
    return lax.dot(x[:, None], y[None], preferred_element_type=jnp.float32)


def _whole(x, y):
    return lax.dot(x[:, None], y[None], preferred_element_type=jnp.int32)


def _windows(x, y):
    # The kernel is finite: a runtime multiplies it by the zeros of the padding, which JAX leaves out.
    return jnp.convolve(y, x[:2])


def _pooled(x, y):
    return lax.reduce_window(jnp.concatenate([x, y]), x.dtype.type(-3), lax.max, (2,), (1,), "SAME")


def _extrema(x, y):
    return x.max(), x.min(), jnp.concatenate([x, y]).max(), lax.cummax(x), jnp.minimum(x, y)


FUNCTIONS = (_outer, _contracted, _wide, _whole, _windows, _pooled, _extrema)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float8(function, dtype) -> None:
    """What overflows is infinite or, where there is no infinity, NaN."""
    inputs = [f"{dtype}[N]", f"{dtype}[N]"]
    pairs = [(SMALL, LARGE), (LARGE, LARGE), (SMALL, (np.nan, 1, -0.0, 2)), (SMALL, SMALL)]
    values = [[np.asarray(one).astype(jnp.dtype(dtype)) for one in pair] for pair in pairs]
    check(to_onnx(function, inputs), function, inputs, values=values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_order_of_float8(dtype) -> None:
    """The NaN of a kind without -0 has the bits of -0, and is the first, not the last."""

    def orders(x):
        pairs = lax.sort((x[::-1], x), num_keys=2)
        return jnp.sort(x), jnp.argsort(x, descending=True), pairs, jnp.argmax(x), jnp.argmin(x)

    bits = np.array([0x80, 0x7F, 0xFF, 0, 0x81, 1, 0x38, 0xB8, 0x80, 0x40], np.uint8)
    numbers = bits.view(jnp.dtype(dtype))
    check(to_onnx(orders, [f"{dtype}[N]"]), orders, [f"{dtype}[N]"], values=[[numbers], [numbers[1:2]], [numbers[3:]]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_extrema_of_no_elements(dtype) -> None:
    def run(x):
        return lax.reduce_max(x, (0,)), lax.reduce_min(x, (0,))

    values = [[np.zeros((size, 2), jnp.dtype(dtype))] for size in (0, 3)]
    check(to_onnx(run, [f"{dtype}[N,2]"]), run, [f"{dtype}[N,2]"], values=values)


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize(
    "function",
    [jnp.sort, lax.cummax, lambda x: x.astype(jnp.complex64), lambda x: jnp.broadcast_to(x[None], (3, *x.shape)) + x],
    ids=["sort", "cummax", "complex", "broadcast"],
)
def test_sizes_of_4_bit_integers(function, dtype) -> None:
    """onnxruntime's optimiser lets Shape read the first array of some dims, of which it has no kernel for 4 bits."""
    values = [[np.arange(size).astype(jnp.dtype(dtype))] for size in (1, 7)]
    check(to_onnx(function, [f"{dtype}[N]"]), function, [f"{dtype}[N]"], values=values)


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_loops_of_4_bit_integers(dtype) -> None:
    def run(x, n):
        return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 2 + 1, s[1]), (0, x, x))

    inputs = [f"{dtype}[N]", "int32[]"]
    values = [[np.arange(5).astype(jnp.dtype(dtype)), np.int32(n)] for n in (0, 1, 3)]
    check(to_onnx(run, inputs), run, inputs, values=values)


def test_a_fill_value_may_be_a_size() -> None:
    def run(x):
        return jnp.intersect1d(x, jnp.array([2.0, 3.0]), size=4, fill_value=9, return_indices=True)

    values = [[np.asarray([0, 2, 0, 3, 3, 2, 0, 5][:size], np.float32)] for size in (1, 2, 5, 8)]
    check(to_onnx(run, ["float32[N]"]), run, ["float32[N]"], values=values)
