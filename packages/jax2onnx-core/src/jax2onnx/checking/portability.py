"""Portability: which of the known runtimes execute a model, which nodes they lack, and the form that they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from jax2onnx._accepted import shown
from jax2onnx._printable import one_line
from jax2onnx.errors import InputSpecError, NoKernelError
from jax2onnx.inspect.summary import Model, read_model
from jax2onnx.legalise.plan import Planner
from jax2onnx.legalise.schema import dtypes_of, schema
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.sources import SOURCE
from jax2onnx.plugin import loader
from jax2onnx.plugin.targets import find_target
from jax2onnx.tidy.subgraphs import every_node

if TYPE_CHECKING:
    from jax2onnx.legalise.carriers import Carrier
    from jax2onnx.legalise.plan import Plan
    from jax2onnx.legalise.schema import Call
    from jax2onnx.legalise.targets import Target

__all__ = ["Finding", "Portability", "portability"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Nodes of a kind that a runtime does not execute as they are.

    Attributes:
        operator: the operator, with the dtypes of its operands.
        what: ``no kernel``, ``falls back``, ``needs static shapes``, or the fault that the runtime has there.
        where: the user's line; empty if the model does not tell.
        count: how many nodes there are.
        instead: the form that would be executed, or what to do.
    """

    operator: str
    what: str
    where: str
    count: int
    instead: str


@dataclass(frozen=True, slots=True)
class Portability:
    """What a runtime makes of a model.

    Attributes:
        target: the name of the target, with a version if there are several tables.
        runtime: the runtime that the table describes.
        loads: whether it loads the model.
        reason: why it does not; empty if it does.
        findings: the nodes that it does not execute as they are.
        needs: what it needs besides.
    """

    target: str
    runtime: str
    loads: bool
    reason: str
    findings: tuple[Finding, ...]
    needs: tuple[str, ...]


@memory_explained()
def portability(model: Model, targets: Sequence[str] | str = "all") -> list[Portability]:
    """Return what the known runtimes make of a model.

    Args:
        model: the model, or the path of one.
        targets: names of targets, also with ranges of versions, or ``'all'``.

    Raises:
        InputSpecError: there is no such target, or the file is no model.
    """
    given = read_model(model)
    try:
        proto = onnx.shape_inference.infer_shapes(given)
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        told = one_line(str(error), 300)
        raise InputSpecError(
            f"model: its types do not follow ({told}); name a model that onnx.checker accepts"
        ) from error
    loaded = loader.load()
    known = loaded.registry().targets
    if targets == "all":
        chosen = [one for target in known if target.name not in _ALIASES for one in _releases(target)]
    elif isinstance(targets, str):
        raise InputSpecError(f"targets: expected 'all' or a list of names, got {shown(targets)}; write [{targets!r}]")
    else:
        named = ((name, find_target(name, known, remedy=loaded.target_remedy)) for name in targets)
        chosen = [(name, found) for name, found in named if found is not None]
    return [_judged(proto, name, target) for name, target in chosen]


_ALIASES = frozenset({"onnx", "onnxruntime-cpu", "onnxruntime-vnni", "web"})


def _releases(target: Target) -> Iterator[tuple[str, Target]]:
    if target.releases is None:
        yield target.name, target
        return
    for release in target.releases():
        yield f"{target.name}>={'.'.join(release.version.split('.')[:2])}", release


def _judged(proto: onnx.ModelProto, name: str, target: Target) -> Portability:
    model = ir.from_proto(proto)
    opset = model.opset_imports.get("", 0)
    reason = _opset_reason(target, name, opset)
    found: dict[tuple[str, str, str, str], int] = {}
    for finding in _findings(model, target, name):
        found[finding] = found.get(finding, 0) + 1
    findings = tuple(
        Finding(operator, what, where, count, instead) for (operator, what, where, instead), count in found.items()
    )
    lacking = [one for one in findings if one.what in _FATAL]
    if not reason and lacking:
        reason = "; ".join(dict.fromkeys(f"{one.what}: {one.operator}" for one in lacking))
    return Portability(name, target.runtime, not reason, reason, findings, (*target.needs, *target.cautions()))


_FATAL = frozenset({"no kernel", "needs static shapes"})


def _opset_reason(target: Target, name: str, opset: int) -> str:
    if target.loads(opset):
        return ""
    return f"it reads opsets up to {target.max_opset}, the model has {opset}; export with target={name!r}"


def _findings(model: ir.Model, target: Target, name: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield operator, what, where and what instead, for each node that is not executed as it is."""
    yield from _of_inputs(model, target)
    functions = frozenset((f.domain, f.name) for f in model.functions.values())
    opsets = dict(model.opset_imports)
    loads = target.loads(opsets.get("", 0))
    if target.max_opset is not None:
        opsets[""] = min(opsets.get("", 0), target.max_opset)
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        planner = Planner(target, opsets, functions)
        for node in list(every_node(graph)):
            if (node.domain, node.op_type) not in functions:
                faulty = list(_of_faults(node, target, name))
                yield from faulty
                if not faulty and node.op_type not in _CONTROL:
                    yield from _of_node(node, target, planner, name, opsets, loads=loads)


def _of_faults(node: ir.Node, target: Target, name: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the faults of the runtime at a node; the mends are tried, and change the model."""
    for fault in target.faults:
        graph = node.graph
        if fault.mend is None or node.domain or node.op_type not in fault.operators or not isinstance(graph, ir.Graph):
            continue
        before = (node.op_type, tuple(node.inputs))
        told = _operator(node), fault.fact, _where(node)
        reason = fault.mend(graph, node)
        if reason is not None:
            yield *told, fault.remedy or reason
        elif node.graph is None or before != (node.op_type, tuple(node.inputs)):
            yield *told, f"export with target={name!r}, which writes it in other nodes"


_CONTROL = frozenset({"Constant", "If", "Loop", "Scan"})


def _of_inputs(model: ir.Model, target: Target) -> Iterator[tuple[str, str, str, str]]:
    for value in model.graph.inputs:
        if target.static_shapes and not _is_static(value):
            yield f"input {value.name}", "needs static shapes", "", "export with numbers for the symbolic dims"
        reason = target.refused.get(value.dtype) if value.dtype is not None else None
        if reason is not None:
            yield f"input {value.name}", "not exact", "", reason


def _of_node(
    node: ir.Node, target: Target, planner: Planner, name: str, opsets: dict[str, int], *, loads: bool
) -> Iterator[tuple[str, str, str, str]]:
    domains = {domain for domain, _ in target.kernels or ()}
    if node.domain and target.kernels is not None and node.domain not in domains:
        yield _operator(node), "no kernel", _where(node), "use other operators, or give the runtime a library of these"
        return
    call = _call(node, opsets)
    if call is None:
        return
    if not target.runs(call):
        yield _operator(node), "no kernel", _where(node), _instead(planner, node, name, loads=loads)
    elif not target.accelerates(call):
        yield _operator(node), "falls back", _where(node), "it is executed by the slower part of the runtime"


def _call(node: ir.Node, opsets: dict[str, int]) -> Call | None:
    opset = opsets.get(node.domain)
    found = None if opset is None else schema(node.domain, node.op_type, opset)
    if found is None:
        return None
    return found.call(dtypes_of(node.inputs), dtypes_of(node.outputs), node.attributes.values())


def _instead(planner: Planner, node: ir.Node, name: str, *, loads: bool) -> str:
    """Return the form that the runtime executes, in words."""
    try:
        plan = planner.plan(node)
    except NoKernelError as error:
        if not loads:
            return f"export with target={name!r}: with its opset, other operators may do"
        return error.remedy or ""
    carriers = {} if plan is None else dict.fromkeys(carrier.dtype.name.lower() for carrier in _carriers(plan))
    if not carriers:
        return f"export with target={name!r}"
    return f"in {', '.join(carriers)}: export with target={name!r}"


def _carriers(plan: Plan) -> Iterator[Carrier]:
    for carrier in (*plan.inputs, *plan.outputs):
        if carrier is not None:
            yield carrier


def _operator(node: ir.Node) -> str:
    dtypes = dict.fromkeys(value.dtype.name.lower() for value in node.inputs if value is not None and value.dtype)
    prefix = f"{node.domain}::" if node.domain else ""
    return f"{prefix}{node.op_type}({', '.join(dtypes)})"


def _where(node: ir.Node) -> str:
    return node.metadata_props.get(SOURCE, "")


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)
