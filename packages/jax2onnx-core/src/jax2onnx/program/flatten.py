"""Flatten: from JAX's nested jaxpr to one list of equations.

Every call-like equation (jit, custom derivatives, remat, …) is inlined, equations that mean nothing at inference are
dropped, and functions that the user marked are kept as one equation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import jax

from jax2onnx._compat import EXPANDED, Literal, ShapedArray, discharge, expand, open_jaxpr, unsharded, user_frame
from jax2onnx.errors import ConversionError
from jax2onnx.program.program import Atom, Const, Eqn, Program, Var
from jax2onnx.program.represent import BORDERS, Complex, concerns, form, is_complex, lacks_rule, represented, rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CALLS: dict[str, tuple[str, ...]] = {
    "jit": ("jaxpr",),
    "pjit": ("jaxpr",),
    "call": ("call_jaxpr",),
    "closed_call": ("call_jaxpr",),
    "core_call": ("call_jaxpr",),
    "eval_jaxpr": ("call_jaxpr", "jaxpr"),
    "remat2": ("jaxpr",),
    "checkpoint": ("jaxpr",),
    "remat_opt": ("fwd_jaxpr",),
    "custom_jvp_call": ("call_jaxpr",),
    "custom_vjp_call": ("call_jaxpr",),
    "custom_vjp_call_jaxpr": ("fun_jaxpr",),
    "custom_vmap_call": ("call",),
    "custom_dce_call": ("fun_jaxpr",),
    "custom_partitioning": ("call",),
    "custom_transpose_call": ("call",),
    "linear_call": ("callee",),
    "composite": ("call_jaxpr", "jaxpr"),
    "compute_on": ("jaxpr",),
    "xla_metadata_call": ("jaxpr",),
    "cudnn_fusion": ("jaxpr",),
}
"""Primitives that only call a jaxpr, with the params that may hold it (the name changes between jax releases)."""

_MAY_CALL = frozenset({"shard_map", *CALLS, *EXPANDED})

IDENTITIES = frozenset(
    {
        "stop_gradient",
        "copy",
        "copy_p",
        "sharding_constraint",
        "layout_constraint",
        "optimization_barrier",
        "reshard",
        "pvary",
        "name",
        "device_put",
        "reduced_vary_cast",
        "with_memory_space_constraint",
        "pin",
        "unpin",
    }
)
"""Primitives that return their operands; they matter to derivatives, devices or XLA only."""


def flatten(jaxpr: Any, *, keep: Callable[[Any], bool] | None = None, caller: Any = None) -> Program:
    """Return the flat program of a jaxpr.

    Args:
        jaxpr: a closed jaxpr, as ``jax.make_jaxpr`` returns it or as a control-flow equation holds it.
        keep: tells of a call-like equation whether it stays one equation instead of being inlined.
        caller: source info of the equation that holds it, for those in which no line of the user's is.
    """
    inner, consts = open_jaxpr(jaxpr)
    program = Program([Var(form(v.aval)) for v in inner.invars])
    flattener = _Flattener(program.eqns, keep, caller)
    operands = [flattener.enter(a, v.aval) for a, v in zip(program.inputs, inner.invars, strict=True)]
    program.outputs = [flattener.leave(v) for v in flattener.run(inner, consts, operands)]
    return program


Value: TypeAlias = Atom | Complex
"""A value of the jaxpr: a complex one is two atoms, any other is one."""


class _Flattener:
    def __init__(self, eqns: list[Eqn], keep: Callable[[Any], bool] | None, caller: Any) -> None:
        self._eqns = eqns
        self._keep = keep
        self._source: Any = None
        self._caller = caller

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Value]) -> list[Value]:
        if any(e.primitive.name == "new_ref" for e in jaxpr.eqns):
            jaxpr, consts = discharge(jaxpr, consts)
        env: dict[Any, Value] = dict(zip(jaxpr.invars, args, strict=True))
        env.update((v, _const(v.aval, c)) for v, c in zip(jaxpr.constvars, consts, strict=True))
        for eqn in jaxpr.eqns:
            operands = [_const(a.aval, a.val) if isinstance(a, Literal) else env[a] for a in eqn.invars]
            env.update(zip(eqn.outvars, self._equation(eqn, operands), strict=True))
        return [_const(a.aval, a.val) if isinstance(a, Literal) else env[a] for a in jaxpr.outvars]

    def _equation(self, eqn: Any, values: list[Value]) -> Sequence[Value]:
        name = eqn.primitive.name
        if name in IDENTITIES:
            return values
        if name == "convert_element_type" and eqn.invars[0].aval.dtype == eqn.params["new_dtype"]:
            return [_strong(values[0], eqn.outvars[0].aval)]
        if name in _MAY_CALL:
            called = _called(eqn)
            if called is not None and not (self._keep and self._keep(eqn)):
                return self._inlined(eqn, called, values)
        source = self._source or self._told(eqn.source_info)
        if not concerns(eqn):
            results = [Var(v.aval) for v in eqn.outvars]
            self._eqns.append(Eqn(name, cast("list[Atom]", values), results, eqn.params, source))
            return results
        paired = lacks_rule(eqn)
        if name not in BORDERS and not paired:
            return self._represented(eqn, values, source)
        operands = [self.leave(v) for v in values]
        outputs = [Var(form(v.aval)) for v in eqn.outvars]
        new = Eqn(name, operands, outputs, eqn.params, source)
        new.paired = tuple(v.aval for v in eqn.invars) if paired else None
        self._eqns.append(new)
        return [self.enter(a, v.aval) for a, v in zip(outputs, eqn.outvars, strict=True)]

    def _inlined(self, eqn: Any, called: tuple[Any, Sequence[Any]], values: list[Value]) -> list[Value]:
        outer, self._caller = self._caller, self._told(eqn.source_info)
        try:
            return self.run(*called, values)
        finally:
            self._caller = outer

    def _told(self, source: Any) -> Any:
        """Return the source of an equation, or of the call around it if no line of the user's is in that."""
        return source if self._caller is None or user_frame(source) is not None else self._caller

    def _represented(self, eqn: Any, values: Sequence[Value], source: Any) -> Sequence[Value]:
        """Replace an equation on keys or complex numbers by what its rule does."""
        outer, self._source = self._source, source
        try:
            result = self._trace(rule(eqn), *values)
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


def _called(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr that an equation only calls, and its constants, or None."""
    name = eqn.primitive.name
    if name == "shard_map" and eqn.params["mesh"].size == 1:
        return open_jaxpr(eqn.params["jaxpr"])
    if name in CALLS:
        return next((open_jaxpr(eqn.params[p]) for p in CALLS[name] if p in eqn.params), None)
    return expand(eqn) if name in EXPANDED else None


def _strong(operand: Value, aval: Any) -> Value:
    """A scalar literal keeps its value and takes the converted (not weakly typed) aval."""
    return Const(aval, operand.value) if isinstance(operand, Const) else operand
