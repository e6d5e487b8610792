"""Equality of constants and parameters, as numbers see it; in words, what is not equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.program.inline_calls import inline_calls
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.program.program import Atom, Body, Program

IGNORED = frozenset({"sharding", "out_sharding", "name", "linear", "unroll", "_split_transpose"})
"""Parameters that do not change numbers on one device."""


def same_constant(a: Const, b: Const) -> bool:
    """Return whether two constants have the same dtype, shape and bits (any NaN equals any other)."""
    if not _same_aval(a, b):
        return False
    if a.value is b.value:
        return True
    if jnp.issubdtype(a.aval.dtype, jax.dtypes.extended):
        return False
    x, y = (np.asarray(c.value).astype(c.aval.dtype, copy=False) for c in (a, b))
    if x.tobytes() == y.tobytes():
        return True
    nans = (x != x) & (y != y)  # noqa: PLR0124 - NaN, in every dtype
    return bool(np.any(nans)) and bool(np.all((_bits(x) == _bits(y)).all(axis=1) | nans.reshape(-1)))


def _bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, array.itemsize)


class _Call(Protocol):
    """What makes an equation the call that it is, besides its operands."""

    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def bodies(self) -> tuple[Body, ...]: ...


def difference(found: _Call, wanted: _Call) -> str | None:
    """Return in words the first parameter in which two equations of one primitive differ; None if they mean the same.

    Jaxprs are compared as the programs that they are, wherever a parameter holds them.
    """
    if found.params is wanted.params:
        return None
    try:
        if found.params == wanted.params:
            return None
    except ValueError:  # arrays among them
        pass
    if len(found.bodies) != len(wanted.bodies):
        return "other parameters"
    programs = {id(a.jaxpr): (a, b) for a, b in zip(found.bodies, wanted.bodies, strict=True)}
    for name in sorted((found.params.keys() | wanted.params.keys()) - IGNORED):
        a, b = found.params.get(name, _ABSENT), wanted.params.get(name, _ABSENT)
        if _same(a, b, programs):
            continue
        if a is _ABSENT or b is _ABSENT:
            return f"{'no' if a is _ABSENT else 'a'} parameter {name}"
        return f"another {name}" if hasattr(a, "eqns") else f"{name}={a} where the function has {b}"
    return None


_ABSENT = object()


def told(atom: Atom) -> str:
    """Return an atom in words: the number, if it is one that is known."""
    if not isinstance(atom, Const):
        return f"a computed {atom.aval.str_short()}"
    if atom.aval.shape or jnp.issubdtype(atom.aval.dtype, jax.dtypes.extended):
        return f"a constant {atom.aval.str_short()}"
    return str(np.asarray(atom.value).astype(atom.aval.dtype)[()])


def _same(a: Any, b: Any, programs: Mapping[int, tuple[Body, Body]]) -> bool:
    if a is b:
        return True
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(_same(x, y, programs) for x, y in zip(a, b, strict=True))
    if id(a) in programs:
        first, second = programs[id(a)]
        return second.jaxpr is b and _same_programs(first.program, second.program)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


def _same_aval(a: Atom, b: Atom) -> bool:
    return bool(a.aval.dtype == b.aval.dtype and a.aval.shape == b.aval.shape)


def _same_programs(a: Program, b: Program) -> bool:
    """Compare jaxprs held by parameters, equation by equation in order; a function is what it computes."""
    a, b = inline_calls(a), inline_calls(b)
    if len(a.eqns) != len(b.eqns) or len(a.inputs) != len(b.inputs):
        return False
    if not all(map(_same_aval, a.inputs, b.inputs)):
        return False
    env: dict[Atom, Atom] = dict(zip(a.inputs, b.inputs, strict=True))

    def agree(xs: list[Atom], ys: list[Atom]) -> bool:
        return len(xs) == len(ys) and all(
            isinstance(y, Const) and same_constant(x, y) if isinstance(x, Const) else env[x] is y
            for x, y in zip(xs, ys, strict=True)
        )

    for x, y in zip(a.eqns, b.eqns, strict=True):
        if x.primitive != y.primitive or not agree(x.inputs, y.inputs) or difference(x, y) is not None:
            return False
        if len(x.outputs) != len(y.outputs) or not all(map(_same_aval, x.outputs, y.outputs)):
            return False
        env.update(zip(x.outputs, y.outputs, strict=True))
    return agree(a.outputs, b.outputs)
