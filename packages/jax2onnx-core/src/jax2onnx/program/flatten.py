"""Flatten: from JAX's nested jaxpr to one list of equations, and one for each body of a loop, branch or function.

Every equation that only calls a jaxpr (jit, custom derivatives, remat, …) is inlined, equations that mean nothing at
inference are dropped, and functions that the user marked are kept as one equation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import jax
import numpy as np

from jax2onnx._compat import (
    InconclusiveDimensionOperation,
    Untraceable,
    are_of_one_call,
    at_source_of,
    discharge,
    in_scope_of,
    inner_jaxprs,
    neutral,
    open_jaxpr,
    unsharded,
    user_frame,
    without_scopes,
)
from jax2onnx.errors import ConversionError
from jax2onnx.program.border import Value, border_variables, const, convert_literal, held, join, read, split
from jax2onnx.program.definitions import Defined, Undefined, trace_definition
from jax2onnx.program.early_constants import ComputedLater, EarlyConstants
from jax2onnx.program.fold_constants import Folding
from jax2onnx.program.joined import Joined, join_alike
from jax2onnx.program.lost import require_value
from jax2onnx.program.program import CALL, Atom, Body, Const, Eqn, Program, Var
from jax2onnx.program.represent import (
    Complex,
    form,
    holds_nothing,
    is_complex,
    is_key,
    is_special,
    lacks_rule,
    rule,
)

if TYPE_CHECKING:
    from jax2onnx.program.facts import Facts, FactTable, Simplified

__all__ = ["Keep", "Note", "Warned", "called_jaxpr", "flatten"]


Keep: TypeAlias = Callable[[Any], dict[str, Any] | None]
"""Returns the params of the equation that stands for a call of an ONNX function; None for what is no such call."""

_Opened: TypeAlias = tuple[Any, Sequence[Any]]
"""A jaxpr and its constants."""

_DEEPEST = 32
"""How many definitions may be in one another."""

_NO_JAXPRS = frozenset({bool, int, str, type(None), type(np.dtype(np.float32))})
"""The most frequent types of params that hold no jaxpr."""


@dataclass(frozen=True, slots=True)
class Warned:
    """What the user is to be told of an equation."""

    message: str


Note: TypeAlias = Defined | Warned | Folding
"""What flattening has to tell of a program."""


def _inline(_eqn: Any) -> None:
    """Keep no call."""


def flatten(
    jaxpr: Any,
    facts: FactTable,
    *,
    keep: Keep = _inline,
    caller: Any = None,
    source: Any = None,
    notes: list[Note] | None = None,
) -> Program:
    """Return the flat program of a jaxpr.

    Args:
        jaxpr: a closed jaxpr, as ``jax.make_jaxpr`` returns it or as a control-flow equation holds it.
        facts: what is registered about primitives.
        keep: is asked of each equation that only calls a jaxpr; it is inlined where the answer is None.
        caller: source info for the equations in which no line of the user's is: that of the equation around them.
        source: source info for all equations, in place of their own.
        notes: receives what there is to tell of the program; None if nobody asked.
    """
    told = [] if notes is None else notes
    return _Flattener(facts, keep, told).flatten(jaxpr, caller, source)


@dataclass(slots=True)
class _Flattener:
    """Flattens a jaxpr and all that are bodies in it; a jaxpr that several equations share becomes one program."""

    facts: FactTable
    keep: Keep
    notes: list[Note]
    bodies: dict[int, Body] = field(default_factory=dict)
    constants: EarlyConstants = field(default_factory=EarlyConstants)

    def flatten(self, jaxpr: Any, caller: Any, source: Any, *, compiled: bool = False) -> Program:
        """Return the flat program of a closed jaxpr; for the arguments see ``flatten`` and ``_Writer``."""
        inner, consts = open_jaxpr(jaxpr)
        program = Program(border_variables(inner.invars))
        writer = _Writer(self, program.eqns, source, caller, compiled=compiled)
        operands = writer.from_border(program.inputs, inner.invars)
        results = writer.run(inner, consts, operands)
        program.outputs = list(map(writer.to_border, results))
        return program

    def bodies_of(
        self,
        params: Mapping[str, Any],
        facts: Facts,
        caller: Any,
        source: Any,
        *,
        compiled: bool,
    ) -> tuple[Body, ...]:
        """Return the programs that an equation's params hold; for the arguments see ``flatten`` and ``_Writer``."""
        if facts.common:
            return ()
        find = facts.bodies or _closed_jaxprs
        bodies = [self._body(jaxpr, caller, source, compiled=compiled) for jaxpr in find(params)]
        return tuple(bodies)

    def _body(self, jaxpr: Any, caller: Any, source: Any, *, compiled: bool) -> Body:
        key = id(jaxpr)
        if key not in self.bodies:
            program = self.flatten(jaxpr, caller, source, compiled=compiled)
            self.bodies[key] = Body(jaxpr, program)
        return self.bodies[key]


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the equations of one program.

    Attributes:
        flattener: flattens the bodies of the equations.
        eqns: the equations written so far.
        source: source info for all equations, in place of their own.
        caller: source info for the equations in which no line of the user's is.
        depth: how many definitions of primitives these equations are in.
        compiled: whether JAX compiles these equations together, as those of a ``jit`` or of a loop. Others are executed
            one by one, and all operands of those are arrays.
    """

    flattener: _Flattener
    eqns: list[Eqn]
    source: Any
    caller: Any
    depth: int = 0
    compiled: bool = False

    def run(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        operands: Sequence[Value],
    ) -> list[Value]:
        """Write the equations of a jaxpr; return the values of its outputs."""
        if self._is_stateful(jaxpr):
            jaxpr, consts = discharge(jaxpr, consts)
        env: dict[Any, Value] = dict(zip(jaxpr.invars, operands, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            require_value(value)
            env[var] = const(var.aval, value)
        made_by = {variable: eqn for eqn in jaxpr.eqns for variable in eqn.outvars}
        for eqn in join_alike(jaxpr.eqns, self.flattener.facts):
            simplified = self._simplified(eqn, made_by)
            if simplified is not None:
                values = [read(env, atom) for atom in simplified.operands]
                results: Sequence[Value] = self._replaced(eqn, simplified.function, simplified.operands, values)
            else:
                values = [read(env, atom) for atom in eqn.invars]
                results = self._joined(eqn, values) if isinstance(eqn, Joined) else self._equation(eqn, values)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(env, atom) for atom in jaxpr.outvars]

    def _is_stateful(self, jaxpr: Any) -> bool:
        """Return whether an equation reads or writes refs."""
        names = {eqn.primitive.name for eqn in jaxpr.eqns}
        facts = map(self.flattener.facts.of, names)
        return any(f.stateful for f in facts)

    def _equation(self, eqn: Any, values: list[Value]) -> Sequence[Value]:
        """Write what an equation does; return the values of its results."""
        name = self.flattener.facts.name_of(eqn)
        facts = self.flattener.facts.of(name)
        if facts.identity is True:
            return values
        if facts.identity and facts.identity(eqn):
            aval = eqn.outvars[0].aval
            return [convert_literal(values[0], aval)]
        if facts.warning is not None:
            self._warn(eqn, facts.warning)
        source = self._source_of(eqn)
        better = facts.instead(eqn, self._constants_among(values)) if facts.instead is not None else None
        if better is not None:
            return self._replaced(eqn, better, eqn.invars, values)
        new = Eqn(name, [], [], eqn.params, source, facts, origin=eqn)
        try:
            called = called_jaxpr(eqn, facts)
        except (InconclusiveDimensionOperation, Untraceable) as error:
            # Lowering tells it, with what decides the comparison, of an equation that somebody needs.
            new.undefined = error
            return self._write_at_border(eqn, new, values)
        if called is not None:
            return self._call(eqn, called, values)
        if self._needs_definition(name, facts):
            try:
                return self._defined(eqn, new, values)
            except Undefined as reason:
                # It may be one that nobody needs; lowering tells the reason of any other.
                new.undefined = reason
        if not is_special(eqn):
            return self._write(eqn, new, cast("list[Atom]", values))
        if facts.border:
            return self._write_at_border(eqn, new, values)
        computed = None if holds_nothing(eqn) else self._computed(eqn, new, values)
        if computed is not None:
            return computed
        if lacks_rule(eqn, facts):
            new.paired = tuple([v.aval for v in eqn.invars])
            return self._write_at_border(eqn, new, values)
        return self._represented(eqn, new, values)

    def _simplified(self, eqn: Any, made_by: Mapping[Any, Any]) -> Simplified | None:
        """Return what XLA makes of an equation; None where it is as it is, or is executed by itself."""
        if isinstance(eqn, Joined):
            return None
        rule = self.flattener.facts.of(self.flattener.facts.name_of(eqn)).simplified
        simplified = None if rule is None else rule(eqn, made_by)
        if simplified is None or self.compiled:
            return simplified
        is_compiled = simplified.beside and all(are_of_one_call(eqn, other) for other in simplified.beside)
        return simplified if is_compiled else None

    def _write(
        self,
        eqn: Any,
        new: Eqn,
        inputs: list[Atom],
    ) -> list[Var]:
        """Write ``new`` for an equation; return its results, which have the form of a border."""
        caller = without_scopes(new.source) if new.is_call else new.source
        compiled = self.compiled or not new.is_call
        new.bodies = self.flattener.bodies_of(eqn.params, new.facts, caller, self.source, compiled=compiled)
        new.inputs = inputs
        new.outputs = border_variables(eqn.outvars)
        self.eqns.append(new)
        self.flattener.constants.add(new)
        return new.outputs

    def _computed(
        self,
        eqn: Any,
        new: Eqn,
        values: Sequence[Value],
    ) -> list[Value] | None:
        """Return the results of an equation on keys or complex numbers that are known; else None."""
        inputs: list[Atom] = []
        for value, variable in zip(values, eqn.invars, strict=True):
            atom = self._constant_at_border(value, variable.aval)
            if atom is None:
                return None
            inputs.append(atom)
        trial = replace(new, inputs=inputs, outputs=border_variables(eqn.outvars))
        results = self.flattener.constants.compute(trial)
        if results is None:
            return None
        return [held(variable.aval, result) for variable, result in zip(eqn.outvars, results, strict=True)]

    def _constants_among(self, values: Sequence[Value]) -> Mapping[int, Any]:
        """Return those of some values that depend on no input, by their positions."""
        constants = self.flattener.constants
        real = {place: value for place, value in enumerate(values) if not isinstance(value, Complex)}
        return ComputedLater({i: value for i, value in real.items() if constants.is_constant(value)}, constants.array)

    def _constant_at_border(self, value: Value, aval: Any) -> Atom | None:
        """Return the form of a value at a border; None for complex numbers that are not known."""
        if not isinstance(value, Complex):
            return value
        real = self.flattener.constants.array(value.re)
        imaginary = self.flattener.constants.array(value.im)
        if real is None or imaginary is None:
            return None
        return Const(form(aval), np.stack([real, imaginary], -1))

    def _write_at_border(
        self,
        eqn: Any,
        new: Eqn,
        values: Sequence[Value],
    ) -> Sequence[Value]:
        """Write ``new`` for an equation; its operands and results have the form of a border."""
        inputs = list(map(self.to_border, values))
        results = self._write(eqn, new, inputs)
        return self.from_border(results, eqn.outvars)

    def _joined(self, joined: Joined, values: list[Value]) -> list[Value]:
        """Write the equations of a function that does the work of some equations at once."""
        first = joined.eqns[0]
        return self._traced(first, joined.function, self._source_of(first), joined.invars, values)

    def _replaced(self, eqn: Any, better: Callable[..., Any], atoms: Sequence[Any], values: list[Value]) -> list[Value]:
        """Write the equations of a function that does the work of an equation."""
        return self._traced(eqn, better, self._source_of(eqn), atoms, values)

    def _traced(
        self, eqn: Any, better: Callable[..., Any], source: Any, atoms: Sequence[Any], values: list[Value]
    ) -> list[Value]:
        avals = [unsharded(atom.aval) for atom in atoms]
        with neutral(avals):
            jaxpr = jax.make_jaxpr(functools.partial(_at_source_of, eqn, better))(*avals)
        # JAX compiles all that an equation does.
        return replace(self, caller=source, compiled=True).run(*open_jaxpr(jaxpr), values)

    def _call(
        self,
        eqn: Any,
        called: _Opened,
        values: list[Value],
    ) -> Sequence[Value]:
        """Write the call of an ONNX function, or the equations of the jaxpr that is called."""
        source = self._source_of(eqn)
        params = self.flattener.keep(eqn)
        if params is None:
            # What was traced for the export has the line of the export in the place of the user's own.
            is_traced_here = not any(called[0] is jaxpr for jaxpr in inner_jaxprs(eqn))
            inlining = replace(self, caller=source, source=source if is_traced_here else self.source)
            compiles = self.flattener.facts.of(self.flattener.facts.name_of(eqn)).compiles
            return replace(inlining, compiled=self.compiled or compiles).run(*called, values)
        call = Eqn(CALL, [], [], params, source)
        return self._write_at_border(eqn, call, values)

    def _warn(self, eqn: Any, warning: Callable[[Any], str | None]) -> None:
        message = warning(eqn)
        if message is not None:
            self.flattener.notes.append(Warned(message))

    def _needs_definition(self, name: str, facts: Facts) -> bool:
        """Return whether nothing is known of a primitive by which an equation could be lowered."""
        is_known = facts.on_complex is not None or facts.on_keys is not None
        return not is_known and not self.flattener.facts.is_lowered(name)

    def _defined(
        self,
        eqn: Any,
        new: Eqn,
        values: list[Value],
    ) -> Sequence[Value]:
        """Write the equations by which a primitive's own library defines it.

        Raises:
            Undefined: there are none; nothing is written.
        """
        if self.depth == _DEEPEST:
            raise Undefined("its definition has no end")

        def known() -> list[Any]:
            operands = zip(eqn.invars, values, strict=True)
            return [self._known(atom.aval, value) for atom, value in operands]

        (jaxpr, consts), library = trace_definition(eqn, known)
        note = Defined(eqn.primitive.name, library, new.where, len(jaxpr.eqns))
        self.flattener.notes.append(note)
        # The user's line is that of the equation: the definition is traced from within the export.
        writer = replace(self, source=new.source, depth=self.depth + 1, compiled=True)
        return writer.run(jaxpr, consts, values)

    def _known(self, aval: Any, value: Value) -> Any | None:
        """Return the array that a value is known to be; None for any other, for keys and for complex numbers."""
        if isinstance(value, Complex) or is_key(aval):
            return None
        return self.flattener.constants.array(value)

    def _represented(
        self,
        eqn: Any,
        new: Eqn,
        values: Sequence[Value],
    ) -> Sequence[Value]:
        """Write what the rule of an equation on keys, complex numbers or arrays that hold nothing does."""
        writer = replace(self, source=new.source)
        try:
            function = rule(eqn, new.facts)
            result = writer.trace(function, *values)
        except ConversionError as error:
            error.where = error.where or new.where
            raise
        return result if eqn.primitive.multiple_results else [result]

    def trace(self, function: Callable[..., Any], *values: Value) -> Any:
        """Write what a JAX function of representations does; return the representations of its results."""
        atoms, arguments = jax.tree_util.tree_flatten(values)
        avals = [unsharded(a.aval) for a in atoms]
        specs = jax.tree_util.tree_unflatten(arguments, avals)
        with neutral(avals):
            jaxpr, result = jax.make_jaxpr(function, return_shape=True)(*specs)
        outputs = self.run(*open_jaxpr(jaxpr), atoms)
        structure = jax.tree_util.tree_structure(result)
        return jax.tree_util.tree_unflatten(structure, outputs)

    def from_border(self, atoms: Sequence[Var], variables: Sequence[Any]) -> list[Value]:
        """Return the values of JAX's variables that atoms at a border stand for."""
        values: list[Value] = list(atoms)
        for position, variable in enumerate(variables):
            if is_complex(variable.aval):
                values[position] = self.trace(split, atoms[position])
        return values

    def to_border(self, value: Value) -> Atom:
        """Return the atom that stands for a value at a border."""
        if not isinstance(value, Complex):
            return value
        joined: Atom = self.trace(join, value)
        return joined

    def _source_of(self, eqn: Any) -> Any:
        """Return the source of an equation, or of the call around it if no line of the user's is in that."""
        if self.source is not None:
            return self.source
        own = eqn.source_info
        if self.caller is None:
            return own
        return in_scope_of(own, self.caller) if user_frame(own) is not None else self.caller


def _at_source_of(eqn: Any, function: Callable[..., Any], *operands: Any) -> Any:
    with at_source_of(eqn):
        return function(*operands)


def called_jaxpr(eqn: Any, facts: Facts) -> _Opened | None:
    """Return the jaxpr that an equation only calls, and its constants, or None."""
    if callable(facts.calls):
        return facts.calls(eqn)
    for param in facts.calls:
        if param in eqn.params:
            return open_jaxpr(eqn.params[param])
    return None


def _closed_jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the jaxprs among an equation's params, those in tuples too, whose constants are known."""
    for value in params.values():
        if type(value) in _NO_JAXPRS:
            continue
        parts = value if isinstance(value, tuple | list) else (value,)
        yield from filter(_is_closed, parts)


def _is_closed(value: Any) -> bool:
    if not hasattr(value, "eqns"):
        return False
    jaxpr, consts = open_jaxpr(value)
    return len(jaxpr.constvars) == len(consts)
