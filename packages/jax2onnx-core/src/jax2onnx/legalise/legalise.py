"""Legalise: make every node one that the target runtime has a kernel for.

A node without a kernel for its dtypes is executed in a wider dtype, its *carrier*: ``Cast`` before, the node, ``Cast``
back. The values are those of the original dtype: integers wrap on the way back, bfloat16 and float16 round after every
node. Between two such nodes the casts disappear where that changes no value. float64 is never narrowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.errors import NoKernelError
from jax2onnx.legalise.carriers import Carrier, Encoding, Kind, Trust, carriers, kind
from jax2onnx.legalise.ort_workarounds import keep_near_neutral, keep_products
from jax2onnx.legalise.schema import Schema, schema
from jax2onnx.legalise.targets import Target
from jax2onnx.tidy.subgraphs import bodies

__all__ = ["Target", "legalise"]

_FLOAT8 = frozenset(d for d in DataType if d.name.startswith("FLOAT8"))
_FREE = frozenset({"Constant", "If", "Loop", "Scan"})
"""Operators that every runtime has in every dtype it has at all."""


def legalise(model: ir.Model, target: Target) -> None:
    """Insert casts around the nodes for which the target has no kernel, in place, in subgraphs and functions too.

    Float64 constants that a runtime might take for 0 or 1 are said such that it does not, and float64 products of a
    transpose such that it does not make them an operator that it lacks.

    Raises:
        NoKernelError: a node can be executed in no dtype that keeps its values.
    """
    if target.kernels is None:
        return
    own = frozenset((f.domain, f.name) for f in model.functions.values())
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        _Legaliser(target, graph.opset_imports, own, function=graph is not model.graph).graph(graph)


def _lacks_fused_products(target: Target) -> bool:
    """Tell whether the target has the operator that its optimiser makes of products, but not of float64."""
    fused = (target.kernels or {}).get(("com.microsoft", "FusedMatMul"), ())
    return bool(fused) and not any(DataType.DOUBLE in kernel.types["T"] for kernel in fused)


Dtypes = tuple[DataType | None, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a node is executed: for each input and output the carrier it needs, if any."""

    inputs: tuple[Carrier | None, ...]
    needs: tuple[Trust, ...]
    outputs: tuple[Carrier | None, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Carried:
    """A value in its carrier, and what that promises of the original value."""

    value: ir.Value
    trust: Trust


class _Legaliser:
    """Works through one graph with its subgraphs, or one function."""

    def __init__(
        self, target: Target, opsets: Mapping[str, int], own: frozenset[tuple[str, str]], *, function: bool
    ) -> None:
        self._target = target
        self._opsets = opsets
        self._own = own
        self._function = function
        self._keeps_products = _lacks_fused_products(target)
        self._domains = {domain for domain, _ in target.kernels or ()}
        self._plans: dict[tuple[str, str, str, Dtypes, Dtypes], _Plan | None] = {}
        self._carried: dict[tuple[ir.Value, Carrier], _Carried] = {}

    def graph(self, graph: ir.Graph) -> None:
        """Legalise every node; then drop the casts that nothing reads."""
        if self._keeps_products:
            keep_products(graph, function=self._function, calls=self._own)
        back: list[ir.Node] = []
        for node in list(graph):
            for body in bodies(node) if node.attributes.data else ():
                self.graph(body)
            keep_near_neutral(graph, node)
            plan = self._plan(node)
            if plan is not None:
                back.extend(self._rewrite(graph, node, plan))
        for node in reversed(back):
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                graph.remove(node, safe=True)

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _plan(self, node: ir.Node) -> _Plan | None:
        inputs = tuple([None if v is None else v.dtype for v in node.inputs])
        outputs = tuple([v.dtype for v in node.outputs])
        reduction = node.attributes.get_string("reduction", "none") if node.op_type.startswith("Scatter") else "none"
        key = (node.domain, node.op_type, reduction, inputs, outputs)
        if key in self._plans:
            return self._plans[key]
        opset = self._opsets.get(node.domain)
        found = None if opset is None else schema(node.domain, node.op_type, opset)
        known = node.domain in self._domains and (node.domain, node.op_type) not in self._own
        if found is None or not known or node.op_type in _FREE:
            self._plans[key] = None
            return None
        plan = self._decide(node, found, kind(node.op_type, reduction), inputs, outputs)
        # The body of a function may depend on attributes, which the key does not hold.
        if not found.has_body or self._target.executes(found, found.bind(inputs, outputs)):
            self._plans[key] = plan
        return plan

    def _decide(self, node: ir.Node, found: Schema, what: Kind, inputs: Dtypes, outputs: Dtypes) -> _Plan | None:
        bound = found.bind(inputs, outputs)
        if self._runs(node, found, bound, inputs):
            return None
        chosen = self._choose(node, found, what, bound, inputs)
        names = found.inputs(len(inputs))
        data = found.outputs(1)[0] or names[0]
        return _Plan(
            tuple(chosen.get(name) if name else None for name in names),
            tuple(what.needs if name == data else Trust.EXACT for name in names),
            tuple(chosen.get(name) if name else None for name in found.outputs(len(outputs))),
            what,
        )

    def _runs(self, node: ir.Node, found: Schema, bound: Mapping[str, DataType], inputs: Dtypes) -> bool:
        return self._target.executes(found, bound) or self._target.expands(found, inputs, node)

    def _choose(
        self, node: ir.Node, found: Schema, what: Kind, bound: Mapping[str, DataType], inputs: Dtypes
    ) -> dict[str, Carrier]:
        """Return the carriers with which the node runs, changing as few type parameters as possible."""
        options = [[None, *(c for c in carriers(d, what) if self._casts(d, c.dtype))] for d in bound.values()]
        combinations: Iterable[Sequence[Carrier | None]] = itertools.product(*options)
        names = found.inputs(len(inputs))
        for combination in sorted(combinations, key=lambda cs: sum(c is not None for c in cs)):
            chosen = {name: c for name, c in zip(bound, combination, strict=True) if c is not None}
            carried = {**bound, **{name: c.dtype for name, c in chosen.items()}}
            types = tuple(
                d if d is None or name is None else carried[name] for name, d in zip(names, inputs, strict=True)
            )
            if chosen and self._runs(node, found, carried, types):
                return chosen
        raise self._no_kernel(node, found, bound)

    def _casts(self, narrow: DataType, wide: DataType) -> bool:
        cast = schema("", "Cast", self._opsets[""])
        pairs = ((narrow, wide), (wide, narrow))
        return cast is not None and all(self._target.executes(cast, {"T1": a, "T2": b}) for a, b in pairs)

    def _no_kernel(self, node: ir.Node, found: Schema, bound: Mapping[str, DataType]) -> NoKernelError:
        dtypes = ", ".join(dict.fromkeys(d.name.lower() for d in bound.values()))
        remedy = "use another dtype there (x.astype(...)), or target='onnx' for a runtime that has the kernel"
        if DataType.DOUBLE in bound.values():
            remedy = (
                "compute it in float32, with x.astype('float32') or without jax_enable_x64 (float64 is never narrowed "
                "silently), or use target='onnx' for a runtime that has the kernel"
            )
        return NoKernelError(
            f"{self._target.runtime} has no kernel for {found.name} (opset {found.opset}) in {dtypes}, "
            "and no other dtype keeps its values",
            where=node.metadata_props.get("jax2onnx.source"),
            plugin=node.metadata_props.get("jax2onnx.plugin"),
            remedy=remedy,
        )

    # -- rewriting ---------------------------------------------------------------------------------------------------

    def _rewrite(self, graph: ir.Graph, node: ir.Node, plan: _Plan) -> list[ir.Node]:
        """Execute a node in its carriers; return the new nodes that bring its results back."""
        trust = Trust.EXACT
        for index, (value, carrier, needs) in enumerate(zip(node.inputs, plan.inputs, plan.needs, strict=True)):
            if value is not None and carrier is not None:
                carried = self._widen(value, carrier, needs)
                trust = min(trust, carried.trust)
                node.replace_input_with(index, carried.value)
        back: list[ir.Node] = []
        for value, carrier in zip(node.outputs, plan.outputs, strict=True):
            original = value.dtype
            if carrier is not None and original is not None:
                _retype(node, carrier.dtype)
                narrow, nodes = _narrow(value, carrier)
                graph.insert_after(back[-1] if back else node, nodes)
                back.extend(nodes)
                self._carried[narrow, carrier] = _Carried(value, plan.kind.result(trust, original))
        return back

    def _widen(self, value: ir.Value, carrier: Carrier, needs: Trust) -> _Carried:
        """Return a value in its carrier, cast once, where the value itself is computed."""
        known = self._carried.get((value, carrier))
        if known is not None and known.trust >= needs:
            return known
        wide, nodes = _encode(value, carrier)
        owner, producer = value.graph, value.producer()
        assert isinstance(owner, ir.Graph)
        if producer is None:
            owner.insert_before(owner[0], nodes)
        else:
            owner.insert_after(producer, nodes)
        known = self._carried[value, carrier] = _Carried(wide, Trust.EXACT)
        return known


def _encode(value: ir.Value, carrier: Carrier) -> tuple[ir.Value, list[ir.Node]]:
    """Return a value in its carrier, and the nodes that put it there."""
    cast = _cast(value, carrier.dtype)
    if carrier.encoding is Encoding.VALUE:
        return cast.outputs[0], [cast]
    shift = _shift(cast.outputs[0])
    return shift[-1].outputs[0], [cast, *shift]


def _narrow(value: ir.Value, carrier: Carrier) -> tuple[ir.Value, list[ir.Node]]:
    """Turn a result into its carrier; its users, and its name, go to the value cast back, which is returned."""
    shift = _shift(value) if carrier.encoding is Encoding.OFFSET else []
    cast = _cast(shift[-1].outputs[0] if shift else value, value.dtype)
    narrow = cast.outputs[0]
    inside = {*shift, cast}
    value.type = ir.TensorType(carrier.dtype)
    for user, index in value.uses():
        if user not in inside:
            user.replace_input_with(index, narrow)
    graph = value.graph
    if graph is not None and value.is_graph_output():
        graph.outputs[:] = [narrow if v is value else v for v in graph.outputs]
    if value.name is not None:
        narrow.name, value.name = value.name, f"{value.name}_as_{carrier.dtype.name.lower()}"
    return narrow, [*shift, cast]


def _cast(value: ir.Value, to: DataType | None) -> ir.Node:
    assert to is not None
    attributes = [ir.AttrInt64("to", int(to))]
    if to in _FLOAT8:
        attributes.append(ir.AttrInt64("saturate", 0))
    return ir.Node("", "Cast", [value], attributes, outputs=[_like(value, to)])


def _shift(value: ir.Value) -> list[ir.Node]:
    """Add 2**63, modulo 2**64, which is its own inverse."""
    sign = ir.Node("", "Constant", [], [ir.AttrInt64("value_int", -(2**63))])
    sign.outputs[0].dtype, sign.outputs[0].shape = DataType.INT64, ir.Shape([])
    return [sign, ir.Node("", "Add", [value, sign.outputs[0]], outputs=[_like(value, DataType.INT64)])]


def _like(value: ir.Value, dtype: DataType) -> ir.Value:
    return ir.Value(shape=value.shape, type=ir.TensorType(dtype))


def _retype(node: ir.Node, dtype: DataType) -> None:
    """Change the dtype that a node's attributes ask for."""
    if "dtype" in node.attributes:
        node.attributes["dtype"] = ir.AttrInt64("dtype", int(dtype))
    elif node.op_type == "ConstantOfShape":
        fill = node.attributes["value"].as_tensor().numpy().astype(dtype.numpy())
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(fill))
