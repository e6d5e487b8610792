"""Constants: small integer and boolean equations whose operands are known are computed at conversion.

Indexing with Python numbers, ranges and strided slices leave chains of such equations in a jaxpr; computed here, what
uses them sees constant indices. Floats are left alone: the runtime rounds them, not numpy.
"""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import is_symbolic
from jax2onnx.program import Atom, Const, Eqn, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LARGEST = 1024
"""Constants of up to this many elements are computed."""


def fold(program: Program) -> Program:
    """Return the program without the equations whose results are known."""
    # What a fusion replaced still names the variables themselves.
    named = {a for e in program.eqns if e.fused is not None for a in e.inputs}
    values: dict[Atom, Atom] = {}
    eqns: list[Eqn] = []
    for eqn in program.eqns:
        if eqn.fused is not None:
            eqns.append(eqn)
            continue
        inputs = [values.get(a, a) for a in eqn.inputs]
        value = _known(eqn.primitive, inputs, eqn.params, eqn.outputs[0].aval) if len(eqn.outputs) == 1 else None
        if value is not None:
            values[eqn.outputs[0]] = value
        if value is None or eqn.outputs[0] in named:
            eqns.append(replace(eqn, inputs=inputs))
    return Program(program.inputs, eqns, [values.get(a, a) for a in program.outputs])


def _known(primitive: str, operands: Sequence[Atom], params: dict[str, Any], aval: Any) -> Atom | None:
    """Return the result of an equation with one result if it is a small constant or its operand, else None."""
    if not all(_exact(a) for a in (aval, *[o.aval for o in operands])) or params.get("out_dtype") is not None:
        return None
    unit = _UNITS.get(primitive)
    if unit is not None:
        for operand, other in (operands, operands[::-1]):
            if _is_scalar(other, unit) and operand.aval.shape == aval.shape:
                return operand
    rule = _RULES.get(primitive)
    constants = [o for o in operands if isinstance(o, Const)]
    if (
        rule is None
        or len(constants) < len(operands)
        or not all(_small(a) for a in (aval, *[c.aval for c in constants]))
    ):
        return None
    with np.errstate(over="ignore"):
        value = rule(params, *[np.asarray(c.value, c.aval.dtype) for c in constants])
    return None if value is None else Const(aval, np.asarray(value, aval.dtype).reshape(aval.shape))


def _exact(aval: Any) -> bool:
    """Tell of an abstract value whether numpy and any runtime agree on it to the last bit."""
    dtype = getattr(aval, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"


def _small(aval: Any) -> bool:
    return not any(is_symbolic(d) for d in aval.shape) and math.prod(aval.shape) <= LARGEST


def _is_scalar(atom: Atom, value: int) -> bool:
    return isinstance(atom, Const) and atom.aval.shape == () and int(atom.value) == value


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _params, x, y: function(x, y)


def _select(params: dict[str, Any], which: Any, *cases: Any) -> Any:
    del params
    chosen = np.clip(np.broadcast_to(which, cases[0].shape).astype(np.int64), 0, len(cases) - 1)
    return np.take_along_axis(np.stack(cases), chosen[None], 0)


def _broadcast(params: dict[str, Any], x: Any) -> Any:
    shape = [1] * len(params["shape"])
    for size, place in zip(x.shape, params["broadcast_dimensions"], strict=True):
        shape[place] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _iota(params: dict[str, Any]) -> Any:
    shape, axis = params["shape"], params["dimension"]
    line = np.arange(shape[axis]).reshape([-1 if d == axis else 1 for d in range(len(shape))])
    return np.broadcast_to(line, shape).astype(params["dtype"])


def _slice(params: dict[str, Any], x: Any) -> Any:
    strides = params["strides"] or [1] * x.ndim
    cells = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return x[tuple(slice(*cell) for cell in cells)]


_UNITS = {"add": 0, "mul": 1}
"""Primitives of two operands that return the other operand where one is this scalar."""

_RULES: dict[str, Callable[..., Any]] = {
    "add": _binary(operator.add),
    "and": _binary(operator.and_),
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, *xs: np.concatenate(xs, params["dimension"]),
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "eq": _binary(operator.eq),
    "expand_dims": lambda params, x: np.expand_dims(x, params["dimensions"]),
    "ge": _binary(operator.ge),
    "gt": _binary(operator.gt),
    "iota": _iota,
    "le": _binary(operator.le),
    "lt": _binary(operator.lt),
    "max": _binary(np.maximum),
    "min": _binary(np.minimum),
    "mul": _binary(operator.mul),
    "ne": _binary(operator.ne),
    "not": lambda _params, x: ~x,
    "or": _binary(operator.or_),
    "reshape": lambda params, x: x.reshape(params["new_sizes"]) if params["dimensions"] is None else None,
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
    "select_n": _select,
    "slice": _slice,
    "squeeze": lambda _params, x: x,
    "sub": _binary(operator.sub),
    "transpose": lambda params, x: x.transpose(params["permutation"]),
}
