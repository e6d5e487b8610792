"""Drawing: boxes, frames and arrows, which Graphviz lays out and writes as SVG."""

from __future__ import annotations

import contextlib
import html
import os
import re
import shutil
import subprocess
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from jax2onnx._printable import one_line
from jax2onnx.errors import PictureError

__all__ = ["Drawing"]

_STYLE = """
nodesep=0.28; ranksep=0.3; pad=0.11; fontname=Helvetica; fontsize=10; fontcolor="#5f6773";
graph [style="rounded,filled", fillcolor="#f8f9fb", color="#c5cad2"];
node [fontname=Helvetica, fontsize=9, shape=box, style="rounded,filled", margin="0.14,0.04", width=0.75, height=0.35];
edge [color="#7b8490", arrowsize=0.7];
"""
_COLOURS = {
    "plain": 'fillcolor="#ffffff", color="#9aa1ac"',
    "product": 'fillcolor="#dbe9fb", color="#86aede"',
    "function": 'fillcolor="#def3e0", color="#86c08c"',
    "move": 'fillcolor="#e8eaee", color="#a9b0ba"',
    "call": 'fillcolor="#f3e3fb", color="#c39ad8"',
    "border": 'fillcolor="#fff4d6", color="#dcb75b"',
}
"""Kind of a box -> the colours of its area and of its outline."""
_LABEL = '<table border="0" cellspacing="1" cellpadding="0">{}</table>'
_TITLE = '<tr><td><font point-size="12" color="#1f2933"><b>{}</b></font></td></tr>'
_LINE = '<tr><td><font color="#5f6773">{}</font></td></tr>'
_SHAPE = '<tr><td><font color="#2563a8">{}</font></td></tr>'
_MOST = 5000
_SECONDS = 600
_LONGEST = 1000
"""The characters of a text that are drawn."""
_WIDTH = 36
"""The characters of a line in a box."""
_TITLES_AND_COMMENTS = re.compile(r"<title>(?P<key>[^<]*)</title>\n|<!--.*?-->\n", re.DOTALL)


class Drawing:
    """Boxes, frames and arrows, in the language of Graphviz."""

    def __init__(self) -> None:
        self._tooltips: dict[str, str] = {}
        self._frames = 0
        self._places: list[str] = []
        self._arrows: list[str] = []

    def box(self, title: str, kind: str, tooltip: str, lines: Iterable[str], shapes: Iterable[str]) -> str:
        """Add a box, with lines of text and with shapes below its title; return its key."""
        self._require_room()
        key = f"n{len(self._tooltips)}"
        self._tooltips[key] = tooltip
        wrapped: list[str] = []
        for line in lines:
            wrapped += textwrap.wrap(_clipped(line), _WIDTH, break_long_words=False)
        rows = [*_rows(_TITLE, [title]), *_rows(_LINE, wrapped), *_rows(_SHAPE, shapes)]
        label = _LABEL.format("".join(rows))
        self._places.append(f"{key} [class={kind}, {_COLOURS[kind]}, label=<{label}>]")
        return key

    @contextlib.contextmanager
    def frame(self, title: str) -> Iterator[None]:
        """Put the boxes that are added in a frame."""
        self._require_room()
        self._frames += 1
        self._places.append(f"subgraph cluster_{self._frames} {{ label=<{_escaped(title)}>")
        yield
        self._places.append("}")

    def connect(self, sources: Iterable[str], box: str, *, dashed: bool = False) -> None:
        """Draw arrows from boxes to another one."""
        style = "[class=dashed, style=dashed]" if dashed else ""
        for source in sources:
            self._require_room()
            self._arrows.append(f"{source} -> {box} {style}")

    def _require_room(self) -> None:
        """Raise PictureError for a drawing that is so large that laying it out would not end."""
        if max(len(self._tooltips), self._frames, len(self._arrows)) >= _MOST:
            raise PictureError(
                f"the model has more than {_MOST} nodes or edges, too many for a picture; draw a part of it"
            )

    def svg(self) -> str:
        """Return the drawing as SVG.

        Raises:
            PictureError: Graphviz is not installed, or fails.
        """
        # Arrows come last: one inside a frame would pull both its ends into the frame.
        lines = ["digraph {", _STYLE, *self._places, *self._arrows, "}"]
        drawn = _run_graphviz("\n".join(lines))
        return _TITLES_AND_COMMENTS.sub(self._tooltip, drawn)

    def _tooltip(self, found: re.Match[str]) -> str:
        """Return the tooltip of a box in place of its key; remove the other titles, which nobody wants to read."""
        tooltip = self._tooltips.get(found["key"])
        if tooltip is None:
            return ""
        return f"<title>{_escaped(tooltip)}</title>\n"


def _escaped(text: str) -> str:
    """Return a text for XML, with what XML does not allow as Python writes it."""
    return html.escape(_clipped(text))


def _clipped(text: str) -> str:
    return one_line(text, _LONGEST)


def _rows(row: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield row.format(_escaped(text))


def _run_graphviz(dot: str) -> str:
    """Return the SVG of a graph in the language of Graphviz."""
    path = os.environ.get("PATH", os.defpath)
    scripts = sysconfig.get_path("scripts")
    beside = os.pathsep.join([scripts, path])
    program = shutil.which("graphviz-pure", path=beside) or shutil.which("dot")
    if program is None:
        msg = (
            "pictures are drawn by Graphviz, and neither graphviz-pure nor dot is there: "
            "pip install 'jax2onnx-core[svg]', or install Graphviz"
        )
        raise PictureError(msg)
    try:
        done = subprocess.run(  # noqa: S603 - Graphviz, reading what we write
            [program, "-Tsvg"], input=dot, capture_output=True, encoding="utf-8", check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{Path(program).name} has not drawn this model in {_SECONDS} s; draw a part of it"
        raise PictureError(msg) from error
    if done.returncode:
        msg = f"{Path(program).name} cannot draw this model: {done.stderr.strip()}"
        raise PictureError(msg)
    return done.stdout
