"""Plans: in which carriers a node is executed, where the target has no kernel for its own dtypes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import defs
from onnx_ir import DataType

from jax2onnx.errors import NoKernelError
from jax2onnx.legalise.carriers import Trust, carriers, kind
from jax2onnx.legalise.opsets.history import OLDEST_OPSET
from jax2onnx.legalise.schema import dtypes_of, schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.legalise.carriers import Carrier, Kind
    from jax2onnx.legalise.schema import Call, Dtypes, Functions, Schema
    from jax2onnx.legalise.targets import Kernel, Target

__all__ = ["Plan", "Planner"]

_FREE = frozenset({"Constant", "If", "Loop", "Scan"})
"""Operators that every runtime has in every dtype it has at all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a node is executed.

    Attributes:
        inputs: the carrier of each input; None for an input that keeps its dtype.
        needs: what the node must know of the original value of each input.
        outputs: the carrier of each output.
        operator: the kind of the operator.
    """

    inputs: tuple[Carrier | None, ...]
    needs: tuple[Trust, ...]
    outputs: tuple[Carrier | None, ...]
    operator: Kind


class Planner:
    """Makes the plans of the nodes of one graph, with its subgraphs, or of one function.

    Nodes of the same operator and dtypes have the same plan, which is made once.

    Attributes:
        dtypes: those of the operands and results of all nodes so far.
    """

    def __init__(self, target: Target, opsets: Mapping[str, int], functions: Functions) -> None:
        self._target = target
        self._opsets = opsets
        self._functions = functions
        self._domains = {domain for domain, _ in target.kernels or ()}
        self.dtypes: set[DataType | None] = set()
        self._plans: dict[tuple[str, str, str, Dtypes, Dtypes], Plan | None] = {}

    def plan(self, node: ir.Node) -> Plan | None:
        """Return how a node is executed in carriers; None if it is executed as it is.

        Raises:
            NoKernelError: no carriers keep the values of the node.
        """
        inputs = dtypes_of(node.inputs)
        outputs = dtypes_of(node.outputs)
        op_type, reduction = node.op_type, "none"
        if op_type.startswith("Scatter"):
            reduction = node.attributes.get_string("reduction", reduction)
        key = (node.domain, op_type, reduction, inputs, outputs)
        if key in self._plans:
            return self._plans[key]
        self.dtypes.update(inputs, outputs)
        found = self._schema(node)
        if found is None:
            self._plans[key] = None
            return None
        call = found.call(inputs, outputs, node.attributes.values())
        plan = None
        if not self._target.runs(call):
            plan = self._plan(node, call, kind(op_type, reduction))
        # The body of a function may depend on attributes, which the key does not hold.
        if not found.has_body or self._target.has_kernel(call):
            self._plans[key] = plan
        return plan

    def _schema(self, node: ir.Node) -> Schema | None:
        """Return the schema of a node's operator; None if its kernels are not known or do not matter."""
        if node.domain not in self._domains or node.op_type in _FREE:
            return None
        opset = self._opsets.get(node.domain)
        if opset is None or (node.domain, node.op_type) in self._functions:
            return None
        return schema(node.domain, node.op_type, opset)

    def _plan(self, node: ir.Node, call: Call, operator: Kind) -> Plan:
        chosen = self._choose(call, operator)
        if not chosen:
            raise self._no_kernel(node, call)
        names = call.schema.inputs.of(len(call.inputs))
        # Data operands are those that have the type of the first result; the others, such as indices, must be exact.
        data = call.schema.outputs.of(1)[0] or names[0]
        needs = [operator.needs if name == data else Trust.EXACT for name in names]
        results = call.schema.outputs.of(len(call.outputs))
        return Plan(
            inputs=tuple(map(chosen.get, names)),
            needs=tuple(needs),
            outputs=tuple(map(chosen.get, results)),
            operator=operator,
        )

    def _choose(self, call: Call, operator: Kind) -> dict[str | None, Carrier]:
        """Return type parameter -> carrier such that the target runs the call, for as few parameters as possible.

        For example ``{"T": float32}`` for ``Sqrt(x: bfloat16)``. The result is empty if there are no such carriers.
        """
        options = [self._options(dtype, operator) for dtype in call.bound.values()]
        for combination in sorted(itertools.product(*options), key=_count_carriers):
            chosen: dict[str | None, Carrier] = {}
            dtypes: dict[str, DataType] = {}
            for name, carrier in zip(call.bound, combination, strict=True):
                if carrier is not None:
                    chosen[name] = carrier
                    dtypes[name] = carrier.dtype
            if chosen and self._target.runs(call.with_inputs(dtypes)):
                return chosen
        return {}

    def _options(self, dtype: DataType, operator: Kind) -> list[Carrier | None]:
        """Return None, to keep the dtype, and the carriers to and from which the target can cast."""
        possible = carriers(dtype, operator)
        return [None, *(carrier for carrier in possible if self._casts(dtype, carrier.dtype))]

    def _casts(self, one: DataType, other: DataType) -> bool:
        """Return whether the target casts one dtype to another and back."""
        cast = schema("", "Cast", self._opsets[""])
        if cast is None:
            return False
        there = cast.call((one,), (other,))
        back = cast.call((other,), (one,))
        return self._target.has_kernel(there) and self._target.has_kernel(back)

    def _no_kernel(self, node: ir.Node, call: Call) -> NoKernelError:
        dtypes = call.bound.values()
        names = dict.fromkeys(dtype.name.lower() for dtype in dtypes)
        reason, remedy = "and no other dtype keeps its values", self._remedy(call)
        kernels = (self._target.kernels or {}).get((call.schema.domain, call.schema.name), ())
        if kernels and not any(kernel.has_version(call.schema.version) for kernel in kernels):
            had = ", ".join(dict.fromkeys(_versions(kernel) for kernel in kernels))
            reason = f"and none of version {call.schema.version} of the operator, only of {had}"
            remedy = self._other_version(call)
        elif self._target.kernels is not None and not kernels and not call.schema.has_body:
            reason = "and none in any other dtype"
            remedy = "write it with operators that the runtime has, or use target='onnx' for a runtime that has it"
        what = "kernel for" if self._target.name != "onnx" else "operator"
        return NoKernelError(
            f"{self._target.runtime} has no {what} {call.schema.name} (opset {call.schema.opset}) "
            f"in {', '.join(names)}, {reason}",
            where=node.metadata_props.get("jax2onnx.source"),
            plugin=node.metadata_props.get("jax2onnx.plugin"),
            remedy=remedy,
        )

    def _remedy(self, call: Call) -> str:
        """Return what a user can do where the target has the operator, and not in the dtypes of a call."""
        if DataType.DOUBLE in call.bound.values():
            return (
                "compute it in float32, with x.astype('float32') or without jax_enable_x64 (float64 is never narrowed "
                "silently), or use target='onnx' for a runtime that has the kernel"
            )
        remedy = "use another dtype there (x.astype(...))"
        newer = self._newer_opset(call)
        if newer is not None:
            return f"{remedy}, or pass opset={newer} or a newer one"
        if self._target.name != "onnx":
            return f"{remedy}, or target='onnx' for a runtime that has the kernel"
        return remedy

    def _other_version(self, call: Call) -> str:
        """Return what a user can do where the target has other versions of the operator."""
        opsets = [*range(call.schema.opset - 1, OLDEST_OPSET - 1, -1), self._newer_opset(call)]
        served = next((o for o in opsets if o is not None and self._runs_at(call, o)), None)
        remedy = "use target='onnx' for a runtime that has it" if served is None else f"pass opset={served}"
        if self._target.plugin != "core":
            remedy += f"; if the runtime executes it, its Kernel in the target has to say until={call.schema.version}"
        return remedy

    def _runs_at(self, call: Call, opset: int) -> bool:
        """Return whether the target runs a call as an opset has it."""
        if self._target.newer is None and not call.schema.domain and not self._target.loads(opset):
            return False
        other = schema(call.schema.domain, call.schema.name, opset)
        return other is not None and self._target.runs(other.call(call.inputs, call.outputs, call.attributes))

    def _newer_opset(self, call: Call) -> int | None:
        """Return the next opset at which the target runs a call, as int4 has been there since 21; None if none does."""
        for opset in range(call.schema.opset + 1, defs.onnx_opset_version() + 1):
            if self._runs_at(call, opset):
                return opset
        return None


def _versions(kernel: Kernel) -> str:
    return str(kernel.since) if kernel.until in {None, kernel.since} else f"{kernel.since} to {kernel.until}"


def _count_carriers(combination: Sequence[Carrier | None]) -> int:
    return len(combination) - combination.count(None)
