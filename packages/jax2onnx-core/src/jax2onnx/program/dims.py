"""Symbolic dims: what is known of them, read through the grammar in which JAX prints them."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from jax2onnx._compat import is_symbolic, non_negative
from jax2onnx.program.shapes import has_zero

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["expression", "inferred_dims", "inserted_ones", "linear", "may_be_zero", "never_negative"]

_KEPT = 0
"""In the target of a ``Reshape``: the size of the same dim of the operand."""

_INFERRED = -1
"""In the target of a ``Reshape``: the size that follows from the others."""


def inferred_dims(old: Sequence[Any], new: Sequence[Any]) -> list[int] | None:
    """Return the target of a ``Reshape`` that keeps (0) or infers (-1) each symbolic dim; None if none can."""
    # A zero-size static dim makes both -1 and 0 ambiguous.
    if has_zero(*old, *new):
        return None
    target: list[int] = []
    for axis, dim in enumerate(new):
        if not is_symbolic(dim):
            target.append(int(dim))
        elif axis < len(old) and is_symbolic(old[axis]) and dim == old[axis]:
            target.append(_KEPT)
        else:
            target.append(_INFERRED)
    # -1 cannot be inferred where a kept dim may be zero at run time.
    most = 0 if _KEPT in target else 1
    return target if target.count(_INFERRED) <= most else None


def inserted_ones(short: Sequence[Any], long: Sequence[Any]) -> list[int] | None:
    """Return where dims of size 1 stand in ``long`` that, left out, make it ``short``; None if nothing does."""
    axes: list[int] = []
    matched = 0
    for axis, dim in enumerate(long):
        if matched < len(short) and bool(dim == short[matched]):
            matched += 1
        elif not is_symbolic(dim) and dim == 1:
            axes.append(axis)
        else:
            return None
    is_complete = matched == len(short)
    return axes if is_complete and axes else None


def may_be_zero(dim: Any) -> bool:
    """Return whether a dim may be 0 at run time.

    JAX takes every symbol to be at least 1; a model runs at 0 too, unless ``constraints=`` rule it out.
    """
    if not is_symbolic(dim):
        return int(dim) == 0
    least = dim - 1
    differences = [least - bound for bound in (0, *non_negative(dim))]
    return not any(map(_never_negative, differences))


def _never_negative(dim: Any) -> bool:
    """Return whether the terms of a dim show that it is at least 0 wherever all symbols are."""
    if not is_symbolic(dim):
        return int(dim) >= 0
    tree = expression(dim)
    coefficients = _coefficients(tree)
    if coefficients is None:
        return _is_natural(tree)
    return min(coefficients.values()) >= 0


def _is_natural(node: ast.expr) -> bool:
    """Return whether an expression is at least 0 since each of its parts is; 0 divides nothing."""
    match node:
        case ast.Constant(value=int(value)):
            return value >= 0
        case ast.Name():
            return True
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() | ast.Pow(), right=right):
            return _is_natural(left) and _is_natural(right)
        case ast.Call(func=ast.Name(id="mod"), args=[_, divisor]):
            return _is_natural(divisor)
        case ast.Call(func=ast.Name(id="max"), args=parts):
            return any(map(_is_natural, parts))
        case ast.Call(func=ast.Name(id="floordiv" | "min"), args=parts):
            return all(map(_is_natural, parts))
    return False


def never_negative(dim: Any) -> bool:
    """Return whether a dim, or a difference of dims, is at least 0 whatever the sizes are, 0 included."""
    if not is_symbolic(dim):
        return int(dim) >= 0
    differences = [dim - bound for bound in (0, *non_negative(dim))]
    return any(map(_never_negative, differences))


def linear(dim: Any) -> Mapping[str, int] | None:
    """Return the coefficients of a dim that is linear in its symbols, else None.

    ``3*B - 1`` has ``{"B": 3, "": -1}``: the empty name has the constant.
    """
    return _coefficients(expression(dim))


def expression(dim: Any) -> ast.expr:
    """Return the tree of a dim; Python's grammar has all that JAX prints, but for the sign of a power."""
    text = str(dim)
    return _parsed(text.replace("^", "**"))


@functools.cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _coefficients(node: ast.expr) -> Counter[str] | None:
    match node:
        case ast.Constant(value=int(value)):
            return Counter({"": value})
        case ast.Name(id=symbol):
            return Counter({symbol: 1})
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combined(Counter(), ast.Sub(), _coefficients(operand))
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(_coefficients(left), operator, _coefficients(right))
    return None


def _combined(
    left: Counter[str] | None,
    operator: ast.operator,
    right: Counter[str] | None,
) -> Counter[str] | None:
    if left is None or right is None:
        return None
    match operator:
        case ast.Add():
            left.update(right)
            return left
        case ast.Sub():
            left.subtract(right)
            return left
        case ast.Mult() if left.keys() == {""}:  # JAX writes a coefficient before its symbol
            factor = left[""]
            return Counter({symbol: factor * coefficient for symbol, coefficient in right.items()})
    return None
