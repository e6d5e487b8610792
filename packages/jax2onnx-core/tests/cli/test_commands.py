"""The commands: what they write, what they print where, and how they exit."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def test_export(run, tmp_path):
    code, out, err = run("export", "models:double", "--input", "x=float32[B,30]", "-o", "model.onnx")
    assert (code, err) == (0, "")
    assert out.startswith("model.onnx: 1 node (1 Add), opset 23, ")
    (given,) = onnx.load("model.onnx").graph.input
    assert given.name == "x"
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["B", 30]


def test_export_and_check(run):
    code, out, err = run("export", "models:cube", "-i", "float32[B,3]", "-o", "model.onnx", "--check")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) > 1


def test_options_reach_the_model(run):
    arguments = ("--opset", "20", "--output-name", "y", "--target", "onnx")
    assert run("export", "models:double", "-i", "x=float32[3]", "-o", "m.onnx", *arguments)[0] == 0
    model = onnx.load("m.onnx")
    assert model.opset_import[0].version == 20
    assert model.graph.output[0].name == "y"


def test_inputs_go_to_the_parameters_of_their_names(run):
    code, _, err = run("export", "models:subtract", "-i", "b=float32[2,3]", "-i", "a=float32[3]", "-o", "m.onnx")
    assert code == 0, err
    shapes = {i.name: len(i.type.tensor_type.shape.dim) for i in onnx.load("m.onnx").graph.input}
    assert shapes == {"a": 1, "b": 2}
    assert list(shapes) == ["a", "b"]


def test_inputs_may_be_keyword_only(run, input_names):
    code, _, err = run("export", "models:scaled", "-i", "factor=float32[]", "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err
    assert sorted(input_names("m.onnx")) == ["factor", "x"]


def test_other_names_are_given_in_order(run, input_names):
    code, _, err = run("export", "models:subtract", "-i", "left=float32[3]", "-i", "right=float32[]", "-o", "m.onnx")
    assert code == 0, err
    assert input_names("m.onnx") == ["left", "right"]


@pytest.mark.parametrize("source", ["models.py:double", "models:Holder.model"])
def test_sources(run, source):
    code, _, err = run("export", source, "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err


def test_call(run):
    code, _, err = run("export", "models:make", "--call", "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err


def test_check_agrees(run):
    run("export", "models:subtract", "-i", "a=float32[B,3]", "-i", "b=float32[3]", "-o", "m.onnx")
    code, out, err = run("check", "m.onnx", "models:subtract")
    assert (code, err) == (0, "")
    assert out


def test_check_disagrees(run):
    run("export", "models:double", "-i", "x=float32[B,3]", "-o", "m.onnx")
    code, out, err = run("check", "m.onnx", "models:cube")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


def test_inspect(run):
    run("export", "models:double", "-i", "x=float32[B,30]", "-o", "m.onnx")
    code, out, err = run("inspect", "m.onnx")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["input", "x", "float32[B,30]"] in rows
    assert ["output", "output", "float32[B,30]"] in rows
    assert ["operator", "Add", "1"] in rows


def test_inspect_lists_the_largest_initializers(run):
    sizes = {"small": 2, "large": 1000, "middle": 10}
    stored = [numpy_helper.from_array(np.zeros(size, "float32"), name) for name, size in sizes.items()]
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("large", TensorProto.FLOAT, [1000])], stored)
    onnx.save(helper.make_model(graph), "m.onnx")
    out = run("inspect", "m.onnx", "--largest", "2")[1]
    assert [line.split() for line in out.splitlines() if line.startswith("initializer")] == [
        ["initializer", "large", "float32[1000]", "3.9", "KiB"],
        ["initializer", "middle", "float32[10]", "40", "B"],
    ]
    summary = json.loads(run("inspect", "m.onnx", "--json")[1])
    assert [t["name"] for t in summary["initializers"]] == ["large", "middle", "small"]


def test_inspect_what_is_no_model(run, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    code, out, err = run("inspect", "m.onnx")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


def test_list_plugins(run, fake_plugin):
    fake_plugin("alpha", "@hookimpl\ndef jax2onnx_register_lowerings(registry): registry.add('frob', lambda ctx: ())\n")
    fake_plugin("beta", "1 / 0")
    code, out, err = run("list-plugins", "--verbose")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["alpha", "ok", "1.0", "dist-alpha", "1", "lowering"] in rows
    assert any(row[:2] == ["beta", "broken"] and "ZeroDivisionError:" in row for row in rows if row)
    assert ["lowering", "frob", "alpha", "18"] in rows


def test_list_plugins_as_json(run, fake_plugin):
    fake_plugin("alpha")
    report = json.loads(run("list-plugins", "--json")[1])
    expected = {"name": "alpha", "status": "ok", "module": "temporary_dist_alpha_alpha"}
    assert expected.items() <= report["plugins"][-1].items()
    assert "entries" not in report


def test_version_in_a_process():
    result = subprocess.run([sys.executable, "-m", "jax2onnx", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == "jax2onnx 0.1.0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of POSIX")
def test_progress_on_a_terminal():
    import os
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "jax2onnx", "export", "models:double", "-i", "x=float32[3]", "-o", "m.onnx"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    progress = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment) as process:
        os.close(follower)
        while True:
            try:
                progress += os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
        out = process.stdout.read().decode()
    os.close(leader)
    assert process.returncode == 0, progress
    assert b"exporting models:double" in progress
    assert out.startswith("m.onnx: ")
