"""Hostile models: the commands that read a model end in bounded time, with a clear error, and print nothing to obey."""

import contextlib
import io
import itertools
import json
import os
import re
from pathlib import Path
from xml.dom import minidom

import models_of_users
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from releases import installed
from wrong_runner import forget_modules

import jax2onnx
from jax2onnx.checking.profile import profile
from jax2onnx.checking.runtime import loads_deep_models
from jax2onnx.cli import main as cli
from jax2onnx.errors import CheckError, InputSpecError, OutOfMemoryError

EVIL = "\x1b]0;title\x07\x1b[2J\r\nerror: fake\u202e<b>&\x00]]>"
OBEYED = "\x1b\x07\r\x00\u202e"


def value(name, dims=(3,), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


X, Y = value("x"), value("y")
NEG = helper.make_node("Neg", ["x"], ["y"])
ADD = helper.make_node("Add", ["x", "w"], ["y"])


def model(nodes=(NEG,), inputs=(X,), outputs=(Y,), initializers=(), *, functions=(), name="g"):
    graph = helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("d", 1)]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    made.ir_version = 10
    return made


def stored(dims, dtype=TensorProto.FLOAT, raw=b"", **external):
    tensor = TensorProto(name="w", data_type=dtype, dims=dims, raw_data=raw)
    for key, text in external.items():
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key=key, value=str(text))
    return tensor


def function(name, *called):
    """A function that applies others in a row."""
    nodes = []
    for number, (operator, domain) in enumerate(called):
        result = "y" if number + 1 == len(called) else f"t{number}"
        nodes.append(helper.make_node(operator, [f"t{number - 1}" if number else "x"], [result], domain=domain))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("d", 1)]
    return helper.make_function("d", name, ["x"], ["y"], nodes, opsets)


def deep(levels):
    body = helper.make_graph([NEG], "body", [], [Y])
    for _ in range(levels):
        other = helper.make_graph([NEG], "other", [], [Y])
        node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other)
        body = helper.make_graph([node], "body", [], [Y])
    return model(body.node, [X, value("c", (), TensorProto.BOOL)])


def strange_inputs():
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, ["B", 3])
    types = {
        "sequence": helper.make_sequence_type_proto(floats),
        "optional": helper.make_optional_type_proto(floats),
        "map": helper.make_map_type_proto(TensorProto.STRING, floats),
        "sparse": helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [3]),
        "string": helper.make_tensor_type_proto(TensorProto.STRING, [2]),
        "unknown": helper.make_tensor_type_proto(999, [2]),
    }
    values = [helper.make_value_info(name, kind) for name, kind in types.items()]
    return model(inputs=[X, *values, onnx.ValueInfoProto(name="none")])


def strange_attributes():
    node = helper.make_node("Neg", ["x"], ["y"])
    node.attribute.add(name="a", type=onnx.AttributeProto.STRING, s=b"\xff\xfe")
    node.attribute.add(name="b", type=onnx.AttributeProto.UNDEFINED)
    node.attribute.add(name="c", type=onnx.AttributeProto.TENSOR)
    constants = [helper.make_node("Constant", [], []), helper.make_node("Constant", [], ["c"])]
    return model([*constants, node])


def evil():
    odd = helper.make_node(f"E{EVIL}", [EVIL], ["y"], domain=f"d{EVIL}", name=EVIL, doc_string=EVIL, a=EVIL)
    tensor = stored([3], raw=np.ones(3, "float32").tobytes())
    tensor.name = f"w{EVIL}"
    return model([odd], [value(EVIL, [f"B{EVIL}"])], [Y], [tensor], name=EVIL)


def dims(text):
    return model(inputs=[value("x", [text])], outputs=[value("y", [text])])


CALL = helper.make_node("f0", ["x"], ["y"], domain="d")
BOMB = [function(f"f{i}", *[(f"f{i + 1}", "d") if i < 30 else ("Neg", "")] * 2) for i in range(31)]
MODELS = {
    # what it is: the model, and a part of what `check` says
    "dims of -3": (dims(-3), "a dimension is a non-negative int"),
    "dims of 2^62": (dims(2**62), "too large for any machine"),
    "dims of 2^40": (dims(2**40), "too many to draw"),
    "a power": (dims("B^100000000"), "no simple expression"),
    "a product": (dims("*".join(f"(a{i}+b{i})" for i in range(60))), "no simple expression"),
    "a long sum": (dims("+".join(f"a{i}" for i in range(200_000))), "no simple expression"),
    "parentheses": (dims("(" * 5000 + "B" + ")" * 5000), "no simple expression"),
    "a call": (dims("__import__('os')"), "not a symbol or an expression"),
    "control characters": (dims("\x1b[31m"), "no simple expression"),
    "text": (evil(), "onnxruntime cannot load"),
    "other inputs": (strange_inputs(), "onnxruntime cannot load"),
    "attributes": (strange_attributes(), "onnxruntime cannot load"),
    "a cycle": (model([helper.make_node("Add", ["x", "y"], ["y"])]), "onnxruntime cannot load"),
    "a function that calls itself": (model([CALL], functions=[function("f0", ("f0", "d"))]), "calls itself"),
    "two that call each other": (
        model([CALL], functions=[function("f0", ("f1", "d")), function("f1", ("f0", "d"))]),
        "calls itself",
    ),
    "functions that double": (model([CALL], functions=BOMB), "more than 1000000 nodes"),
    "nesting": (deep(30), "too many positional arguments" if loads_deep_models() else "30 levels; install onnxruntime"),
    "no data": (model([ADD], initializers=[stored([2**40])]), "onnxruntime cannot load"),
    "data of -3": (model([ADD], initializers=[stored([-3])]), "onnxruntime cannot load"),
    "data of 2^12400": (model([ADD], initializers=[stored([2**62] * 200)]), "onnxruntime cannot load"),
    "short data": (model([ADD], initializers=[stored([1], raw=b"ab")]), "onnxruntime cannot load"),
    "unknown data": (model([ADD], initializers=[stored([2], dtype=999)]), "onnxruntime cannot load"),
    "absolute": (model([ADD], initializers=[stored([3], location="/etc/hostname")]), "absolute path"),
    "a device": (model([ADD], initializers=[stored([3], location="/dev/zero")]), "absolute path"),
    "outside": (model([ADD], initializers=[stored([3], location="../outside.bin")]), "leads out of the folder"),
    "a link": (model([ADD], initializers=[stored([3], location="link.bin")]), "leads out of the folder"),
    "a folder": (model([ADD], initializers=[stored([3], location=".")]), "no file that is there"),
    "nothing": (model([ADD], initializers=[stored([3], location="")]), "no name of a file"),
    "missing": (model([ADD], initializers=[stored([3], location="missing.bin")]), "no file that is there"),
    "a far offset": (
        model([ADD], initializers=[stored([3], location="own.bin", offset=10**15, length=12)]),
        "onnxruntime cannot load",
    ),
    "a constant outside": (
        model([helper.make_node("Constant", [], ["y"], value=stored([3], location="../outside.bin"))]),
        "leads out of the folder",
    ),
}
FILES = {
    "empty": (b"", "it is empty"),
    "junk": (b"\xff" * 1000, "is no ONNX model"),
    "deep": (b"\x3a" * 100_000, "is no ONNX model"),
    "cut": (deep(20).SerializeToString()[:-9], "is no ONNX model"),
    "text": (b"x{}", "is no ONNX model"),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Work in a folder with the models, and with a file outside that they name."""
    folder = tmp_path_factory.mktemp("models") / "inside"
    folder.mkdir()
    (folder.parent / "outside.bin").write_bytes(np.ones(3, "float32").tobytes())
    (folder / "own.bin").write_bytes(np.ones(3, "float32").tobytes())
    (folder / "link.bin").symlink_to("../outside.bin")
    (folder / "users.py").write_text(Path(models_of_users.__file__).read_text())
    with contextlib.chdir(folder):
        for name, (made, _) in MODELS.items():
            Path(f"{name}.onnx").write_bytes(made.SerializeToString())
        for name, (content, _) in FILES.items():
            Path(f"file {name}.onnx").write_bytes(content)
        yield
    forget_modules(folder)


def run(*args):
    """Return the exit code of a command, and what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as ended:
        cli.main(args)
    return ended.value.code or 0, out.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_inspect_describes_a_hostile_model_and_prints_nothing_to_obey(name):
    code, text = run("inspect", f"{name}.onnx")
    assert code == 0, text
    assert not set(OBEYED) & set(text)
    assert max(map(len, text.splitlines())) < 1000
    assert not any(line.startswith("error") for line in text.splitlines())
    code, text = run("inspect", f"{name}.onnx", "--json")
    assert code == 0
    assert json.loads(text)["nodes"] >= 1


@pytest.mark.parametrize("name", MODELS)
def test_check_refuses_a_hostile_model(name):
    code, text = run("check", f"{name}.onnx", "users:double")
    assert code == 1, text
    assert MODELS[name][1] in text
    assert text.startswith("error: ")
    assert "Traceback" not in text
    assert not set(OBEYED) & set(text)


@pytest.mark.parametrize("name", MODELS)
def test_profile_and_diff_of_a_hostile_model_end_in_no_error_of_a_library(name):
    for command in (("profile", f"{name}.onnx", "--runs", "1"), ("diff", f"{name}.onnx", f"{name}.onnx")):
        code, text = run(*command)
        assert code in {0, 1}, text
        assert not re.match(r"error: [A-Z]\w+: ", text), text
        assert "Traceback" not in text
        assert not set(OBEYED) & set(text)


def double(x):
    return x + x


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param(
            model([ADD], initializers=[stored([3], location="inner.bin")]),
            "symbolic link",
            marks=pytest.mark.skipif(
                installed(onnx, "<1.23"),
                reason="older onnx reads a link to another file of the same folder",
            ),
        ),
        (model([ADD], initializers=[stored([3], location="x" * 5000)]), "no file that is there|no name of a file"),
        (model(initializers=[TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])]), None),
        (model(inputs=[value("x", [1] * 65)], outputs=[value("y", [1] * 65)]), "up to 64"),
    ],
    ids=["a link in the folder", "a long name", "strings", "65 dims"],
)
def test_diagnose_and_profile_name_what_they_cannot_read(made, says):
    Path("inner.bin").unlink(missing_ok=True)
    Path("inner.bin").symlink_to("own.bin")
    Path("unread.onnx").write_bytes(made.SerializeToString())
    shape = tuple(dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim)
    if says is None:
        assert jax2onnx.diagnose("unread.onnx", double, [shape]).culprit == "model"
        profile("unread.onnx", runs=1)
        return
    for call in (lambda: jax2onnx.diagnose("unread.onnx", double, [shape]), lambda: profile("unread.onnx", runs=1)):
        with pytest.raises(InputSpecError, match=says):
            call()


@pytest.mark.parametrize("command", ["inspect", "profile", "check"])
@pytest.mark.parametrize("place", ["y", "Neg", "w0rd"])
def test_a_name_that_is_no_text_is_told(command, place):
    made = model()
    made.graph.node[0].metadata_props.add(key="w0rd", value="told")
    content = made.SerializeToString().replace(place.encode(), b"\xff" * len(place))
    Path("bytes.onnx").write_bytes(content)
    code, text = run(command, "bytes.onnx", *["users:double"] * (command == "check"))
    assert code == 1
    assert "has a name that is no text in UTF-8" in text


@pytest.mark.parametrize("name", ["text", "other inputs", "attributes", "a cycle", "short data", "data of -3"])
def test_a_picture_is_well_formed_whatever_the_model_holds(name):
    code, text = run("inspect", f"{name}.onnx", "--svg", "picture.svg")
    if "graphviz-pure nor dot" in text:
        pytest.skip("no Graphviz")
    assert code == 0, text
    written = Path("picture.svg").read_text(encoding="utf-8")
    minidom.parseString(written)
    assert "<b>" not in written
    assert not set(OBEYED) & set(written)


def test_a_picture_of_too_many_nodes_is_refused():
    nodes = [helper.make_node("Neg", ["x"], [f"v{i}"]) for i in range(6000)]
    Path("many.onnx").write_bytes(model([*nodes, NEG]).SerializeToString())
    code, text = run("inspect", "many.onnx", "--svg", "many.svg")
    assert (code, Path("many.svg").exists()) == (1, False)
    assert "too many for a picture" in text


@pytest.mark.parametrize(("name", "command"), list(itertools.product(FILES, ["inspect", "check"])))
def test_what_is_no_model_is_told(name, command):
    code, text = run(command, f"file {name}.onnx", *["users:double"] * (command == "check"))
    assert code == 1
    assert FILES[name][1] in text


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_a_pipe_or_a_device_is_not_read(command):
    os.mkfifo("pipe.onnx")
    for path in ("pipe.onnx", "/dev/zero"):
        code, text = run(command, path, *["users:double"] * (command == "check"))
        assert code == 1
        assert "no regular file" in text
    Path("pipe.onnx").unlink()


def test_weights_in_the_folder_of_the_model_are_read_and_a_model_without_a_file_has_none():
    own = model([ADD], initializers=[stored([3], location="own.bin")])
    Path("own.onnx").write_bytes(own.SerializeToString())
    jax2onnx.check("own.onnx", lambda x: x + 1, [(3,)])
    with pytest.raises(InputSpecError, match="the model is in no file"):
        jax2onnx.check(own, lambda x: x + 1, [(3,)])
    with pytest.raises(CheckError, match="disagrees"):
        jax2onnx.check("own.onnx", lambda x: x + 2, [(3,)])


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (RuntimeError("bad allocation"), CheckError, "onnxruntime cannot load the model: bad allocation; export for"),
        (ValueError("no provider"), CheckError, "onnxruntime cannot load the model: no provider; export for"),
        (MemoryError(), OutOfMemoryError, "there is not enough memory"),
    ],
)
def test_an_onnxruntime_that_refuses_a_model_is_told(monkeypatch, error, kind, told):
    def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(kind, match=told) as caught:
        jax2onnx.check(model(), lambda x: -x, [(3,)])
    chain = [caught.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert chain[-1] is error
