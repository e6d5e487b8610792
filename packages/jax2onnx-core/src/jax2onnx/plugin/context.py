"""The context of a rule: what it reads of its equation, and what it emits with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import jax
import numpy as np
import onnx_ir as ir

from jax2onnx._compat import is_symbolic, neutral, unsharded
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.legalise.short_arrays import MAY_BE_SHORT
from jax2onnx.program.dims import inferred_dims, inserted_ones
from jax2onnx.program.program import Const, Eqn, Program
from jax2onnx.program.shapes import has_zero, is_static

if TYPE_CHECKING:
    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.operators import Operators
    from jax2onnx.program.bounds import Range

__all__ = ["LoweringContext", "Reshaped", "graph_input", "ir_dtype", "stamp"]


Reshaped: TypeAlias = tuple[ir.Value, Sequence[Any]]
"""The value that a reshaped one is made of, and its shape."""


class Emission(Protocol):
    """What the equations of one model share; the driver of lowering implements it."""

    opset: int
    asked: int
    target: Target | None
    warnings: list[str]
    reshaped: dict[ir.Value, Reshaped]

    def guard(self, eqn: Eqn) -> bool:
        """Return whether the rule of an equation keeps what kernels lose."""

    def is_parameter(self, value: ir.Value) -> bool:
        """Return whether a value is a constant that has a name of the user's."""

    def has_no_minus_zero(self, value: ir.Value) -> bool:
        """Return whether it is known that no element of a value is -0."""

    def note_unsigned(self, result: ir.Value) -> None:
        """Note that the sign of a zero in the result of a node does not matter."""

    def dim(self, dim: Any, op: Any) -> ir.Value:
        """Return a dimension, static or symbolic, as int64 of shape ``[1]``."""

    def prepare(self, jaxpr: Any, eqn: Eqn, *, derived: bool) -> Program:
        """Return the prepared program of a closed jaxpr: one that an equation has, or is derived from it."""

    def run(
        self,
        program: Program,
        operands: Sequence[ir.Value],
        *,
        derived: bool,
    ) -> list[ir.Value]:
        """Emit a prepared program into the current graph; return the values of its outputs."""


class LoweringContext:
    """What a rule works with, for one equation.

    Attributes:
        op: the node builder: ``ctx.op.Add(x, y)``.
        opset: the opset being emitted: the one that is asked for, and not less than ``MIN_OPSET``.
        target: the runtime the model is for; None for plain ONNX.
        eqn: the equation being lowered.
        warnings: messages to show the user once, at the end.
    """

    def __init__(self, emission: Emission, eqn: Eqn, op: Operators, *, derived: bool) -> None:
        self.op = op
        self.opset = emission.opset
        self.target = emission.target
        self.eqn = eqn
        self.warnings = emission.warnings
        self._emission = emission
        self._derived = derived

    # -- what a rule reads -------------------------------------------------------------------------------------------

    @property
    def guards(self) -> bool:
        """Whether NaN, infinities and empty arrays are kept where a runtime's kernel of the operator loses them."""
        return self._emission.guard(self.eqn)

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
        """The user's source line of the equation, or of the one whose rule or body it comes from."""
        return self.eqn.where

    def known(self, operand: int) -> np.ndarray[Any, Any] | None:
        """Return the value of the equation's operand if it is a constant, else None."""
        atom = self.eqn.inputs[operand]
        return np.asarray(atom.value) if isinstance(atom, Const) else None

    def is_parameter(self, value: ir.Value) -> bool:
        """Return whether a value is a constant with a name of the user's, who may give the model other numbers."""
        return self._emission.is_parameter(value)

    def has_no_minus_zero(self, value: ir.Value) -> bool:
        """Return whether no element of a value is -0, as far as the nodes show that compute it."""
        return self._emission.has_no_minus_zero(value)

    def ranges(self, operand: int) -> Sequence[Range]:
        """Return between which bounds the integers of an operand lie: one range, or one for each component (last axis).

        There is none unless the facts of the primitive say that it ``indexes``.
        """
        return self.eqn.ranges[operand] if self.eqn.ranges else ()

    def sign_of_zero_matters(self) -> bool:
        """Return whether the sign of a zero among the equation's results can change another number."""
        return self.eqn.signed

    def noted(self, result: ir.Value) -> ir.Value:
        """Return the result of a node; if the sign of a zero in it does not matter, rewrites of the graph know so."""
        if not self.eqn.signed:
            self._emission.note_unsigned(result)
        return result

    def small_results_matter(self) -> bool:
        """Return whether a small number among the equation's results, if it is not exact, changes a number that is not.

        A logarithm, a denominator, a power or a comparison does that. To any other, an error of 1e-7 is none.
        """
        return self.eqn.small

    def supports(self, op_type: str, dtype: Any) -> bool:
        """Return whether the target can run an operator on a dtype without going through another."""
        if self.target is None:
            return True
        element = ir_dtype(dtype)
        return self.target.supports(op_type, self._emission.asked, [element])

    def lacks(self, fact: str) -> bool:
        """Return whether the target has the fault that a plugin calls by these words, e.g. ``ReduceMax loses NaN``."""
        return self.target is not None and self.target.lacks(fact)

    def unsupported(self, what: str, remedy: str | None = None) -> UnsupportedCaseError:
        """Return (to be raised) the error that this equation's rule does not cover a case."""
        return UnsupportedCaseError(f"{self.eqn.primitive}: {what}", where=self.where, remedy=remedy)

    # -- what a rule emits -------------------------------------------------------------------------------------------

    def constant(self, value: Any, dtype: Any = None) -> ir.Value:
        """Return a constant; ``dtype`` as numpy takes it (default: that of ``value``)."""
        return self.op.constant(np.asarray(value, dtype))

    def ints(self, *values: int) -> ir.Value:
        """Return a constant int64 vector."""
        return self.constant(values, np.int64)

    def dim(self, dim: Any) -> ir.Value:
        """Return a dimension, static or symbolic, as int64 of shape ``[1]``."""
        return self._emission.dim(dim, self.op)

    def shape(self, dims: Sequence[Any]) -> ir.Value:
        """Return dimensions, static or symbolic, as an int64 vector."""
        pieces: list[ir.Value] = []
        for is_number, run in itertools.groupby(dims, key=is_static):
            if is_number:
                pieces.append(self.ints(*map(int, run)))
            else:
                pieces += map(self.dim, run)
        if not pieces:
            return self.ints()
        if len(pieces) == 1:
            return pieces[0]
        return self.op.Concat(*pieces, axis=0)

    def reshape(self, x: ir.Value, old: Sequence[Any], new: Sequence[Any]) -> ir.Value:
        """Reshape from ``old`` to ``new``, without shape arithmetic where ``Reshape`` can infer it.

        What is itself a reshape of something is not reshaped twice.
        """
        reshaped = self._emission.reshaped
        static = is_static(*new)
        first, before = reshaped.get(x, (x, old))
        if static or tuple(before) == tuple(new):
            x, old = first, before
        if tuple(old) == tuple(new):
            return x
        result = self.op.rearranged(x, new) if static else None
        if result is None:
            result = self._reshape(x, old, new)
            self.stamp(result, new)
        reshaped[result] = x, old
        return result

    def _reshape(self, x: ir.Value, old: Sequence[Any], new: Sequence[Any]) -> ir.Value:
        # Reshape takes a 0 for the size of the same dim of its operand, unless ``allowzero`` is 1.
        if is_static(*new):
            target = self.ints(*new)
            allow_zero = 1 if has_zero(*new) else None
            return self.op.Reshape(x, target, allowzero=allow_zero)
        added = inserted_ones(old, new)
        if added is not None:
            return self.op.Unsqueeze(x, self.ints(*added))
        removed = inserted_ones(new, old)
        if removed is not None:
            return self.op.Squeeze(x, self.ints(*removed))
        inferred = inferred_dims(old, new)
        if inferred is not None:
            return self.op.Reshape(x, self.ints(*inferred))
        # A symbol may be 0 at run time.
        target = self.shape(new)
        return self.op.Reshape(x, target, allowzero=1)

    def cast(self, x: ir.Value, dtype: Any) -> ir.Value:
        """Cast to a numpy dtype (ONNX semantics), unless it has that dtype."""
        to = ir_dtype(dtype)
        if x.dtype == to:
            return x
        value = self.op.Cast(x, to=int(to))
        value.shape = x.shape
        return value

    def may_be_short(self, result: ir.Value) -> ir.Value:
        """Return a result of windows over an array that may be too short for one at run time: it is empty then.

        Without this, onnxruntime refuses such an array, or gives one window.
        """
        node = result.producer()
        assert node is not None
        node.meta[MAY_BE_SHORT] = True
        return result

    def stamp(self, value: ir.Value, shape: Sequence[Any]) -> ir.Value:
        """Record the shape of an intermediate value."""
        return stamp(value, shape)

    # -- programs inside programs ------------------------------------------------------------------------------------

    def program(self, jaxpr: Any) -> Program:
        """Return the prepared program of a closed jaxpr, usually one among the equation's params."""
        for body in self.eqn.bodies:
            if body.jaxpr is jaxpr:
                return body.program
        return self._emission.prepare(jaxpr, self.eqn, derived=self._derived)

    def inline(self, jaxpr: Any, *operands: ir.Value) -> list[ir.Value]:
        """Lower a closed jaxpr into the current graph."""
        program = self.program(jaxpr)
        return self._emission.run(program, operands, derived=self._derived)

    def own(self) -> LoweringContext:
        """Return this context for programs that are the rule's own and not the user's, as those of ``via_jax`` are."""
        return LoweringContext(self._emission, self.eqn, self.op, derived=True)

    def via_jax(
        self,
        function: Callable[..., Any],
        *operands: ir.Value,
        avals: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trace a JAX function at ``avals`` (default: the equation's operands') and lower it here.

        Returns one value if the function returns one array, else a list in the order of the flattened result.
        """
        if avals is None:
            avals = self.avals_in
        specs = map(unsharded, avals)
        bound = functools.partial(function, **kwargs)
        with neutral([*avals, *self.avals_out]):
            jaxpr, shape = jax.make_jaxpr(bound, return_shape=True)(*specs)
        program = self._emission.prepare(jaxpr, self.eqn, derived=True)
        values = self._emission.run(program, operands, derived=True)
        is_one = isinstance(shape, jax.ShapeDtypeStruct)
        return values[0] if is_one else values

    def subgraph(
        self,
        name: str,
        avals: Sequence[Any],
        body: Callable[[list[ir.Value]], Sequence[ir.Value]],
    ) -> ir.Graph:
        """Build the body of an ``If``, ``Loop`` or ``Scan``; it may use any value of the enclosing graphs.

        Args:
            name: name of the graph.
            avals: shape and dtype of each graph input.
            body: gets the graph's inputs, returns its outputs.
        """
        inputs = list(map(graph_input, avals))
        return self.op.subgraph(name, inputs, body)


@functools.cache
def ir_dtype(dtype: Any) -> ir.DataType:
    """Return the ONNX element type of a numpy (or ml_dtypes) dtype.

    Raises:
        UnsupportedCaseError: ONNX has none.
    """
    try:
        return ir.DataType.from_numpy(np.dtype(dtype))
    except TypeError as error:
        msg = f"ONNX has no dtype {np.dtype(dtype)}"
        raise UnsupportedCaseError(msg, remedy="use a dtype that ONNX has there, such as float16 or int8") from error


def graph_input(aval: Any, name: str | None = None) -> ir.Value:
    """Return a value for an input of a graph."""
    try:
        dtype = ir_dtype(aval.dtype)
    except UnsupportedCaseError as error:
        raise UnsupportedCaseError(f"{name or 'an input'}: {error.what}", remedy=error.remedy) from error
    value = ir.Value(name=name, type=ir.TensorType(dtype))
    return stamp(value, aval.shape)


def stamp(value: ir.Value, shape: Sequence[Any]) -> ir.Value:
    """Record the shape of a value; return it."""
    dims = [dim if type(dim) is int else _onnx_dim(dim) for dim in shape]
    value.shape = _shape(tuple(dims))
    return value


def _onnx_dim(dim: Any) -> int | str:
    return str(dim) if is_symbolic(dim) else int(dim)


@functools.lru_cache(maxsize=1024)
def _shape(dims: tuple[int | str, ...]) -> ir.Shape:
    """Return the one frozen shape that all values of these dims share."""
    return ir.Shape(dims, frozen=True)
