"""A drawing of boxes and arrows: Graphviz says where they go, and this module writes the SVG.

The sizes of boxes are estimated here, so that the picture is the same whichever Graphviz and fonts there are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from jax2onnx.errors import PictureError

_STYLE = """
text { font-family: Helvetica, Arial, "Liberation Sans", sans-serif; text-anchor: middle; fill: #1f2933 }
.title { font-size: 12px; font-weight: bold }
.line { font-size: 9px; fill: #5f6773 }
.shape { font-size: 9px; fill: #2563a8 }
.name { font-size: 10px; fill: #5f6773 }
rect { fill: #ffffff; stroke: #9aa1ac }
.product rect { fill: #dbe9fb; stroke: #86aede }
.function rect { fill: #def3e0; stroke: #86c08c }
.move rect { fill: #e8eaee; stroke: #a9b0ba }
.call rect { fill: #f3e3fb; stroke: #c39ad8 }
.border rect { fill: #fff4d6; stroke: #dcb75b }
.frame rect { fill: #f8f9fb; stroke: #c5cad2 }
.edge { fill: none; stroke: #7b8490; marker-end: url(#arrow) }
.dashed { stroke-dasharray: 4 3 }
#arrow path { fill: #7b8490 }
"""
_LAYOUT = 'nodesep=0.28; ranksep=0.3; fontsize=11; node [shape=box, fixedsize=true, label=""]; edge [arrowsize=0.8]'
_MANY, _HURRY = 1000, "nslimit=0.5; nslimit1=0.5"
"""From so many boxes on, Graphviz is to stop earlier: 4 000 take half a minute instead of a whole one."""
_TITLE, _LINE = (12, 0.66), (9, 0.57)
"""Size of the font, and what a character takes of it at most, on average."""
_PAD, _LEAD, _MARGIN = 9.0, 11.0, 8.0
_INCH = 72


@dataclass(frozen=True, slots=True)
class Box:
    """A box: what stands in it, and ``told`` for those who point at it."""

    title: str
    kind: str
    told: str
    lines: tuple[str, ...]
    shapes: tuple[str, ...]

    @property
    def texts(self) -> list[tuple[str, str]]:
        """All lines of text, with their class."""
        return [("title", self.title), *(("line", t) for t in self.lines), *(("shape", t) for t in self.shapes)]

    @property
    def width(self) -> float:
        """Width in points."""
        sizes = (len(text) * size * share for (kind, text) in self.texts for size, share in [_font(kind)])
        return max(36.0, *sizes) + 2 * _PAD

    @property
    def height(self) -> float:
        """Height in points."""
        return 24.0 + _LEAD * (len(self.texts) - 1)


def _font(kind: str) -> tuple[int, float]:
    return _TITLE if kind == "title" else _LINE


@dataclass(slots=True)
class Sheet:
    """What is to be drawn; arrows come last, as one inside a frame would pull both its ends into it."""

    boxes: dict[str, Box] = field(default_factory=dict)
    frames: dict[str, str] = field(default_factory=dict)
    _places: list[str] = field(default_factory=list)
    _arrows: list[str] = field(default_factory=list)

    def add(self, box: Box) -> str:
        """Add a box; return its key."""
        key = f"n{len(self.boxes)}"
        self.boxes[key] = box
        self._places.append(f"{key} [width={box.width / _INCH:.4f}, height={box.height / _INCH:.4f}]")
        return key

    @contextlib.contextmanager
    def frame(self, title: str) -> Iterator[None]:
        """Put the boxes that are added in a frame."""
        key = f"cluster_{len(self.frames)}"
        self.frames[key] = title
        self._places.append(f"subgraph {key} {{ label={json.dumps(title)}")
        yield
        self._places.append("}")

    def connect(self, sources: Iterable[str], box: str, *, dashed: bool = False) -> None:
        """Draw arrows to a box."""
        self._arrows += [f"{source} -> {box} [class={'dashed' if dashed else 'plain'}]" for source in sources]

    @property
    def dot(self) -> str:
        """The drawing in the language of Graphviz."""
        style = (
            'nodesep=0.28; ranksep=0.3; fontsize=11; node [shape=box, fixedsize=true, label=""]; edge [arrowsize=0.8]'
        )
        return "\n".join(["digraph {", style, *self._places, *self._arrows, "}"])


def render(sheet: Sheet) -> str:
    """Return a drawing as SVG.

    Raises:
        PictureError: Graphviz is not installed, or fails.
    """
    program = _graphviz()
    done = subprocess.run(  # noqa: S603 - Graphviz, reading what we write
        [program, "-Tjson0"], input=sheet.dot, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        msg = f"{Path(program).name} cannot lay out this model: {done.stderr.strip()}"
        raise PictureError(msg)
    return _written(sheet, json.loads(done.stdout))


def _graphviz() -> str:
    beside = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = shutil.which("graphviz-pure", path=beside) or shutil.which("dot")
    if found is None:
        msg = (
            "pictures are laid out by Graphviz, and neither graphviz-pure nor dot is there: "
            "pip install 'jax2onnx-core[svg]', or install Graphviz"
        )
        raise PictureError(msg)
    return found


def _written(sheet: Sheet, layout: dict[str, Any]) -> str:
    _, _, width, height = _numbers(layout["bb"])
    size = {"width": f"{width + 2 * _MARGIN:g}", "height": f"{height + 2 * _MARGIN:g}"}
    corner = {"x": f"{-_MARGIN:g}", "y": f"{-_MARGIN:g}"}
    view = " ".join([*corner.values(), *size.values()])
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": view, **size})
    ET.SubElement(root, "style").text = _STYLE
    marker = {"id": "arrow", "markerUnits": "userSpaceOnUse", "markerWidth": "8", "markerHeight": "6", "orient": "auto"}
    arrow = ET.SubElement(ET.SubElement(root, "defs"), "marker", {**marker, "refY": "3"})
    ET.SubElement(arrow, "path", {"d": "M0,0 L8,3 L0,6 Z"})
    ET.SubElement(root, "rect", {**corner, **size, "style": "fill: #ffffff; stroke: none"})
    objects = layout.get("objects", [])
    for placed in objects:
        if placed["name"] in sheet.frames:
            left, low, right, high = _numbers(placed["bb"])
            middle, line = _numbers(placed["lp"])
            group = ET.SubElement(root, "g", {"class": "frame"})
            _rectangle(group, left, height - high, right - left, high - low)
            _text(group, "name", sheet.frames[placed["name"]], middle, height - line + 3)
    for edge in layout.get("edges", []):
        ET.SubElement(root, "path", {"class": f"edge {edge['class']}", "d": _curve(edge["pos"], height)})
    for placed in objects:
        if placed["name"] in sheet.boxes:
            x, y = _numbers(placed["pos"])
            _draw(root, sheet.boxes[placed["name"]], x, height - y)
    ET.indent(root, "")
    return ET.tostring(root, encoding="unicode") + "\n"


def _draw(root: ET.Element, box: Box, x: float, y: float) -> None:
    top = y - box.height / 2
    group = ET.SubElement(root, "g", {"class": f"node {box.kind}"})
    ET.SubElement(group, "title").text = box.told
    _rectangle(group, x - box.width / 2, top, box.width, box.height)
    for row, (kind, text) in enumerate(box.texts):
        _text(group, kind, text, x, top + 16 + _LEAD * row)


def _rectangle(parent: ET.Element, x: float, y: float, width: float, height: float) -> None:
    sizes = {"x": x, "y": y, "width": width, "height": height, "rx": 6}
    ET.SubElement(parent, "rect", {name: f"{value:.1f}" for name, value in sizes.items()})


def _text(parent: ET.Element, kind: str, text: str, x: float, y: float) -> None:
    ET.SubElement(parent, "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = text


def _curve(position: str, height: float) -> str:
    """Return the path of an arrow without its head, which the marker draws, from Graphviz's spline."""
    points = [_numbers(point) for point in position.split() if not point.startswith(("e,", "s,"))]
    start, *rest = [f"{x:.1f},{height - y:.1f}" for x, y in points]
    return f"M{start} C{' '.join(rest)}"


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]
