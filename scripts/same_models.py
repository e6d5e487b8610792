"""Show whether a change of the code changes a model.

python scripts/same_models.py write FOLDER      exports every registered example to FOLDER (four minutes)
python scripts/same_models.py compare OLD NEW   counts equal models, and prints how the others differ

Models are compared without what says where nodes come from. Two that are not equal to the byte are compared once more
without the names of their values.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx

SHOWN = 30  # lines of a difference


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def forget_sources(nodes: list[onnx.NodeProto]) -> None:
    """Remove what says where nodes come from."""
    for node in nodes:
        del node.metadata_props[:]
        node.doc_string = ""
        for graph in subgraphs(node):
            forget_sources(list(graph.node))


def write(folder: Path) -> None:
    """Export every registered example with the code that is installed."""
    from jax2onnx import to_onnx
    from jax2onnx.testing import cases, x64

    warnings.simplefilter("ignore", UserWarning)
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases():
        with x64(enabled=case.example.x64):
            model = to_onnx(case.example.make(), case.inputs, fusions=case.fusions, **case.options)
        for nodes in (model.graph.node, *(f.node for f in model.functions)):
            forget_sources(list(nodes))
        name = re.sub(r"[^\w.-]", "_", str(case))
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


class Writer:
    """Writes a model as text in which values have numbers, in the order in which they come, instead of names."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.lines = [str(model.opset_import), f"outputs {[output.name for output in model.graph.output]}"]
        self.graph(model.graph, {}, "")
        for function in model.functions:
            names = {name: f"v{i}" for i, name in enumerate(function.input)}
            self.lines.append(f"function {function.domain}.{function.name}")
            self.nodes(list(function.node), names, "  ")

    def graph(self, graph: onnx.GraphProto, outer: dict[str, str], indent: str) -> None:
        """Write a graph; values of the graphs around it are known by the names in ``outer``."""
        names = dict(outer)
        for tensor in graph.initializer:
            content = hashlib.sha1(onnx.numpy_helper.to_array(tensor).tobytes(), usedforsecurity=False).hexdigest()
            names[tensor.name] = f"{tensor.data_type}{list(tensor.dims)}:{content[:12]}"
        for value in graph.input:
            self.lines.append(f"{indent}{self.number(value.name, names)}: {value.type}")
        self.nodes(list(graph.node), names, indent)
        self.lines.append(f"{indent}gives {[names[output.name] for output in graph.output]}")

    def nodes(self, nodes: list[onnx.NodeProto], names: dict[str, str], indent: str) -> None:
        """Write nodes, and the graphs that they hold."""
        for node in nodes:
            operands = [self.number(name, names) for name in node.input]
            for graph in subgraphs(node):
                self.graph(graph, names, f"{indent}    ")
            plain = [str(a) for a in node.attribute if a.type != onnx.AttributeProto.GRAPH]
            results = [self.number(name, names) for name in node.output]
            self.lines.append(f"{indent}{results} = {node.domain}.{node.op_type}({operands}) {sorted(plain)}")

    def number(self, name: str, names: dict[str, str]) -> str:
        """Return what stands for a name."""
        return names.setdefault(name, f"v{len(names)}") if name else ""


def compare(old: Path, new: Path) -> int:
    """Print how the models of two folders differ; return how many do."""
    paths = {path.name for folder in (old, new) for path in folder.glob("*.onnx")}
    equal = renamed = different = 0
    for name in sorted(paths):
        if not (old / name).exists() or not (new / name).exists():
            print(f"only in {old if (old / name).exists() else new}: {name}")
            different += 1
            continue
        first, second = (old / name).read_bytes(), (new / name).read_bytes()
        if first == second:
            equal += 1
            continue
        texts = [Writer(onnx.load_from_string(content)).lines for content in (first, second)]
        if texts[0] == texts[1]:
            renamed += 1
            print(f"names differ: {name}")
            continue
        different += 1
        print(f"DIFFERENT: {name}")
        print("\n".join(list(difflib.unified_diff(*texts, lineterm="", n=1))[:SHOWN]))
    print(f"{len(paths)} models: {equal} equal, {renamed} equal but for names, {different} different")
    return different


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write").add_argument("folder", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    args = parser.parse_args()
    if args.command == "write":
        write(args.folder)
    else:
        sys.exit(1 if compare(args.old, args.new) else 0)
