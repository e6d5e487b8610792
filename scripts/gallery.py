"""Show what is exported by the registered example models and programs: `python scripts/gallery.py`.

Writes docs/gallery.md and the pictures in docs/gallery. Each model is exported, run in onnxruntime, compared with JAX
and drawn. Pictures of pages in a browser are those that scripts/browser_pages.py takes.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jax2onnx import check, to_onnx
from jax2onnx.inspect.picture import svg
from jax2onnx.inspect.summary import format_operators, format_size, summarise
from jax2onnx.testing import cases, x64

if TYPE_CHECKING:
    import onnx

    from jax2onnx.testing import Case

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"
FOLDER = PAGE.parent / "gallery"
CONTEXTS = {"examples.nnx": "Models of flax.nnx", "examples.jax": "Programs in JAX"}
MOST_NODES = 60
"""Larger graphs are not drawn: nobody could read them."""

HEAD = """# Gallery

Written by `scripts/gallery.py` (`nox -s gallery`), with onnxruntime {runtime}. Each model here is exported, run in
onnxruntime and compared with JAX on ordinary inputs; the largest difference is that of all its outputs.
`jax2onnx examples export NAME` writes one, `jax2onnx examples check NAME` compares it. What a box means is told on
[Graphs](graphs.md). [All examples](coverage/examples.md) are listed with their operators.

## In a browser

Three pages whose models are trained, exported and served by one command each ([in the browser](guides/browser.md)):

| `python examples/browser/digits.py` | `python examples/browser/pole.py` | `python examples/browser/writer.py` |
|---|---|---|
| ![A drawn seven](pictures/digits.png) | ![A pole](pictures/pole.png) | ![A text written on](pictures/writer.png) |
"""


def wanted() -> dict[str, list[Case]]:
    """Return the cases of each area: of every example the one with symbolic dims, if it has any."""
    found: dict[str, list[Case]] = {context: [] for context in CONTEXTS}
    every = [case for case in cases(contexts=tuple(CONTEXTS)) if case.fusions]
    dynamic = {id(case.example) for case in every if case.dynamic}
    for case in every:
        if case.dynamic or id(case.example) not in dynamic:
            found[case.example.context].append(case)
    return found


def about(fn: Any) -> str:
    """Return the first line of what a callable says of itself."""
    text = inspect.getdoc(fn if inspect.isfunction(fn) else type(fn)) or ""
    return text.strip().partition("\n")[0]


def section(case: Case) -> str:
    """Export, compare and draw a model; return what the page says of it."""
    example = case.example
    with x64(enabled=example.x64):
        fn = example.make()
        model: onnx.ModelProto = to_onnx(fn, case.inputs, **case.options)
        values = None if example.draw else example.values and example.values()
        tolerances = {"rtol": example.rtol, "atol": example.atol}
        report = check(model, fn, case.inputs, values=values, kinds=["ordinary"], **tolerances, **case.shared)
    summary = summarise(model)
    worst = max((output.max_abs for output in report.outputs), default=0.0)
    name = f"{example.context}.{case.name}"
    lines = [f"### {case.name.removesuffix('_dynamic')}", ""]
    if told := about(fn):
        lines += [told, ""]
    lines += [
        "| Example | Nodes | Size | Largest difference |",
        "|---|---|---|---|",
        f"| `{name}` | {summary.nodes} | {format_size(model.ByteSize())} | {worst:.1e} |",
        "",
        f"Operators: {format_operators(summary.operators)}.",
        "",
    ]
    if summary.nodes <= MOST_NODES:
        file = f"{case.name}.svg"
        (FOLDER / file).write_text(svg(model), encoding="utf-8")
        picture = f"[![The graph of {case.name}](gallery/{file})](gallery/{file})"
        lines += ["<details><summary>The graph</summary>", "", picture, "", "</details>", ""]
    return "\n".join(lines)


def main() -> None:
    """Write the page and the pictures."""
    import onnxruntime

    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    parts = [HEAD.format(runtime=onnxruntime.__version__)]
    for context, found in wanted().items():
        parts.append(f"## {CONTEXTS[context]}\n")
        for case in found:
            print(case.name, file=sys.stderr)
            parts.append(section(case))
    PAGE.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
