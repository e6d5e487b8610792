"""The picture of a model: every node once, where it belongs, readable."""

import itertools
import re
import shutil
import sys
import sysconfig
from collections import Counter
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from jax2onnx.cli import main as cli
from jax2onnx.errors import PictureError
from jax2onnx.inspect.drawing import Drawing
from jax2onnx.inspect.picture import svg

SVG = "{http://www.w3.org/2000/svg}"
COLOURS = {"title": "#1f2933", "line": "#5f6773", "shape": "#2563a8", "name": "#5f6773"}
MODEL = """
<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>
main (float[B,3] x, bool flag) => (float[B,4] y, float z)
<float[3,4] weight = {1,2,3,4,5,6,7,8,9,10,11,12}, float half = {0.5}, int64[2] axes = {0, 1}, float[B,4] product>
{
    product = MatMul(x, weight)
    double = mine.twice(product)
    y = If (flag) <
        then_branch = yes () => (float[B,4] a) { a = Relu(double) },
        else_branch = no () => (float[B,4] b) { b = Elu<alpha = 0.25>(double) }
    >
    small = Mul(product, half)
    z = ReduceSum<keepdims = 0>(small, axes)
}
<domain: "mine", opset_import: ["" : 21]>
twice (a) => (b) { two = Constant<value_float = 2.0>() b = Mul(a, two) }
"""


@pytest.fixture
def model():
    return parser.parse_model(MODEL)


def read(text):
    return ET.fromstring(text)


def classed(root, tag, word):
    return [e for e in root.iter(f"{SVG}{tag}") if word in (e.get("class") or "").split()]


def texts(group, kind):
    found = [e for e in group.findall(f"{SVG}text") if e.get("fill") == COLOURS[kind]]
    return [e.text.replace("\N{MULTIPLICATION SIGN}", "x") for e in found]


def nodes(root):
    """Return title -> lines, shapes of the boxes of nodes."""
    groups = [g for g in classed(root, "g", "node") if "border" not in g.get("class")]
    return [(*texts(g, "title"), texts(g, "line"), texts(g, "shape")) for g in groups]


def rectangle(group):
    """Return the borders of the outline of a box or a frame."""
    (outline,) = [*group.findall(f"{SVG}path"), *group.findall(f"{SVG}polygon")]
    numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", outline.get("d") or outline.get("points"))]
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def test_every_node_is_one_box_with_what_it_takes_and_gives(model):
    drawn = nodes(read(svg(model)))
    assert Counter(title for title, *_ in drawn) == Counter(
        ["MatMul", "twice", "If", "Relu", "Elu", "Mul", "ReduceSum", "Mul"]
    )
    assert ("MatMul", ["weight 3x4"], ["Bx4"]) in drawn
    assert ("Elu", ["alpha=0.25"], ["Bx4"]) in drawn
    assert ("ReduceSum", ["[0, 1]", "keepdims=0"], ["scalar"]) in drawn
    assert ("Mul", ["0.5"], []) in drawn
    assert ("Mul", ["2"], []) in drawn


def test_inputs_and_outputs_are_boxes_of_another_kind(model):
    border = classed(read(svg(model)), "g", "border")
    assert sorted(texts(g, "title")[0] for g in border) == ["a", "a", "b", "b", "flag", "x", "y", "z"]
    (flag,) = [g for g in border if texts(g, "title") == ["flag"]]
    assert texts(flag, "shape") == ["bool scalar"]


def test_bodies_and_functions_have_frames_around_their_boxes(model):
    root = read(svg(model))
    frames = {texts(g, "name")[0]: rectangle(g) for g in classed(root, "g", "cluster")}
    assert set(frames) == {"If: then_branch", "If: else_branch", "function twice"}
    for operator, frame in (("Relu", "If: then_branch"), ("Elu", "If: else_branch")):
        (box,) = [g for g in classed(root, "g", "node") if texts(g, "title") == [operator]]
        left, top, right, bottom = rectangle(box)
        assert frames[frame][0] < left < right < frames[frame][2]
        assert frames[frame][1] < top < bottom < frames[frame][3]


def test_arrows_are_the_uses_of_values(model):
    root = read(svg(model))
    # main: x, product twice, small, flag, double twice, y, z; Relu's and Elu's outputs; in twice: a, b.
    assert len(classed(root, "g", "edge")) == 9 + 2 + 2 + 2
    assert len(classed(root, "g", "dashed")) == 2


def test_boxes_do_not_overlap_and_are_in_view(model):
    root = read(svg(model))
    (graph,) = classed(root, "g", "graph")
    left, top, right, bottom = rectangle(graph)
    boxes = [rectangle(g) for g in classed(root, "g", "node")]
    for box in boxes:
        assert left < box[0] < box[2] < right
        assert top < box[1] < box[3] < bottom
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def test_any_name_is_drawn():
    name = 'a <b> & "c" \\ é'
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Odd<&>", [name], ["y"], domain='my"domain', label=name)],
        "odd",
        [value(name, TensorProto.FLOAT, None)],
        [value("y", TensorProto.INT64, [2])],
    )
    root = read(svg(helper.make_model(graph)))
    assert nodes(root) == [("Odd<&>", [f"label={name}"], ["int64 2"])]
    assert [name] in [texts(g, "title") for g in classed(root, "g", "border")]


def test_weights_beside_the_file_are_not_read(tmp_path):
    weight = numpy_helper.from_array(np.ones((300, 2), np.float32), "weight")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "external",
        [value("x", TensorProto.FLOAT, [1, 300])],
        [value("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    assert nodes(read(svg(path))) == [("MatMul", ["weight 300x2"], ["1x2"])]


def test_long_texts_have_room():
    drawing = Drawing()
    drawing.box("LayerNormalization", "plain", "", ["a" * 30], [])
    (group,) = classed(read(drawing.svg()), "g", "node")
    left, _, right, _ = rectangle(group)
    assert right - left > 30 * 9 * 0.5
    assert len(texts(group, "line")) == 1


def test_many_boxes():
    """Nothing is left out."""
    drawing = Drawing()
    keys = [drawing.box(f"box {i}", "plain", "", [], []) for i in range(1100)]
    for i, key in enumerate(keys[1:], 1):
        drawing.connect([keys[i // 2]], key)
    root = read(drawing.svg())
    assert {texts(g, "title")[0] for g in classed(root, "g", "node")} == {f"box {i}" for i in range(1100)}
    assert len(classed(root, "g", "edge")) == 1099


def test_the_tooltip_of_a_box_is_its_node_and_nothing_else_has_one(model):
    root = read(svg(model))
    titles = [e.text for e in root.iter(f"{SVG}title")]
    assert "product = MatMul(x, weight)" in titles
    assert len(titles) == len(classed(root, "g", "node"))


def test_without_graphviz(model, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(PictureError, match=r"pip install 'jax2onnx-core\[svg\]'"):
        svg(model)


def test_a_dot_that_is_installed_will_do(model, monkeypatch):
    real = shutil.which("graphviz-pure", path=sysconfig.get_path("scripts"))
    expected = svg(model)
    monkeypatch.setattr(shutil, "which", lambda name, **_: real if name == "dot" else None)
    assert svg(model) == expected


def test_a_graphviz_that_fails(model, tmp_path, monkeypatch):
    broken = tmp_path / "dot"
    broken.write_text(f"#!{sys.executable}\nraise SystemExit('no, thanks')\n")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(broken))
    with pytest.raises(PictureError, match="dot cannot draw this model: no, thanks"):
        svg(model)


def test_on_the_command_line(model, tmp_path, capsys):
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect", str(tmp_path / "model.onnx"), "--svg", str(tmp_path / "model.svg")])
    assert not ended.value.code
    assert "MatMul" in capsys.readouterr().out
    assert (tmp_path / "model.svg").read_text(encoding="utf-8") == svg(model)
