"""Equality: whether constants, parameters and equations mean the same numbers; what differs, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.program.inline_calls import inline_calls
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.program.program import Atom, Body, Eqn, Program

__all__ = ["describe", "difference", "same_constant", "same_equation"]

_IGNORED = frozenset({"sharding", "out_sharding", "name", "linear", "unroll", "_split_transpose"})
"""Parameters that do not change numbers on one device."""


def same_constant(a: Atom, b: Atom) -> bool:
    """Return whether two atoms are constants of the same dtype, shape and bits (any NaN equals any other)."""
    if not isinstance(a, Const) or not isinstance(b, Const):
        return False
    if not _same_type(a.aval, b.aval):
        return False
    if a.value is b.value:
        return True
    if _is_extended(a):
        return False
    x = _array(a)
    y = _array(b)
    return x.tobytes() == y.tobytes() or _bits(x) == _bits(y)


def _is_extended(constant: Const) -> bool:
    """Return whether a constant holds values that numpy does not have, such as random keys."""
    return bool(jnp.issubdtype(constant.aval.dtype, jax.dtypes.extended))


def _array(constant: Const) -> np.ndarray[Any, Any]:
    array = np.asarray(constant.value)
    return array.astype(constant.aval.dtype, copy=False)


def _bits(array: np.ndarray[Any, Any]) -> bytes:
    """Return the bits of an array in which all NaNs are made the same."""
    nans = array != array  # noqa: PLR0124 - finds NaN in every dtype
    if nans.any():
        array = array.copy()
        array[nans] = np.nan
    return array.tobytes()


def describe(atom: Atom) -> str:
    """Return a constant in words: the number, if it is one number."""
    assert isinstance(atom, Const)
    if atom.aval.shape or _is_extended(atom):
        return f"a constant {atom.aval.str_short()}"
    number = _array(atom)[()]
    return str(number)


def same_equation(
    a: Eqn,
    b: Eqn,
    counterparts: dict[Atom, Atom],
) -> bool:
    """Return whether ``b`` does the same with its operands as ``a`` with those of which they are the counterparts.

    Args:
        a: an equation.
        b: the equation to compare with it.
        counterparts: variables -> those that stand for them in the other equations. Operands of ``a`` that are missing
            are added if their types are the same, and so are the results.
    """
    if a.primitive != b.primitive or a.paired != b.paired:
        return False
    if len(a.outputs) != len(b.outputs):
        return False
    if not _same_operands(a.inputs, b.inputs, counterparts):
        return False
    if difference(b, a) is not None:
        return False
    counterparts.update(zip(a.outputs, b.outputs, strict=True))
    return True


def _same_operands(
    a: Sequence[Atom],
    b: Sequence[Atom],
    counterparts: dict[Atom, Atom],
) -> bool:
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        known = counterparts.get(x)
        if known is not None:
            if known is not y:
                return False
        elif isinstance(x, Const):
            if not same_constant(x, y):
                return False
        elif isinstance(y, Const) or not _traces_alike(x.aval, y.aval):
            return False
        else:
            counterparts[x] = y
    return True


def _traces_alike(a: Any, b: Any) -> bool:
    """Return whether tracing sees no difference between two abstract values of one scope of dims."""
    if a is b:
        return True
    return _same_type(a, b) and bool(a.weak_type == b.weak_type)


def _same_type(a: Any, b: Any) -> bool:
    if a.dtype != b.dtype:
        return False
    return bool(a.shape == b.shape)


def _same_types(a: Sequence[Atom], b: Sequence[Atom]) -> bool:
    if len(a) != len(b):
        return False
    return all(_same_type(x.aval, y.aval) for x, y in zip(a, b, strict=True))


def difference(found: Eqn, wanted: Eqn) -> str | None:
    """Return in words the first parameter in which two equations of one primitive differ; None if they mean the same.

    A parameter that is a jaxpr is compared as a program.
    """
    if found.params is wanted.params:
        return None
    try:
        if found.params == wanted.params:
            return None
    except ValueError:  # numpy's, for arrays among them
        pass
    if len(found.bodies) != len(wanted.bodies):
        return "other parameters"
    bodies: _Bodies = {}
    for first, second in zip(found.bodies, wanted.bodies, strict=True):
        bodies[id(first.jaxpr)] = first, second
    names = found.params.keys() | wanted.params.keys()
    for name in sorted(names - _IGNORED):
        a = found.params.get(name, _ABSENT)
        b = wanted.params.get(name, _ABSENT)
        if not _same_parameter(a, b, bodies):
            return _describe_difference(name, a, b)
    return None


_Bodies: TypeAlias = "dict[int, tuple[Body, Body]]"
"""The id of a jaxpr among an equation's parameters -> its body, and the other equation's body in the same position."""

_ABSENT = object()


def _describe_difference(name: str, a: object, b: object) -> str:
    if a is _ABSENT:
        return f"no parameter {name}"
    if b is _ABSENT:
        return f"a parameter {name}"
    if hasattr(a, "eqns"):
        return f"another {name}"
    return f"{name}={a} where the function has {b}"


def _same_parameter(
    a: Any,
    b: Any,
    bodies: _Bodies,
) -> bool:
    if a is b:
        return True
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        if len(a) != len(b):
            return False
        return all(_same_parameter(x, y, bodies) for x, y in zip(a, b, strict=True))
    if id(a) in bodies:
        first, second = bodies[id(a)]
        return second.jaxpr is b and _same_program(first.program, second.program)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


def _same_program(a: Program, b: Program) -> bool:
    """Return whether two programs have the same equations in the same order; calls of functions are inlined."""
    a = inline_calls(a)
    b = inline_calls(b)
    if len(a.eqns) != len(b.eqns):
        return False
    if not _same_types(a.inputs, b.inputs):
        return False
    counterparts: dict[Atom, Atom] = dict(zip(a.inputs, b.inputs, strict=True))
    for x, y in zip(a.eqns, b.eqns, strict=True):
        if not same_equation(x, y, counterparts):
            return False
        if not _same_types(x.outputs, y.outputs):
            return False
    return _same_operands(a.outputs, b.outputs, counterparts)
