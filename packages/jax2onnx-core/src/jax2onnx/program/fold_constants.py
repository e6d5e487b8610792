"""Constants: small equations whose operands are known are computed at conversion.

Indexing with Python numbers, ranges, strided slices and the weights of an interpolation leave chains of such equations
in a jaxpr; computed here, what uses them sees constants. Functions that no two libraries round alike are computed in
float64 first.
"""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import is_symbolic
from jax2onnx.program.program import Atom, Const, Eqn, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LARGEST = 2**16
"""Constants of up to this many elements are computed."""

_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
"""Floating dtypes of constants that are computed."""


def fold(program: Program) -> Program:
    """Return the program without the equations whose results are known."""
    # What a fusion replaced still names the variables themselves.
    named = {a for e in program.eqns if e.fused is not None for a in e.inputs}
    values: dict[Atom, Atom] = {}
    eqns: list[Eqn] = []
    for eqn in program.eqns:
        if eqn.fused is not None:
            if not all(isinstance(values.get(a, a), Const) for a in eqn.inputs) or not _whole(eqn, values):
                eqns.append(eqn)
            continue
        inputs = eqn.inputs if values.keys().isdisjoint(eqn.inputs) else [values.get(a, a) for a in eqn.inputs]
        value = _known(eqn.primitive, inputs, eqn.params, eqn.outputs[0].aval) if len(eqn.outputs) == 1 else None
        if value is not None:
            values[eqn.outputs[0]] = value
        if value is None or eqn.outputs[0] in named:
            eqns.append(eqn if inputs is eqn.inputs else replace(eqn, inputs=inputs))
    return Program(program.inputs, eqns, [values.get(a, a) for a in program.outputs])


def _whole(eqn: Eqn, values: dict[Atom, Atom]) -> bool:
    """Compute a whole function of constants; tell whether that was possible."""
    assert eqn.fused is not None
    inside = dict(values)
    for inner in eqn.fused.interior:
        inputs = [inside.get(a, a) for a in inner.inputs]
        value = (
            _known(inner.primitive, inputs, inner.params, inner.outputs[0].aval) if len(inner.outputs) == 1 else None
        )
        if value is not None:
            inside[inner.outputs[0]] = value
    found: dict[Atom, Atom] = {o: inside[o] for o in eqn.outputs if o in inside}
    values |= found
    return len(found) == len(eqn.outputs)


def _known(primitive: str, operands: Sequence[Atom], params: dict[str, Any], aval: Any) -> Atom | None:
    """Return the result of an equation with one result if it is a small constant or its operand, else None."""
    unit = _UNITS.get(primitive)
    if unit is not None and _exact(aval):
        for operand, other in (operands, operands[::-1]):
            if _is_scalar(other, unit) and operand.aval.shape == aval.shape:
                return operand
    rule = _RULES.get(primitive)
    if rule is None or not all(isinstance(o, Const) for o in operands):
        return None
    avals = [aval, *[o.aval for o in operands]]
    if not all(_small(a) and _computed(a) for a in avals) or params.get("out_dtype") is not None:
        return None
    with np.errstate(all="ignore"):
        value = rule(params, *[np.asarray(o.value, o.aval.dtype) for o in operands if isinstance(o, Const)])
        return None if value is None else Const(aval, np.asarray(value).astype(aval.dtype).reshape(aval.shape))


def _exact(aval: Any) -> bool:
    """Tell of an abstract value whether numpy and any runtime agree on it to the last bit."""
    dtype = getattr(aval, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"


def _computed(aval: Any) -> bool:
    return _exact(aval) or str(getattr(aval, "dtype", None)) in _DTYPES


def _small(aval: Any) -> bool:
    return not any(is_symbolic(d) for d in aval.shape) and math.prod(aval.shape) <= LARGEST


def _is_scalar(atom: Atom, value: int) -> bool:
    return isinstance(atom, Const) and atom.aval.shape == () and int(atom.value) == value


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a function that is rounded correctly, in float32 for smaller dtypes."""

    def rule(_params: dict[str, Any], *operands: Any) -> Any:
        return function(*(o.astype(np.float32) if o.dtype.itemsize == 2 and _is_float(o) else o for o in operands))

    return rule


def _wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a function of floats that is computed in float64."""
    return lambda _params, *operands: function(*(np.asarray(o, np.float64) for o in operands))


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(params: dict[str, Any], x: Any) -> Any:
        wide = x.astype(np.float64) if _is_float(x) else x
        return function(wide, axis=tuple(params["axes"])) if x.size else None

    return rule


def _is_float(x: Any) -> bool:
    return str(x.dtype) in _DTYPES


def _extremum(function: Callable[..., Any], of_zeros: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a maximum or minimum, which orders -0 before 0."""

    def rule(_params: dict[str, Any], x: Any, y: Any) -> Any:
        result = function(x, y)
        return np.where((x == 0) & (y == 0), of_zeros(x, y), result) if _is_float(x) else result

    return rule


def _quotient(params: dict[str, Any], x: Any, y: Any) -> Any:
    return _plain(operator.truediv)(params, x, y) if _is_float(x) else None


def _converted(params: dict[str, Any], x: Any) -> Any:
    """Convert; from floats to integers only what fits, as numpy leaves open what does not."""
    dtype = np.dtype(params["new_dtype"])
    if _is_float(x) and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not np.all((x > float(limits.min)) & (x < float(limits.max))):
            return None
    return x.astype(dtype)


def _sign(params: dict[str, Any], x: Any) -> Any:
    del params
    return np.where(x == 0, x, np.sign(x))


def _remainder(params: dict[str, Any], x: Any, y: Any) -> Any:
    del params
    return np.fmod(x, y) if np.all(y != 0) else None


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
    "abs": _plain(np.abs),
    "add": _plain(operator.add),
    "and": _plain(operator.and_),
    "broadcast_in_dim": _broadcast,
    "ceil": _plain(np.ceil),
    "clamp": lambda _params, low, x, high: None if _is_float(x) else np.minimum(np.maximum(x, low), high),
    "concatenate": lambda params, *xs: np.concatenate(xs, params["dimension"]),
    "convert_element_type": _converted,
    "cos": _wide(np.cos),
    "div": _quotient,
    "eq": _plain(operator.eq),
    "exp": _wide(np.exp),
    "expand_dims": lambda params, x: np.expand_dims(x, params["dimensions"]),
    "floor": _plain(np.floor),
    "ge": _plain(operator.ge),
    "gt": _plain(operator.gt),
    "integer_pow": lambda params, x: _wide(np.power)(params, x, params["y"]) if _is_float(x) else None,
    "iota": _iota,
    "is_finite": _plain(np.isfinite),
    "le": _plain(operator.le),
    "log": _wide(np.log),
    "lt": _plain(operator.lt),
    "max": _extremum(np.maximum, operator.add),
    "min": _extremum(np.minimum, lambda x, y: -(-x + -y)),
    "mul": _plain(operator.mul),
    "ne": _plain(operator.ne),
    "neg": _plain(operator.neg),
    "not": lambda _params, x: ~x,
    "or": _plain(operator.or_),
    "pow": _wide(np.power),
    "reduce_max": _reduction(np.max),
    "reduce_min": _reduction(np.min),
    "reduce_sum": _reduction(np.sum),
    "rem": _remainder,
    "reshape": lambda params, x: x.reshape(params["new_sizes"]) if params["dimensions"] is None else None,
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
    "rsqrt": _wide(lambda x: 1 / np.sqrt(x)),
    "select_n": _select,
    "sign": _sign,
    "sin": _wide(np.sin),
    "slice": _slice,
    "sqrt": _wide(np.sqrt),
    "square": _plain(np.square),
    "squeeze": lambda _params, x: x,
    "sub": _plain(operator.sub),
    "tanh": _wide(np.tanh),
    "transpose": lambda params, x: x.transpose(params["permutation"]),
}
