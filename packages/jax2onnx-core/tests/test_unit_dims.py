"""Transposes that move dims of 1 are those of the other dims, where onnxruntime is faster at them."""

import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import onnx_function, to_onnx
from jax2onnx.testing import Runner

REWRITTEN = [
    ((1, 3, 4, 2, 5), (1, 3, 4, 0, 2)),
    ((3, 2, 5, 1, 4), (0, 4, 1, 3, 2)),
    ((3, 4, 1, 5), (3, 2, 0, 1)),
    ((1, 3, 1, 4), (3, 2, 1, 0)),
    (("B", 1, "T", 4), (2, 1, 0, 3)),
]
LEFT = [
    ((3, 4, 1, 5), (1, 2, 0, 3)),  # one axis moves
    ((1, 3, 4), (1, 0, 2)),  # one, of 1
    ((1, 3, 1, 4), (1, 2, 0, 3)),  # those of 1 alone
    ((1, 3, 4, 5), (3, 2, 1, 0)),  # more than one of the others
    ((3, 4, 5), (2, 1, 0)),
    (("B", "T", 4), (2, 1, 0)),
]


def sizes(shape):
    return [{"B": 2, "T": 3}.get(size, size) for size in shape]


def order_of(model):
    (node,) = (node for node in model.graph.node if node.op_type == "Transpose")
    return list(node.attribute[0].ints)


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "bfloat16", "float16"])
@pytest.mark.parametrize(("shape", "order"), REWRITTEN + LEFT)
def test_transposes(shape, order, dtype):
    spec = f"{dtype}[{','.join(map(str, shape))}]"
    model = to_onnx(lambda x: x.transpose(order), [spec])
    plain = to_onnx(lambda x: x.transpose(order), [spec], target="onnx")
    assert order_of(plain) == list(order)
    kept = [axis for axis in order if shape[axis] != 1]
    assert len(order_of(model)) == (len(kept) if (shape, order) in REWRITTEN else len(order))
    x = np.arange(np.prod(sizes(shape))).reshape(sizes(shape)) % 100
    x = np.asarray(jnp.asarray(x).astype(dtype))
    (got,) = Runner(model).run([x])
    np.testing.assert_array_equal(got, np.transpose(x, order))
    assert got.dtype == x.dtype


def test_names_and_shapes_stay():
    model = to_onnx(
        lambda x: (x.transpose(1, 3, 4, 0, 2), x + 1), ["float32[1,3,4,2,5]"], output_names=["turned", "more"]
    )
    onnx.checker.check_model(model, full_check=True)
    assert [out.name for out in model.graph.output] == ["turned", "more"]


def test_in_a_function():
    inner = onnx_function(lambda x: jnp.exp(x).transpose(1, 3, 4, 0, 2))
    model = to_onnx(lambda x: inner(x) + inner(x * 2), ["float32[1,3,4,2,5]"])
    assert [n.op_type for f in model.functions for n in f.node].count("Squeeze") == 1
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 2, 5)).astype(np.float32)
    (got,) = Runner(model).run([x])
    np.testing.assert_allclose(got, (jnp.exp(x) + jnp.exp(x * 2)).transpose(1, 3, 4, 0, 2), rtol=1e-6)
