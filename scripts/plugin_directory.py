"""Bring the directory of plugins up to date, and write docs/plugin-directory.md: `python scripts/plugin_directory.py`.

The directory is `directory.toml` of core. What an installed plugin registers replaces what is listed there.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from jax2onnx.plugin.loader import load

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "packages" / "jax2onnx-core" / "src" / "jax2onnx" / "plugin" / "directory.toml"
PAGE = ROOT / "docs" / "plugin-directory.md"
INTRODUCTION = """# Plugins

Written by `scripts/plugin_directory.py` from `directory.toml` in `jax2onnx.plugin`. To list a plugin of yours, add an
entry there. `jax2onnx list-plugins --missing MODULE:OBJECT` reads it, too: it tells what a program needs that no
installed plugin has, and which distribution of this directory has it.

| Plugin | Install | For | Opens | Primitives | Functions |
|---|---|---|---|---:|---:|
"""
LISTS = ("frameworks", "primitives", "functions", "targets")


def current() -> list[dict[str, Any]]:
    """Return the entries of the directory, with what the installed plugins register."""
    registry = load().registry()
    installed = {info.name for info in load().infos if info.status == "ok"}
    entries = tomllib.loads(DIRECTORY.read_text(encoding="utf-8"))["plugin"]
    for entry in entries:
        if entry["name"] in installed:
            lowered = {e.primitive for e in registry.lowerings if e.plugin == entry["name"]}
            entry["primitives"] = sorted(lowered) or entry.get("primitives", [])  # of some it states facts only
            entry["functions"] = sorted({f.name for f in registry.fusions if f.plugin == entry["name"]})
            entry["targets"] = sorted(t.name for t in registry.targets if t.plugin == entry["name"])
    return entries


def directory(entries: list[dict[str, Any]]) -> str:
    """Return the directory as TOML."""
    parts = []
    for entry in entries:
        lines = ["[[plugin]]"]
        for key, value in entry.items():
            if key not in LISTS:
                lines.append(f"{key} = {json.dumps(value)}")
            elif value:
                lines += [f"{key} = [", *(f"    {json.dumps(item)}," for item in value), "]"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def page(entries: list[dict[str, Any]]) -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for entry in entries:
        name = f"[{entry['name']}]({entry['url']})" if "url" in entry else entry["name"]
        opens = ", ".join(f"`{framework}`" for framework in entry.get("frameworks", ()))
        counts = [str(len(entry.get(key, ())) or "") for key in ("primitives", "functions")]
        cells = [name, f"`pip install {entry['distribution']}`", entry["purpose"], opens, *counts]
        parts.append(f"| {' | '.join(cells)} |\n")
    for entry in entries:
        for key in ("primitives", "functions"):
            if entry.get(key):
                listed = ", ".join(f"`{name}`" for name in entry[key])
                parts.append(f"\n## {key.capitalize()} of {entry['name']}\n\n{listed}\n")
    return "".join(parts)


if __name__ == "__main__":
    found = current()
    DIRECTORY.write_text(directory(found), encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
