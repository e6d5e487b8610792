"""Write the kernels of onnxruntime-web: ``python scripts/runtimes/web_table.py FOLDER``, which has node_modules.

Its wasm backend is onnxruntime's CPU provider, built with fewer kernels. So each kernel of the installed onnxruntime
is tried: a model of one node is loaded in wasm, and what it calls an operator without implementation is left out. The
kernels of WebGPU are those that the package lists in docs/webgpu-operators.md, which names no dtypes.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

sys.path.insert(0, str(Path(__file__).parent))

from clients import WORKER, Process, RefusedError
from onnx import helper

import jax2onnx.legalise.targets as home
from jax2onnx.legalise.targets import generate

FOLDER = Path(home.__file__).parent
ELEMENTS = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "double": 11, "uint32": 12, "uint64": 13, "bfloat16": 16, "float8e4m3fn": 17, "float8e4m3fnuz": 18,
    "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22,
}  # fmt: skip


def model(domain: str, op_type: str, version: int, dtypes: dict[str, str]) -> bytes | None:
    """Return a model of one node in these dtypes; None if there is no such operator."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    inputs, names = [], []
    for index in range(schema.min_input):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        dtype = dtypes.get(formal.type_str) or dtypes.get(formal.name) or _first(schema, formal.type_str)
        names.append(f"x{index}")
        inputs.append(helper.make_tensor_value_info(names[-1], ELEMENTS.get(dtype, 1), None))
    attributes = {name: _required(name, value.type) for name, value in schema.attributes.items() if value.required}
    if op_type == "Cast":
        attributes["to"] = ELEMENTS.get(dtypes.get("T2", "float"), 1)
    outputs = [f"y{index}" for index in range(max(schema.min_output, 1))]
    node = helper.make_node(op_type, names, outputs, domain=domain, **attributes)
    values = [onnx.ValueInfoProto(name=name) for name in outputs]
    opsets = [helper.make_opsetid("", version if not domain else 21)]
    if domain:
        opsets.append(helper.make_opsetid(domain, version))
    made = helper.make_model(helper.make_graph([node], "one", inputs, values), opset_imports=opsets, ir_version=10)
    return made.SerializeToString()


def _required(name: str, kind: Any) -> Any:
    """Return a value of an attribute that an operator has to have; kernels are looked up before it is read."""
    kinds = onnx.defs.OpSchema.AttrType
    texts = {"direction": "LEFT", "equation": "...->..."}
    return {kinds.INTS: [1], kinds.FLOAT: 1.0, kinds.STRING: texts.get(name, "x")}.get(kind, 1)


def _first(schema: Any, name: str) -> str:
    for constraint in schema.type_constraints:
        if constraint.type_param_str == name:
            for text in constraint.allowed_type_strs:
                if text.startswith("tensor("):
                    return text[len("tensor(") : -1]
    return "float"


def runs(web: Process, content: bytes | None) -> bool:
    """Return whether wasm has a kernel for a model's node."""
    if content is None:
        return True
    try:
        web.ask("load", base64.b64encode(content).decode())
    except RefusedError as error:
        return "Could not find an implementation" not in str(error) and "is not a registered function" not in str(error)
    return True


def trials(types: dict[str, str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield each dtype of each parameter, and dtypes of all parameters with it."""
    firsts = {name: dtypes.split()[0] for name, dtypes in types.items()}
    for name, dtypes in types.items():
        for dtype in dtypes.split():
            yield name, dtype, {**firsts, name: dtype}


def kernels(web: Process) -> tuple[dict[str, dict[str, list[list[Any]]]], list[str]]:
    """Return the kernels of wasm, and those of the CPU that it lacks, in words."""
    table: dict[str, dict[str, list[list[Any]]]] = {}
    lacking = []
    for domain, operators in generate.kernels().items():
        for op_type, entries in operators.items():
            for since, until, types in entries:
                if not types and not runs(web, model(domain, op_type, since, {})):
                    lacking.append(f"{domain}:{op_type} {since}")
                    continue
                kept: dict[str, list[str]] = {name: [] for name in types}
                for name, dtype, dtypes in trials(types):
                    if runs(web, model(domain, op_type, since, dtypes)):
                        kept[name].append(dtype)
                    else:
                        lacking.append(f"{domain}:{op_type} {since} {dtype}")
                if all(kept.values()):
                    written = {name: " ".join(dtypes) for name, dtypes in kept.items()}
                    table.setdefault(domain, {}).setdefault(op_type, []).append([since, until, written])
    return table, lacking


def webgpu(folder: Path) -> dict[str, dict[str, list[list[Any]]]]:
    """Return the kernels that the package lists for WebGPU: operators and versions, of any dtype."""
    table: dict[str, dict[str, list[list[Any]]]] = {}
    domains = {"ai.onnx": "", "com.microsoft": "com.microsoft"}
    text = (folder / "docs" / "webgpu-operators.md").read_text()
    for op_type, cell in re.findall(r"^\| (\w+) \| ([^|]*) \|", text, re.MULTILINE):
        for domain, versions in re.findall(r"([\w.]+)\(([^)]*)\)", cell):
            if domain not in domains:
                continue
            for version in versions.split(","):
                low, _, high = version.strip().rstrip("+").partition("-")
                last = None if not version.strip().endswith("+") and not high else int(high or 0) or 1000
                table.setdefault(domains[domain], {}).setdefault(op_type, []).append([int(low), last, {}])
    return table


def write(name: str, runtime: str, table: dict[str, dict[str, list[list[Any]]]], opset: int) -> None:
    """Write a table, one operator on a line."""
    domains = []
    for domain, operators in table.items():
        lines = ",\n".join(f'   "{op_type}": {json.dumps(entries)}' for op_type, entries in sorted(operators.items()))
        domains.append(f'  "{domain}": {{\n{lines}\n  }}')
    text = ",\n".join(domains)
    (FOLDER / f"{name}.json").write_text(
        f'{{\n "name": "{name}",\n "runtime": "{runtime}",\n "max_opset": {opset},\n "kernels": {{\n{text}\n }}\n}}\n'
    )


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    package = folder / "node_modules" / "onnxruntime-web"
    version = json.loads((package / "package.json").read_text())["version"]
    web = Process("onnxruntime-web", ["node", str(WORKER.with_suffix(".mjs")), str(folder)])
    opset = max(n for n in range(15, onnx.defs.onnx_opset_version() + 1) if runs_opset(web, n))
    table, lacking = kernels(web)
    write("onnxruntime-web", f"onnxruntime {version} (web, wasm)", table, opset)
    write("onnxruntime-web-webgpu", f"onnxruntime {version} (web, WebGPU)", webgpu(package), opset)
    print(f"opset {opset}; {len(lacking)} kernels of the CPU are missing in wasm: {', '.join(lacking)}")


def runs_opset(web: Process, opset: int) -> bool:
    """Return whether wasm loads a model of an opset."""
    value = helper.make_tensor_value_info("x", 1, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "one", [value], [helper.make_tensor_value_info("y", 1, [1])])
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    try:
        web.ask("load", base64.b64encode(made.SerializeToString()).decode())
    except RefusedError:
        return False
    return True


if __name__ == "__main__":
    main()
