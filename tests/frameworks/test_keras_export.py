"""keras' own ``model.export(path, format="onnx")`` on the jax backend writes a model that gives keras' numbers."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

from jax2onnx.testing import operators


def dense():
    x = keras.Input((4,), name="feat")
    return keras.Model(x, layers.Dense(3, activation="softmax")(x))


def lstm():
    x = keras.Input((5, 3))
    return keras.Model(x, layers.LSTM(4)(x))


def lstm_states():
    x = keras.Input((5, 3))
    return keras.Model(x, layers.LSTM(4, return_state=True)(x))


def bidirectional():
    x = keras.Input((5, 3))
    return keras.Model(x, layers.Bidirectional(layers.LSTM(4))(x))


def bidirectional_of_any_length():
    x = keras.Input((None, 3))
    return keras.Model(x, layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x))


def backwards_unrolled():
    x = keras.Input((3, 2))
    return keras.Model(x, layers.LSTM(2, go_backwards=True, unroll=True)(x))


def masked():
    tokens = keras.Input((None,), dtype="int32")
    embedded = layers.Embedding(11, 4, mask_zero=True)(tokens)
    return keras.Model(tokens, layers.Bidirectional(layers.GRU(3))(embedded))


def stacked_cells():
    x = keras.Input((5, 3))
    return keras.Model(x, layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)(x))


def convolutional_lstm():
    x = keras.Input((3, 4, 4, 2))
    return keras.Model(x, layers.ConvLSTM2D(2, 3)(x))


def attention():
    x = keras.Input((6, 4))
    return keras.Model(x, layers.LayerNormalization()(layers.MultiHeadAttention(2, 2)(x, x)))


def any_image_size():
    x = keras.Input((None, None, 3))
    hidden = layers.Conv2D(2, 3, padding="same", activation="gelu")(x)
    return keras.Model(x, layers.GlobalAveragePooling2D()(layers.BatchNormalization()(hidden)))


def inputs_in_a_dict():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    return keras.Model({"a": a, "b": b}, layers.Dense(2)(layers.Concatenate()([a, b])))


def inputs_in_a_list():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], {"sum": layers.Add()([a, b]), "a": layers.Dense(2)(a)})


def idle_in_inference():
    x = keras.Input((4, 4, 3))
    hidden = layers.Dropout(0.3)(layers.GaussianNoise(0.1)(layers.RandomFlip()(x)))
    return keras.Model(x, layers.Rescaling(1 / 255.0)(hidden))


MODELS = [
    dense,
    lstm,
    lstm_states,
    bidirectional,
    bidirectional_of_any_length,
    backwards_unrolled,
    masked,
    stacked_cells,
    convolutional_lstm,
    attention,
    any_image_size,
    inputs_in_a_dict,
    inputs_in_a_list,
    idle_in_inference,
]


def values_of(tensor, rng):
    """Return values for one input: 4 examples, every other open dim 6."""
    shape = [4, *(6 if dim is None else dim for dim in tensor.shape[1:])]
    if tensor.dtype == "int32":
        return rng.integers(0, 11, shape, np.int32)
    return rng.standard_normal(shape).astype(np.float32)


def compare(model, path, argument):
    expected = list(map(np.asarray, keras.tree.flatten(model(argument, training=False))))
    model.export(path, format="onnx", verbose=False)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    names = [i.name for i in session.get_inputs()]
    results = session.run(None, dict(zip(names, keras.tree.flatten(argument), strict=True)))
    assert len(results) == len(expected)
    for result, array in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, array, rtol=2e-5, atol=2e-6)
    return names


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_functional_model(build, tmp_path):
    assert keras.backend.backend() == "jax"
    model = build()
    rng = np.random.default_rng(0)
    structure = model.input
    if isinstance(structure, list) and len(structure) == 1:
        (structure,) = structure
    argument = keras.tree.map_structure(lambda tensor: values_of(tensor, rng), structure)
    names = compare(model, str(tmp_path / "model.onnx"), argument)
    assert names == [tensor.name for tensor in keras.tree.flatten(structure)]


def test_subclassed_model(tmp_path):
    class Tagger(keras.Model):
        def __init__(self):
            super().__init__()
            self.recurrent = layers.LSTM(3)
            self.head = layers.Dense(2)

        def call(self, x):
            return self.head(self.recurrent(x))

    model = Tagger()
    argument = np.random.default_rng(1).standard_normal((4, 5, 3)).astype(np.float32)
    compare(model, str(tmp_path / "model.onnx"), argument)


def test_opset(tmp_path):
    path = str(tmp_path / "model.onnx")
    model = dense()
    model(np.ones((1, 4)))
    model.export(path, format="onnx", opset_version=18, verbose=False)
    written = onnx.load(path)
    assert written.opset_import[0].version == 18
    assert operators(written) == {"Gemm": 1, "Softmax": 1}
