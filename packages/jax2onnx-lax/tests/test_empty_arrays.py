"""Arrays that are empty at run time: a symbolic size is 0, which JAX does not think of while it traces."""

import jax.numpy as jnp
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import x64

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
EXTREMA = {
    "max": lambda x: lax.reduce_max(x, (0,)),
    "min": lambda x: lax.reduce_min(x, (0,)),
    "max of all": lambda x: jnp.max(x, initial=0),
    "min of all": lambda x: jnp.min(x, initial=5, where=x > 2),
    "max of rows": lambda x: lax.reduce_max(x, (1,)),
}
PROGRAMS = {
    "set behind the first": lambda x: x.at[1:].set(7),
    "add behind the first": lambda x: x.at[1:].add(2),
    "set before the last": lambda x: x.at[:-1].set(7),
    "padded rest": lambda x: jnp.pad(x[1:], ((1, 0), (0, 0))),
    "row before the others": lambda x: jnp.concatenate([jnp.ones((1, 3)), x[:-1]]),
    "zeros between": lambda x: lax.pad(x, jnp.zeros((), x.dtype), ((1, 2, 2), (0, 0, 1))),
    "zeros between, less at the edges": lambda x: lax.pad(x, jnp.zeros((), x.dtype), ((-1, 3, 1), (0, 0, 1))),
    "wrapped columns": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="wrap"),
    "reflected columns": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="reflect"),
    "repeated columns": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="edge"),
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", EXTREMA)
def test_extremum(name, dtype):
    program, spec = EXTREMA[name], f"{dtype}[N,M]"
    with x64(enabled=True):
        model = to_onnx(program, [spec])
        check(model, program, [spec], sizes=[{"N": 0, "M": 0}, {"N": 0, "M": 3}, {"N": 3, "M": 0}, {"N": 3, "M": 2}])


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    program, spec = PROGRAMS[name], "float32[N,3]"
    check(to_onnx(program, [spec]), program, [spec], sizes=(0, 1, 2, 5))
