"""Legalise: make every node one that the target runtime has a kernel for.

A node without a kernel for its dtypes is executed in wider dtypes, its *carriers*:

    y = Mul(x, x)                                 bfloat16[3, 4]

becomes

    wide = Cast(x, to=float32)                    float32[3, 4]
    y_as_float = Mul(wide, wide)                  float32[3, 4]
    y = Cast(y_as_float, to=bfloat16)             bfloat16[3, 4]

The values are those of the original dtype: integers wrap on the way back, bfloat16 and float16 round after every node.
Between two such nodes the casts disappear where that changes no value. float64 is never narrowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.errors import ConversionError, NoKernelError
from jax2onnx.legalise.carriers import Encoding, Trust
from jax2onnx.legalise.casts import encode, narrow, retype
from jax2onnx.legalise.codebook_products import CodebookProducts
from jax2onnx.legalise.derived import Derived
from jax2onnx.legalise.fused_products import ProductKeeper
from jax2onnx.legalise.integer_products import ADDS_BYTES, INTEGER_PRODUCTS, make_unsigned
from jax2onnx.legalise.mending import Mender
from jax2onnx.legalise.ort_workarounds import late_workarounds, node_workarounds
from jax2onnx.legalise.packed_products import PRODUCTS, Packer, add_zero_point
from jax2onnx.legalise.passed_on import cast_passed_on
from jax2onnx.legalise.plan import Plan, Planner
from jax2onnx.legalise.rounded_bytes import RoundedBytes
from jax2onnx.legalise.short_arrays import lengthen
from jax2onnx.legalise.sizes_of_bytes import read_sizes_of_bytes
from jax2onnx.legalise.tiled_products import Tiler
from jax2onnx.legalise.whole_bytes import FEW_BITS, SHARED_MEMORY, keep_in_bytes
from jax2onnx.tidy.subgraphs import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jax2onnx.legalise.carriers import Carrier
    from jax2onnx.legalise.schema import Functions
    from jax2onnx.legalise.targets import Target

__all__ = ["legalise", "missing_kernels"]


def legalise(model: ir.Model, target: Target, *, round_activations: bool = False) -> None:
    """Insert casts around the nodes for which the target has no kernel, in place, in subgraphs and functions too.

    What the optimiser of onnxruntime would spoil is replaced by an equal that it leaves alone. With
    ``round_activations``, it may round what is multiplied by quantised weights.

    Raises:
        NoKernelError: a node can be executed in no dtype that keeps its values; one error for all such nodes.
    """
    if target.kernels is None and not (target.faults or target.refused or not target.functions):
        return
    if model.functions and not target.functions:
        from onnx_ir.passes.common import InlinePass  # noqa: PLC0415 - few targets need it

        InlinePass()(model)
    thresholds = target.supports("ThresholdedRelu", _THRESHOLDS, [ir.DataType.FLOAT])
    derived, rounded = Derived(model), RoundedBytes(frozenset(_narrowed(target)), thresholds=thresholds)
    products = _of_products(target, derived, rounded, round_activations=round_activations)
    functions = frozenset((f.domain, f.name) for f in model.functions.values())
    without = [*_refused_inputs(model, target), *_refused_models(model, target)]
    legalisers = [_Legaliser(target, model.graph, functions, without, derived=derived, products=products)]
    inner = Derived(model, in_functions=True)
    products = _of_products(target, inner, rounded, round_activations=round_activations)
    legalisers += [
        _Legaliser(target, function.graph, functions, without, derived=inner, products=products, is_function=True)
        for function in model.functions.values()
    ]
    for legaliser in legalisers:
        legaliser.run()
    if without:
        raise ConversionError.together(without)
    if target.lacks(SHARED_MEMORY) and any(legaliser.has_few_bits() for legaliser in legalisers):
        keep_in_bytes(model, derived, inner, functions)
    derived.replaces(rounded.remove_unused())
    derived.finish()
    if target.finish is not None:
        target.finish(model)


def _narrowed(target: Target) -> Iterator[ir.DataType]:
    """Yield the dtypes of 8 bits of which the target takes the larger numbers."""
    for dtype in (ir.DataType.INT8, ir.DataType.UINT8):
        if target.supports("Max", _OF_BYTES, [dtype, dtype]):
            yield dtype


_OF_BYTES = 13
"""An opset whose ``Max`` takes 8-bit integers."""


_THRESHOLDS = 10
"""The first opset that has ``ThresholdedRelu``."""


def _of_products(
    target: Target, derived: Derived, rounded: RoundedBytes, *, round_activations: bool
) -> Mapping[str, Callable[[ir.Graph, ir.Node], None]]:
    """Return the rewrites of products by weights in few bits, by operator."""
    if not target.is_onnxruntime:
        return {}
    tiler, packer, codebooks = Tiler(target, derived), Packer(target, derived), CodebookProducts(target, derived)

    def few_bits(_: ir.Graph, node: ir.Node) -> None:
        factor = node.inputs[1]
        if factor is None or factor.producer() is None:
            return  # weights in few bits are made numbers before
        if not codebooks.rewrite(node) and not round_activations and not tiler.tile(node):
            packer.pack(node)

    rewrites: dict[str, Callable[[ir.Graph, ir.Node], None]] = dict.fromkeys(PRODUCTS, few_bits)
    adds = target.supports("Add", ADDS_BYTES, [ir.DataType.UINT8, ir.DataType.UINT8])

    def of_bytes(_: ir.Graph, node: ir.Node) -> None:
        make_unsigned(node, derived, rounded, adds=adds, mixes=target.mixes_bytes and _mixes(node, target))

    rewrites |= dict.fromkeys(INTEGER_PRODUCTS, of_bytes)
    rewrites["DequantizeLinear"] = lambda _, node: add_zero_point(node, derived)
    return rewrites


def _mixes(node: ir.Node, target: Target) -> bool:
    """Return whether the target has a kernel for a product of two dtypes of 8 bits."""
    dtypes = [ir.DataType.UINT8, ir.DataType.INT8]
    return all(target.supports(node.op_type, _OF_BYTES, pair) for pair in (dtypes, dtypes[::-1]))


def _refused_inputs(model: ir.Model, target: Target) -> Iterator[NoKernelError]:
    """Yield an error for each input of a dtype that the target does not take."""
    for value in model.graph.inputs:
        reason = target.refused.get(value.dtype) if value.dtype is not None else None
        if reason is not None:
            yield NoKernelError(
                f"{target.runtime}: the input {value.name} is {str(value.dtype).lower()}, and {reason}",
                remedy="give the input another dtype, or use target='onnx' for a runtime that takes it",
            )


def _refused_models(model: ir.Model, target: Target) -> Iterator[NoKernelError]:
    """Yield an error for each reason for which the target does not take the model."""
    for reason in target.refuses(model) if target.refuses is not None else ():
        yield NoKernelError(f"{target.runtime}: {reason}", remedy="use target='onnx' for a runtime that takes it")


_UNKNOWN = frozenset({None, ir.DataType.UNDEFINED})


def missing_kernels(
    graphs: Iterable[Iterable[ir.Node]], target: Target, opsets: Mapping[str, int], functions: Functions
) -> list[NoKernelError]:
    """Return an error for each node of a model that is not complete which the target can execute in no dtype.

    Nodes whose results nothing uses, or whose dtypes are not known, are left out.
    """
    if target.kernels is None:
        return []
    planner = Planner(target, opsets, functions)
    errors: list[NoKernelError] = []
    pending = [node for nodes in graphs for node in nodes]
    pending.reverse()
    while pending:
        node = pending.pop()
        pending += [inner for body in bodies(node) for inner in reversed(body)]
        known = all(value is None or value.dtype not in _UNKNOWN for value in (*node.inputs, *node.outputs))
        if known:
            try:
                planner.plan(node)
            except NoKernelError as error:
                errors.append(error)
    return errors


@dataclass(frozen=True, slots=True)
class _Carried:
    """A value in its carrier, and what that promises of the original value."""

    value: ir.Value
    trust: Trust


class _Legaliser:
    """Works through one graph with its subgraphs, or one function; notes the nodes that have no kernel."""

    def __init__(
        self,
        target: Target,
        root: ir.Graph,
        functions: Functions,
        without: list[NoKernelError],
        *,
        derived: Derived,
        products: Mapping[str, Callable[[ir.Graph, ir.Node], None]] | None = None,
        is_function: bool = False,
    ) -> None:
        self._without = without
        self._functions = functions
        self._derived = derived
        self._is_function = is_function
        self._arguments = frozenset(root.inputs if is_function else ())
        self._is_onnxruntime = target.is_onnxruntime
        self._root = root
        self._multiplies = False
        self._sizes: list[ir.Node] = []
        self._products = ProductKeeper(root, target, functions, is_function=is_function)
        self._workarounds = node_workarounds(target)
        if products:
            before = self._workarounds
            further = {op_type: (*before.get(op_type, ()), rewrite) for op_type, rewrite in products.items()}
            self._workarounds = {**before, **further}
        self._mender = Mender(target, without)
        self._faulty = self._mender.faults
        self._late_workarounds = late_workarounds(target)
        self._planner = Planner(target, root.opset_imports, functions)
        self._carried: dict[tuple[ir.Value, Carrier], _Carried] = {}

    def run(self) -> None:
        """Legalise the graph, and those within."""
        if self._is_onnxruntime and self._is_function:
            cast_passed_on(self._root, self._functions)
        self.graph(self._root)
        if self._is_onnxruntime and self._sizes:
            read_sizes_of_bytes(self._root, self._sizes)
        if self._is_onnxruntime and self._multiplies:
            self._products.keep(self._root)

    def has_few_bits(self) -> bool:
        """Return whether there are integers of few bits among the values of a graph that is legalised."""
        borders = {value.dtype for value in (*self._root.inputs, *self._root.outputs)}
        return not FEW_BITS.isdisjoint(borders | self._planner.dtypes)

    def graph(self, graph: ir.Graph) -> None:
        """Legalise every node; then drop the casts that nothing reads."""
        if self._is_onnxruntime:
            lengthen(graph)
        back: list[ir.Node] = []
        late: list[ir.Node] = []
        for node in list(graph):
            if node.attributes.data:
                for body in bodies(node):
                    self.graph(body)
            op_type = node.op_type  # most operators have no workaround; the domain is asked of the others only
            workarounds, is_late = self._workarounds.get(op_type, ()), op_type in self._late_workarounds
            if op_type == "MatMul":
                self._multiplies = True
            elif op_type == "Shape":
                self._sizes.append(node)
            if (workarounds or is_late) and not node.domain:
                for workaround in workarounds:
                    workaround(graph, node)
                if is_late:
                    late.append(node)
            if op_type in self._faulty:
                self._mender.mend(graph, node)
            plan = self._plan(node) if node.graph is graph else None
            if plan is not None:
                trust = self._widen_inputs(node, plan)
                back += self._narrow_outputs(node, plan, trust)
        # A result whose users all take it in its carrier needs no cast back.
        for node in reversed(back):
            result = node.outputs[0]
            if not result.uses() and not result.is_graph_output():
                graph.remove(node, safe=True)
        for node in late:
            self._late_workarounds[node.op_type](graph, node, self._arguments, self._functions)

    def _plan(self, node: ir.Node) -> Plan | None:
        """Return how a node is executed in carriers; None if as it is, or not at all."""
        try:
            return self._planner.plan(node)
        except NoKernelError as error:
            self._without.append(error)
            return None

    def _widen_inputs(self, node: ir.Node, plan: Plan) -> Trust:
        """Give a node its inputs in their carriers; return the least that one of these promises."""
        trust = Trust.EXACT
        for index, value in enumerate(node.inputs):
            carrier = plan.inputs[index]
            if value is not None and carrier is not None:
                carried = self._widen(value, carrier, plan.needs[index])
                node.replace_input_with(index, carried.value)
                trust = min(trust, carried.trust)
        return trust

    def _widen(self, value: ir.Value, carrier: Carrier, needs: Trust) -> _Carried:
        """Return a value in its carrier.

        The value that another node computed in this carrier is taken if it promises enough. Of a small constant, the
        carrier is stored. Otherwise the value is cast where it is computed, once for all its users.
        """
        known = self._carried.get((value, carrier))
        if known is not None and known.trust >= needs:
            return known
        if carrier.encoding is Encoding.VALUE and (wide := self._derived.small(value, carrier.dtype)) is not None:
            carried = _Carried(wide, Trust.EXACT)
            self._carried[value, carrier] = carried
            return carried
        nodes = encode(value, carrier)
        owner = value.graph
        assert isinstance(owner, ir.Graph)
        producer = value.producer()
        if producer is None:
            owner.insert_before(owner[0], nodes)
        else:
            owner.insert_after(producer, nodes)
        carried = _Carried(nodes[-1].outputs[0], Trust.EXACT)
        self._carried[value, carrier] = carried
        return carried

    def _narrow_outputs(self, node: ir.Node, plan: Plan, trust: Trust) -> list[ir.Node]:
        """Cast the results of a node back to their dtypes; return the new nodes."""
        assert node.graph is not None
        back: list[ir.Node] = []
        for value, carrier in zip(node.outputs, plan.outputs, strict=True):
            original = value.dtype
            if carrier is None or original is None:
                continue
            retype(node, carrier.dtype)
            nodes = narrow(value, carrier)
            node.graph.insert_after(back[-1] if back else node, nodes)
            back += nodes
            result = nodes[-1].outputs[0]
            promise = plan.operator.result(trust, original)
            self._carried[result, carrier] = _Carried(value, promise)
        return back
