"""Each elementwise primitive, in each dtype that it takes, on edge values, against JAX evaluated eagerly."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import x64

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
FLOATS = ("float16", "bfloat16", "float32", "float64")
NUMBERS = INTEGERS + FLOATS
BITS = ("bool", *INTEGERS)
ALL = ("bool", *NUMBERS)

AWAY, EVEN = lax.RoundingMethod.AWAY_FROM_ZERO, lax.RoundingMethod.TO_NEAREST_EVEN

# name -> (function, number of operands, dtypes)
CASES = {
    "abs": (lax.abs, 1, SIGNED + FLOATS),
    "acos": (lax.acos, 1, FLOATS),
    "acosh": (lax.acosh, 1, FLOATS),
    "add": (lax.add, 2, NUMBERS),
    "asin": (lax.asin, 1, FLOATS),
    "asinh": (lax.asinh, 1, FLOATS),
    "atan": (lax.atan, 1, FLOATS),
    "atan2": (lax.atan2, 2, FLOATS),
    "atanh": (lax.atanh, 1, FLOATS),
    "bitwise_and": (lax.bitwise_and, 2, BITS),
    "bitwise_not": (lax.bitwise_not, 1, BITS),
    "bitwise_or": (lax.bitwise_or, 2, BITS),
    "bitwise_xor": (lax.bitwise_xor, 2, BITS),
    "cbrt": (lax.cbrt, 1, FLOATS),
    "ceil": (lax.ceil, 1, FLOATS),
    "clamp": (lambda x: lax.clamp(np.asarray(1, x.dtype), x, np.asarray(3, x.dtype)), 1, NUMBERS),
    "clamp_arrays": (lambda x, y: lax.clamp(x, y, x), 2, NUMBERS),
    "clz": (lax.clz, 1, INTEGERS),
    "cos": (lax.cos, 1, FLOATS),
    "cosh": (lax.cosh, 1, FLOATS),
    "div": (lax.div, 2, NUMBERS),
    "eq": (lax.eq, 2, ALL),
    "erf": (lax.erf, 1, FLOATS),
    "erf_inv": (lax.erf_inv, 1, FLOATS),
    "erfc": (lax.erfc, 1, FLOATS),
    "exp": (lax.exp, 1, FLOATS),
    "exp2": (lax.exp2, 1, FLOATS),
    "expm1": (lax.expm1, 1, FLOATS),
    "floor": (lax.floor, 1, FLOATS),
    "ge": (lax.ge, 2, ALL),
    "gt": (lax.gt, 2, ALL),
    "integer_pow": (lambda x: lax.integer_pow(x, 3), 1, NUMBERS),
    "integer_pow_negative": (lambda x: lax.integer_pow(x, -2), 1, FLOATS),
    "is_finite": (lax.is_finite, 1, FLOATS),
    "le": (lax.le, 2, ALL),
    "lgamma": (lax.lgamma, 1, FLOATS),
    "log": (lax.log, 1, FLOATS),
    "log1p": (lax.log1p, 1, FLOATS),
    "logistic": (lax.logistic, 1, FLOATS),
    "lt": (lax.lt, 2, ALL),
    "max": (lax.max, 2, ALL),
    "min": (lax.min, 2, ALL),
    "mul": (lax.mul, 2, NUMBERS),
    "ne": (lax.ne, 2, ALL),
    "neg": (lax.neg, 1, NUMBERS),
    "nextafter": (lax.nextafter, 2, FLOATS),
    "population_count": (lax.population_count, 1, INTEGERS),
    "pow": (lax.pow, 2, FLOATS),
    "rem": (lax.rem, 2, NUMBERS),
    "round_away": (lambda x: lax.round(x, AWAY), 1, FLOATS),
    "round_even": (lambda x: lax.round(x, EVEN), 1, FLOATS),
    "rsqrt": (lax.rsqrt, 1, FLOATS),
    "select_n": (lambda x, y: lax.select_n(x == y, x, y), 2, ALL),
    "shift_left": (lax.shift_left, 2, INTEGERS),
    "shift_right_arithmetic": (lax.shift_right_arithmetic, 2, INTEGERS),
    "shift_right_logical": (lax.shift_right_logical, 2, INTEGERS),
    "sign": (lax.sign, 1, NUMBERS),
    "sin": (lax.sin, 1, FLOATS),
    "sinh": (lax.sinh, 1, FLOATS),
    "sqrt": (lax.sqrt, 1, FLOATS),
    "square": (lax.square, 1, NUMBERS),
    "sub": (lax.sub, 2, NUMBERS),
    "tan": (lax.tan, 1, FLOATS),
    "tanh": (lax.tanh, 1, FLOATS),
}

_POINTS = [0, 1, 0.5, 1.5, 2.5, 0.49999997, 1e-3, 1e-6, 3, 10, 20, 80, 1e4, np.pi, 0.9999, np.inf]
_FAR = {
    "float16": [],
    "bfloat16": [1e-20, 1e30],
    "float32": [1e-20, 1e30],
    "float64": [1e-200, 1e-20, 700, 1e10, 1e300],
}


@functools.cache
def edges(dtype):
    """Zero, one, ties, tiny and huge numbers of both signs, infinities and NaN; an integer's bounds and its width."""
    if dtype == "bool":
        return np.asarray([False, True])
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        near = [0, 1, 2, 3, 7, info.bits - 1, info.bits, 100]
        far = [info.min, info.min + 1, info.max - 1, info.max, info.max // 2 + 1]
        return np.asarray(sorted({*far, *near, *(-n for n in near if info.min < 0)}), dtype)
    size = np.asarray(_POINTS + _FAR[dtype])
    return np.concatenate([size, -size, [np.nan]]).astype(jnp.dtype(dtype))


def _cases():
    return [pytest.param(name, dtype, id=f"{name}-{dtype}") for name in CASES for dtype in CASES[name][2]]


@pytest.mark.parametrize(("name", "dtype"), _cases())
def test_edge_values(name, dtype):
    function, count, _ = CASES[name]
    values = [a.ravel() for a in np.meshgrid(*[edges(dtype)] * count)]
    with x64(enabled=True):
        specs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in values]
        check(to_onnx(function, specs), function, specs, values=[values])


def _conversions():
    dtypes = [*ALL, "float8_e4m3fn", "float8_e5m2"]
    return [(old, new) for old in dtypes for new in dtypes if old != new]


@pytest.mark.parametrize(("old", "new"), _conversions())
def test_convert(old, new):
    if old.startswith("float8"):
        values = np.arange(256, dtype=np.uint8).view(jnp.dtype(old))
    elif old in FLOATS:
        bounds = [127.5, 128, 255.9, 256, 464, 465, 32767.5, 65536, 61440, 2.0**31, 2.0**32, 2.0**63, 2.0**64, 3e38]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Numbers beyond float16 become infinite.
            size = np.asarray([*bounds, np.nextafter(2.0**63, 0), 2.0**31 - 1, 2.0**31 - 128]).astype(jnp.dtype(old))
        values = np.concatenate([size, -size, edges(old)])
    else:
        values = edges(old)

    def function(x):
        return lax.convert_element_type(x, jnp.dtype(new))

    with x64(enabled=True):
        specs = [jax.ShapeDtypeStruct(values.shape, values.dtype)]
        check(to_onnx(function, specs), function, specs, values=[[values]])


BROADCASTING = {
    "float32": (("add", "sub", "mul", "div", "pow", "max", "min", "atan2", "eq", "complex"), (0.0, -0.0, 1.0, 2.0)),
    "int32": (("add", "sub", "mul", "max", "bitwise_and", "bitwise_or", "shift_left", "lt"), (0, 1, -1)),
    "complex64": (("add", "sub", "mul", "div", "ne"), (0, 1, 2j)),
}


@pytest.mark.parametrize("dtype", BROADCASTING)
def test_dims_of_one_are_broadcast_against_constants_too(dtype):
    """An operator with an operand that it may leave out still gives the shape of both."""
    names, numbers = BROADCASTING[dtype]

    def program(x):
        results = []
        for name in names:
            for number in numbers:
                constant = jnp.full((1, 8), number, dtype)
                result = getattr(lax, name)(x, constant)
                results += [result, getattr(lax, name)(constant, x)]
                if dtype == "float32" and result.dtype == x.dtype:
                    results.append(1 / result)  # signs of zeros matter
        return results

    values = [[np.asarray([[0.5], [3], [1]], dtype)]]
    check(to_onnx(program, [f"{dtype}[3,1]"]), program, [f"{dtype}[3,1]"], values=values)
