"""Lower: one rule per equation, from the fused program to ONNX nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic, name_stack, open_jaxpr, unsharded, user_frame
from jax2onnx.errors import ConversionError, DimensionError, OpsetError, UnsupportedCaseError, UnsupportedPrimitiveError
from jax2onnx.frontend.remedies import comparison_remedy, first_line
from jax2onnx.fusion.fuse import Declined, fuse
from jax2onnx.lowering.builder import Ops, Scope, ir_dtype
from jax2onnx.lowering.dims import Dims
from jax2onnx.lowering.outline import CALL, Outliner
from jax2onnx.plugin.functions import is_marked
from jax2onnx.plugin.fusions import Decline
from jax2onnx.program.dims import inferred_dims, inserted_ones
from jax2onnx.program.flatten import flatten
from jax2onnx.program.fold_constants import fold
from jax2onnx.program.program import Atom, Const, Eqn, Fused, Program, Var
from jax2onnx.program.represent import on_pairs
from jax2onnx.program.signed_zeros import SignsOfZero

if TYPE_CHECKING:
    from jax2onnx.fusion.fuse import Record
    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.plugin.lowerings import Lowering, Lowerings

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


def lower(ctx: LoweringContext, program: Program, operands: Sequence[ir.Value]) -> list[ir.Value]:
    """Lower a fused program into the current scope; return the values of its outputs."""
    return ctx.run(program, operands)


class LoweringContext:
    """What a rule works with.

    Attributes:
        op: the node builder: ``ctx.op.Add(x, y)``.
        opset: the opset being emitted.
        target: the runtime the model is for; None for plain ONNX.
        eqn: the equation being lowered.
        warnings: messages to show the user once, at the end.
    """

    def __init__(
        self,
        *,
        opset: int,
        target: Target | None,
        lowerings: Lowerings,
        fusions: Sequence[Fusion],
        describe_plugin: Callable[[str], str] = str,
        problems: Callable[[], str] = str,
        explain: list[Record] | None = None,
    ) -> None:
        self.opset = opset
        self.target = target
        self.lowerings = lowerings
        self.fusions = fusions
        self.op = Ops(opset, Scope())
        self.warnings: list[str] = []
        self.eqn: Eqn = _NO_EQUATION
        self._said_in_jax: Eqn | None = None
        self._around: str | None = None
        self.outliner = Outliner(self)
        self._dims = Dims(self.op)
        self._describe_plugin = describe_plugin
        self._problems = problems
        self._explain = explain
        self._programs: dict[int, tuple[Any, Program]] = {}
        self._signs = SignsOfZero(Program([]), self._open_up, lambda: False)
        self._reshaped: dict[ir.Value, tuple[ir.Value, Sequence[Any]]] = {}

    # -- what a rule reads -------------------------------------------------------------------------------------------

    @property
    def avals_in(self) -> list[Any]:
        """Abstract values (``.shape``, ``.dtype``) of the equation's operands."""
        return [v.aval for v in self.eqn.inputs]

    @property
    def avals_out(self) -> list[Any]:
        """Abstract values of the equation's results."""
        return [v.aval for v in self.eqn.outputs]

    @property
    def aval_out(self) -> Any:
        """Abstract value of the equation's single result."""
        return self.eqn.outputs[0].aval

    @property
    def where(self) -> str | None:
        """The user's source line of the current equation, or of the one whose body it stands in."""
        source = (self._said_in_jax or self.eqn).source
        return (user_frame(source) if source is not None else None) or self._around

    def known(self, operand: int) -> np.ndarray[Any, Any] | None:
        """Return the value of the equation's operand if it is a constant, else None."""
        atom = self.eqn.inputs[operand]
        return np.asarray(atom.value) if isinstance(atom, Const) else None

    def sign_of_zero_matters(self) -> bool:
        """Tell whether the sign of a zero among the equation's results can change another number."""
        return self._signs.matter(self.eqn)

    def unsupported(self, what: str, remedy: str | None = None) -> UnsupportedCaseError:
        """Return (to be raised) the error that this equation's rule does not cover a case."""
        return UnsupportedCaseError(f"{self.eqn.primitive}: {what}", where=self.where, remedy=remedy)

    # -- what a rule emits -------------------------------------------------------------------------------------------

    def constant(self, value: Any, dtype: Any = None) -> ir.Value:
        """Return a constant; ``dtype`` as numpy takes it (default: that of ``value``)."""
        return self.op.constant(np.asarray(value, dtype))

    def ints(self, *values: int) -> ir.Value:
        """Return a constant int64 vector."""
        return self.op.constant(np.asarray(values, np.int64))

    def dim(self, dim: Any) -> ir.Value:
        """Return a dimension, static or symbolic, as int64 of shape ``[1]``."""
        return self._dims.value(dim)

    def named_dim(self, name: str) -> ir.Value:
        """Return the dimension that a symbol names as int64 of shape ``[1]``."""
        return self._dims.named(name)

    def shape(self, dims: Sequence[Any]) -> ir.Value:
        """Return dimensions, static or symbolic, as an int64 vector."""
        if not any(is_symbolic(d) for d in dims):
            return self.ints(*[int(d) for d in dims])
        pieces: list[ir.Value] = []
        static: list[int] = []
        for dim in dims:
            if is_symbolic(dim):
                if static:
                    pieces.append(self.ints(*static))
                    static = []
                pieces.append(self.dim(dim))
            else:
                static.append(int(dim))
        if static:
            pieces.append(self.ints(*static))
        return pieces[0] if len(pieces) == 1 else self.op.Concat(*pieces, axis=0)

    def reshape(self, x: ir.Value, old: Sequence[Any], new: Sequence[Any]) -> ir.Value:
        """Reshape from ``old`` to ``new``, without shape arithmetic where ``Reshape`` can infer it.

        What is itself a reshape of something is not reshaped twice.
        """
        static = not any(is_symbolic(d) for d in new)
        first, before = self._reshaped.get(x, (x, old))
        if static or tuple(before) == tuple(new):
            x, old = first, before
        if tuple(old) == tuple(new):
            return x
        made = (self.op.rearranged(x, new) if static else None) or self._reshape(x, old, new, static=static)
        self._reshaped[made] = x, old
        return made

    def _reshape(self, x: ir.Value, old: Sequence[Any], new: Sequence[Any], *, static: bool) -> ir.Value:
        if static:
            return self.stamp(self.op.Reshape(x, self.ints(*new), allowzero=1 if 0 in new else None), new)
        added, removed = inserted_ones(old, new), inserted_ones(new, old)
        if added is not None:
            return self.stamp(self.op.Unsqueeze(x, self.ints(*added)), new)
        if removed is not None:
            return self.stamp(self.op.Squeeze(x, self.ints(*removed)), new)
        inferred = inferred_dims(old, new)
        target = self.shape(new) if inferred is None else self.ints(*inferred)
        # A 0 that is a size, not "copy the input's dim": a literal one, or one that a symbol may take at run time.
        zero = target.const_value is None or any(not is_symbolic(d) and int(d) == 0 for d in new)
        return self.stamp(self.op.Reshape(x, target, allowzero=1 if zero else None), new)

    def cast(self, x: ir.Value, dtype: Any) -> ir.Value:
        """Cast to a numpy dtype (ONNX semantics), unless it has that dtype."""
        to = ir_dtype(dtype)
        if x.dtype == to:
            return x
        value = self.op.Cast(x, to=int(to))
        value.shape = x.shape
        return value

    def stamp(self, value: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """Record the shape of an intermediate value."""
        value.shape = _shape(tuple([d if type(d) is int else str(d) if is_symbolic(d) else int(d) for d in shape]))
        return value

    def supports(self, op_type: str, dtype: Any) -> bool:
        """Tell whether the target can run an operator on a dtype without going through another."""
        return self.target is None or self.target.supports(op_type, self.opset, [ir_dtype(dtype)])

    # -- programs inside programs ------------------------------------------------------------------------------------

    def program(self, jaxpr: Any, holder: Eqn | None = None) -> Program:
        """Return the flat, fused program of a closed jaxpr (flattened once per jaxpr).

        ``holder`` is the equation that has it, by default the one being lowered.
        """
        known = self._programs.get(id(jaxpr))
        if known is None:
            caller = (holder or self._said_in_jax or self.eqn).source
            program = self._fuse(flatten(jaxpr, keep=is_marked, caller=caller))
            known = self._programs[id(jaxpr)] = (jaxpr, program)
        return known[1]

    def _fuse(self, program: Program, exclude: frozenset[str] = frozenset()) -> Program:
        """Find functions in a program inside; what is found in what rules say in JAX is not told."""
        explain = None if self._said_in_jax else self._explain
        return fuse(program, self.fusions, opset=self.opset, exclude=exclude, explain=explain)

    def _open_up(self, param: Any, holder: Eqn) -> Iterator[Program]:
        if isinstance(param, Program):
            yield param
        elif hasattr(param, "eqns"):
            jaxpr, consts = open_jaxpr(param)
            if len(jaxpr.constvars) == len(consts):
                yield self.program(param, holder)

    def inline(self, jaxpr: Any, *operands: ir.Value) -> list[ir.Value]:
        """Lower a closed jaxpr into the current scope."""
        return self.run(self.program(jaxpr), operands)

    def via_jax(
        self, function: Callable[..., Any], *operands: ir.Value, avals: Sequence[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Trace a JAX function at ``avals`` (default: the equation's operands') and lower it here.

        Returns one value if the function returns one array, else a list in the order of the flattened result.
        """
        avals = self.avals_in if avals is None else avals
        specs = [unsharded(a) for a in avals]
        jaxpr, shape = jax.make_jaxpr(lambda *args: function(*args, **kwargs), return_shape=True)(*specs)
        outer, self._said_in_jax = self._said_in_jax, self._said_in_jax or self.eqn
        try:
            values = self.inline(jaxpr, *operands)
        finally:
            self._said_in_jax = outer
        return values if isinstance(shape, tuple | list) else values[0]

    def subgraph(
        self, name: str, avals: Sequence[Any], body: Callable[[list[ir.Value]], Sequence[ir.Value]]
    ) -> ir.Graph:
        """Build the body of an ``If``, ``Loop`` or ``Scan``; it may use any value of the enclosing graphs.

        Args:
            name: name of the graph.
            avals: shape and dtype of each graph input.
            body: gets the graph's inputs, returns its outputs.
        """
        scope = Scope(parent=self.op.scope)
        inputs = [self.input(a) for a in avals]
        outer, self.op.scope = self.op.scope, scope
        try:
            outputs = self.distinct(body(inputs))
        finally:
            self.op.scope = outer
        return ir.Graph(inputs, outputs, nodes=scope.nodes, name=name)

    def distinct(self, values: Sequence[ir.Value]) -> list[ir.Value]:
        """Return outputs for the current graph: distinct values, each produced by one of its own nodes."""
        own = {id(v) for n in self.op.scope.nodes for v in n.outputs}
        outputs: list[ir.Value] = []
        for value in values:
            if id(value) in own:
                own.discard(id(value))
                outputs.append(value)
            else:
                copy = self.op.Identity(value)
                copy.shape = value.shape
                outputs.append(copy)
        return outputs

    def input(self, aval: Any, name: str | None = None) -> ir.Value:
        """Return a value for an input of a graph."""
        return self.stamp(ir.Value(name=name, type=ir.TensorType(ir_dtype(aval.dtype))), aval.shape)

    # -- the driver --------------------------------------------------------------------------------------------------

    def run(self, program: Program, operands: Sequence[ir.Value]) -> list[ir.Value]:
        """Lower a program into the current scope."""
        env: dict[Var, ir.Value] = dict(zip(program.inputs, operands, strict=True))

        def read(atom: Atom) -> ir.Value:
            if isinstance(atom, Var):
                return env[atom]
            if jnp.issubdtype(atom.aval.dtype, jax.dtypes.extended):
                raise self.unsupported("a random key has no ONNX form", "pass random numbers in as an input")
            return self.op.constant(_array(atom))

        outer_eqn, outer_metadata, outer_signs = self.eqn, self.op.metadata, self._signs
        outer_around, self._around = self._around, self.where
        # The body of a function is shared by its calls.
        ask = outer_signs.anywhere if outer_eqn.primitive == CALL else lambda: outer_signs.matter(outer_eqn)
        try:
            program = fold(self.outliner.prune(program))
            self._signs = SignsOfZero(program, self._open_up, ask)
            for eqn in program.eqns:
                self.eqn = eqn
                operands = [read(a) for a in eqn.inputs]
                values = self.outliner.call(eqn, operands) if eqn.primitive == CALL else self._equation(eqn, operands)
                for var, value in zip(eqn.outputs, values, strict=True):
                    env[var] = self._stamped(value, var.aval)
        finally:
            self.eqn, self.op.metadata, self._signs = outer_eqn, outer_metadata, outer_signs
            self._around = outer_around
        return [read(a) for a in program.outputs]

    def _equation(self, eqn: Eqn, operands: list[ir.Value]) -> Sequence[ir.Value]:
        if eqn.fused is not None:
            return self._fused(eqn, eqn.fused, operands)
        entry = self.lowerings.find(eqn.primitive, self.opset)
        if entry is None:
            raise self._no_lowering(eqn) if eqn.paired is None else self._no_complex(eqn)
        self.op.metadata = self._metadata(eqn, entry.plugin)
        try:
            return _sequence(self._call(entry, eqn, operands))
        except ConversionError as error:
            error.where = error.where or self.where
            error.plugin = error.plugin or self._describe_plugin(entry.plugin)
            raise
        except InconclusiveDimensionOperation as error:
            msg = f"{eqn.primitive}: the rule cannot decide a comparison of dimensions: {first_line(error)}"
            plugin = self._describe_plugin(entry.plugin)
            raise DimensionError(msg, where=self.where, plugin=plugin, remedy=comparison_remedy(error)) from error
        except (TypeError, ValueError) as error:
            if not entry.via_jax or not any(is_symbolic(d) for a in self.avals_in for d in a.shape):
                raise
            msg = f"{eqn.primitive}: the rule cannot be traced with these symbolic dimensions: {first_line(error)}"
            plugin, remedy = self._describe_plugin(entry.plugin), "give the dimensions it is about as ints"
            raise DimensionError(msg, where=self.where, plugin=plugin, remedy=remedy) from error

    def _call(self, entry: Lowering, eqn: Eqn, operands: list[ir.Value]) -> Any:
        params: Mapping[str, Any] = eqn.params
        if entry.params is not None and entry.params != params.keys():
            unknown = [
                k for k, v in params.items() if k not in entry.params and k not in BENIGN_PARAMS and v is not None
            ]
            if unknown:
                msg = f"{eqn.primitive}: the rule does not know the parameter {unknown[0]}={params[unknown[0]]!r}"
                raise UnsupportedCaseError(msg, remedy="update the plugin; this jax is newer than it")
            params = {k: params[k] for k in entry.params if k in params}
        if entry.via_jax:
            function = entry.rule if eqn.paired is None else on_pairs(entry.rule, eqn.paired)
            return self.via_jax(function, *operands, **params)
        if eqn.paired is not None:
            raise self._no_complex(eqn)
        return entry.rule(self, *operands, **params)

    def _fused(self, eqn: Eqn, fused: Fused, operands: list[ir.Value]) -> Sequence[ir.Value]:
        fusion = fused.fusion
        variant = max(o for o in fusion.emit if o <= self.opset)
        self.op.metadata = self._metadata(eqn, fusion.plugin)
        try:
            return _sequence(fusion.emit[variant](self, *operands, **fused.kwargs))
        except Decline as declined:
            if self._explain is not None and not self._said_in_jax:
                self._explain.append(Declined(fused, str(declined), self.where))
            inside = Program([a for a in eqn.inputs if isinstance(a, Var)], list(fused.interior), list(eqn.outputs))
            inside.inputs = list(dict.fromkeys(inside.inputs))
            values = {a: v for a, v in zip(eqn.inputs, operands, strict=True) if isinstance(a, Var)}
            plain = self._fuse(inside, frozenset({fusion.name}))
            return self.run(plain, [values[a] for a in plain.inputs])

    def _stamped(self, value: ir.Value, aval: Any) -> ir.Value:
        dtype = ir_dtype(aval.dtype)
        if value.dtype is None:
            value.dtype = dtype
        elif value.dtype != dtype:
            msg = f"the rule of {self.eqn.primitive} returned {value.dtype.name} where JAX has {dtype.name}"
            raise ConversionError(msg, where=self.where, remedy="report it: this is a bug in the rule")
        if value.shape is None or value.producer() is not None:
            self.stamp(value, aval.shape)
        return value

    def _metadata(self, eqn: Eqn, plugin: str) -> dict[str, str]:
        metadata = {"jax2onnx.plugin": plugin}
        source = (self._said_in_jax or eqn).source
        if source is not None:
            if stack := name_stack(source):
                metadata["jax2onnx.name_stack"] = stack
            if frame := user_frame(source):
                metadata["jax2onnx.source"] = frame
        return metadata

    def _no_complex(self, eqn: Eqn) -> ConversionError:
        what = f"{eqn.primitive}: complex numbers"
        remedy = "compute with the real and imaginary parts, or outside the model"
        return UnsupportedCaseError(what, where=self.where, remedy=remedy)

    def _no_lowering(self, eqn: Eqn) -> ConversionError:
        needed = self.lowerings.needed_opset(eqn.primitive)
        if needed is not None:
            msg = f"the primitive {eqn.primitive!r} needs opset {needed} or newer; opset={self.opset} was asked for"
            return OpsetError(msg, where=self.where, remedy=f"pass opset={needed} or a newer one")
        problems = self._problems()
        return UnsupportedPrimitiveError(
            f"no lowering is registered for the primitive {eqn.primitive!r}" + (f" ({problems})" if problems else ""),
            where=self.where,
            remedy="install a plugin that covers it (jax2onnx list-plugins shows what is loaded), or pass "
            f"lowerings={{{eqn.primitive!r}: rule}}",
        )


@functools.lru_cache(maxsize=1024)
def _shape(dims: tuple[int | str, ...]) -> ir.Shape:
    """Return the one frozen shape that all values of these dims share."""
    return ir.Shape(dims, frozen=True)


def _array(const: Const) -> Any:
    """The constant as an array of its aval's dtype (Python scalars, typed by JAX or not, are literals too)."""
    value = const.value
    if isinstance(value, np.ndarray | np.generic | jax.Array) and value.dtype == const.aval.dtype:
        return value
    return np.asarray(value, const.aval.dtype)


def _sequence(result: Any) -> Sequence[ir.Value]:
    return (result,) if isinstance(result, ir.Value) else result


_NO_EQUATION = Eqn("", [], [], {}, None)
