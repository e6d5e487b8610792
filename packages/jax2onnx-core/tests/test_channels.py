"""Images channels-first in the model and channels-last in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.testing import Runner, operators

RNG = np.random.default_rng(0)
KERNELS = {rank: RNG.normal(size=(*(3,) * rank, 3, 8)).astype(np.float32) for rank in (1, 2, 3)}
LAYOUT = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NHWDC", "HWDIO", "NHWDC")}


def net(image):
    rank = image.ndim - 2
    window = (1, *(2,) * rank, 1)
    x = jax.lax.conv_general_dilated(image, KERNELS[rank], (1,) * rank, "SAME", dimension_numbers=LAYOUT[rank])
    x = jax.nn.relu(x * 0.5 + 1)
    pooled = jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, window, "VALID")
    return {"features": pooled, "mean": x.mean(tuple(range(1, x.ndim)))}


def half(size):
    return size // 2


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_convolutional_net_needs_no_transpose(rank):
    spec = [("B", *range(8, 8 + rank), 3)]
    images = {"inputs_as_nchw": ["image"], "outputs_as_nchw": ["features"]}
    model = to_onnx(net, spec, **images)
    onnx.checker.check_model(model, full_check=True)
    assert "Transpose" not in operators(model)
    assert dims(model.graph.input[0]) == ["B", 3, *range(8, 8 + rank)]
    assert dims(model.graph.output[0]) == ["B", 8, *(half(8 + i) for i in range(rank))]
    check(model, net, spec, **images, kinds=("ordinary",), sizes=(2,))
    plain = to_onnx(net, spec)
    assert dims(plain.graph.input[0]) == ["B", *range(8, 8 + rank), 3]
    x = np.random.default_rng(0).normal(size=(2, *range(8, 8 + rank), 3)).astype(np.float32)
    features, mean = Runner(model).run([np.moveaxis(x, -1, 1)])
    expected, expected_mean = Runner(plain).run([x])
    np.testing.assert_allclose(np.moveaxis(features, 1, -1), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-5, atol=1e-6)


def test_true_means_every_image():
    def both(a, b, weight):
        return {"image": a + 2 * b, "plain": weight * 2, "size": jnp.asarray(a.shape[3])}

    specs = [("B", 4, 5, 3), (6, 7, 3), (3,)]
    model = to_onnx(lambda a, b, weight: both(a, b[:4, :5], weight), specs, inputs_as_nchw=True, outputs_as_nchw=True)
    assert [dims(i) for i in model.graph.input] == [["B", 3, 4, 5], [6, 3, 7], [3]]
    assert [dims(o) for o in model.graph.output] == [["B", 3, 4, 5], [3], []]
    check(model, lambda a, b, weight: both(a, b[:4, :5], weight), specs, inputs_as_nchw=True, outputs_as_nchw=True)


def test_an_image_that_is_handed_through_and_one_of_complex_numbers():
    def through(image, spectrum):
        return image, spectrum * 2

    specs = [(2, 4, 5, 3), "complex64[2,4,3]"]
    model = to_onnx(through, specs, inputs_as_nchw=True, outputs_as_nchw=["output_1"])
    assert [dims(i) for i in model.graph.input] == [[2, 3, 4, 5], [2, 3, 4, 2]]
    assert [dims(o) for o in model.graph.output] == [[2, 4, 5, 3], [2, 3, 4, 2]]
    check(model, through, specs, inputs_as_nchw=True, outputs_as_nchw=["output_1"])


def test_names_are_those_of_the_model():
    def double(x):
        return x * 2

    model = to_onnx(
        double, [(2, 4, 5, 3)], input_names=["in"], output_names=["out"], inputs_as_nchw=["in"], outputs_as_nchw=["out"]
    )
    assert operators(model) == {"Mul": 1}
    check(model, double, [(2, 4, 5, 3)], inputs_as_nchw=["in"], outputs_as_nchw=["out"])
    with pytest.raises(CheckError):
        check(model, double, [(2, 4, 5, 3)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inputs_as_nchw": ["picture"]}, "inputs_as_nchw: 'picture' is none of x, row"),
        ({"inputs_as_nchw": ["row"]}, "'row' has rank 2"),
        ({"inputs_as_nchw": "x"}, "expected a list, got .x.; write inputs_as_nchw="),
        ({"outputs_as_nchw": ["x"]}, "outputs_as_nchw: 'x' is none of output_0, output_1"),
        ({"outputs_as_nchw": ["output_1"]}, "'output_1' has rank 2"),
    ],
)
def test_what_is_no_image_is_refused(options, said):
    with pytest.raises(InputSpecError, match=said):
        to_onnx(lambda x, row: (x, row), [(2, 4, 5, 3), (4, 5)], **options)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    from jax2onnx.cli import main as cli

    (tmp_path / "nets.py").write_text(
        "import numpy as np\n\n\ndef scale(image):\n    return image * np.float32([1, 2, 3])\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ["--nchw-input", "image", "--nchw-output", "output"]
    for arguments in (
        ["export", "nets.py:scale", "-i", "image=float32[B,4,5,3]", "-o", "m.onnx", "--check", *options],
        ["check", "m.onnx", "nets.py:scale", *options],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert not ended.value.code, capsys.readouterr().err
    assert dims(onnx.load("m.onnx").graph.input[0]) == ["B", 3, 4, 5]
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "m.onnx", "nets.py:scale"])
    assert ended.value.code == 1


def test_saving_takes_the_same_options(tmp_path):
    save_onnx(net, [(1, 8, 9, 3)], tmp_path / "net.onnx", inputs_as_nchw=True)
    assert dims(onnx.load(tmp_path / "net.onnx").graph.input[0]) == [1, 3, 8, 9]
