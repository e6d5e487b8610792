"""Write the map of the code in CONTRIBUTING.md from the first lines of docstrings: `python scripts/code_map.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- map: written by scripts/code_map.py -->\n", "<!-- end of map -->\n"
PLUGINS = ("lax", "jnp", "nnx", "linen", "equinox", "examples")


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"
    return docstring.splitlines()[0]


def rows(folder: Path, indent: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the first line of each module below a folder, packages after modules."""
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"{indent}{path.name}", first_line(path)
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").exists():
            yield f"{indent}{inner.name}/", first_line(inner / "__init__.py")
            yield from rows(inner, f"{indent}    ")


def distribution(name: str) -> Iterator[tuple[str, str]]:
    """Yield one row for a plugin's distribution."""
    package = ROOT / "packages" / f"jax2onnx-{name}" / "src" / f"jax2onnx_{name}"
    yield f"packages/jax2onnx-{name}/", first_line(package / "__init__.py")


def code_map() -> str:
    """Return the map: every module of core, and each plugin's distribution."""
    core = ROOT / "packages" / "jax2onnx-core" / "src" / "jax2onnx"
    lines = [("packages/jax2onnx-core/src/jax2onnx/", first_line(core / "__init__.py")), *rows(core, "    ")]
    for name in PLUGINS:
        lines += distribution(name)
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"    {name.ljust(width)}{text}\n" for name, text in lines)


def updated(page: str) -> str:
    """Return the page with its map replaced by the current one."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{code_map()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
