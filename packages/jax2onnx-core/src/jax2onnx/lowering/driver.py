"""Lower: from the prepared program to ONNX nodes, one rule per equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic, name_stack, user_frame
from jax2onnx.errors import ConversionError, DimensionError, OpsetError, UnsupportedCaseError, UnsupportedPrimitiveError
from jax2onnx.frontend.remedies import comparison_remedy, first_line
from jax2onnx.fusion.fuse import Declined
from jax2onnx.lowering.builder import Ops, Scope
from jax2onnx.lowering.dims import Dims
from jax2onnx.lowering.outline import Outliner
from jax2onnx.plugin.context import LoweringContext, ir_dtype, stamp
from jax2onnx.plugin.fusions import Decline
from jax2onnx.program.program import Atom, Const, Eqn, Fused, Program, Var
from jax2onnx.program.represent import on_pairs

if TYPE_CHECKING:
    from jax2onnx.fusion.fuse import Record
    from jax2onnx.legalise.targets import Target
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


class Driver:
    """Emits one model: calls the rule of each equation, and checks what it returns.

    Args:
        opset: the opset to emit.
        target: the runtime the model is for; None for plain ONNX.
        lowerings: the rules.
        preparer: prepares what rules express in JAX, and functions that are declined.
        describe_plugin: returns a plugin's name with its version, for messages.
        problems: describes the plugins that are not in use, for messages.
        records: receives the functions that were declined; None if nobody asked.
    """

    def __init__(
        self,
        *,
        opset: int,
        target: Target | None,
        lowerings: Lowerings,
        preparer: Preparer,
        describe_plugin: Callable[[str], str] = str,
        problems: Callable[[], str] = str,
        records: list[Record] | None = None,
    ) -> None:
        self.opset = opset
        self.target = target
        self.op = Ops(opset, [Scope()], {})
        self.warnings: list[str] = []
        self.reshaped: dict[ir.Value, tuple[ir.Value, Sequence[Any]]] = {}
        self.outliner = Outliner(opset, self.run)
        self._lowerings = lowerings
        self._preparer = preparer
        self._describe_plugin = describe_plugin
        self._problems = problems
        self._records = records

    def run(self, program: Program, operands: Sequence[ir.Value], *, derived: bool = False) -> list[ir.Value]:
        """Emit a prepared program into the current graph; return the values of its outputs.

        Args:
            program: the program.
            operands: the values of its inputs.
            derived: whether a rule made it, so that reports leave out what is declined in it.
        """
        env: dict[Var, ir.Value] = dict(zip(program.inputs, operands, strict=True))
        for eqn in program.eqns:
            values = self._equation(eqn, [self._read(env, a, eqn) for a in eqn.inputs], derived=derived)
            for var, value in zip(eqn.outputs, values, strict=True):
                env[var] = self._checked(value, var.aval, eqn)
        return [self._read(env, a, None) for a in program.outputs]

    def prepare(self, jaxpr: Any, eqn: Eqn, *, derived: bool) -> Program:
        """Return the prepared program of a closed jaxpr that an equation has, or that is derived from it."""
        source = eqn.source if derived else None
        return self._preparer.prepare_jaxpr(jaxpr, caller=eqn.source, source=source, signed=eqn.signed, derived=derived)

    def dim(self, dim: Any, op: Ops) -> ir.Value:
        """Return a dimension, static or symbolic, as int64 of shape ``[1]``."""
        return Dims(op).value(dim)

    def _read(self, env: Mapping[Var, ir.Value], atom: Atom, eqn: Eqn | None) -> ir.Value:
        if isinstance(atom, Var):
            return env[atom]
        if jnp.issubdtype(atom.aval.dtype, jax.dtypes.extended):
            what = f"{eqn.primitive if eqn is not None else 'result'}: a random key has no ONNX form"
            where = None if eqn is None else _where(eqn)
            raise UnsupportedCaseError(what, where=where, remedy="pass random numbers in as an input")
        return self.op.constant(_array(atom))

    def _equation(self, eqn: Eqn, operands: list[ir.Value], *, derived: bool) -> Sequence[ir.Value]:
        if eqn.is_call:
            return self.outliner.call(eqn, operands, self.op.tagged(_metadata(eqn, "core")))
        if eqn.fused is not None:
            return self._fused(eqn, eqn.fused, operands, derived=derived)
        entry = self._lowerings.find(eqn.primitive, self.opset)
        if entry is None:
            raise self._no_lowering(eqn) if eqn.paired is None else _no_complex(eqn)
        ctx = LoweringContext(self, eqn, self.op.tagged(_metadata(eqn, entry.plugin)), derived=derived)
        try:
            return _sequence(_apply(entry, ctx, operands))
        except ConversionError as error:
            error.where = error.where or _where(eqn)
            error.plugin = error.plugin or self._describe_plugin(entry.plugin)
            raise
        except InconclusiveDimensionOperation as error:
            msg = f"{eqn.primitive}: the rule cannot decide a comparison of dimensions: {first_line(error)}"
            plugin = self._describe_plugin(entry.plugin)
            raise DimensionError(msg, where=_where(eqn), plugin=plugin, remedy=comparison_remedy(error)) from error
        except (TypeError, ValueError) as error:
            if not entry.via_jax or not any(is_symbolic(d) for a in ctx.avals_in for d in a.shape):
                raise
            msg = f"{eqn.primitive}: the rule cannot be traced with these symbolic dimensions: {first_line(error)}"
            plugin, remedy = self._describe_plugin(entry.plugin), "give the dimensions it is about as ints"
            raise DimensionError(msg, where=_where(eqn), plugin=plugin, remedy=remedy) from error

    def _fused(self, eqn: Eqn, fused: Fused, operands: list[ir.Value], *, derived: bool) -> Sequence[ir.Value]:
        """Emit a whole function; where its rule declines, the equations that it stands for."""
        fusion = fused.fusion
        variant = max(o for o in fusion.emit if o <= self.opset)
        ctx = LoweringContext(self, eqn, self.op.tagged(_metadata(eqn, fusion.plugin)), derived=derived)
        try:
            return _sequence(fusion.emit[variant](ctx, *operands, **fused.kwargs))
        except Decline as declined:
            if self._records is not None and not derived:
                self._records.append(Declined(fused, str(declined), _where(eqn)))
        values = {a: v for a, v in zip(eqn.inputs, operands, strict=True) if isinstance(a, Var)}
        inside = Program(list(values), list(fused.interior), list(eqn.outputs))
        exclude = frozenset({fusion.name})
        plain = self._preparer.prepare(inside, exclude=exclude, signed=eqn.signed, derived=derived)
        return self.run(plain, [values[a] for a in plain.inputs], derived=derived)

    def _checked(self, value: ir.Value, aval: Any, eqn: Eqn) -> ir.Value:
        """Return a result of a rule with the dtype and shape that JAX gives it."""
        dtype = ir_dtype(aval.dtype)
        if value.dtype is None:
            value.dtype = dtype
        elif value.dtype != dtype:
            msg = f"the rule of {eqn.primitive} returned {value.dtype.name} where JAX has {dtype.name}"
            raise ConversionError(msg, where=_where(eqn), remedy="report it: this is a bug in the rule")
        if value.shape is None or value.producer() is not None:
            stamp(value, aval.shape)
        return value

    def _no_lowering(self, eqn: Eqn) -> ConversionError:
        needed = self._lowerings.needed_opset(eqn.primitive)
        if needed is not None:
            msg = f"the primitive {eqn.primitive!r} needs opset {needed} or newer; opset={self.opset} was asked for"
            return OpsetError(msg, where=_where(eqn), remedy=f"pass opset={needed} or a newer one")
        problems = self._problems()
        return UnsupportedPrimitiveError(
            f"no lowering is registered for the primitive {eqn.primitive!r}" + (f" ({problems})" if problems else ""),
            where=_where(eqn),
            remedy="install a plugin that covers it (jax2onnx list-plugins shows what is loaded), or pass "
            f"lowerings={{{eqn.primitive!r}: rule}}",
        )


def _apply(entry: Lowering, ctx: LoweringContext, operands: list[ir.Value]) -> Any:
    """Call a rule with the params that it names."""
    eqn = ctx.eqn
    params: Mapping[str, Any] = eqn.params
    if entry.params is not None and entry.params != params.keys():
        for name, value in params.items():
            if name not in entry.params and name not in BENIGN_PARAMS and value is not None:
                msg = f"{eqn.primitive}: the rule does not know the parameter {name}={value!r}"
                raise UnsupportedCaseError(msg, remedy="update the plugin; this jax is newer than it")
        params = {k: params[k] for k in entry.params if k in params}
    if entry.via_jax:
        function = entry.rule if eqn.paired is None else on_pairs(entry.rule, eqn.paired)
        return ctx.via_jax(function, *operands, **params)
    if eqn.paired is not None:
        raise _no_complex(eqn)
    return entry.rule(ctx, *operands, **params)


def _no_complex(eqn: Eqn) -> ConversionError:
    remedy = "compute with the real and imaginary parts, or outside the model"
    return UnsupportedCaseError(f"{eqn.primitive}: complex numbers", where=_where(eqn), remedy=remedy)


def _where(eqn: Eqn) -> str | None:
    """Return the user's line of an equation."""
    return None if eqn.source is None else user_frame(eqn.source)


def _metadata(eqn: Eqn, plugin: str) -> dict[str, str]:
    """Return what the nodes of an equation carry: who emitted them, and where they come from."""
    metadata = {"jax2onnx.plugin": plugin}
    if eqn.source is not None:
        if stack := name_stack(eqn.source):
            metadata["jax2onnx.name_stack"] = stack
        if frame := user_frame(eqn.source):
            metadata["jax2onnx.source"] = frame
    return metadata


def _array(const: Const) -> Any:
    """Return the constant as an array of its aval's dtype (Python scalars, typed by JAX or not, are literals too)."""
    value = const.value
    if isinstance(value, np.ndarray | np.generic | jax.Array) and value.dtype == const.aval.dtype:
        return value
    return np.asarray(value, const.aval.dtype)


def _sequence(result: Any) -> Sequence[ir.Value]:
    return (result,) if isinstance(result, ir.Value) else result
