"""Write docs/coverage/libraries.md: the primitives that popular libraries of JAX define, and what covers each.

Install the libraries in an environment beside jax2onnx's packages, as many as install together, and run there:

    python scripts/library_primitives.py [--page FILE]

Modules whose source makes a primitive are imported; every primitive that is then alive, and is not JAX's own, is a row.
The sparse arrays of JAX are rows, too, since they are an extension that programs import.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")

import jax.experimental.sparse
import jax.extend.core

from jax2onnx._compat import definition
from jax2onnx.plugin import loader

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "libraries.md"
LIBRARIES = (
    "augmax", "blackjax", "brax", "chex", "diffrax", "distrax", "dm-haiku", "dm-pix", "dynamax", "dynamiqs",
    "e3nn-jax", "equinox", "evosax", "flax", "flowjax", "gpjax", "interpax", "jax-md", "jaxlie", "jaxopt", "jaxwt",
    "jraph", "jumanji", "kauldron", "keras", "lineax", "matfree", "mctx", "mujoco-mjx", "numpyro", "optax",
    "optimistix", "orbax-checkpoint", "ott-jax", "penzai", "pgx", "quadax", "rlax", "s2fft", "tensorflow-probability",
    "tinygp",
)  # fmt: skip
"""Distributions, by the names that pip knows."""

SPARSE = "jax.experimental.sparse"
_MAKES = re.compile(r"\b\w*(?:Primitive|_primitive|create_vprim)\(\s*(?:name=)?f?[\"']")
"""How a module's source makes a primitive: it calls something named so with the primitive's name."""


@dataclass(frozen=True, order=True)
class Row:
    """A primitive of a library, and what covers it."""

    library: str
    primitive: str
    covered_by: str


def modules_of(name: str) -> Iterator[str]:
    """Yield the names of a distribution's modules that make primitives, tests left out."""
    for file in distribution(name).files or ():
        parts = file.with_suffix("").parts
        is_test = any(part.startswith("test") or part.endswith("_test") for part in parts)
        if file.suffix != ".py" or is_test:
            continue
        path = Path(str(file.locate()))
        if path.exists() and _MAKES.search(path.read_text(errors="replace")):
            yield ".".join(parts).removesuffix(".__init__")


def primitives() -> list[jax.extend.core.Primitive]:
    """Return every primitive that is alive."""
    kind = jax.extend.core.Primitive
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)]


def holders() -> dict[int, list[str]]:
    """Return for each primitive, by its id, the names of the modules that hold it."""
    found: dict[int, list[str]] = {}
    for name, module in list(sys.modules.items()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if isinstance(value, jax.extend.core.Primitive):
                found.setdefault(id(value), []).append(name)
    return found


def module_of(primitive: jax.extend.core.Primitive, holding: list[str]) -> str:
    """Return the name of the module that a primitive is from: one that holds it, or that of its abstract rule."""
    own = getattr(primitive.abstract_eval, "__module__", None) or "jax"
    of_jax = [name for name in holding if name.startswith(("jax.", "jaxlib."))]
    elsewhere = [name for name in of_jax if not name.startswith(SPARSE)]
    # Libraries import JAX's own primitives, and sparse arrays do.
    found = elsewhere or of_jax or holding or [own]
    return min(found, key=len)


def library_of(module: str) -> str | None:
    """Return the library that a module belongs to; None for JAX itself."""
    if module.startswith(SPARSE):
        return SPARSE
    top = module.partition(".")[0]
    return None if top in {"jax", "jaxlib", "jax2onnx", "builtins", "functools"} else top


def covered_by(primitive: jax.extend.core.Primitive) -> str:
    """Return in words what covers a primitive."""
    registry = loader.load().registry()
    name = primitive.name
    facts = registry.facts.of(name)
    if facts.identity:
        return f"plugin {registry.facts.owners[name, 'identity']}: returns its operands"
    if facts.calls:
        return f"plugin {registry.facts.owners[name, 'calls']}: its equations"
    for lowering in registry.lowerings:
        if lowering.primitive == name:
            refuses = getattr(lowering.rule, "__qualname__", "").startswith("refusal.")
            return f"not: plugin {lowering.plugin} refuses it" if refuses else f"plugin {lowering.plugin}"
    found = definition(primitive)
    if found is None:
        return "not: JAX compiles it without a definition in plainer primitives"
    return "its definition for jit" if found.is_traced_by_jit else "its definition for arrays, if that can be traced"


def collect() -> tuple[list[Row], dict[str, str], list[str]]:
    """Return the rows, the versions of the libraries that are installed, and what could not be imported."""
    versions: dict[str, str] = {}
    problems: list[str] = []
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            problems.append(f"`{name}` is not installed")
            continue
        for module in modules_of(name):
            try:
                importlib.import_module(module)
            except Exception as error:  # noqa: BLE001 - whatever it is, the page tells it
                reason = str(error).strip().partition("\n")[0]
                problems.append(f"`{module}` cannot be imported: {type(error).__name__}: {reason}")
    rows = set()
    holding = holders()
    for primitive in primitives():
        library = library_of(module_of(primitive, holding.get(id(primitive), [])))
        if library is not None:
            rows.add(Row(library, primitive.name, covered_by(primitive)))
    return sorted(rows), versions, problems


def render(rows: list[Row], versions: dict[str, str], problems: list[str]) -> str:
    """Return the page."""
    covered = [row for row in rows if not row.covered_by.startswith("not")]
    with_primitives = {row.library for row in rows}
    none = [name for name in versions if name.replace("-", "_") not in {*with_primitives, *_imports(with_primitives)}]
    lines = [
        "# Coverage: primitives of libraries",
        "",
        f"Written by `scripts/library_primitives.py`, with jax {jax.__version__}. A primitive that a library defines",
        "is covered by a plugin, or by the function of JAX that the library defines it by. The export traces this",
        "function, and puts its equations in the place of the primitive. `explain=True` tells where that happened.",
        "",
        f"{len(covered)} of {len(rows)} primitives are covered.",
        "",
        "| Library | Primitive | Covered by |",
        "|---|---|---|",
    ]
    lines += [f"| {row.library} | `{row.primitive}` | {row.covered_by} |" for row in rows]
    lines += ["", "## Libraries that were looked through", ""]
    lines.append(", ".join(f"{name} {release}" for name, release in versions.items()) + ".")
    lines += ["", "These define no primitive: " + ", ".join(none) + "."]
    if problems:
        lines += ["", "Not looked through:", "", *[f"- {problem}" for problem in problems]]
    return "\n".join(lines) + "\n"


def _imports(names: set[str]) -> set[str]:
    """Return import names with the hyphens that pip writes."""
    return {name.replace("_", "-") for name in names}


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    page: Path = parser.parse_args().page
    warnings.simplefilter("ignore")
    rows, versions, problems = collect()
    page.write_text(render(rows, versions, problems))


if __name__ == "__main__":
    main()
