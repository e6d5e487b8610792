"""``jax.nn.dot_product_attention`` in every form that becomes whole: what it becomes, and that it agrees with JAX."""

import functools

import jax
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

HEADS, SHARED = ("B", 5, 6, 4), ("B", 7, 2, 4)
PRODUCTS = {"MatMul": 2, "Mul": 1, "Softmax": 1}
LENGTHS = jax.ShapeDtypeStruct((3,), np.int32)


def exported(fn, inputs, **options):
    """Export, check against JAX, and return the counts of the operators."""
    model = to_onnx(fn, inputs, **options)
    check(model, fn, inputs)
    return operators(model)


@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
def test_shared_heads_are_one_operator(scale) -> None:
    attend = functools.partial(jax.nn.dot_product_attention, scale=scale)
    assert exported(attend, [HEADS, SHARED, SHARED]) == {"Reshape": 4, "Attention": 1}


@pytest.mark.parametrize("opset", [18, 22])
def test_shared_heads_before_the_operator(opset) -> None:
    counts = exported(jax.nn.dot_product_attention, [HEADS, SHARED, SHARED], opset=opset)
    assert PRODUCTS.items() <= counts.items()
    assert counts["Transpose"] == 4


@pytest.mark.parametrize("heads", [HEADS, ("B", 5, 2, 4)])
@pytest.mark.parametrize(
    ("given", "causal"),
    [
        (("mask",), False),
        (("mask",), True),
        (("bias",), False),
        (("bias",), True),
        (("bias", "mask"), False),
        (("key_value_seq_lengths",), False),
        (("key_value_seq_lengths",), True),
    ],
)
def test_what_hides_logits(heads, given, causal) -> None:
    specs = {
        "bias": jax.ShapeDtypeStruct((1, heads[2], 5, 7), np.float32),
        "mask": jax.ShapeDtypeStruct((3, 1, 5, 7), np.bool_),
        "key_value_seq_lengths": LENGTHS,
    }

    def attend(query, key, value, *rest):
        options = dict(zip(given, rest, strict=True))
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal, **options)

    sizes = [(3, *shape[1:]) for shape in (heads, SHARED, SHARED)]
    counts = exported(attend, [*sizes, *(specs[name] for name in given)])
    assert {**PRODUCTS, "Transpose": 4}.items() <= counts.items()
    assert counts.get("Where", 0) == causal + len({*given} - {"bias"})


@pytest.mark.parametrize("keys", [("B", "T", 6, 4), ("B", "T", 2, 4)])
def test_causal_attention_without_guards(keys) -> None:
    attend = functools.partial(jax.nn.dot_product_attention, is_causal=True)
    inputs = [("B", "T", 6, 4), keys, keys]
    assert operators(to_onnx(attend, inputs))["Attention"] == 0
    model = to_onnx(attend, inputs, guards=False)
    assert operators(model) == {"Reshape": 4, "Attention": 1}
    check(model, attend, inputs, kinds=["ordinary"])
    # A query sees the first keys, and the operator may count from the last ones.
    assert operators(to_onnx(attend, [HEADS, SHARED, SHARED], guards=False))["Attention"] == 0


@pytest.mark.parametrize(("heads", "expected"), [(2, 1), (6, 0)])
def test_one_query_of_shared_heads(heads, expected) -> None:
    counts = exported(jax.nn.dot_product_attention, [("B", 1, heads, 4), SHARED, SHARED])
    assert counts.get("Attention", 0) == expected


def test_lengths_of_queries_and_keys() -> None:
    def attend(query, key, value, queries, keys):
        lengths = {"query_seq_lengths": queries, "key_value_seq_lengths": keys}
        return jax.nn.dot_product_attention(query, key, value, **lengths)

    inputs = [(3, *shape[1:]) for shape in (HEADS, SHARED, SHARED)] + [LENGTHS, LENGTHS]
    model = to_onnx(attend, inputs)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(np.float32) for s in inputs[:3]]
    check(model, attend, inputs)
    check(model, attend, inputs, values=[[*arrays, np.array([0, 3, 9], np.int32), np.array([1, 0, 7], np.int32)]])
    assert operators(model)["Where"] == 2


@pytest.mark.parametrize("keys", [7, "S"])
def test_a_causal_mask_of_fixed_size_is_a_constant(keys) -> None:
    attend = functools.partial(jax.nn.dot_product_attention, is_causal=True)
    counts = exported(attend, [HEADS, ("B", keys, 2, 4), ("B", keys, 2, 4)])
    assert ("Range" in counts) == (keys == "S")
