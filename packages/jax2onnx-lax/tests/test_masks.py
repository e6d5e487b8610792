"""Products by masks: XLA chooses instead of multiplying where it compiles both together, so ``inf * False`` is 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators

NUMBERS = np.array([[np.inf, np.nan, -np.inf, 2], [np.nan, -3, np.inf, 0]], np.float32)
MASK = np.array([[0, 0, 1, 1], [1, 0, 0, 1]], bool)
PROGRAMS = {
    "operator": lambda x, m: x * m,
    "other order": lambda x, m: m * x,
    "comparison": lambda x, _: x * (x > 1),
    "conversion": lambda x, m: x * m.astype(x.dtype),
    "conversion of a comparison": lambda x, _: (x > 1).astype(x.dtype) * x,
    "number": lambda x, m: x[0, 0] * m,
    "infinity": lambda _, m: jnp.inf * m,
    "one mask": lambda x, m: x * m[0, 0],
    "row": lambda x, m: x * m[0],
    "mask of both": lambda x, m: x * (m * m),
    "integers": lambda x, m: x * m.astype(int),
    "integers between": lambda x, m: x * m.astype(int).astype(x.dtype),
    "mask used twice": lambda x, m: (x * m.astype(x.dtype), m.astype(x.dtype) + 1),
    "mapped": jax.vmap(jnp.multiply),
    "mapped over one": lambda x, m: jax.vmap(jnp.multiply, in_axes=(0, None))(x, m[0]),
    "gradient": lambda x, m: jax.grad(lambda x: jnp.sum((x * m) ** 2))(x),
    "step": lambda x, _: lax.scan(lambda c, v: (c, v * (v > 1).astype(v.dtype)), 0.0, x)[1],
    "complex": lambda x, m: (x + 1j) * m,
    "terms": lambda x, m: jnp.einsum("ij,ij->ij", x, m),
    "terms, transposed": lambda x, m: jnp.einsum("ij,ij->ji", m, x),
    "terms, summed": lambda x, m: jnp.einsum("ij,ij->i", x, m),
    "terms, all summed": lambda x, m: jnp.einsum("ij,ij->", x, m),
    "terms, converted": lambda x, m: jnp.einsum("ij,ij->ij", x, m.astype(x.dtype)),
    "terms of a row": lambda x, m: jnp.einsum("j,ij->ij", x[0], m),
    "terms of a mask of rows": lambda x, m: jnp.einsum("ij,j->ij", x, m[0]),
    "terms of three": lambda x, m: jnp.einsum("ij,ij,jk->ik", x, m, jnp.ones((4, 2))),
    "inner product": lambda x, m: jnp.vdot(x[0], m[0]),
}


@pytest.mark.parametrize("rows", ["2", "N"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_product(name, dtype, compiled, rows):
    program = jax.jit(PROGRAMS[name]) if compiled else PROGRAMS[name]
    numbers = NUMBERS.astype(jnp.dtype(dtype))
    results = Runner(to_onnx(program, [f"{dtype}[{rows},4]", f"bool[{rows},4]"])).run([numbers, MASK])
    expected = jax.tree_util.tree_leaves(program(jnp.asarray(numbers), jnp.asarray(MASK)))
    for ours, theirs in zip(results, expected, strict=True):
        array = np.stack([theirs.real, theirs.imag], -1) if np.iscomplexobj(theirs) else np.asarray(theirs)
        np.testing.assert_array_equal(ours.astype(np.float32), array.astype(np.float32))


def test_a_choice_is_one_node():
    assert operators(to_onnx(lambda x, m: x * m, [(3,), "bool[3]"])) == {"Where": 1}
