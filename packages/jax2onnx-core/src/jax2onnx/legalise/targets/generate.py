"""Write the table of the onnxruntime that is installed: ``python -m jax2onnx.legalise.targets.generate NAME FILE``.

The table lists the kernels of onnxruntime's CPU provider. To describe another runtime, write a file of the same form
and register ``jax2onnx.legalise.targets.read(file)`` from a plugin.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as native

__all__ = ["kernels", "max_opset"]

_PROVIDER = "CPUExecutionProvider"
_Types: TypeAlias = dict[str, set[str]]
_OPEN_END = 2**31 - 1
_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")


def kernels(provider: str = _PROVIDER) -> dict[str, dict[str, list[list[Any]]]]:
    """Return domain -> operator -> ``[since, until, {parameter: "dtype dtype …"}]`` of the installed onnxruntime."""
    found: dict[tuple[str, str, int, int], list[_Types]] = {}
    for kernel in native.get_all_opkernel_def():
        if kernel.provider == provider and kernel.domain in _DOMAINS:
            key = (kernel.domain, kernel.op_name, *kernel.version_range)
            found.setdefault(key, []).append(_dtypes(kernel.type_constraints))
    table: dict[str, dict[str, list[list[Any]]]] = {domain: {} for domain in _DOMAINS}
    for domain, operator, since, until in sorted(found):
        entries = table[domain].setdefault(operator, [])
        for types in _merge(found[domain, operator, since, until]):
            written = {name: " ".join(sorted(types[name])) for name in sorted(types)}
            entries.append([since, None if until == _OPEN_END else until, written])
    return table


def _dtypes(constraints: Mapping[str, Iterable[str]]) -> _Types:
    """Return parameter -> dtypes: ``{"T": {"float"}}`` for ``{"T": ["tensor(float)"]}``; other types are left out."""
    found: _Types = {}
    for parameter, types in constraints.items():
        for name in types:
            if name.startswith("tensor("):
                dtype = name.removeprefix("tensor(").removesuffix(")")
                found.setdefault(parameter, set()).add(dtype)
    return found


def _merge(kernels: list[_Types]) -> list[_Types]:
    """Merge kernels that differ in the dtypes of one parameter only."""
    merged: list[_Types] = []
    for types in sorted(kernels, key=lambda types: str(sorted(types))):
        for other in merged:
            differing = [name for name in types if types[name] != other.get(name)]
            if types.keys() == other.keys() and len(differing) <= 1:
                for name in differing:
                    other[name] |= types[name]
                break
        else:
            merged.append(types)
    return merged


def max_opset() -> int:
    """Return the newest opset of the default domain that the installed onnxruntime loads."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([], "empty", [value], [value])
    newest = 0
    for opset in range(18, onnx.defs.onnx_opset_version() + 1):
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=[_PROVIDER])
        except (native.Fail, native.InvalidArgument):
            break
        newest = opset
    return newest


def _object(members: Mapping[str, str], indent: int) -> str:
    """Return a JSON object of members that are JSON already, one on each line."""
    margin = " " * indent
    lines: list[str] = []
    for name, member in members.items():
        key = json.dumps(name)
        lines.append(f"{margin} {key}: {member}")
    body = ",\n".join(lines)
    return f"{{\n{body}\n{margin}}}"


def main() -> None:
    """Write the table named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the target's name, e.g. onnxruntime-cpu")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    domains: dict[str, str] = {}
    for domain, operators in kernels().items():
        if operators:
            entries = {name: json.dumps(operators[name]) for name in sorted(operators)}
            domains[domain] = _object(entries, 2)
    table = {
        "name": json.dumps(arguments.name),
        "runtime": json.dumps(f"onnxruntime {onnxruntime.__version__} ({_PROVIDER})"),
        "max_opset": json.dumps(max_opset()),
        "kernels": _object(domains, 1),
    }
    arguments.file.write_text(_object(table, 0) + "\n")


if __name__ == "__main__":
    main()
