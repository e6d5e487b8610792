"""The report of an export: its parts, that a failed export leaves one, and that no name can inject anything."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jax2onnx import save_onnx, to_onnx
from jax2onnx.errors import Jax2OnnxError, SaveError

HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(1)>" onload="x' &amp; \u202e</table><!--"""


class Parsed(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_comment(self, data):
        self.tags.add("comment")

    def handle_data(self, data):
        self.text += data


TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "th", "td", "span", "div", "p"}
TAGS |= {"pre", "ul", "li"}


def program(x):
    with jax.named_scope("inner"):
        y = jax.nn.gelu(x)
    return jax.lax.reduce_window(jnp.sin(y.astype(jnp.bfloat16)), -jnp.inf, jax.lax.max, (1, 2), (1, 2), "VALID")


def read(path: Path) -> tuple[dict, Parsed]:
    return json.loads(path.with_suffix(".json").read_text()), Parsed(path.with_suffix(".html").read_text())


def test_what_a_report_tells(tmp_path):
    path = tmp_path / "told.html"
    to_onnx(program, [("B", 6)], report=path, constraints=["B >= 2"])
    told, page = read(path)
    assert [stage["stage"] for stage in told["stages"]] == ["program", "fused", "lowered", "tidied", "final"]
    assert told["fusions"]["found"][0]["name"] == "jax.nn.gelu(approximate=True)"
    assert {"jax", "onnx", "onnxruntime", "Python"} <= set(told["versions"])
    assert "lax" in {plugin["name"] for plugin in told["plugins"]}
    assert {(cast["from"], cast["to"]) for cast in told["casts"]} >= {("FLOAT", "BFLOAT16"), ("BFLOAT16", "FLOAT")}
    assert any("no kernel of" in cast["why"] for cast in told["casts"])
    assert told["guards"][0]["what"] == "reduce_window_max"
    assert told["dims"][0] == {"dim": "B", "places": ["x[0]", "output[0]"]}
    assert told["constraints"] == ["B >= 2"]
    assert "inner" in {module["module"] for module in told["modules"]}
    assert {entry["target"]: entry["runs"] for entry in told["portability"]}["onnxruntime-cpu"]
    assert "Whole functions" in page.text
    assert page.tags <= TAGS
    assert str(tmp_path) not in json.dumps(told)


def test_a_failed_export_leaves_a_report(tmp_path):
    def choose(x):
        return x if x.sum() > 0 else -x

    path = tmp_path / "failed.json"
    with pytest.raises(Jax2OnnxError):
        save_onnx(choose, [(3,)], tmp_path / "model.onnx", report=path)
    told, page = read(path)
    assert told["error"]["code"].startswith("J2O")
    assert "test_report.py" in told["error"]["where"]
    assert "Traceback" in told["error"]["traceback"]
    assert str(Path(__file__).parent) not in json.dumps(told)
    assert "failed" in page.text
    assert not (tmp_path / "model.onnx").exists()


def test_a_failed_stage_leaves_the_stages_before_it(tmp_path):
    def rule(ctx, x, **_):
        raise RuntimeError(HOSTILE)

    with pytest.raises(Jax2OnnxError):
        to_onnx(jnp.sin, [(3,)], report=tmp_path / "rule.html", lowerings={"sin": rule})
    told, page = read(tmp_path / "rule.html")
    assert told["error"]["after"] == "fused"
    assert "sin(" in told["error"]["program"]
    assert page.tags <= TAGS


def test_names_inject_nothing(tmp_path):
    def fn(x):
        with jax.named_scope(HOSTILE):
            return {HOSTILE: jnp.sin(x)}

    fn.__name__ = HOSTILE
    path = tmp_path / "hostile.html"
    to_onnx(fn, [(3,)], report=path, input_names=["<b>x</b>"], metadata={"<i>": "<script>1</script>"}, name="<u>n</u>")
    told, page = read(path)
    assert told["model"]["inputs"][0]["name"] == "<b>x</b>"
    assert page.tags <= TAGS
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "style"}
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in path.read_text()


def test_a_report_that_cannot_be_written(tmp_path):
    with pytest.raises(SaveError):
        to_onnx(jnp.sin, [(3,)], report=tmp_path / "no" / "report.html")
