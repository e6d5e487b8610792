"""Symbolic dims, read through the grammar in which JAX prints them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import Any

from jax2onnx._compat import is_symbolic, non_negative


def inferred_dims(old: Sequence[Any], new: Sequence[Any]) -> list[int] | None:
    """Return the target of a ``Reshape`` that keeps (0) or infers (-1) each symbolic dim; None if none can."""
    # A zero-size static dim makes both -1 and 0 ambiguous.
    if any(not is_symbolic(d) and int(d) == 0 for d in (*old, *new)):
        return None
    kept = [is_symbolic(d) and i < len(old) and is_symbolic(old[i]) and d == old[i] for i, d in enumerate(new)]
    left = [i for i, d in enumerate(new) if is_symbolic(d) and not kept[i]]
    # -1 cannot be inferred where a kept dim may be zero at run time.
    if len(left) > 1 or (left and any(kept)):
        return None
    return [-1 if i in left else 0 if kept[i] else int(d) for i, d in enumerate(new)]


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
    return axes if matched == len(short) and axes else None


def python(dim: Any) -> str:
    """Return a dim in the grammar of Python."""
    return str(dim).replace("^", "**")


def linear(node: ast.expr) -> dict[str, int] | None:
    """Coefficients of a linear expression (the empty name is the constant), or None."""
    match node:
        case ast.Constant(value=int(value)):
            return {"": value}
        case ast.Name(id=name):
            return {name: 1}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = linear(operand)
            return None if inner is None else {k: -v for k, v in inner.items()}
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            a, b = linear(left), linear(right)
            if a is None or b is None:
                return None
            sign = 1 if isinstance(op, ast.Add) else -1
            return {k: a.get(k, 0) + sign * b.get(k, 0) for k in {**a, **b}}
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = linear(left), linear(right)
            if a is None or b is None or (set(a) | set(b)) == set():
                return None
            if set(a) == {""}:
                a, b = b, a
            return {k: v * b[""] for k, v in a.items()} if set(b) == {""} else None
    return None


def may_be_zero(dim: Any) -> bool:
    """Tell whether a dim may be 0 at run time.

    JAX takes every symbol to be at least 1; a model runs at 0 too, unless ``constraints=`` rule it out.
    """
    if not is_symbolic(dim) or _at_least(dim, 1):
        return not is_symbolic(dim) and int(dim) == 0
    return not any(_at_least(dim - 1 - bound, 0) for bound in non_negative(dim))


def _at_least(dim: Any, bound: int) -> bool:
    """Tell whether a dim is at least ``bound`` wherever the symbols are at least 0, as far as its terms show."""
    terms = linear(parse(python(dim)))
    return terms is not None and terms.pop("", 0) >= bound and all(v >= 0 for v in terms.values())


@functools.cache
def parse(text: str) -> ast.expr:
    """Return the tree of a dim in the grammar of Python."""
    return ast.parse(text, mode="eval").body
