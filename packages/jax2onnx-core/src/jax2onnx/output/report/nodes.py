"""Nodes: what a report tells of the nodes of a model: which casts there are and why, what guards it, and sizes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from jax2onnx.output.sources import NAMESPACE, SOURCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import onnx_ir as ir

__all__ = ["added_for_target", "casts", "dims", "every_node", "modules", "operators"]

_PLUGIN = "jax2onnx.plugin"


def every_node(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes of a model, those of functions and bodies too."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield from graph.all_nodes()


def operators(model: ir.Model) -> dict[str, int]:
    """Return how often a model has each operator, the most frequent first."""
    return dict(Counter(map(_operator, every_node(model))).most_common())


def casts(model: ir.Model, before: Collection[ir.Node]) -> list[dict[str, Any]]:
    """Return the casts of a model, equal ones together, and why they are there.

    Args:
        model: the finished model.
        before: the nodes that it had before it was legalised.
    """
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for node in every_node(model):
        if node.op_type == "Cast" and not node.domain:
            counted[_cast(node, before)] += 1
    names = ("from", "to", "why", "line")
    return [dict(zip(names, cast, strict=True)) | {"times": times} for cast, times in counted.most_common()]


def _cast(node: ir.Node, before: Collection[ir.Node]) -> tuple[str, str, str, str]:
    source, result = node.inputs[0], node.outputs[0]
    old, new = _dtype(source), _dtype(result)
    line = str(node.metadata_props.get(SOURCE, ""))
    if node in before:
        plugin = node.metadata_props.get(_PLUGIN, "")
        made = f"emitted by {plugin or 'core'}: the program converts, or the rule computes in another dtype"
        return old, new, made, line
    readers = [use.node for use in result.uses()]
    users = [reader.op_type for reader in readers]
    maker = None if source is None else source.producer()
    near = [one for one in (maker, *readers) if one is not None]
    line = line or next((str(one.metadata_props[SOURCE]) for one in near if SOURCE in one.metadata_props), "")
    if users and users[0] != "Cast" and (maker is None or maker in before or not _wide(old, new)):
        return old, new, f"the target has no kernel of {users[0]} for {old}", line
    return old, new, f"back to the dtype of the program after {'an input' if maker is None else maker.op_type}", line


def _wide(old: str, new: str) -> bool:
    return old in {"FLOAT", "DOUBLE", "INT64", "INT32"} and new not in {"FLOAT", "DOUBLE", "INT64"}


def added_for_target(model: ir.Model, before: Collection[ir.Node]) -> list[dict[str, Any]]:
    """Return the nodes other than casts that legalising added: what keeps a kernel or the optimiser from an error."""
    counted: Counter[tuple[str, str]] = Counter()
    for node in every_node(model):
        if node not in before and node.op_type not in {"Cast", "Constant"}:
            counted[_operator(node), str(node.metadata_props.get(SOURCE, ""))] += 1
    why = "what the target's kernels or its optimiser would compute wrongly is written in another way"
    return [{"what": operator, "line": line, "why": why, "times": times} for (operator, line), times in counted.items()]


def modules(model: ir.Model) -> list[dict[str, Any]]:
    """Return nodes, parameters and their bytes of each module; a parameter belongs to the first node that reads it."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[ir.Value] = set()
    for node in every_node(model):
        name = str(node.metadata_props.get(NAMESPACE, "")) or "(none)"
        entry = found.setdefault(name, {"module": name, "nodes": 0, "parameters": 0, "bytes": 0})
        entry["nodes"] += 1
        for value in node.inputs:
            if value is not None and value.is_initializer() and value not in seen:
                seen.add(value)
                size = 0 if value.const_value is None else value.const_value.size
                entry["parameters"] += size
                entry["bytes"] += 0 if value.const_value is None else value.const_value.nbytes
    return sorted(found.values(), key=lambda entry: (-entry["bytes"], entry["module"]))


def dims(model: ir.Model) -> Mapping[str, list[str]]:
    """Return the symbolic dims of the inputs and outputs, and where they stand."""
    found: dict[str, list[str]] = {}
    for value in (*model.graph.inputs, *model.graph.outputs):
        for axis, dim in enumerate(value.shape or ()):
            if not isinstance(dim, int) and dim.value is not None:
                found.setdefault(str(dim.value), []).append(f"{value.name}[{axis}]")
    return found


def _operator(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _dtype(value: ir.Value | None) -> str:
    return "?" if value is None or value.dtype is None else value.dtype.name
