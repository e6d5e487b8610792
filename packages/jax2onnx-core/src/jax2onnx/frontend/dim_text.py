"""Texts of dims: expressions that JAX would take too long to parse are refused before it tries.

JAX multiplies out what it reads: ``(A + B)^100000000``, which a model may name as a dim, has 100000001 terms.
"""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass

from jax2onnx._accepted import shown
from jax2onnx.errors import InputSpecError

__all__ = ["require_simple"]

_LONGEST = 1000
"""Characters of an expression."""
_MOST_TERMS = 1000
_MOST_BITS = 4096
_PLAIN = re.compile(r"[^*^()]*")
"""An expression without products and powers: it has no more terms than characters."""
_WORD = re.compile(r"[A-Za-z_]\w*")
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")
_RELATIONS = re.compile(r">=|<=|==")


@dataclass(frozen=True, slots=True)
class _Size:
    """How large an expression is once it is multiplied out.

    Attributes:
        terms: at most so many terms.
        bits: the bits of its largest number, and the degree of its terms.
    """

    terms: int
    bits: int

    def __post_init__(self) -> None:
        if self.terms > _MOST_TERMS or self.bits > _MOST_BITS:
            raise OverflowError

    def times(self, other: _Size) -> _Size:
        return _Size(self.terms * other.terms, self.bits + other.bits)


def require_simple(text: str) -> None:
    """Raise InputSpecError for an expression or a constraint that is too long or not printable, or has large powers."""
    for word in _WORD.findall(text):
        if keyword.iskeyword(word):
            raise InputSpecError(
                f"the dimension {shown(text)} has the name {word!r}, a word of Python; write '{word}_'"
            )
    if _FOREIGN_DIGIT.search(text):
        raise InputSpecError(f"the dimension {shown(text)} has digits that are not 0 to 9; write it with those")
    if len(text) <= _LONGEST and text.strip().isprintable():
        if _PLAIN.fullmatch(text):
            return
        try:
            for side in _RELATIONS.split(text):
                _size(ast.parse(side.strip().replace("^", "**"), mode="eval").body)
        except ZeroDivisionError as error:
            raise InputSpecError(f"the dimension {shown(text)} divides by 0; write another number") from error
        except (OverflowError, RecursionError, MemoryError):
            pass
        except (SyntaxError, ValueError):
            if "^" not in text and "**" not in text:
                return  # JAX says what is wrong with it
        else:
            return
    raise InputSpecError(
        f"the dimension {shown(text)} is no simple expression; write for example 'B', '2*B' or 'B^2', "
        "and a new symbol for what is not simple"
    )


def _size(node: ast.expr) -> _Size:
    match node:
        case ast.Constant(value=int(value)):
            return _Size(1, value.bit_length())
        case ast.Name():
            return _Size(1, 1)
        case ast.UnaryOp(operand=operand):
            return _size(operand)
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int(exponent))):
            return _power(_size(base), exponent)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            first, second = _size(left), _size(right)
            return _Size(first.terms + second.terms, max(first.bits, second.bits) + 1)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _size(left).times(_size(right))
        case ast.BinOp(left=left, right=right):
            return _largest([left, right])
        case ast.Call(func=ast.Name(id="mod" | "floordiv"), args=[_, ast.Constant(value=0)]):
            raise ZeroDivisionError
        case ast.Call(args=args):
            return _largest(args)
    raise SyntaxError


def _largest(nodes: list[ast.expr]) -> _Size:
    """Return the size of a term that has expressions inside, such as ``mod(A, B)``."""
    sizes = [_size(node) for node in nodes]
    return _Size(sum(size.terms for size in sizes), max((size.bits for size in sizes), default=1))


def _power(base: _Size, exponent: int) -> _Size:
    if exponent > _MOST_BITS:
        raise OverflowError
    result = _Size(1, 1)
    for _ in range(exponent):
        result = result.times(base)
    return result
