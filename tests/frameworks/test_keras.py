"""Models of keras on its jax backend convert as plain callables."""

import keras
import numpy as np
import onnx
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


def functional():
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, activation="relu")(x)
    hidden = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(hidden))
    joined = keras.layers.Concatenate()([hidden, x])
    return keras.Model(x, keras.layers.Dense(3, activation="softmax")(joined))


def convolutional():
    layers = [
        keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(5),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def recurrent():
    layers = [keras.layers.LSTM(4, return_sequences=True), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((5, 3)), *layers])


@pytest.mark.parametrize(
    ("build", "shape"),
    [(functional, (4,)), (convolutional, (8, 8, 3)), (recurrent, (5, 3))],
    ids=["mlp", "cnn", "lstm"],
)
def test_model(build, shape):
    assert keras.backend.backend() == "jax"
    model = build()
    exported = to_onnx(model, [("B", *shape)])
    onnx.checker.check_model(exported, full_check=True)
    check(exported, model, [("B", *shape)])


def test_the_weights_are_the_models():
    model = functional()
    held = [onnx.numpy_helper.to_array(t) for t in to_onnx(model, [("B", 4)]).graph.initializer]
    kernels = [np.asarray(layer.kernel.value) for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert len(kernels) == 2
    for kernel in kernels:
        assert any(kernel.shape == array.shape and np.array_equal(kernel, array) for array in held)


def test_two_inputs():
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], keras.layers.Dense(2)(keras.layers.Multiply()([a, b])))
    inputs = [[("B", 4), ("B", 4)]]
    exported = to_onnx(model, inputs)
    check(exported, model, inputs)
    assert operators(exported) == {"Mul": 1, "Gemm": 1}


def test_nodes_know_their_layers():
    layers = [
        keras.layers.MultiHeadAttention(2, 4, name="attention"),
        keras.layers.LSTM(4, return_sequences=True, name="rnn"),
        keras.layers.Dense(2, name="head"),
    ]
    x = keras.Input((5, 3))
    attended = layers[0](x, x)
    model = keras.Model(x, layers[2](layers[1](attended)), name="net")
    exported = to_onnx(model, [("B", 5, 3)])
    nodes = list(exported.graph.node)
    for node in nodes:
        nodes += [inner for attribute in node.attribute for inner in attribute.g.node]
    told = {entry.value for node in nodes for entry in node.metadata_props if entry.key == "namespace"}
    assert told >= {"net/attention", "net/attention/query", "net/rnn", "net/rnn/lstm_cell", "net/head"}
    assert not any("->" in name for name in told)
