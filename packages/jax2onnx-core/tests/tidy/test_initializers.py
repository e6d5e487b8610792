"""Initializers: weights are arranged before they are written, keep their names and are stored once."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from jax2onnx.tidy.tidy import tidy

CASES = {
    "weights arranged at run time": (
        (
            "(float[N,4] x) => (float[N,5] y) <float[5,4] w, float[5] c> {"
            " t = Transpose<perm = [1, 0]>(w) p = MatMul(x, t) y = Add(c, p) }"
        ),
        {"Transpose": 0, "Gemm": 1, "Add": 0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_initializers(case: str, graphs) -> None:
    graphs.check(*CASES[case])


def test_arranged_weights_keep_their_names(graphs) -> None:
    after = graphs.tidied(graphs.parse(CASES["weights arranged at run time"][0]))
    assert {i.name: tuple(i.dims) for i in after.graph.initializer} == {"w": (4, 5), "c": (5,)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_weights_are_arranged_when_written(tmp_path, dtype) -> None:
    array = np.arange(60_000).reshape(300, 200).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    model = weights_model(array, uses=1)
    tidy(model)
    (weight,) = model.graph.initializers.values()
    assert isinstance(weight.const_value, ir.LazyTensor)
    assert weight.shape == (200, 300)
    with (tmp_path / "data").open("wb") as file:
        weight.const_value.tofile(file)
    assert (tmp_path / "data").read_bytes() == array.T.tobytes()


def test_large_weights_used_elsewhere_are_not_stored_twice() -> None:
    model = weights_model(np.ones((300, 200), np.float32), uses=2)
    tidy(model)
    assert [i.name for i in model.graph.initializers.values()] == ["w"]
    assert "Transpose" in [n.op_type for n in model.graph]


def test_initializers_that_view_the_same_memory_are_shared() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = ir.Value(name="x", shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    weights = [
        ir.Value(
            name=n, shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT), const_value=ir.Tensor(a, name=n)
        )
        for n, a in (("first", array), ("again", array), ("other", array.copy() + 1))
    ]
    nodes, value = [], x
    for weight in weights:
        nodes.append(ir.Node("", "Mul", [value, weight]))
        value = nodes[-1].outputs[0]
        value.type, value.shape = x.type, x.shape
    value.name = "y"
    graph = ir.Graph([x], [value], nodes=nodes, initializers=weights, opset_imports={"": 18}, name="g")
    model = ir.Model(graph, ir_version=10)
    tidy(model)
    assert list(model.graph.initializers) == ["first", "other"]


def weights_model(array: np.ndarray, uses: int) -> ir.Model:
    tensor = ir.Tensor(array, name="w")
    x = ir.Value(name="x", shape=ir.Shape(["N", 200]), type=ir.TensorType(tensor.dtype))
    w = ir.Value(name="w", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    turned = ir.Node("", "Transpose", [w], [ir.AttrInt64s("perm", [1, 0])])
    turned.outputs[0].type, turned.outputs[0].shape = x.type, ir.Shape([200, 300])
    product = ir.Node("", "MatMul", [x, turned.outputs[0]])
    product.outputs[0].type, product.outputs[0].shape = x.type, ir.Shape(["N", 300])
    nodes = [turned, product]
    if uses > 1:
        nodes.append(ir.Node("", "MatMul", [product.outputs[0], w]))
        nodes[-1].outputs[0].type, nodes[-1].outputs[0].shape = x.type, x.shape
    out = nodes[-1].outputs[0]
    out.name = "y"
    graph = ir.Graph([x], [out], nodes=nodes, initializers=[w], opset_imports={"": 18}, name="g")
    return ir.Model(graph, ir_version=10)
