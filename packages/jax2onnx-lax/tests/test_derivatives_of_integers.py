"""Derivatives of integers hold nothing (float0): in a model they are zeros of bool."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

from jax2onnx import check, to_onnx


def nothing(n):
    return np.zeros(n.shape, jax.dtypes.float0)


def derived(n):
    return jax.jvp(lambda v: v * 2, (n,), (nothing(n),))


PROGRAMS = {
    "at the top": derived,
    "gradient": jax.grad(lambda v: (v * 1.5).sum(), allow_int=True),
    "in a scan": lambda n: lax.scan(lambda c, x: (c, derived(x)), 0, n),
    "in a branch": lambda n: lax.cond(n.sum() > 0, derived, lambda v: (v, nothing(v)), n),
    "carried": lambda n: lax.fori_loop(0, 3, lambda _, c: derived(c[0]), (n, nothing(n))),
    "of a batch": jax.vmap(derived),
    "as an operand": lambda n: jax.jit(lambda v, t: (t, v))(n, nothing(n)),
}


SYMBOLIC = ("gradient", "in a scan", "of a batch")  # numpy, which makes the others' operands, needs a number


@pytest.mark.parametrize(
    ("name", "dim"), [*[(name, dim) for name in PROGRAMS for dim in (3, 0)], *[(name, "N") for name in SYMBOLIC]]
)
def test_program(name, dim):
    model = to_onnx(PROGRAMS[name], [f"int32[{dim}]"])
    check(model, PROGRAMS[name], [f"int32[{dim}]"])
    assert model.graph.output[-1].type.tensor_type.elem_type in {onnx.TensorProto.BOOL, onnx.TensorProto.INT32}


def test_complex_and_nothing_together():
    def fn(x, n):
        return lax.cond(n[0] > 0, lambda v, m: (v * 2, derived(m)), lambda v, m: (jnp.conj(v), (m, nothing(m))), x, n)

    specs = ["complex64[2]", "int32[3]"]
    check(to_onnx(fn, specs), fn, specs)
