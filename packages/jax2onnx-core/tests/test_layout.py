"""The rooms of the house: who may import whom. Imports under ``TYPE_CHECKING`` count, as they are dependencies too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jax2onnx

CORE = Path(jax2onnx.__file__).parent
PACKAGES = CORE.parents[2]
FIRST_PARTY = ("lax", "jnp", "nnx", "linen", "equinox", "examples")

LEAVES = {"errors", "_accepted", "_compat", "_unique", "_printable", "_deferred"}
ROOMS: dict[str, set[str]] = {
    "weights": {"errors", "_accepted", "_unique"},
    "tidy": {"errors", "_unique", "weights"},
    "legalise": {"errors", "_unique", "_printable", "tidy"},
    "output": {"errors", "_unique", "_printable", "tidy", "weights"},
    "inspect": {"errors", "_accepted", "_unique", "_printable", "output"},
    "program": {"errors", "_compat", "_unique", "_printable"},
    "plugin": {"program", "legalise", "weights", *LEAVES},
    "frontend": {"plugin", "program", "weights", *LEAVES},
    "fusion": {"plugin", "program", *LEAVES},
    "earlier": {"errors", "_accepted"},
    "options": {"fusion", "earlier", *LEAVES},
    "lowering": {
        "fusion",
        "frontend",
        "plugin",
        "program",
        "options",
        "tidy",
        "legalise",
        "output",
        "weights",
        *LEAVES,
    },
    "pipeline": {
        "lowering",
        "fusion",
        "frontend",
        "plugin",
        "program",
        "options",
        "tidy",
        "legalise",
        "output",
        "weights",
        *LEAVES,
    },
    "api": {"pipeline", "fusion", "frontend", "program", "options", "earlier", "output", *LEAVES},
    "checking": {
        "api",
        "pipeline",
        "inspect",
        "legalise",
        "tidy",
        "lowering",
        "frontend",
        "plugin",
        "program",
        "options",
        "earlier",
        "output",
        *LEAVES,
    },
    "testing": {"checking", "api", "pipeline", "fusion", "frontend", "options", "plugin", "program", *LEAVES},
    "cli": {
        "testing",
        "checking",
        "api",
        "pipeline",
        "options",
        "plugin",
        "fusion",
        "inspect",
        "frontend",
        "output",
        "",
        *LEAVES,
    },
    "": {"api", "checking", "frontend", "plugin", *LEAVES},  # jax2onnx/__init__.py, the front door
    "__main__": {"cli"},
}
"""Room (or module at the top) -> the rooms that it may import, each of them further down."""

ONLY_SUBGRAPHS = {"legalise", "output"}
"""Rooms that may import nothing of ``tidy`` but the module that walks through subgraphs."""


def imports(path: Path, package: str) -> Iterator[str]:
    """Yield the modules of a package that a file imports, those for type checking too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == package)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            assert node.level == 0
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (CORE.parent / inner.replace(".", "/")).with_suffix(".py").exists()
                is_package = (CORE.parent / inner.replace(".", "/") / "__init__.py").exists()
                yield inner if is_module or is_package else str(node.module)


def modules() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def room(module: str) -> str:
    """Return the room of a module of core: its first step below ``jax2onnx``."""
    return [*module.split("."), ""][1]


def name_of(path: Path) -> str:
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_downwards(path: Path) -> None:
    name = name_of(path)
    own = room(name)
    for imported in imports(path, "jax2onnx"):
        other = room(imported)
        if other == own:
            continue
        allowed = ROOMS[own] if own not in LEAVES else {"errors", "_printable"}
        assert other in allowed, f"{name} imports {imported}: {own or 'jax2onnx'} may import {sorted(allowed)}"
        if own in ONLY_SUBGRAPHS and other == "tidy":
            assert imported == "jax2onnx.tidy.subgraphs", f"{name} imports {imported}"


def test_there_is_no_circle_of_modules() -> None:
    graph = {name_of(p): {i for i in imports(p, "jax2onnx") if i != name_of(p)} for p in modules()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_there_is_no_circle_of_rooms() -> None:
    left = dict(ROOMS)
    while left:
        bottom = [name for name, below in left.items() if below.isdisjoint(left)]
        assert bottom, f"a circle among {sorted(left)}"
        for name in bottom:
            del left[name]


def test_the_top_of_core_is_a_glance() -> None:
    rooms = {p.name.removesuffix(".py") for p in CORE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms - {"__init__"} == (ROOMS.keys() | LEAVES) - {""}
    assert len(rooms) <= 25


@pytest.mark.parametrize("plugin", FIRST_PARTY)
def test_first_party_plugins_import_what_any_plugin_may(plugin: str) -> None:
    files = sorted((PACKAGES / f"jax2onnx-{plugin}" / "src").rglob("*.py"))
    assert files
    public = {"jax2onnx.plugin", "jax2onnx.testing", "jax2onnx.errors"}
    for path in files:
        for imported in imports(path, "jax2onnx"):
            user_side = plugin == "examples" and imported == "jax2onnx"  # models that a user writes: onnx_function
            assert imported in public or user_side, f"{path.name} imports {imported}"


def test_plugins_like_those_of_others_import_what_any_plugin_may() -> None:
    folder = PACKAGES.parent / "plugins"
    sources, tests = sorted(folder.glob("*/src/**/*.py")), sorted(folder.glob("*/tests/**/*.py"))
    assert sources
    assert tests
    public = {"jax2onnx", "jax2onnx.plugin", "jax2onnx.testing", "jax2onnx.errors"}  # a plugin may export models, too
    for path in [*sources, *tests]:
        assert set(imports(path, "jax2onnx")) <= public, path
