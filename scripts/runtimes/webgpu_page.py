"""Write docs/coverage/webgpu.md, the kernels of onnxruntime-web: ``python scripts/runtimes/webgpu_page.py``.

They are those of the tables that web_table.py makes of the npm package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

import jax2onnx.legalise.targets as home

FOLDER = Path(home.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "coverage" / "webgpu.md"
HEAD = """# The kernels of onnxruntime-web

Written by `scripts/runtimes/webgpu_page.py`. WebGPU's kernels are those that the npm package itself lists
({version}, in its `docs/webgpu-operators.md`), which names no dtypes; they were not executed here. Those of WebAssembly
were each tried in node. What WebGPU lacks, onnxruntime executes in WebAssembly, and copies the operands and results;
`jax2onnx inspect MODEL --targets onnxruntime-web-webgpu` names these nodes.

Versions are those of the operators: `13+` is the one of opset 13 and all that ONNX has had since.

| | WebGPU | WebAssembly |
|---|---:|---:|
"""


def read(name: str) -> dict[str, Any]:
    """Return a table of kernels."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def versions(op_type: str, domain: str, entries: list[list[Any]]) -> str:
    """Return the versions of an operator's kernels, as ranges that do not touch."""
    ranges: list[list[int]] = []
    for since, until, _ in sorted(entries, key=lambda entry: entry[0]):
        last = since if until is None else until
        if ranges and since <= ranges[-1][1] + 1:
            ranges[-1][1] = max(last, ranges[-1][1])
        else:
            ranges.append([since, last])
    newest = newest_version(op_type, domain)
    return ", ".join(_range(since, last, newest) for since, last in ranges)


def newest_version(op_type: str, domain: str) -> int:
    """Return the newest version of an operator; 1 if ONNX does not have it."""
    try:
        return int(onnx.defs.get_schema(op_type, domain=domain).since_version)
    except onnx.defs.SchemaError:
        return 1


def _range(since: int, last: int, newest: int) -> str:
    if last >= newest:
        return f"{since}+"
    return str(since) if since == last else f"{since}–{last}"  # noqa: RUF001 - a range


def page(webgpu: dict[str, Any], wasm: dict[str, Any]) -> str:
    """Return the page."""
    lines = [HEAD.format(version=webgpu["runtime"].partition(" (")[0]).rstrip()]
    names = {"": "ONNX", "com.microsoft": "com.microsoft"}
    for domain, words in names.items():
        counts = [len(table["kernels"].get(domain, {})) for table in (webgpu, wasm)]
        lines.append(f"| operators of {words} | {counts[0]} | {counts[1]} |")
    for domain, words in names.items():
        gpu, cpu = webgpu["kernels"].get(domain, {}), wasm["kernels"].get(domain, {})
        lines += ["", f"## Operators of {words}", "", "| Operator | WebGPU | WebAssembly |", "|---|---|---|"]
        for op_type in sorted(gpu):
            other = versions(op_type, domain, cpu[op_type]) if op_type in cpu else "none"
            lines.append(f"| `{op_type}` | {versions(op_type, domain, gpu[op_type])} | {other} |")
        left = ", ".join(f"`{op_type}`" for op_type in sorted(set(cpu) - set(gpu)))
        lines += ["", f"In WebAssembly only: {left}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(read("onnxruntime-web-webgpu"), read("onnxruntime-web")))
