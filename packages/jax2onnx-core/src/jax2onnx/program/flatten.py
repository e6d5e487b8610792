"""Flatten: from JAX's nested jaxpr to one list of equations, and one for each body of a loop, branch or function.

Every equation that only calls a jaxpr (jit, custom derivatives, remat, …) is inlined, equations that mean nothing at
inference are dropped, and functions that the user marked are kept as one equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import jax
import numpy as np

from jax2onnx._compat import Literal, ShapedArray, discharge, open_jaxpr, unsharded, user_frame
from jax2onnx.errors import ConversionError
from jax2onnx.program.facts import UNKNOWN, Facts, FactTable
from jax2onnx.program.program import CALL, Atom, Body, Const, Eqn, Program, Var
from jax2onnx.program.represent import Complex, concerns, form, is_complex, lacks_rule, represented, rule

__all__ = ["flatten"]

Value: TypeAlias = Atom | Complex
"""A value of the jaxpr: a complex one is two atoms, any other is one."""


def flatten(
    jaxpr: Any,
    facts: FactTable,
    *,
    keep: Callable[[Any], dict[str, Any] | None] | None = None,
    caller: Any = None,
    source: Any = None,
) -> Program:
    """Return the flat program of a jaxpr.

    Args:
        jaxpr: a closed jaxpr, as ``jax.make_jaxpr`` returns it or as a control-flow equation holds it.
        facts: what is registered about primitives.
        keep: of an equation that only calls a jaxpr and is not to be inlined, returns the params of the equation that
            calls the ONNX function instead; else None.
        caller: source info for the equations in which no line of the user's is: that of the equation around them.
        source: source info for all equations, in place of their own.
    """
    return _Setting(facts, keep, source).flatten(jaxpr, caller)


@dataclass(slots=True)
class _Setting:
    """What holds for a program and all bodies in it."""

    facts: FactTable
    keep: Callable[[Any], dict[str, Any] | None] | None
    source: Any
    known: dict[int, Body] = field(default_factory=dict)
    stateful: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.stateful = frozenset(name for name, facts in self.facts.by_primitive.items() if facts.stateful)

    def flatten(self, jaxpr: Any, caller: Any) -> Program:
        """Return the flat program of a closed jaxpr."""
        inner, consts = open_jaxpr(jaxpr)
        program = Program([Var(form(v.aval)) for v in inner.invars])
        flattener = _Flattener(program.eqns, self, caller)
        operands = [flattener.enter(a, v.aval) for a, v in zip(program.inputs, inner.invars, strict=True)]
        results = flattener.run(inner, consts, operands)
        program.outputs = [flattener.leave(v) for v in results]
        return program

    def bodies(self, params: dict[str, Any], facts: Facts, caller: Any) -> tuple[Body, ...]:
        """Return the programs that an equation's params hold; a jaxpr that several equations share is one program."""
        if facts.common:
            return ()
        found = facts.bodies(params) if facts.bodies is not None else _closed_jaxprs(params)
        bodies = []
        for jaxpr in found:
            body = self.known.get(id(jaxpr))
            if body is None:
                body = self.known[id(jaxpr)] = Body(jaxpr, self.flatten(jaxpr, caller))
            bodies.append(body)
        return tuple(bodies)


class _Flattener:
    """Writes the equations of one program."""

    def __init__(self, eqns: list[Eqn], setting: _Setting, caller: Any) -> None:
        self._eqns = eqns
        self._setting = setting
        self._facts = setting.facts.by_primitive
        self._source: Any = setting.source
        self._caller = caller

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Value]) -> list[Value]:
        """Append the equations of a jaxpr; return the values of its outputs."""
        if any(e.primitive.name in self._setting.stateful for e in jaxpr.eqns):
            jaxpr, consts = discharge(jaxpr, consts)
        env: dict[Any, Value] = dict(zip(jaxpr.invars, args, strict=True))
        env.update((v, _const(v.aval, c)) for v, c in zip(jaxpr.constvars, consts, strict=True))
        for eqn in jaxpr.eqns:
            operands = [_const(a.aval, a.val) if isinstance(a, Literal) else env[a] for a in eqn.invars]
            env.update(zip(eqn.outvars, self._equation(eqn, operands), strict=True))
        return [_const(a.aval, a.val) if isinstance(a, Literal) else env[a] for a in jaxpr.outvars]

    def _equation(self, eqn: Any, values: list[Value]) -> Sequence[Value]:
        name = eqn.primitive.name
        facts = self._facts.get(name, UNKNOWN)
        if facts.identity:
            if facts.identity is True:
                return values
            if facts.identity(eqn):
                return [_strong(values[0], eqn.outvars[0].aval)]
        if facts.calls:
            called = _called(eqn, facts)
            if called is not None:
                keep = self._setting.keep
                call = None if keep is None else keep(eqn)
                return self._inlined(eqn, called, values) if call is None else self._call(eqn, call, values)
        source = self._source or self._nearest(eqn.source_info)
        if not concerns(eqn):
            bodies = self._setting.bodies(eqn.params, facts, source)
            results = [Var(v.aval) for v in eqn.outvars]
            self._eqns.append(Eqn(name, cast("list[Atom]", values), results, eqn.params, source, facts, bodies))
            return results
        paired = not facts.border and lacks_rule(eqn, facts)
        if not facts.border and not paired:
            return self._represented(eqn, facts, values, source)
        new = Eqn(name, [], [], eqn.params, source, facts)
        new.paired = tuple(v.aval for v in eqn.invars) if paired else None
        return self._at_border(eqn, new, facts, values)

    def _at_border(self, eqn: Any, new: Eqn, facts: Facts, values: Sequence[Value]) -> Sequence[Value]:
        """Append an equation whose operands and results take the form that the borders of its bodies have."""
        new.bodies = self._setting.bodies(eqn.params, facts, new.source)
        new.inputs = [self.leave(v) for v in values]
        new.outputs = [Var(form(v.aval)) for v in eqn.outvars]
        self._eqns.append(new)
        return [self.enter(a, v.aval) for a, v in zip(new.outputs, eqn.outvars, strict=True)]

    def _call(self, eqn: Any, params: dict[str, Any], values: list[Value]) -> Sequence[Value]:
        """Append the call of an ONNX function."""
        source = self._source or self._nearest(eqn.source_info)
        return self._at_border(eqn, Eqn(CALL, [], [], params, source), UNKNOWN, values)

    def _inlined(self, eqn: Any, called: tuple[Any, Sequence[Any]], values: list[Value]) -> list[Value]:
        outer, self._caller = self._caller, self._nearest(eqn.source_info)
        try:
            return self.run(*called, values)
        finally:
            self._caller = outer

    def _nearest(self, source: Any) -> Any:
        """Return the source of an equation, or of the call around it if no line of the user's is in that."""
        return source if self._caller is None or user_frame(source) is not None else self._caller

    def _represented(self, eqn: Any, facts: Facts, values: Sequence[Value], source: Any) -> Sequence[Value]:
        """Replace an equation on keys or complex numbers by what its rule does."""
        outer, self._source = self._source, source
        try:
            result = self._trace(rule(eqn, facts), *values)
        except ConversionError as error:
            error.where = error.where or user_frame(self._source)
            raise
        finally:
            self._source = outer
        return result if eqn.primitive.multiple_results else [result]

    def _trace(self, function: Callable[..., Any], *values: Value) -> Any:
        """Trace a function of representations and flatten it in place."""
        atoms, arguments = jax.tree_util.tree_flatten(values)
        avals = [unsharded(a.aval) for a in atoms]
        specs = jax.tree_util.tree_unflatten(arguments, avals)
        jaxpr, result = jax.make_jaxpr(function, return_shape=True)(*specs)
        outputs = self.run(*open_jaxpr(jaxpr), atoms)
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(result), outputs)

    def enter(self, atom: Atom, aval: Any) -> Value:
        """Return the value that an atom at a border stands for; ``aval`` is what it is to JAX."""
        return self._trace(_parts, atom) if _has_dtype(aval) and is_complex(aval) else atom

    def leave(self, value: Value) -> Atom:
        """Return the atom that stands for a value at a border."""
        return self._trace(_together, value) if isinstance(value, Complex) else value


def _has_dtype(aval: Any) -> bool:
    return hasattr(aval, "dtype")


def _parts(pairs: jax.Array) -> Complex:
    return Complex(*[jax.lax.index_in_dim(pairs, i, pairs.ndim - 1, keepdims=False) for i in (0, 1)])


def _together(value: Complex) -> jax.Array:
    return jax.numpy.stack(value, -1)


def _const(aval: Any, value: Any) -> Value:
    if not _has_dtype(aval) or form(aval) is aval:
        return Const(aval, value)
    array = represented(value)
    if not is_complex(aval):
        return Const(form(aval), array)
    part = ShapedArray(aval.shape, array.dtype)
    return Complex(Const(part, array[..., 0]), Const(part, array[..., 1]))


def _called(eqn: Any, facts: Facts) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr that an equation only calls, and its constants, or None."""
    if callable(facts.calls):
        return facts.calls(eqn)
    for param in facts.calls:
        if param in eqn.params:
            return open_jaxpr(eqn.params[param])
    return None


def _closed_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """Yield the jaxprs among an equation's params, those in tuples too, whose constants are known."""
    for value in params.values():
        if type(value) in _NO_JAXPRS:
            continue
        for part in value if isinstance(value, tuple | list) else (value,):
            if type(part) not in _NO_JAXPRS and hasattr(part, "eqns"):
                jaxpr, consts = open_jaxpr(part)
                if len(jaxpr.constvars) == len(consts):
                    yield part


_NO_JAXPRS = frozenset({bool, int, str, type(None), type(np.dtype("float32"))})
"""The most frequent types of params that hold no jaxpr."""


def _strong(operand: Value, aval: Any) -> Value:
    """Return a literal in the converted (not weakly typed) aval; any other operand as it is."""
    return Const(aval, operand.value) if isinstance(operand, Const) else operand
