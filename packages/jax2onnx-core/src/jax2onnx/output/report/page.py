"""Page: a report as one HTML page, which needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from jax2onnx._printable import printable

__all__ = ["page"]

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:68rem;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #d0d7de}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #eaeef2;vertical-align:top;overflow-wrap:anywhere}
th{background:#f6f8fa;white-space:nowrap;overflow-wrap:normal}th.key{width:1%}td.number{text-align:right;white-space:nowrap;width:1%;font-variant-numeric:tabular-nums}
pre{background:#f6f8fa;padding:.8rem;margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem}
.bad{color:#b3261e}.good{color:#1a7f37}.bar{background:#7aa7e0;height:.7rem;min-width:1px}
"""

_TITLES: Mapping[str, str] = {
    "error": "What failed",
    "stages": "Stages",
    "model": "Model",
    "check": "Compared with JAX",
    "warnings": "Warnings",
    "fusions": "Whole functions",
    "casts": "Casts",
    "guards": "Guards",
    "modules": "Size by module",
    "dims": "Dynamic dims",
    "constraints": "Constraints",
    "portability": "Portability",
    "options": "Options",
    "inputs": "Input specs",
    "versions": "Versions",
    "plugins": "Plugins",
}
"""Part of a report -> its title, in the order of the page."""


def page(document: Mapping[str, Any]) -> str:
    """Return a report as HTML."""
    name = _text(document.get("callable", "model"))
    failed = "error" in document
    state = '<span class="bad">failed</span>' if failed else '<span class="good">done</span>'
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Export of {name}</title><style>{_STYLE}</style></head><body>",
            f"<h1>Export of {name}: {state}</h1>",
            *_sections(document),
            "</body></html>",
            "",
        ]
    )


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    known = [part for part in _TITLES if part in document]
    others = [part for part in document if part not in _TITLES and part != "callable"]
    for part in (*known, *others):
        yield f"<h2>{_text(_TITLES.get(part, part))}</h2>"
        yield _stages(document[part]) if part == "stages" else _any(document[part])


def _stages(entries: Sequence[Mapping[str, Any]]) -> str:
    longest = max((entry["seconds"] for entry in entries), default=0) or 1
    rows = []
    for entry in entries:
        size = ", ".join(f"{entry[kind]} {kind}" for kind in ("equations", "nodes") if kind in entry)
        width = round(100 * entry["seconds"] / longest)
        bar = f'<div class="bar" style="width:{width}%"></div>'
        rows.append(
            f"<tr><td>{_text(entry['stage'])}</td><td>{_text(size)}</td>"
            f'<td class="number">{entry["seconds"]:.3f} s</td><td>{bar}</td></tr>'
        )
    return f"<table><tr><th>stage</th><th>size</th><th>time</th><th></th></tr>{''.join(rows)}</table>"


def _any(value: Any) -> str:
    """Return a part of a report: a table of entries that are alike, a table of names and values, or a text."""
    if isinstance(value, Mapping):
        return _named(value)
    if isinstance(value, list | tuple):
        if not value:
            return "<p>none</p>"
        if all(isinstance(entry, Mapping) for entry in value):
            return _table(value)
        return "<ul>" + "".join(f"<li>{_any(entry)}</li>" for entry in value) + "</ul>"
    return _leaf(value)


def _named(values: Mapping[str, Any]) -> str:
    rows = [f'<tr><th class="key">{_text(name)}</th><td>{_any(value)}</td></tr>' for name, value in values.items()]
    return f"<table>{''.join(rows)}</table>"


def _table(entries: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for entry in entries for name in entry))
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    rows = []
    for entry in entries:
        cells = [_cell(entry.get(name, "")) for name in columns]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{_any(value)}</td>"


def _leaf(value: Any) -> str:
    if value is True or value is False:
        return f'<span class="{"good" if value else "bad"}">{"yes" if value else "no"}</span>'
    text = "" if value is None else str(value)
    return f"<pre>{_text(text)}</pre>" if "\n" in text else _text(text)


def _text(value: Any) -> str:
    return escape(printable(str(value)), quote=True)
