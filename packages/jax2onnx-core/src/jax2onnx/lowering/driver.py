"""Lower: from the prepared program to ONNX nodes, one rule per equation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import onnx_ir as ir

from jax2onnx._compat import name_stack
from jax2onnx._printable import storable
from jax2onnx.errors import (
    ConversionError,
    DimensionError,
    InputSpecError,
    InvalidModelError,
    OpsetError,
    UnsupportedCaseError,
    UnsupportedPrimitiveError,
)
from jax2onnx.fusion.records import Declined
from jax2onnx.lowering.builder import Ops
from jax2onnx.lowering.dims import Dims, find_sources
from jax2onnx.lowering.domains import Domains
from jax2onnx.lowering.outline import Outliner
from jax2onnx.lowering.results import WrongResultError, checked
from jax2onnx.lowering.rules import apply
from jax2onnx.lowering.scope import Scope
from jax2onnx.output.sources import NAMESPACE, SOURCE
from jax2onnx.plugin.context import LoweringContext, Reshaped, ir_dtype, stamp
from jax2onnx.plugin.fusions import Decline
from jax2onnx.plugin.loader import is_strict
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.program.program import Atom, Const, Eqn, Fused, Program, Var
from jax2onnx.program.represent import form
from jax2onnx.tidy.initializers import UNNAMED
from jax2onnx.tidy.known_numbers import has_no_negative_zero
from jax2onnx.tidy.sums_of_products import UNSIGNED

if TYPE_CHECKING:
    from jax2onnx.fusion.records import Record
    from jax2onnx.legalise.targets import Target
    from jax2onnx.lowering.faults import Faults
    from jax2onnx.lowering.trail import Trail
    from jax2onnx.plugin.lowerings import Lowerings
    from jax2onnx.program.prepare import Preparer

__all__ = ["Driver"]

_UNSUPPORTED = (DimensionError, OpsetError, UnsupportedCaseError, UnsupportedPrimitiveError)
"""Errors after which the export goes on, to find all of them."""


@dataclass(slots=True, kw_only=True, eq=False)
class Driver:
    """Emits one model: calls the rule of each equation, and checks what it returns.

    Attributes:
        asked: the opset that is asked for.
        domains: the domains that the user names, with their versions.
        target: the runtime the model is for; None for plain ONNX.
        guards: whether rules keep NaN, infinities and empty arrays where a kernel loses them.
        lowerings: the rules.
        preparer: prepares what rules express in JAX, and functions that are declined.
        faults: makes the errors of equations that have no rule, or whose rule fails.
        records: receives the functions that were declined; None if nobody asked.
        guarded: receives the equations whose rules keep NaN, infinities and empty arrays; None if nobody asked.
        trail: receives which value of the model each value of the program became; None if nobody asked.
        warnings: messages to show the user once, at the end.
        primitives: the primitives that a rule was looked for.
        unsupported: what could not be converted so far.
        reshaped: reshaped value -> the value before, and its shape.
        opset: the opset that is emitted.
        op: the node builder.
        outliner: defines the model's functions.
        _running: how many programs are being emitted, one inside the other.
    """

    asked: int
    target: Target | None
    lowerings: Lowerings
    preparer: Preparer
    faults: Faults
    guards: bool = True
    domains: Mapping[str, int] = field(default_factory=dict)
    records: list[Record] | None = None
    trail: Trail | None = None
    guarded: list[Eqn] | None = None
    warnings: list[str] = field(init=False, default_factory=list)
    primitives: set[str] = field(init=False, default_factory=set)
    unsupported: list[ConversionError] = field(init=False, default_factory=list)
    reshaped: dict[ir.Value, Reshaped] = field(init=False, default_factory=dict)
    _running: int = field(init=False, default=0)
    opset: int = field(init=False)
    op: Ops = field(init=False)
    outliner: Outliner = field(init=False)

    def __post_init__(self) -> None:
        self.opset = max(self.asked, MIN_OPSET)
        self.op = Ops(self.opset, [Scope()], {}, Domains(self.opset, self.domains, asked=self.asked))
        self.outliner = Outliner(self.opset, self.run)

    def run(
        self,
        program: Program,
        operands: Sequence[ir.Value],
        *,
        derived: bool = False,
    ) -> list[ir.Value]:
        """Emit a prepared program into the current graph; return the values of its outputs.

        Args:
            program: the program.
            operands: the values of its inputs.
            derived: whether a rule made it, so that reports leave out what is declined in it.

        Raises:
            ConversionError: a program, or a body in it, cannot be converted; one error for all such places.
        """
        self._running += 1
        try:
            results = self._emit(program, operands, derived=derived)
        except ConversionError as error:
            # A bare ConversionError after others may be their consequence.
            if self._running > 1 or not self.unsupported:
                raise
            if type(error) is not ConversionError:
                self.unsupported.append(error)
        finally:
            self._running -= 1
        if self.unsupported and not self._running:
            raise ConversionError.together(self.unsupported)
        return results

    def _emit(
        self,
        program: Program,
        operands: Sequence[ir.Value],
        *,
        derived: bool,
    ) -> list[ir.Value]:
        env: dict[Var, ir.Value] = dict(zip(program.inputs, operands, strict=True))
        trail = None if derived else self.trail
        if trail is not None:
            trail.enter(program, env)
        for eqn in program.eqns:
            if trail is not None:
                trail.reach(eqn)
            inputs = [self._read(env, atom) for atom in eqn.inputs]
            results = self._equation(eqn, inputs, derived=derived)
            if eqn.facts.new_sizes:
                self._note_sizes(eqn, results)
            env.update(zip(eqn.outputs, results, strict=True))
        if trail is not None:
            trail.leave()
        return [self._read(env, atom) for atom in program.outputs]

    def _note_sizes(self, eqn: Eqn, results: Sequence[ir.Value]) -> None:
        """Note where the symbolic dims are read that an equation brings."""
        sources = find_sources(results, [var.aval for var in eqn.outputs])
        for symbol, source in sources.items():
            self.op.scope.root.sources.setdefault(symbol, source)

    def prepare(self, jaxpr: Any, eqn: Eqn, *, derived: bool) -> Program:
        """Return the prepared program of a closed jaxpr that an equation has, or that is derived from it."""
        return self.preparer.prepare_jaxpr(
            jaxpr,
            caller=eqn.source,
            source=eqn.source if derived else None,
            signed=eqn.signed,
            small=eqn.small,
            derived=derived,
        )

    def guard(self, eqn: Eqn) -> bool:
        """Return whether the rule of an equation keeps what kernels lose; note that it asks."""
        if self.guards and self.guarded is not None:
            self.guarded.append(eqn)
        return self.guards

    def is_parameter(self, value: ir.Value) -> bool:
        """Return whether a value is a constant that has a name of the user's."""
        return value.const_value is not None and value.producer() is None and UNNAMED not in value.meta

    def has_no_minus_zero(self, value: ir.Value) -> bool:
        """Return whether it is known that no element of a value is -0."""
        return has_no_negative_zero(value)

    def note_unsigned(self, result: ir.Value) -> None:
        """Note that the sign of a zero in the result of a node does not matter."""
        node = result.producer()
        if node is not None:
            node.meta[UNSIGNED] = True

    def dim(self, dim: Any, op: Ops) -> ir.Value:
        """Return a dimension, static or symbolic, as int64 of shape ``[1]``."""
        return Dims(op).value(dim)

    def _read(self, env: Mapping[Var, ir.Value], atom: Atom) -> ir.Value:
        if isinstance(atom, Var):
            return env[atom]
        return self.op.constant(_array(atom))

    def _equation(
        self,
        eqn: Eqn,
        operands: list[ir.Value],
        *,
        derived: bool,
    ) -> Sequence[ir.Value]:
        """Emit an equation; return the values of its results."""
        if eqn.is_call:
            op = self.op.tagged(_metadata(eqn, "core"))
            results = self.outliner.call(eqn, operands, op)
            return checked(results, eqn)
        if eqn.fused is not None:
            return self._fused(eqn, eqn.fused, operands, derived=derived)
        self.primitives.add(eqn.primitive)
        entry = self.lowerings.find(eqn.primitive, self.opset)
        if entry is None:
            values = self._unsupported(self.faults.without_rule(eqn), eqn)
            self.unsupported += self.faults.without_rule_inside(eqn)
            return values
        ctx = self._context(eqn, entry.plugin, derived=derived)
        try:
            return checked(apply(entry, ctx, operands), eqn)
        except WrongResultError as error:
            raise self.faults.blamed(error, eqn, entry.plugin) from None
        except _UNSUPPORTED as error:
            self.faults.locate(error, eqn, entry.plugin)
            return self._unsupported(error, eqn)
        except ConversionError as error:
            self.faults.locate(error, eqn, entry.plugin)
            raise
        except (Decline, InputSpecError, MemoryError, RecursionError, KeyboardInterrupt):
            raise
        except BaseException as error:  # the border to the rules of plugins: what they raise is explained
            failed = self.faults.failed(error, eqn, entry.plugin, via_jax=entry.via_jax)
            failed.__cause__ = error
            if isinstance(failed, _UNSUPPORTED):
                return self._unsupported(failed, eqn)
            raise failed from error

    def _unsupported(self, error: ConversionError, eqn: Eqn) -> list[ir.Value]:
        """Note what cannot be converted; return values to go on with, so that one export finds all such places."""
        self.unsupported.append(error)
        values = []
        for var in eqn.outputs:
            aval = form(var.aval)
            value = ir.Value(name="unsupported", type=ir.TensorType(_dtype_or_undefined(aval)))
            stamp(value, aval.shape)
            values.append(value)
        return values

    def _context(self, eqn: Eqn, plugin: str, *, derived: bool) -> LoweringContext:
        op = self.op.tagged(_metadata(eqn, plugin), whole=eqn.fused is not None)
        return LoweringContext(self, eqn, op, derived=derived)

    def _fused(
        self,
        eqn: Eqn,
        fused: Fused,
        operands: list[ir.Value],
        *,
        derived: bool,
    ) -> Sequence[ir.Value]:
        """Emit a whole function; where its rule declines, the equations that it stands for."""
        fusion = fused.fusion
        fitting = [opset for opset in fusion.emit if opset <= self.opset]
        emit = fusion.emit[max(fitting)]
        ctx = self._context(eqn, fusion.plugin, derived=derived)
        try:
            return checked(emit(ctx, *operands, **fused.kwargs), eqn)
        except WrongResultError as error:
            self._do_without(self.faults.blamed(error, eqn, fusion.plugin))
        except (InvalidModelError, OpsetError) as error:
            if self.asked < self.opset and isinstance(error, OpsetError):
                self._note_declined(fused, error.what, derived=derived)
            else:
                self.faults.locate(error, eqn, fusion.plugin)
                self._do_without(error)
        except _UNSUPPORTED as error:
            self.faults.locate(error, eqn, fusion.plugin)
            return self._unsupported(error, eqn)
        except ConversionError as error:
            self.faults.locate(error, eqn, fusion.plugin)
            raise
        except Decline as reason:
            self._note_declined(fused, str(reason), derived=derived)
        except (InputSpecError, MemoryError, RecursionError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as for the rule of a primitive
            failed = self.faults.failed(error, eqn, fusion.plugin)
            failed.__cause__ = error
            if isinstance(failed, _UNSUPPORTED):
                return self._unsupported(failed, eqn)
            self._do_without(failed)
        values = dict(zip(eqn.inputs, operands, strict=True))
        inputs = [atom for atom in values if isinstance(atom, Var)]
        plain = self.preparer.prepare(
            Program(inputs, fused.interior_of(eqn.inputs), list(eqn.outputs)),
            exclude=frozenset({fusion.name}),
            signed=eqn.signed,
            small=eqn.small,
            derived=derived,
        )
        given = [values[var] for var in inputs]
        return self.run(plain, given, derived=derived)

    def _note_declined(self, fused: Fused, reason: str, *, derived: bool) -> None:
        if self.records is not None and not derived:
            self.records.append(Declined(fused, reason))

    def _do_without(self, error: ConversionError) -> None:
        """Warn of the rule of a whole function: the model has the function's primitives instead.

        Raises:
            ConversionError: ``JAX2ONNX_STRICT_PLUGINS`` is set.
        """
        if is_strict():
            raise error
        at = f" at {error.where}" if error.where else ""
        self.warnings.append(f"plugin {error.plugin}: {error.what}{at}; the model has the primitives instead")


def _dtype_or_undefined(aval: Any) -> ir.DataType:
    """Return the ONNX dtype of an abstract value, or ``UNDEFINED`` where there is none."""
    try:
        return ir_dtype(aval.dtype)
    except UnsupportedCaseError:
        return ir.DataType.UNDEFINED


def _metadata(eqn: Eqn, plugin: str) -> dict[str, str]:
    """Return what the nodes of an equation carry: who emitted them, and where they come from."""
    metadata = {"jax2onnx.plugin": plugin}
    if eqn.source is None:
        return metadata
    stack = name_stack(eqn.source)
    if stack:
        metadata[NAMESPACE] = storable(stack)
    where = eqn.where
    if where:
        metadata[SOURCE] = storable(where)
    return metadata


def _array(const: Const) -> Any:
    """Return the constant as an array of its aval's dtype (Python scalars, typed by JAX or not, are literals too)."""
    value = const.value
    is_array = isinstance(value, np.ndarray | np.generic | jax.Array)
    if is_array and value.dtype == const.aval.dtype:
        return value
    return np.asarray(value, const.aval.dtype)
