"""Numbers of 4 and 8 bits: every pattern of bits is the number that JAX reads in it, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.errors import NoKernelError, OpsetError, UnsupportedCaseError
from jax2onnx.testing import Runner

BYTES = np.concatenate([np.arange(256), np.random.default_rng(0).integers(0, 256, 256)]).astype(np.uint8)
FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]


def bits_of(array):
    """Return the bits of an array, where all NaN of a float are alike."""
    if jnp.issubdtype(array.dtype, jnp.floating):
        is_nan = np.isnan(array.astype(np.float32))
        array = np.where(is_nan, np.ones((), array.dtype), array)
    return array.view(f"u{array.itemsize}")


def compare(x, dtypes):
    def function(x):
        return [lax.bitcast_convert_type(x, dtype) for dtype in dtypes]

    actual = Runner(to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype)])).run([x])
    for result, wanted in zip(actual, function(jnp.asarray(x)), strict=True):
        np.testing.assert_array_equal(bits_of(result), bits_of(np.asarray(wanted)), str(result.dtype))


@pytest.mark.parametrize(("to", "parts"), [("uint4", 1), ("int8", 2), ("uint16", 4), ("float32", 8), ("bfloat16", 4)])
def test_four_bits_become_other_numbers(to, parts):
    x = (BYTES & 15).astype(jnp.int4)
    compare(x.reshape(-1, parts) if parts > 1 else x, [to])


def test_eight_bits_become_four_or_another_eight():
    compare(BYTES, ["int4", "uint4", *FLOAT8])


def test_wider_numbers_become_four_bits():
    compare(BYTES.view(np.int16), ["int4", "uint4", "float8_e4m3fn"])
    finite = np.where(np.isfinite(BYTES.view(np.float32)), BYTES.view(np.float32), 1)
    compare(finite, ["int4", "float8_e5m2"])


@pytest.mark.parametrize("dtype", FLOAT8)
def test_the_bits_of_float8(dtype):
    x = BYTES[:256].view(dtype)
    x = np.where(np.isnan(x.astype(np.float32)), np.ones((), dtype), x)
    compare(x, ["uint8", "int4"])
    compare(x.reshape(-1, 2), ["float16"])


@pytest.mark.parametrize("shape", [(6,), (7,), (0,), (), (3, 5)])
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_models_of_four_bits_are_checked(dtype, shape):
    def function(x):
        return x, x.astype(jnp.float32) * 0.5

    specs = [jax.ShapeDtypeStruct(shape, dtype)]
    check(to_onnx(function, specs), function, specs)


PROGRAMS_OF_FOUR_BITS = {
    "read": lambda x: lax.scan(lambda c, a: (c + a.astype(jnp.int32), c), jnp.zeros((), jnp.int32), x),
    "carried": lambda x: lax.scan(lambda c, a: (c + a, c * a), jnp.zeros((), x.dtype), x),
    "carried as it is": lambda x: lax.scan(lambda c, a: (c, a), x[0], x, reverse=True),
    "counted": lambda x: lax.fori_loop(0, 3, lambda i, c: c[::-1], x),
    "chosen": lambda x: lax.cond(x[0] > 1, lambda y: y[::-1], lambda y: y, x),
    "chosen within": lambda x: lax.fori_loop(0, 3, lambda i, c: lax.cond(i > 1, lambda y: y[::-1], lambda y: y, c), x),
    "while": lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1][::-1]), (0, x)),
    "mapped": lambda x: lax.map(lambda a: a * 3, x),
}


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize("name", PROGRAMS_OF_FOUR_BITS)
def test_four_bits_in_loops_and_choices(name, dtype):
    program, specs = PROGRAMS_OF_FOUR_BITS[name], [f"{dtype}[5]"]
    check(to_onnx(program, specs), program, specs)


@pytest.mark.parametrize("source", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_floats_are_truncated_to_four_bits(dtype, source):
    def program(x):
        return x.astype(dtype)

    numbers = [0.64, -0.64, 1.5, 2.5, -3.5, 7.2, 7.9, 8.0, -8.6, 15.5, 100.0, -100.0, np.inf, -np.inf, np.nan]
    specs = [f"{source}[B]"]
    check(to_onnx(program, specs), program, specs, values=[[jnp.asarray(numbers, source)]])


def test_what_onnx_or_the_runtime_lacks_is_told():
    def several(x):
        narrow = x.astype(jnp.float8_e3m4).astype(jnp.float32)
        return narrow + lax.bitcast_convert_type(x, jnp.float8_e3m4).astype(jnp.float32)

    with pytest.raises(UnsupportedCaseError, match="ONNX has no dtype float8_e3m4") as raised:
        to_onnx(several, ["uint8[3]"])
    assert len(raised.value.others) == 1
    assert "such as float16" in str(raised.value)
    with pytest.raises(UnsupportedCaseError, match="ONNX has no dtype float8_e3m4") as raised:
        to_onnx(lambda x: (x.astype(jnp.float8_e3m4) * 2).astype(jnp.float32), ["float32[3]"])
    assert "test_bits.py" in str(raised.value)
    with pytest.raises(UnsupportedCaseError, match="x: ONNX has no dtype float8_e3m4"):
        to_onnx(lambda x: x, ["float8_e3m4[3]"])
    with pytest.raises(NoKernelError, match=r"has no kernel for Cast .* in uint8, int2"):
        to_onnx(lambda x: lax.bitcast_convert_type(x, jnp.int2), ["uint8[3]"])
    with pytest.raises(OpsetError, match="float8 since opset 19"):
        to_onnx(lambda x: lax.bitcast_convert_type(x, jnp.float8_e5m2), ["uint8[3]"], opset=18)
