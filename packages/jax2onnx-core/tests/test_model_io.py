"""The border of a model: its inputs, parameters and outputs, and what stands between them and the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx.options import Options
from jax2onnx.pipeline.parts import at_stage

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = jax.eval_shape(lambda: jax.random.key(0))


def model_of(function: Any, inputs: Any, **options: Any) -> Any:
    """Return the model as the rules emitted it."""
    return at_stage(function, inputs, "lowered", Options(**options))


def shapes(values: Any) -> dict[str, list[Any]]:
    return {value.name: [d if isinstance(d, int) else str(d.value) for d in value.shape] for value in values}


BORDERS: dict[str, tuple[Callable[..., Any], list[Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a_pytree": (
        lambda batch, scale: {"sum": batch["a"] + batch["b"][0], "scaled": batch["a"] * scale},
        [{"a": ("B", 3), "b": [("B", 3)]}, ()],
        {},
        {"batch.a": ["B", 3], "batch.b.0": ["B", 3], "scale": []},
        {"scaled": ["B", 3], "sum": ["B", 3]},
    ),
    "names_that_are_asked_for": (
        lambda x, y: x + y,
        [(3,), (3,)],
        {"input_names": ["left", "right"], "output_names": ["both"]},
        {"left": [3], "right": [3]},
        {"both": [3]},
    ),
    "complex_numbers_and_keys": (
        lambda z, key: (z * 2, jax.random.split(key)),
        [jax.ShapeDtypeStruct((3,), jnp.complex64), KEY],
        {},
        {"z": [3, 2], "key": [2]},
        {"output_0": [3, 2], "output_1": [2, 2]},
    ),
    "images": (
        lambda image, row: (image * 2, row, image.sum()),
        [("B", 4, 5, 3), (4, 5)],
        {"inputs_as_nchw": True, "outputs_as_nchw": ["output_0"]},
        {"image": ["B", 3, 4, 5], "row": [4, 5]},
        {"output_0": ["B", 3, 4, 5], "output_1": [4, 5], "output_2": []},
    ),
    "complex_images": (
        lambda image: image,
        [jax.ShapeDtypeStruct((2, 4, 3), jnp.complex64)],
        {"inputs_as_nchw": True, "outputs_as_nchw": True},
        {"image": [2, 3, 4, 2]},
        {"output": [2, 3, 4, 2]},
    ),
}


@pytest.mark.parametrize("name", BORDERS)
def test_names_and_shapes_of_inputs_and_outputs(name: str) -> None:
    function, inputs, options, expected_inputs, expected_outputs = BORDERS[name]
    model = model_of(function, inputs, **options)
    assert shapes(model.graph.inputs) == expected_inputs
    assert shapes(model.graph.outputs) == expected_outputs


def test_an_image_is_transposed_on_its_way_in_and_out() -> None:
    model = model_of(lambda image: image * 2, [(2, 4, 5, 3)], inputs_as_nchw=True, outputs_as_nchw=True)
    first, _, last = model.graph
    assert (first.op_type, list(first.attributes["perm"].as_ints())) == ("Transpose", [0, 2, 3, 1])
    assert (last.op_type, list(last.attributes["perm"].as_ints())) == ("Transpose", [0, 3, 1, 2])
    assert list(first.outputs[0].shape) == [2, 4, 5, 3]


def test_each_output_is_a_value_of_its_own() -> None:
    constant = np.arange(3, dtype=np.float32)

    def function(x: Any) -> Any:
        doubled = x * 2
        return doubled, doubled, x, constant

    model = model_of(function, [(3,)])
    outputs = model.graph.outputs
    assert len(set(outputs)) == 4
    assert [output.producer().op_type for output in outputs] == ["Mul", "Identity", "Identity", "Identity"]


def test_parameters_are_initializers_and_state_is_input_and_output(toy: None) -> None:
    from toy_framework import Linear, Noise

    class Net(Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.noise = Noise()

        def __call__(self, x: Any) -> Any:
            return self.noise(super().__call__(x))

    model = model_of(Net(), [("B", 3)], state="io", training=True)
    assert list(shapes(model.graph.inputs)) == ["x", "noise.count_"]
    assert list(shapes(model.graph.outputs)) == ["output", "noise.count_.next"]
    params = {name: value for name, value in model.graph.initializers.items() if name in {"weight", "bias"}}
    assert shapes(params.values()) == {"weight": [3, 2], "bias": [2]}
    np.testing.assert_array_equal(params["bias"].const_value.numpy(), np.ones(2))
