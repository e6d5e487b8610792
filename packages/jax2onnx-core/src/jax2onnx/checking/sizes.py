"""Sizes of symbolic dims: choose sizes that satisfy the constraints, and compute the shapes that follow from them."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from jax2onnx._compat import is_symbolic
from jax2onnx.errors import InputSpecError

__all__ = ["SIZES", "Assignment", "Sizes", "assignments", "concrete"]

Assignment = Mapping[str, int]
"""The size of each symbol."""

Sizes = Sequence[int | Assignment]
"""Numbers that every symbol takes in turn, or assignments."""

SIZES = (1, 3, 7)
"""The sizes that symbols take by default."""

_REACHES = (0, 8, 64)
"""How far from the requested sizes others are tried, until the constraints hold."""
_MOST_ATTEMPTS = 100_000

_SYMBOL = re.compile(r"[A-Za-z_]\w*(?!\w*\s*\()")
"""A name in a dimension that is not the name of a function."""

_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "max": max,
    "min": min,
    "non_negative": lambda x: max(x, 0),
}


def assignments(
    avals: Sequence[Any],
    sizes: Sizes | None,
    constraints: Sequence[str] = (),
) -> list[Assignment]:
    """Return the assignments to try.

    Different symbols take different sizes where the constraints allow it.

    Args:
        avals: the abstract values whose shapes contain the symbols.
        sizes: the sizes to try; default :data:`SIZES`.
        constraints: what must hold between symbols.
    """
    conditions = []
    symbols: dict[str, None] = {}
    for dim in _symbolic_dims(avals):
        conditions.append(f"{dim} >= 0")
        found = _SYMBOL.findall(dim)
        symbols |= dict.fromkeys(found)
    conditions += _of_symbols(symbols, constraints)
    if not symbols:
        return [{}]
    result: list[Assignment] = []
    for wanted in _requested(list(symbols), sizes or SIZES):
        assignment = _nearest(wanted, conditions)
        if assignment not in result:
            result.append(assignment)
    return result


def _of_symbols(symbols: Collection[str], constraints: Sequence[str]) -> list[str]:
    """Return constraints on other symbols too as constraints on these: JAX writes ``M`` for ``N`` if ``N == M``."""
    given = list(constraints)
    for constraint in constraints:
        name, equals, dim = map(str.strip, constraint.partition("=="))
        if equals and _SYMBOL.fullmatch(name) and name not in symbols:
            # Of a dim, no character means anything in a replacement but a backslash, which none has.
            given = [re.sub(rf"\b{re.escape(name)}\b", f"({dim})", text) for text in given]
    return given


def concrete(shape: Sequence[Any], sizes: Assignment) -> tuple[int, ...]:
    """Return a shape with its symbols replaced by their sizes.

    Args:
        shape: ints and expressions, the latter as symbolic dims or as text.
        sizes: the size of each symbol.
    """
    dims = []
    for dim in shape:
        if isinstance(dim, str) or is_symbolic(dim):
            dims.append(_evaluate(str(dim), sizes))
        else:
            dims.append(int(dim))
    return tuple(dims)


def _symbolic_dims(avals: Sequence[Any]) -> list[str]:
    dims = [str(dim) for aval in avals for dim in aval.shape if is_symbolic(dim)]
    return list(dict.fromkeys(dims))


def _requested(symbols: Sequence[str], sizes: Sizes) -> Iterator[Assignment]:
    """Yield what ``sizes`` asks for, whether or not it satisfies the constraints."""
    numbers = [size for size in sizes if isinstance(size, int)]
    for index, size in enumerate(sizes):
        if isinstance(size, int):
            # Each symbol takes the numbers in turn, and is one number ahead of the symbol before it.
            turns = itertools.islice(itertools.cycle(numbers), index, None)
            yield dict(zip(symbols, turns, strict=False))
        else:
            missing = [symbol for symbol in symbols if symbol not in size]
            if missing:
                raise InputSpecError(f"sizes: {size} gives no size for {missing[0]!r}; add {missing[0]!r} to it")
            yield {symbol: size[symbol] for symbol in symbols}


def _nearest(wanted: Assignment, conditions: Sequence[str]) -> Assignment:
    """Return the sizes that satisfy the conditions and are nearest to the wanted ones, larger ones first."""
    for reach in _REACHES:
        options = [_around(size, reach) for size in wanted.values()]
        combinations = itertools.product(*options)
        for combination in itertools.islice(combinations, _MOST_ATTEMPTS):
            sizes = dict(zip(wanted, combination, strict=True))
            if all(_evaluate(condition, sizes) for condition in conditions):
                return sizes
    raise InputSpecError(
        f"sizes: no sizes near {wanted} satisfy {', '.join(conditions)}; "
        "pass sizes that do, for example sizes=[{'B': 4}]"
    )


def _around(size: int, reach: int) -> list[int]:
    """Return the sizes around one, first that and larger ones, then smaller ones but not 0."""
    least = max(1, size - reach)
    larger = range(size, size + reach + 1)
    smaller = range(least, size)
    return [*larger, *reversed(smaller)]


def _evaluate(text: str, sizes: Assignment) -> int:
    """Evaluate a dimension or a constraint, both written in JAX's grammar."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                apply = _OPERATORS[type(op)]
                return apply(value(left), value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                apply = _OPERATORS[type(op)]
                return apply(value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=args):
                operands = map(value, args)
                return _FUNCTIONS[name](*operands)
        raise InputSpecError(
            f"sizes: cannot evaluate {text!r}; write it with +, -, *, floordiv, mod, max and min of symbols"
        )

    python = text.replace("^", "**")
    expression = ast.parse(python, mode="eval")
    result = value(expression.body)
    return int(result)
