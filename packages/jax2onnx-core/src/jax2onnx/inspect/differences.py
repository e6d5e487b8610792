"""Differences: in what two models differ: operators, inputs, outputs, weights, versions, metadata, and the wiring.

Names of inner values and nodes, and what nodes tell of their source, are no difference.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from jax2onnx._printable import counted, one_line
from jax2onnx.errors import InputSpecError
from jax2onnx.inspect.summary import Body, Model, initializer_of, operator_of, read_model, value_of
from jax2onnx.output.external_data import UNREADABLE, bodies
from jax2onnx.output.memory import memory_explained

__all__ = ["Change", "differences"]

_Weights: TypeAlias = Mapping[str, onnx.TensorProto]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        kind: ``operator``, ``input``, ``output``, ``weight``, ``opset``, ``metadata``, ``function`` or ``wiring``.
        name: of what.
        before: in the first model; None if it has none.
        after: in the second one.
    """

    kind: str
    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        told = {None: "added"} if self.before is None else {None: "removed"}
        if None in (self.before, self.after):
            held = self.after if self.before is None else self.before
            return f"{self.kind} {self.name}: {told[None]} ({held})"
        return f"{self.kind} {self.name}: {self.before} -> {self.after}"


@memory_explained()
def differences(first: Model, second: Model) -> list[Change]:
    """Return in what two models, or the models in files, differ; nothing if they compute alike from equal weights.

    Raises:
        OSError: a file cannot be read.
        InputSpecError: a file is no ONNX model, or weights beside it cannot be read.
    """
    before, after = read_model(first), read_model(second)
    changes: list[Change] = []
    for kind, facts in _FACTS.items():
        changes += _changes(kind, facts(before), facts(after))
    changes += _weights(before, _folder(first), after, _folder(second))
    wired_alike = any(c.kind in {"operator", "input", "output", "function"} for c in changes) or _wiring(before) == (
        _wiring(after)
    )
    if not wired_alike:
        changes.append(Change("wiring", before.graph.name, "nodes", "nodes of other operands or attributes"))
    return changes


def _changes(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield Change(kind, name, before.get(name), after.get(name))


def _operators(model: onnx.ModelProto) -> dict[str, str]:
    every = (node for body in bodies([model.graph, *model.functions]) for node in body.node)
    return {name: counted(count, "node") for name, count in sorted(Counter(map(operator_of, every)).items())}


def _inputs(model: onnx.ModelProto) -> dict[str, str]:
    stored = {tensor.name for tensor in model.graph.initializer}
    return {value.name: value_of(value).spec for value in model.graph.input if value.name not in stored}


def _outputs(model: onnx.ModelProto) -> dict[str, str]:
    return {value.name: value_of(value).spec for value in model.graph.output}


def _opsets(model: onnx.ModelProto) -> dict[str, str]:
    return {imported.domain or "ai.onnx": str(imported.version) for imported in model.opset_import}


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    own = {
        "name of the graph": model.graph.name,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "doc_string": model.doc_string,
        "model_version": str(model.model_version),
        "ir_version": str(model.ir_version),
    }
    return own | {f"[{entry.key!r}]": one_line(entry.value) for entry in model.metadata_props}


def _functions(model: onnx.ModelProto) -> dict[str, str]:
    return {f"{f.domain}::{f.name}": counted(len(f.node), "node") for f in model.functions}


_FACTS = {
    "opset": _opsets,
    "input": _inputs,
    "output": _outputs,
    "operator": _operators,
    "function": _functions,
    "metadata": _metadata,
}


def _folder(model: Model) -> str:
    return "" if isinstance(model, onnx.ModelProto) else str(Path(os.fspath(model)).parent)


def _stored(model: onnx.ModelProto) -> _Weights:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _weights(before: onnx.ModelProto, here: str, after: onnx.ModelProto, there: str) -> Iterator[Change]:
    """Yield the weights that differ, two of them in memory at a time."""
    old, new = _stored(before), _stored(after)
    for name in dict.fromkeys([*old, *new]):
        specs = [_spec(weights.get(name)) for weights in (old, new)]
        if specs[0] != specs[1]:
            yield Change("weight", name, *specs)
        elif told := _values(_array(old[name], here), _array(new[name], there)):
            yield Change("weight", name, specs[0], f"{specs[1]}, {told}")


def _spec(tensor: onnx.TensorProto | None) -> str | None:
    return None if tensor is None else initializer_of(tensor).spec


def _array(tensor: onnx.TensorProto, folder: str) -> Any:
    try:
        return numpy_helper.to_array(tensor, folder)
    except UNREADABLE as error:
        reason = one_line(str(error), 200)
        raise InputSpecError(
            f"the weight {one_line(tensor.name)} cannot be read: {reason}; keep the files of weights beside the model"
        ) from error


def _values(before: Any, after: Any) -> str:
    """Return how two arrays of one type differ; an empty text if their bytes are equal."""
    if before.tobytes() == after.tobytes():
        return ""
    if before.dtype.kind not in "fiu":
        return "other values"
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(before.astype(np.float64) - after.astype(np.float64)))
    return f"other values (largest difference {largest:.3g})"


def _wiring(model: onnx.ModelProto) -> list[bytes]:
    """Return the nodes of a model with numbers for the names of inner values."""
    renaming = _Renaming()
    wired = [renaming.body(model.graph)]
    return wired + [_Renaming().body(function) for function in sorted(model.functions, key=lambda f: f.name)]


class _Renaming:
    """Numbers for the names that a model does not show: in the order in which nodes make them."""

    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}

    def body(self, body: Body) -> bytes:
        shown = [v if isinstance(v, str) else v.name for v in [*body.input, *body.output]]
        if isinstance(body, onnx.GraphProto):
            shown += [tensor.name for tensor in body.initializer]
        self.numbers |= {name: f"shown {name}" for name in shown}
        return b"\n".join(self.node(node) for node in body.node)

    def node(self, node: onnx.NodeProto) -> bytes:
        plain = onnx.NodeProto(op_type=node.op_type, domain=node.domain)
        plain.input.extend(self.numbers.get(name, name) for name in node.input)
        within = []
        for attribute in sorted(node.attribute, key=lambda a: a.name):
            graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            within += [self.body(graph) for graph in graphs]
            if not graphs:
                plain.attribute.add().CopyFrom(attribute)
                plain.attribute[-1].ClearField("doc_string")
        for name in node.output:
            plain.output.append(self.numbers.setdefault(name, f"value {len(self.numbers)}") if name else "")
        return b"".join([plain.SerializeToString(deterministic=True), *within])
