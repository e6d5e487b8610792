"""Flame: times of nested parts as a flame graph, one SVG that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from jax2onnx._printable import one_line

__all__ = ["flame_graph"]

_WIDTH, _ROW, _LETTER = 1200.0, 18, 7
_DEEPEST = 60
_COLOURS = ("#f7c873", "#f2a65a", "#f4b183", "#eec373", "#f6d186")


@dataclass(slots=True)
class _Part:
    time: float = 0.0
    parts: dict[str, _Part] = field(default_factory=dict)


def flame_graph(stacks: Mapping[str, float]) -> str:
    """Return times, by parts that are separated by slashes, as SVG; a rectangle is as wide as its time is long."""
    root = _Part()
    for stack, time in stacks.items():
        part = root
        part.time += max(time, 0)
        for name in stack.split("/")[:_DEEPEST]:
            part = part.parts.setdefault(name, _Part())
            part.time += max(time, 0)
    drawn: list[str] = []
    deepest = _draw(drawn, "all", root, (0.0, 0), root.time or 1.0)
    size = f'width="{_WIDTH:.0f}" height="{(deepest + 1) * _ROW}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="11">'
    return "\n".join([head, *drawn, "</svg>", ""])


def _draw(drawn: list[str], name: str, part: _Part, place: tuple[float, int], total: float) -> int:
    """Draw a part, and those in it, from its left edge and its depth on; return the depth of the deepest."""
    left, depth = place
    width = part.time / total * _WIDTH
    shown = one_line(name, 200)
    title = escape(f"{shown}: {part.time:.1f} µs ({part.time / total:.1%})")
    most = int(width / _LETTER)
    text = escape(shown[:most]) if most > 1 else ""
    top = depth * _ROW
    colour = _COLOURS[depth % len(_COLOURS)]
    box = f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 1}" fill="{colour}"/>'
    drawn.append(f'<g><title>{title}</title>{box}<text x="{left + 2:.1f}" y="{top + 13}">{text}</text></g>')
    deepest = depth
    for below, inner in sorted(part.parts.items()):
        deepest = max(deepest, _draw(drawn, below, inner, (left, depth + 1), total))
        left += inner.time / total * _WIDTH
    return deepest
