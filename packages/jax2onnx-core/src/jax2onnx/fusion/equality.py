"""Equality of constants and parameters, as numbers see it; in words, what is not equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.program.flatten import flatten
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.program.program import Atom, Program

IGNORED = frozenset({"sharding", "out_sharding", "name", "linear", "unroll", "_split_transpose"})
"""Parameters that do not change numbers on one device."""


def same_constant(a: Const, b: Const) -> bool:
    """Tell whether two constants have the same dtype, shape and bits (any NaN equals any other)."""
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


def same_params(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Tell whether two equations' parameters mean the same."""
    if a is b:
        return True
    try:
        if a == b:
            return True
    except ValueError:  # arrays among them
        pass
    if a.keys() != b.keys() and a.keys() - IGNORED != b.keys() - IGNORED:
        return False
    return all(_same(value, b[key]) for key, value in a.items() if key not in IGNORED)


def told(atom: Atom) -> str:
    """Return an atom in words: the number, if it is one that is known."""
    if not isinstance(atom, Const):
        return f"a computed {atom.aval.str_short()}"
    if atom.aval.shape or jnp.issubdtype(atom.aval.dtype, jax.dtypes.extended):
        return f"a constant {atom.aval.str_short()}"
    return str(np.asarray(atom.value).astype(atom.aval.dtype)[()])


def told_params(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return the first parameter that is not the same, in words."""
    absent = object()
    for key in sorted({*found, *wanted} - IGNORED):
        a, b = found.get(key, absent), wanted.get(key, absent)
        if not _same(a, b):
            if a is absent or b is absent:
                return f"{'no' if a is absent else 'a'} parameter {key}"
            if hasattr(a, "eqns"):
                return f"another {key}"
            return f"{key}={a} where the function has {b}"
    return "other parameters"


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if hasattr(a, "eqns") and hasattr(b, "eqns"):
        return _same_programs(flatten(a), flatten(b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


def _same_aval(a: Atom, b: Atom) -> bool:
    return bool(a.aval.dtype == b.aval.dtype and a.aval.shape == b.aval.shape)


def _same_programs(a: Program, b: Program) -> bool:
    """Compare jaxprs held by parameters, equation by equation in order."""
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
        if x.primitive != y.primitive or not agree(x.inputs, y.inputs) or not same_params(x.params, y.params):
            return False
        if len(x.outputs) != len(y.outputs) or not all(map(_same_aval, x.outputs, y.outputs)):
            return False
        env.update(zip(x.outputs, y.outputs, strict=True))
    return agree(a.outputs, b.outputs)
