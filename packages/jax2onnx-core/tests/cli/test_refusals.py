"""Wrong calls and failures: a message, an exit code, and nothing written."""

import numpy as np
import onnx
import onnx_ir
import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "models:double"), "give either a file to write (--output) or a stage to print (--show)"),
        (("export", "models", "-o", "m.onnx"), "not of the form MODULE:OBJECT"),
        (("export", "nowhere:double", "-o", "m.onnx"), "there is no module 'nowhere'"),
        (("export", "nowhere.py:double", "-o", "m.onnx"), "there is no file nowhere.py"),
        (("export", "models:nothing", "-o", "m.onnx"), "models has no 'nothing'"),
        (("export", "models:Model", "-o", "m.onnx"), "is a class"),
        (("export", "models:double", "-i", "x=f", "-i", "f", "-o", "m.onnx"), "every input a different name"),
        (("export", "models:double", "-i", "x=", "-o", "m.onnx"), "'x=' is not of the form NAME=DTYPE[DIMS]"),
        (("export", "models:double", "-i", "=float32[3]", "-o", "m.onnx"), "'=float32[3]' is not of the form"),
        (("export", "models:double", "-i", "", "-o", "m.onnx"), "'' is not of the form NAME=DTYPE[DIMS]"),
        (("inspect", "nothing.onnx"), "does not exist"),
        (("unknown",), "No such command"),
    ],
)
def test_a_wrong_call_exits_with_2(run, tmp_path, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models:double", "-i", "x=what"), "error: "),
        (("models:double", "-i", "x=float32[3]", "--opset", "9"), "opset"),
        (("models:picky", "-i", "x=float32[3]"), "no, thanks"),
        (("models:text", "-i", "x=float32[3]"), "error: "),
    ],
)
def test_a_failure_exits_with_1_and_no_traceback(run, tmp_path, arguments, message):
    code, out, err = run("export", *arguments, "-o", "m.onnx")
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "m.onnx").exists()


def test_a_module_that_fails_to_import(run, tmp_path):
    (tmp_path / "failing_module.py").write_text("import does_not_exist\n")
    code, _, err = run("export", "failing_module:f", "-o", "m.onnx")
    assert code == 1
    assert "No module named 'does_not_exist'" in err


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(run, place):
    arguments = ["export", "models:picky", "-i", "x=float32[3]", "-o", "m.onnx"]
    code, _, err = run(*(["--debug", *arguments] if place == "before" else [*arguments, "--debug"]))
    assert code == 1
    assert "Traceback" in err
    assert "no, thanks" in err


@pytest.mark.parametrize("output", ["models.py", "link.py", "x.npz"])
def test_an_output_that_is_an_input_is_refused(run, tmp_path, output):
    np.savez("x.npz", x=np.ones(3))
    (tmp_path / "link.py").symlink_to("models.py")
    before = (tmp_path / output).read_bytes()
    arguments = ("-i", "x=float32[3]", "--check", "--values", "x.npz", "-o", output)
    code, _, err = run("export", "models.py:double", *arguments)
    assert code == 2
    assert "is a file that this command reads; name another one" in err
    assert (tmp_path / output).read_bytes() == before


@pytest.mark.parametrize("output", ["m.onnx", "./m.onnx", "weights"])
def test_a_picture_over_its_model_is_refused(run, tmp_path, output):
    from faulty_saves import model_of

    model = model_of(1)
    onnx.save(onnx_ir.to_proto(model), "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    before = (tmp_path / output).read_bytes()
    code, _, err = run("inspect", "m.onnx", "--svg", output)
    assert code == 2
    assert "is a file that this command reads; name another one" in err
    assert (tmp_path / output).read_bytes() == before
