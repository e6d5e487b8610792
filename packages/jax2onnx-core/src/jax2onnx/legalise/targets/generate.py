"""Write the table of the onnxruntime that is installed: ``python -m jax2onnx.legalise.targets.generate NAME FILE``.

The table lists the kernels of onnxruntime's CPU provider. To describe another runtime, write a file of the same form
and register ``jax2onnx.legalise.targets.read(file)`` from a plugin.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as native

_PROVIDER = "CPUExecutionProvider"
_OPEN_END = 2**31 - 1
_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")
_TENSOR = "tensor("


def kernels(provider: str = _PROVIDER) -> dict[str, dict[str, list[list[Any]]]]:
    """Return domain -> operator -> ``[since, until, {parameter: "dtype dtype …"}]`` of the installed onnxruntime."""
    found: dict[str, dict[str, list[list[Any]]]] = {domain: {} for domain in _DOMAINS}
    for kernel in native.get_all_opkernel_def():
        if kernel.provider != provider or kernel.domain not in found:
            continue
        since, until = kernel.version_range
        types = {name: _tensors(allowed) for name, allowed in kernel.type_constraints.items()}
        entry = [since, None if until == _OPEN_END else until, {n: t for n, t in types.items() if t}]
        found[kernel.domain].setdefault(kernel.op_name, []).append(entry)
    for operators in found.values():
        for name, entries in operators.items():
            operators[name] = [
                [since, until, {n: " ".join(sorted(t)) for n, t in sorted(types.items())}]
                for since, until, types in _merged(entries)
            ]
    return found


def _tensors(allowed: list[str]) -> set[str]:
    return {name.removeprefix(_TENSOR).removesuffix(")") for name in allowed if name.startswith(_TENSOR)}


def _merged(entries: list[list[Any]]) -> list[list[Any]]:
    """Merge kernels that differ in the dtypes of one parameter only."""
    merged: list[list[Any]] = []
    for since, until, types in sorted(entries, key=lambda e: (e[0], e[1] or _OPEN_END, str(sorted(e[2])))):
        for other in merged:
            differing = [n for n in types if types[n] != other[2].get(n)]
            if other[:2] == [since, until] and other[2].keys() == types.keys() and len(differing) <= 1:
                for name in differing:
                    other[2][name] |= types[name]
                break
        else:
            merged.append([since, until, types])
    return merged


def max_opset() -> int:
    """Return the newest opset of the default domain that the installed onnxruntime loads."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    newest = 0
    for opset in range(18, onnx.defs.onnx_opset_version() + 1):
        graph = helper.make_graph([], "empty", [value], [value])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=[_PROVIDER])
        except native.Fail:
            break
        newest = opset
    return newest


def main() -> None:
    """Write the table named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the target's name, e.g. onnxruntime-cpu")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    lines = [
        f' "name": {json.dumps(arguments.name)}',
        f' "runtime": {json.dumps(f"onnxruntime {onnxruntime.__version__} ({_PROVIDER})")}',
        f' "max_opset": {max_opset()}',
    ]
    domains = [
        f"  {json.dumps(domain)}: {{\n"
        + ",\n".join(f"   {json.dumps(op)}: {json.dumps(entries)}" for op, entries in sorted(operators.items()))
        + "\n  }"
        for domain, operators in kernels().items()
        if operators
    ]
    lines.append(' "kernels": {\n' + ",\n".join(domains) + "\n }")
    arguments.file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
