"""Conversions: Python code gets the values of traced arrays that depend on no unknown input.

JAX raises an error where Python code or numpy needs the value of an array that is traced. A trace that answers
conversions computes the value instead, when it is needed, from the equations that lead to it. So ``int(model.count)``
and ``np.asarray(model.table)`` work while the arrays of the model are inputs, as they do where JAX does not trace.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import (
    StagingTrace,
    StagingTracer,
    current_trace,
    evaluate_equation,
    is_symbolic,
    staged_constant,
)

__all__ = ["answer_conversions"]

_CONCRETE_ONLY = frozenset(
    {
        "concrete_or_error",
        "is_constant_dim",
        "expand_bool_indices",
        "_expand_bool_indices",
        "_is_slice_element_none_or_constant_or_symbolic",
        "__bool__",
        "__hex__",
        "__index__",
        "__int__",
        "__oct__",
    }
)
"""Functions of JAX that ask whether a value is concrete and raise an error if it is not.

Others ask in order to take a shorter way. They get no value: an array should not become a constant for that.
"""


@dataclass(slots=True)
class _Known:
    """What is known of the values in one trace.

    Attributes:
        on_use: is told the positions of the inputs on which a value depends that Python code gets.
        values: for each variable, its value.
        sources: for each variable with a value, the positions of the inputs on which it depends.
    """

    on_use: Callable[[frozenset[int]], object]
    values: dict[Any, Any] = field(default_factory=dict)
    sources: dict[Any, frozenset[int]] = field(default_factory=dict)


_KNOWN: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()


def answer_conversions(
    tracers: Sequence[Any] = (),
    values: Sequence[Any] = (),
    on_use: Callable[[frozenset[int]], object] = frozenset,
) -> None:
    """Give Python code, in the current trace, the values that follow from constants and from known inputs.

    Args:
        tracers: inputs of the function that is traced.
        values: their values.
        on_use: is told, for each value that Python code gets, the positions in ``tracers`` on which it depends.
    """
    trace = current_trace()
    if type(trace) is not StagingTrace:
        return
    trace.__class__ = _AnsweringTrace
    known = _KNOWN[trace] = _Known(on_use)
    for position, (tracer, value) in enumerate(zip(tracers, values, strict=True)):
        tracer.__class__ = _AnsweringTracer
        known.values[tracer.val] = value
        known.sources[tracer.val] = frozenset({position})


class _AnsweringTrace(StagingTrace):  # type: ignore[misc]
    """A trace that answers conversions. It has no slots of its own, as a trace in progress is given this class."""

    __slots__ = ()

    def var_to_tracer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result of an equation."""
        tracer = super().var_to_tracer(*args, **kwargs)
        tracer.__class__ = _AnsweringTracer
        return tracer

    def new_const(self, *args: Any, **kwargs: Any) -> Any:
        """Return a constant as a traced array."""
        tracer = super().new_const(*args, **kwargs)
        tracer.__class__ = _AnsweringTracer
        return tracer

    pure = lift = new_const


class _AnsweringTracer(StagingTracer):  # type: ignore[misc]
    """A traced array of a trace that answers conversions."""

    __slots__ = ()

    def to_concrete_value(self) -> Any:
        """Return the value to a function that raises an error without it; None if it is not known, or to others."""
        frame = sys._getframe(1)  # noqa: SLF001 - JAX calls the method without saying for whom
        while frame.f_back is not None and frame.f_code.co_name in {"to_concrete_value", "is_concrete"}:
            frame = frame.f_back
        if frame.f_code.co_name not in _CONCRETE_ONLY:
            return None
        value = _known_value(self)
        return None if value is None else jnp.asarray(value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        value = _known_value(self)
        if value is None:
            return super().__array__(dtype)
        return np.array(value, dtype) if copy else np.asarray(value, dtype)


def _answer(name: str, convert: Callable[..., Any]) -> None:
    """Give traced arrays the method ``name`` of arrays, which needs the value."""

    def method(self: Any, *args: Any) -> Any:
        value = _known_value(self)
        if value is not None:
            return convert(value, *args)
        inherited = getattr(super(_AnsweringTracer, self), name, None)
        return (inherited or self.__getattr__(name))(*args)

    method.__name__ = name
    setattr(_AnsweringTracer, name, method)


_answer("__bool__", bool)
_answer("__int__", int)
_answer("__float__", float)
_answer("__complex__", complex)
_answer("__index__", operator.index)
_answer("__hex__", hex)
_answer("__oct__", oct)
_answer("item", lambda value, *args: value.item(*args))
_answer("tolist", lambda value: value.tolist())
_answer("tobytes", lambda value, *args: value.tobytes(*args))


def _known_value(tracer: Any) -> Any:
    """Return the value of a traced array, on whose use ``on_use`` is called; None if it is not known."""
    trace = tracer._trace  # noqa: SLF001 - jax offers no public way
    known = _KNOWN.get(trace)
    if known is None or not _compute(known, tracer):
        return None
    constant = staged_constant(trace, tracer.val)
    if constant is not None:
        return constant
    known.on_use(known.sources[tracer.val])
    return known.values[tracer.val]


def _compute(known: _Known, tracer: Any) -> bool:
    """Compute the value of a traced array and all values that lead to it; return whether it has one."""
    equations = _equations_before(known, tracer)
    if equations is None:
        return False
    for eqn in equations:
        operands = []
        sources: frozenset[int] = frozenset()
        for operand in eqn.in_tracers:
            constant = staged_constant(operand._trace, operand.val)  # noqa: SLF001
            if constant is None:
                sources |= known.sources[operand.val]
                constant = known.values[operand.val]
            operands.append(constant)
        for variable, value in zip(eqn.outvars, evaluate_equation(eqn, operands), strict=True):
            known.values[variable] = value
            known.sources[variable] = sources
    return True


def _equations_before(known: _Known, tracer: Any) -> list[Any] | None:
    """Return the equations that lead from known values to a traced array, in order; None if an unknown input does."""
    order: list[Any] = []
    entered: set[int] = set()
    pending: list[tuple[Any, bool]] = [(tracer, False)]
    while pending:
        current, is_done = pending.pop()
        eqn = current.parent
        if is_done:
            order.append(eqn)
            continue
        is_constant = staged_constant(current._trace, current.val) is not None  # noqa: SLF001
        if is_constant or current.val in known.values or id(eqn) in entered:
            continue
        if eqn is None or not _has_value(eqn):
            return None
        entered.add(id(eqn))
        pending.append((current, True))
        pending += [(operand, False) for operand in eqn.in_tracers]
    return order


def _has_value(eqn: Any) -> bool:
    """Return whether an equation has a value once its operands have: no effects, and no symbolic dims."""
    if eqn.effects or any(map(is_symbolic, eqn.params.values())):
        return False
    dims: list[Any] = []
    for variable in eqn.outvars:
        dims += variable.aval.shape
    return not any(map(is_symbolic, dims))
