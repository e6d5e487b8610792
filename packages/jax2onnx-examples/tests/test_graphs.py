"""The pictures of docs/graphs.md: what the script draws, and what is committed."""

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[3]
GROUPS, TEXTS = ("{http://www.w3.org/2000/svg}" + tag for tag in ("g", "text"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("graphs_script", ROOT / "scripts" / "graphs.py")
    module = sys.modules["graphs_script"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["graphs_script"]


def operators(drawn):
    """Return the operators of the boxes of a picture, with their counts."""
    nodes = [g for g in ET.fromstring(drawn).iter(GROUPS) if "node" in g.get("class").split()]
    titles = [(g.get("class"), next(g.iter(TEXTS)).text) for g in nodes]
    return Counter(title for kind, title in titles if "border" not in kind.split())


@pytest.mark.parametrize("name", ["quickstart", "block"])
def test_each_stage_is_drawn_and_has_fewer_nodes(script, name):
    (model,) = [m for m in script.MODELS if m.name == name]
    protos = script.stages(model)
    assert list(protos) == ["before fusion", "after fusion", "after tidy"]
    counts = [Counter(node.op_type for node in proto.graph.node) for proto in protos.values()]
    assert [operators(script.svg(proto)) for proto in protos.values()] == counts
    before, fused, tidied = (count.total() for count in counts)
    assert before > fused > tidied
    assert "Gelu" not in counts[0]
    assert "Gelu" in counts[1]
    told = script.section(model, protos)
    assert f"| before fusion: {before} nodes | after fusion: {fused} nodes | after tidy: {tidied} nodes |" in told
    assert script.updated(f"Text\n{script.BEGIN}old\n{script.END}more\n", [told]) == (
        f"Text\n{script.BEGIN}\n{told}\n{script.END}more\n"
    )


def test_the_committed_pictures_are_those_that_the_page_shows(script):
    page = script.PAGE.read_text()
    shown = {file: int(head.split()[-2]) for head, file in re.findall(r"\[!\[(.+?)\]\(graphs/(.+?)\)\]", page)}
    files = {script.file_of(model, stage) for model in script.MODELS for stage in script.STAGES}
    assert shown.keys() == files == {path.name for path in script.FOLDER.iterdir()}
    for file, nodes in shown.items():
        assert operators((script.FOLDER / file).read_text(encoding="utf-8")).total() == nodes
