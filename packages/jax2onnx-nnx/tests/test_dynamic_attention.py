"""Fused attention over dynamic numbers of queries and keys, none of them among the sizes."""

import pytest
from flax import nnx

from jax2onnx.testing import Sized, run_sized, select

QUERY, KEYS = ("B", "T", 2, 4), ("B", "S", 2, 4)
PROGRAMS = [
    Sized("products", nnx.dot_product_attention, [QUERY, KEYS, KEYS], options={"opset": 22}),
    Sized(
        "mask",
        lambda q, k, v, mask: nnx.dot_product_attention(q, k, v, mask=mask),
        [QUERY, KEYS, KEYS, "bool[B,1,T,S]"],
    ),
    Sized(
        "bias of one symbol",
        lambda q, k, v, bias: nnx.dot_product_attention(q, k, v, bias=bias),
        [QUERY, QUERY, QUERY, ("B", 2, "T", "T")],
    ),
]


@pytest.mark.parametrize("program", select(PROGRAMS), ids=str)
def test_program(program):
    model = run_sized(program)
    assert "Softmax" in {n.op_type for n in model.graph.node}
