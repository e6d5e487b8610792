"""Flatten: from JAX's nested jaxpr to one list of equations.

Every call-like equation (jit, custom derivatives, remat, …) is inlined, equations that mean nothing at inference are
dropped, and functions that the user marked are kept as one equation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import EXPANDED, Literal, ShapedArray, discharge, expand, open_jaxpr
from jax2onnx.program import Atom, Const, Eqn, Program, Var

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


def flatten(jaxpr: Any, *, keep: Callable[[Any], bool] | None = None) -> Program:
    """Return the flat program of a jaxpr.

    Args:
        jaxpr: a closed jaxpr, as ``jax.make_jaxpr`` returns it or as a control-flow equation holds it.
        keep: tells of a call-like equation whether it stays one equation instead of being inlined.
    """
    inner, consts = open_jaxpr(jaxpr)
    inputs = [Var(v.aval) for v in inner.invars]
    program = Program(inputs)
    program.outputs = _Flattener(program.eqns, keep).run(inner, consts, inputs)
    return program


class _Flattener:
    def __init__(self, eqns: list[Eqn], keep: Callable[[Any], bool] | None) -> None:
        self._eqns = eqns
        self._keep = keep

    def run(self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Atom]) -> list[Atom]:
        if any(e.primitive.name == "new_ref" for e in jaxpr.eqns):
            jaxpr, consts = discharge(jaxpr, consts)
        env: dict[Any, Atom] = dict(zip(jaxpr.invars, args, strict=True))
        env.update((v, Const(v.aval, c)) for v, c in zip(jaxpr.constvars, consts, strict=True))
        for eqn in jaxpr.eqns:
            operands: list[Atom] = [
                Const(a.aval, a.val) if isinstance(a, Literal) else env[a] for a in eqn.invars
            ]
            env.update(zip(eqn.outvars, self._equation(eqn, operands), strict=True))
        return [Const(a.aval, a.val) if isinstance(a, Literal) else env[a] for a in jaxpr.outvars]

    def _equation(self, eqn: Any, operands: list[Atom]) -> Sequence[Atom]:
        name = eqn.primitive.name
        if name in IDENTITIES:
            return operands
        if name == "convert_element_type" and operands[0].aval.dtype == eqn.params["new_dtype"]:
            return [_strong(operands[0], eqn.outvars[0].aval)]
        called = _called(eqn)
        if called is not None and not (self._keep and self._keep(eqn)):
            return self.run(*called, operands)
        outputs = [Var(v.aval) for v in eqn.outvars]
        self._eqns.append(Eqn(name, operands, outputs, eqn.params, eqn.source_info))
        return outputs


def _called(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr that an equation only calls, and its constants, or None."""
    name = eqn.primitive.name
    if name in CALLS:
        return next((open_jaxpr(eqn.params[p]) for p in CALLS[name] if p in eqn.params), None)
    return expand(eqn) if name in EXPANDED else None


def _strong(operand: Atom, aval: Any) -> Atom:
    """A scalar literal keeps its value and takes the converted (not weakly typed) aval."""
    return Const(aval, operand.value) if isinstance(operand, Const) else operand


def scalar_const(value: Any, dtype: Any) -> Const:
    """Return a constant of rank 0."""
    array = np.asarray(value, dtype)
    return Const(ShapedArray((), array.dtype), array)
