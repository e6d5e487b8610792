"""Lower: from the prepared program to ONNX nodes, one rule per equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import onnx_ir as ir

from jax2onnx._compat import InconclusiveDimensionOperation, name_stack
from jax2onnx._printable import storable
from jax2onnx.errors import (
    ConversionError,
    DimensionError,
    InputSpecError,
    InvalidModelError,
    OpsetError,
    UnsupportedCaseError,
    UnsupportedPrimitiveError,
    described_error,
)
from jax2onnx.frontend.remedies import comparison_remedy, first_line
from jax2onnx.fusion.records import Declined
from jax2onnx.lowering.builder import Ops, Scope
from jax2onnx.lowering.dims import Dims, find_sources
from jax2onnx.lowering.domains import Domains
from jax2onnx.lowering.outline import Outliner
from jax2onnx.lowering.results import WrongResultError, checked
from jax2onnx.output.sources import NAMESPACE, SOURCE
from jax2onnx.plugin.context import LoweringContext, Reshaped, ir_dtype, stamp
from jax2onnx.plugin.fusions import Decline
from jax2onnx.plugin.loader import blame, is_strict
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.program.program import Atom, Const, Eqn, Fused, Program, Var
from jax2onnx.program.represent import form, on_pairs
from jax2onnx.program.shapes import is_static

if TYPE_CHECKING:
    from jax2onnx.fusion.records import Record
    from jax2onnx.legalise.targets import Target
    from jax2onnx.lowering.trail import Trail
    from jax2onnx.plugin.lowerings import Lowering, Lowerings
    from jax2onnx.program.prepare import Preparer

__all__ = ["BENIGN_PARAMS", "Driver"]

BENIGN_PARAMS = frozenset(
    {
        "accuracy",
        "backend",
        "donated_invars",
        "indices_are_sorted",
        "is_stable",
        "linear",
        "name",
        "out_sharding",
        "precision",
        "sharding",
        "unique_indices",
        "weak_type",
    }
)
"""Params that never change the values a rule must compute; any other that a rule does not name is refused."""

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
        describe_plugin: returns a plugin's name with its version, for messages.
        problems: describes the plugins that are not in use, for messages.
        provider: returns the distribution to install for a primitive; empty if none is known.
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
    guards: bool = True
    domains: Mapping[str, int] = field(default_factory=dict)
    describe_plugin: Callable[[str], str] = str
    problems: Callable[[], str] = str
    provider: Callable[[str], str] = lambda primitive: ""  # noqa: ARG005
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
            values = self._unsupported(self._no_lowering(eqn), eqn)
            self.unsupported += self._without_rule_inside(eqn)
            return values
        ctx = self._context(eqn, entry.plugin, derived=derived)
        try:
            return checked(_apply(entry, ctx, operands), eqn)
        except WrongResultError as error:
            raise self._blamed(error, eqn, entry.plugin) from None
        except _UNSUPPORTED as error:
            self._locate(error, eqn, entry.plugin)
            return self._unsupported(error, eqn)
        except ConversionError as error:
            self._locate(error, eqn, entry.plugin)
            raise
        except (Decline, InputSpecError, MemoryError, RecursionError, KeyboardInterrupt):
            raise
        except BaseException as error:  # the border to the rules of plugins: what they raise is explained
            failed = self._failed(error, eqn, entry.plugin, via_jax=entry.via_jax)
            failed.__cause__ = error
            if isinstance(failed, _UNSUPPORTED):
                return self._unsupported(failed, eqn)
            raise failed from error

    def _without_rule_inside(self, eqn: Eqn) -> list[ConversionError]:
        """Return an error for each equation without a rule in the bodies of one that has none itself."""
        errors = []
        for body in eqn.bodies:
            for inner in body.program.eqns:
                known = inner.is_call or inner.fused is not None
                if not known and self.lowerings.find(inner.primitive, self.opset) is None:
                    errors.append(self._no_lowering(inner))
                errors += self._without_rule_inside(inner)
        return errors

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

    def _failed(self, error: BaseException, eqn: Eqn, plugin: str, *, via_jax: bool = False) -> ConversionError:
        """Return the error for an exception that is not ours, and that a rule has raised."""
        explained = self._dimension_error(error, eqn, plugin, via_jax=via_jax)
        if explained is not None:
            return explained
        return self._blamed(f"failed: {described_error(error)}", eqn, plugin)

    def _blamed(self, what: object, eqn: Eqn, plugin: str) -> ConversionError:
        """Return the error for a rule that does what no rule may do; its plugin is faulty from now on."""
        reason = f"the rule of {eqn.primitive} {what}"
        blame(plugin, reason)
        instead = "fusions=False avoids" if eqn.fused is not None else f"lowerings={{{eqn.primitive!r}: rule}} replaces"
        return ConversionError(
            reason,
            where=eqn.where,
            plugin=self.describe_plugin(plugin),
            remedy=f"report it: this is a bug in the rule; {instead} it",
        )

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
            self._do_without(self._blamed(error, eqn, fusion.plugin))
        except (InvalidModelError, OpsetError) as error:
            if self.asked < self.opset and isinstance(error, OpsetError):
                self._note_declined(fused, error.what, derived=derived)
            else:
                self._locate(error, eqn, fusion.plugin)
                self._do_without(error)
        except _UNSUPPORTED as error:
            self._locate(error, eqn, fusion.plugin)
            return self._unsupported(error, eqn)
        except ConversionError as error:
            self._locate(error, eqn, fusion.plugin)
            raise
        except Decline as reason:
            self._note_declined(fused, str(reason), derived=derived)
        except (InputSpecError, MemoryError, RecursionError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as for the rule of a primitive
            failed = self._failed(error, eqn, fusion.plugin)
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

    def _locate(self, error: ConversionError, eqn: Eqn, plugin: str) -> None:
        """Add to an error the user's line and the plugin, unless it has others."""
        if isinstance(error, InvalidModelError) or (eqn.fused is not None and isinstance(error, OpsetError)):
            blame(plugin, error.what)
        error.where = error.where or eqn.where
        error.plugin = error.plugin or self.describe_plugin(plugin)

    def _dimension_error(self, error: BaseException, eqn: Eqn, plugin: str, *, via_jax: bool) -> DimensionError | None:
        """Return the error that explains one of JAX about symbolic dims; None if it is about something else."""
        if isinstance(error, InconclusiveDimensionOperation):
            what = "the rule cannot decide a comparison of dimensions"
            remedy = comparison_remedy(error)
        elif via_jax and _has_symbolic_dims(eqn):
            what = "the rule cannot be traced with these symbolic dimensions"
            remedy = "give the dimensions it is about as ints"
        else:
            return None
        return DimensionError(
            f"{eqn.primitive}: {what}: {first_line(error)}",
            where=eqn.where,
            plugin=self.describe_plugin(plugin),
            remedy=remedy,
        )

    def _no_lowering(self, eqn: Eqn) -> ConversionError:
        if eqn.paired is not None:
            return _no_complex(eqn)
        needed = self.lowerings.needed_opset(eqn.primitive)
        if needed is not None:
            msg = f"the primitive {eqn.primitive!r} needs opset {needed} or newer; opset={self.asked} was asked for"
            return OpsetError(msg, where=eqn.where, remedy=f"pass opset={needed} or a newer one")
        undecided = _undecided(eqn.undefined)
        if undecided is not None:
            msg = f"{eqn.primitive}: its definition cannot decide a comparison of dimensions: {first_line(undecided)}"
            return DimensionError(msg, where=eqn.where, remedy=comparison_remedy(undecided))
        msg = f"no lowering is registered for the primitive {eqn.primitive!r}"
        if eqn.undefined is not None and str(eqn.undefined):
            msg += f", and {eqn.undefined}"
        problems = self.problems()
        if problems:
            msg += f" ({problems})"
        distribution = self.provider(eqn.primitive)
        install = "install a plugin that covers it (jax2onnx list-plugins shows what is loaded)"
        if distribution:
            install = f"run `pip install {distribution}`, which covers it"
        return UnsupportedPrimitiveError(
            msg,
            where=eqn.where,
            remedy=f"{install}, or pass lowerings={{{eqn.primitive!r}: rule}}",
            primitive=eqn.primitive,
            distribution=distribution,
        )


def _dtype_or_undefined(aval: Any) -> ir.DataType:
    """Return the ONNX dtype of an abstract value, or ``UNDEFINED`` where there is none."""
    try:
        return ir_dtype(aval.dtype)
    except UnsupportedCaseError:
        return ir.DataType.UNDEFINED


def _undecided(reason: Exception | None) -> BaseException | None:
    """Return the comparison of symbolic dims that stands behind a reason; None if it is another."""
    cause = None if reason is None else reason.__cause__
    for error in (reason, cause):
        if isinstance(error, InconclusiveDimensionOperation):
            return error
    return None


def _apply(entry: Lowering, ctx: LoweringContext, operands: list[ir.Value]) -> Any:
    """Call a rule with the params that it names."""
    eqn = ctx.eqn
    params = _named_params(entry, eqn)
    if not entry.via_jax:
        if eqn.paired is not None:
            raise _no_complex(eqn)
        return entry.rule(ctx, *operands, **params)
    function = entry.rule
    if eqn.paired is not None:
        function = on_pairs(function, eqn.paired)
    return ctx.via_jax(function, *operands, **params)


def _named_params(entry: Lowering, eqn: Eqn) -> Mapping[str, Any]:
    """Return the params that a rule names; refuse a further one that may change the result."""
    params = eqn.params
    if entry.params is None or entry.params == params.keys():
        return params
    named = {}
    for name, value in params.items():
        if name in entry.params:
            named[name] = value
        elif name not in BENIGN_PARAMS and value is not None:
            msg = f"{eqn.primitive}: the rule does not know the parameter {name}={value!r}"
            raise UnsupportedCaseError(msg, remedy="update the plugin; this jax is newer than it")
    return named


def _no_complex(eqn: Eqn) -> ConversionError:
    remedy = "compute with the real and imaginary parts, or outside the model"
    return UnsupportedCaseError(f"{eqn.primitive}: complex numbers", where=eqn.where, remedy=remedy)


def _has_symbolic_dims(eqn: Eqn) -> bool:
    dims = [dim for atom in eqn.inputs for dim in atom.aval.shape]
    return not is_static(*dims)


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
