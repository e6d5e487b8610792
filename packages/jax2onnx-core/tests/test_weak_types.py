"""Arrays whose type gives way to that of others, as a Python scalar's does: `jnp.full((3,), 2.0)`, `jnp.asarray(2)`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import check, to_onnx

HALF = "float16[B,3]"


def _scale(params, x):
    return x * params["scale"] + params["shift"]


def _weigh(x, w):
    return jax.nn.gelu(x * w)


@pytest.mark.parametrize(
    ("fn", "inputs", "dtype"),
    [
        (functools.partial(_scale, {"scale": jnp.full((3,), 1.5), "shift": jnp.asarray(2)}), [HALF], "float16"),
        (functools.partial(_scale, {"scale": jnp.ones((3,)), "shift": jnp.asarray(2)}), [HALF], "float32"),
        (functools.partial(_scale, {"scale": np.full((3,), 1.5, np.float32), "shift": 2}), [HALF], "float32"),
        (_weigh, [HALF, 2.5], "float16"),
        (_weigh, [HALF, np.float32(2.5)], "float32"),
        (_weigh, [HALF, jnp.full((3,), -2.0)], "float16"),
        (_weigh, [HALF, jax.ShapeDtypeStruct((3,), jnp.float32, weak_type=True)], "float16"),
        (_weigh, [HALF, jax.ShapeDtypeStruct((3,), jnp.float32)], "float32"),
        (jnp.add, ["int8[B]", jnp.asarray(2)], "int8"),
        (jnp.add, ["int8[B]", jnp.int32(2)], "int32"),
        (lambda x, n: jax.lax.fori_loop(0, 3, lambda _, y: y * n, x), [HALF, jnp.asarray(2)], "float16"),
        (lambda x, n: jax.vmap(lambda y: jax.jit(_weigh)(y, n))(x), [HALF, jnp.full((), 0.5)], "float16"),
        (jax.nn.softmax, [jnp.full((3, 4), 2.0)], "float32"),
    ],
)
def test_as_in_jax(fn, inputs, dtype):
    """The dtypes of the results tell: `check` compares them with JAX's on arrays that are as weakly typed."""
    model = to_onnx(fn, inputs)
    check(model, fn, inputs)
    assert onnx.helper.tensor_dtype_to_np_dtype(model.graph.output[0].type.tensor_type.elem_type) == np.dtype(dtype)


def test_as_given_by_hand():
    inputs = [HALF, jnp.full((3,), -2.0)]
    values = [[np.ones((2, 3), np.float16), np.float32([1, -0.5, np.nan])]]
    report = check(to_onnx(_weigh, inputs), _weigh, inputs, values=values)
    assert report.outputs[0].dtype == "float16"
