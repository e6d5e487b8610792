"""Values at a border of programs: complex numbers are two values inside, and one array of pairs there."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax

from jax2onnx._compat import (
    Literal,
    ShapedArray,
)
from jax2onnx.program.program import Atom, Const, Var
from jax2onnx.program.represent import (
    Complex,
    form,
    is_complex,
    represented,
)

Value: TypeAlias = Atom | Complex
"""A value of the jaxpr: a complex one is two atoms, any other is one."""


def size_of(atoms: Sequence[Atom]) -> int:
    """Return how many elements arrays have together."""
    return sum(atom.aval.size for atom in atoms)


def border_variables(variables: Sequence[Any]) -> list[Var]:
    """Return new variables in the form that JAX's have at a border."""
    return [Var(form(variable.aval)) for variable in variables]


def split(pairs: jax.Array) -> Complex:
    """Return the real and imaginary parts, which the last dim of an array at a border holds."""
    last = pairs.ndim - 1
    part = functools.partial(jax.lax.index_in_dim, pairs, axis=last, keepdims=False)
    return Complex(part(0), part(1))


def join(value: Complex) -> jax.Array:
    """Return the array at a border that holds real and imaginary parts."""
    return jax.numpy.stack(value, -1)


def read(env: Mapping[Any, Value], atom: Any) -> Value:
    """Return the value of a variable or literal of a jaxpr."""
    if isinstance(atom, Literal):
        return const(atom.aval, atom.val)
    return env[atom]


def const(aval: Any, value: Any) -> Value:
    """Return a constant of a jaxpr as a value."""
    return Const(aval, value) if form(aval) is aval else held(aval, represented(value))


def held(aval: Any, array: Any) -> Value:
    """Return the constant of ``aval`` that has a form at a border."""
    if is_complex(aval):
        part = ShapedArray(aval.shape, array.dtype)
        real = Const(part, array[..., 0])
        imaginary = Const(part, array[..., 1])
        return Complex(real, imaginary)
    return Const(form(aval), array)


def convert_literal(operand: Value, aval: Any) -> Value:
    """Return a literal in another aval, which differs in its weak type only; any other operand as it is."""
    if isinstance(operand, Const):
        return Const(aval, operand.value)
    return operand
