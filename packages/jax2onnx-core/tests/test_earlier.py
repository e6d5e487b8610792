"""Calls in the form of jax2onnx 0.17: they work by their meaning, or the message says what to write, and that works."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

import jax2onnx
from jax2onnx import allclose, check, save_onnx, to_onnx
from jax2onnx.errors import InputSpecError, SaveError

SPECS = [("B", 3)]


def double(x):
    return x * 2


def test_a_file_is_written_and_its_path_returned(tmp_path):
    path = tmp_path / "model.onnx"
    result = to_onnx(double, inputs=SPECS, input_names=["feat"], return_mode="file", output_path=path)
    assert result == str(path)
    session = onnxruntime.InferenceSession(result)
    assert [i.name for i in session.get_inputs()] == ["feat"]
    check(path, double, SPECS)


def test_an_unwritable_path_is_refused_before_the_export(tmp_path):
    def never(x):
        raise AssertionError(x)

    with pytest.raises(SaveError, match="no folder"):
        to_onnx(never, SPECS, return_mode="file", output_path=tmp_path / "no" / "model.onnx")


def test_a_model_of_onnx_ir_is_returned():
    assert isinstance(to_onnx(double, SPECS, return_mode="ir"), ir.Model)
    assert isinstance(to_onnx(double, SPECS, return_mode="proto"), onnx.ModelProto)


def test_a_model_for_the_web_is_one_file(tmp_path, monkeypatch):
    weights = jnp.arange(3000.0)

    def shifted(x):
        return x + weights

    monkeypatch.setattr("jax2onnx.output.save.EXTERNAL_DATA_THRESHOLD", 1000)
    path = to_onnx(shifted, [(3000,)], return_mode="file", output_path=tmp_path / "web.onnx", export_mode="web")
    assert list(tmp_path.iterdir()) == [tmp_path / "web.onnx"]
    check(path, shifted, [(3000,)])


@pytest.mark.parametrize(
    "options",
    [
        {"model_name": "net"},
        {"name": "net", "enable_double_precision": False},
        {"name": "net", "normalization_mode": "auto", "export_mode": "standard"},
        {"name": "net", "normalization_mode": "prefer_native", "record_primitive_calls_file": None},
        {"name": "net", "inputs_as_nchw": None, "outputs_as_nchw": None},
    ],
)
def test_keywords_that_mean_the_same(options):
    model = to_onnx(double, SPECS, **options)
    assert model.graph.name == "net"
    assert model.graph.node == to_onnx(double, SPECS, name="net").graph.node


def test_images_by_position():
    def cropped(weight, image):
        return weight, image[:, 1:] * weight

    specs = [(3,), (2, 4, 5, 3)]
    options = {"inputs_as_nchw": [1], "outputs_as_nchw": (1,)}
    model = to_onnx(cropped, specs, **options)
    named = to_onnx(cropped, specs, inputs_as_nchw=["image"], outputs_as_nchw=["output_1"])
    assert model == named
    check(model, cropped, specs, **options)
    assert allclose(model, cropped, specs, **options)[0]


@pytest.mark.parametrize("position", [2, -1, 0, True, 1.0])
def test_a_position_that_is_no_image(position):
    with pytest.raises(InputSpecError, match=r"inputs_as_nchw.*(is none of row, x|has rank 2|expected a string)"):
        to_onnx(lambda row, x: (row, x), [(2, 3), (2, 3, 4)], inputs_as_nchw=[position])


REFUSED = [
    ({"enable_double_precision": True}, "jax.config.update('jax_enable_x64', True)"),
    ({"normalization_mode": "force_decomposed"}, "fusions=False"),
    ({"record_primitive_calls_file": "calls.txt"}, "jax2onnx.show(fn, inputs, 'program')"),
    ({"output_path": "m.onnx"}, "save_onnx(fn, inputs, path)"),
    ({"output_path": "m.onnx", "return_mode": "ir"}, "return_mode='file'"),
    ({"return_mode": "file"}, "save_onnx(fn, inputs, path)"),
    ({"return_mode": "onnx"}, "proto, ir, file"),
    ({"export_mode": "mobile"}, "standard, web"),
    ({"model_name": "a", "name": "b"}, "leave model_name out"),
    ({"model_nam": "a"}, "did you mean 'model_name'"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_is_refused_says_what_to_write(options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputSpecError, match=re.escape(said)):
        to_onnx(double, SPECS, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: to_onnx(double, SPECS, None, "net", 21), "write input_params=..., name=..., opset=..."),
        (lambda: allclose(double, "m.onnx", SPECS, None, 1e-3), "write input_params=..., rtol=..."),
        (lambda: allclose(double, "m.onnx", SPECS, enable_double_precision=True), "jax_enable_x64"),
        (lambda: save_onnx(double, SPECS, "m.onnx", model_name="net"), "write name='...'"),
        (lambda: save_onnx(double, SPECS, "m.onnx", export_mode="web"), "SerializeToString"),
    ],
)
def test_calls_that_are_refused_say_what_to_write(call, said):
    with pytest.raises(InputSpecError, match=re.escape(said)):
        call()


def test_the_remedies_work(tmp_path):
    """Follow what the messages above say."""
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - as the message says
    try:
        wide = to_onnx(double, ["float64[B,3]"])
    finally:
        jax.config.update("jax_enable_x64", False)  # noqa: FBT003
    assert wide.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE

    plain = to_onnx(jax.nn.gelu, SPECS, fusions=False)
    assert "Gelu" not in {node.op_type for node in plain.graph.node}
    assert "mul" in jax2onnx.show(double, SPECS, "program")
    save_onnx(double, SPECS, tmp_path / "m.onnx", name="net")
    to_onnx(double, SPECS, input_params=None, name="net", opset=21)
    agrees, words = allclose(double, tmp_path / "m.onnx", SPECS, rtol=1e-3)
    assert agrees, words


def test_allclose_takes_the_callable_first(tmp_path):
    path = str(tmp_path / "m.onnx")
    save_onnx(double, SPECS, path)
    values = [np.ones((2, 3), np.float32)]
    for model in (path, to_onnx(double, SPECS)):
        assert allclose(double, model, values)[0]
        assert allclose(model, double, values)[0]
        assert not allclose(jnp.sin, model, values)[0]


def test_descriptions_of_arrays_of_other_libraries():
    class Description:
        shape = ("B", 3)
        dtype = "int32"

    model = to_onnx(double, [Description()])
    assert model == to_onnx(double, ["int32[B,3]"])
    aval = jax.core.ShapedArray((2, 3), jnp.dtype("float32"))
    assert to_onnx(double, [aval]) == to_onnx(double, [(2, 3)])
