"""Definitions: what a primitive without a lowering computes, as the library that made it defines it in plainer JAX.

A library defines a primitive by a function of JAX: for jit (``mlir.lower_fun``), or for arrays (``def_impl``). Where
that can be traced, its equations take the place of the primitive's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax

from jax2onnx._compat import Definition, definition, inner_jaxprs, open_jaxpr, unsharded
from jax2onnx.errors import described_error
from jax2onnx.program.represent import represented

__all__ = ["Defined", "Undefined", "trace_definition"]

_Opened: TypeAlias = tuple[Any, Sequence[Any]]
"""A jaxpr and its constants."""


@dataclass(frozen=True, slots=True)
class Defined:
    """An equation in whose place are those of its primitive's own definition.

    Attributes:
        primitive: the primitive's name.
        library: the package that defines it.
        where: the user's line, ``file:line (function)``; None if none is known.
        equations: how many equations the definition has.
    """

    primitive: str
    library: str
    where: str | None
    equations: int


class Undefined(Exception):  # noqa: N818 - it is an answer, not an error
    """A primitive has no definition that can be traced; the message says why, and is empty where there is none."""


def trace_definition(eqn: Any, known: Callable[[], Sequence[Any]]) -> tuple[_Opened, str]:
    """Return what a primitive's definition computes for an equation of a jaxpr, and the library that it is from.

    Args:
        eqn: the equation.
        known: returns for each operand its value, an array, if it is a constant; else None.

    Raises:
        Undefined: there is no definition, it cannot be traced, or it does something else than the primitive says.
    """
    found = definition(eqn.primitive)
    if found is None:
        raise Undefined
    if eqn.effects:
        raise Undefined("it has side effects")
    try:
        jaxpr = _trace(eqn, found, [None] * len(eqn.invars))
    except Undefined:
        # A definition may choose what it computes by constants, e.g. by the number of a function in a table.
        values = known()
        if all(value is None for value in values):
            raise
        jaxpr = _trace(eqn, found, values)
    opened = open_jaxpr(jaxpr)
    _check_results(opened[0], eqn)
    if _binds(opened[0], eqn):
        raise Undefined("its definition only calls it again")
    return opened, found.library


def _trace(eqn: Any, found: Definition, known: Sequence[Any]) -> Any:
    """Return the closed jaxpr of a definition, whose inputs are all operands; it sees the values of known ones."""
    try:
        jaxpr = _trace_once(eqn, found, known)
        again = jaxpr if found.is_traced_by_jit else _trace_once(eqn, found, known)
    except Exception as error:  # a library's own code, which may expect arrays
        raise Undefined(f"its definition in {found.library} cannot be traced: {described_error(error)}") from error
    # A definition for arrays may read what is no operand, such as a random state, which jit would never allow.
    if _written(again) != _written(jaxpr):
        what = f"its definition in {found.library} is another program each time"
        raise Undefined(what)
    return jaxpr


def _trace_once(eqn: Any, found: Definition, known: Sequence[Any]) -> Any:
    # JAX remembers the traces of a function, so this is another one each time.
    def function(*operands: Any) -> Any:
        given = [operand if value is None else value for operand, value in zip(operands, known, strict=True)]
        return found.function(*given, **eqn.params)

    avals = [unsharded(atom.aval) for atom in eqn.invars]
    return jax.make_jaxpr(function)(*avals)


def _written(jaxpr: Any) -> tuple[str, list[bytes]]:
    """Return all that a closed jaxpr says; its text leaves out constants."""
    _, consts = open_jaxpr(jaxpr)
    return str(jaxpr), [represented(const).tobytes() for const in consts]


def _check_results(jaxpr: Any, eqn: Any) -> None:
    """Refuse a definition whose results are not of the types that the equation's are."""
    expected = [(var.aval.shape, var.aval.dtype) for var in eqn.outvars]
    computed = [(atom.aval.shape, atom.aval.dtype) for atom in jaxpr.outvars]
    if computed != expected:
        what = f"its definition returns {_types(jaxpr.outvars)} where the primitive has {_types(eqn.outvars)}"
        raise Undefined(what)


def _types(atoms: Sequence[Any]) -> str:
    return ", ".join(atom.aval.str_short() for atom in atoms)


def _binds(jaxpr: Any, eqn: Any) -> bool:
    """Return whether a primitive occurs in its own definition on operands of the same types, so that it has no end."""
    types = [atom.aval.str_short() for atom in eqn.invars]
    for inner in jaxpr.eqns:
        if inner.primitive is eqn.primitive and [atom.aval.str_short() for atom in inner.invars] == types:
            return True
        if any(_binds(part, eqn) for part in inner_jaxprs(inner)):
            return True
    return False
