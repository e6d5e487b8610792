"""The symbolic dims of specs: all of a model in one scope, with what holds between them."""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from tokenize import TokenError
from typing import Any

from jax import export

from jax2onnx._accepted import nearest, shown
from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.dim_text import require_simple
from jax2onnx.frontend.remedies import first_line

SYMBOL = re.compile(r"[A-Za-z_]\w*(?!\w*\s*\()")
_BOUND = re.compile(r"^\s*(?P<dim>.*\S)\s*(?P<operator>>=|<=|==)\s*(?P<number>\d+)\s*$")
_MOST_SMALL_NUMBERS = 17
_DIVISIBLE = re.compile(r"^\s*mod\((?P<dim>[^,]+),\s*(?P<by>\d+)\)\s*==\s*0\s*$")
_LARGEST = 2**63 - 1
_SYMBOL_ERRORS = (ValueError, TypeError, NotImplementedError, ArithmeticError, RecursionError, TokenError)
"""What JAX raises for an expression or a constraint that it does not accept."""


def is_anonymous(dim: Any) -> bool:
    """Return whether a dimension has no name: ``None``, ``...`` and the like."""
    if isinstance(dim, str):
        return dim in {"...", "_", "?"}
    return dim is None or dim is ...


class Dims:
    """Parses dimensions. All symbols of a model have one scope: that of the user's ``jax.export`` dims, or our own.

    Attributes:
        symbols: the names of the symbols so far, in order.
        _written: the names as the specs have them; an equality among the constraints may replace one by another.
    """

    def __init__(self, constraints: Sequence[str]) -> None:
        constraints = list(dict.fromkeys(constraints))
        for constraint in constraints:
            require_simple(constraint)
        complete = [*constraints, *_with_negative_divisors(constraints), *_with_small_numbers(constraints)]
        try:
            self._scope = export.SymbolicScope(complete)
        except (*_SYMBOL_ERRORS, InconclusiveDimensionOperation) as error:
            raise InputSpecError(
                f"constraints: {list(constraints)!r} is not accepted: {first_line(error)}; "
                "write conditions such as 'T >= 4', 'T <= B' or 'mod(T, 2) == 0'"
            ) from error
        _refuse_empty_ranges(constraints)
        self._constraints = constraints
        self._written: set[str] = set()
        self._users_scope: Any = None
        self._is_constrained = bool(constraints)
        self._anonymous = 0
        self.symbols: dict[str, None] = {}

    @property
    def scope(self) -> Any:
        """The scope of the symbols."""
        return self._users_scope or self._scope

    def parse(self, dim: Any) -> Any:
        """Return a dimension as an int or a ``jax.export`` symbolic dimension."""
        if is_anonymous(dim):
            dim = f"_d{self._anonymous}"
            self._anonymous += 1
        if is_symbolic(dim):
            self._adopt_scope(dim.scope)
            self._note(dim)
            return dim
        if isinstance(dim, str):
            return self._parse_expression(dim)
        if isinstance(dim, bool) or not isinstance(dim, numbers.Integral) or int(dim) < 0:
            hint = "write None for a size that is not known" if dim == -1 else "write for example 3 or 'B'"
            raise InputSpecError(f"a dimension is a non-negative int or a symbol, got {dim!r}; {hint}")
        if int(dim) > _LARGEST:
            raise InputSpecError(f"a dimension of ONNX is an int64, got {shown(dim)}; write a symbol such as 'B'")
        return int(dim)

    def check_constraints(self) -> None:
        """Raise InputSpecError for a constraint about a symbol that no input has.

        An equality may introduce symbols: ``B == 2*n`` makes the dimension ``B`` twice a new one.
        """
        known = {*self._written, *self.symbols}
        named = {text: set(SYMBOL.findall(text)) for text in self._constraints}
        for _ in named:
            for text, names in named.items():
                if "==" in text and not known.isdisjoint(names):
                    known |= names
        for text, names in named.items():
            for name in sorted(names - known):
                hint = nearest(name, known, "their dimensions are")
                raise InputSpecError(f"constraints: {text!r} is about {name}, which no input has; {hint}")

    def _parse_expression(self, text: str) -> Any:
        if not text.strip():
            raise InputSpecError(
                "a dimension is empty; write a symbol such as 'B', or None for a size that is not known"
            )
        require_simple(text)
        try:
            (dim,) = export.symbolic_shape(text, scope=self.scope)
        except _SYMBOL_ERRORS as error:
            raise InputSpecError(
                f"the dimension {text!r} is not a symbol or an expression of symbols: {first_line(error)}; "
                "write for example 'B', '2*B' or 'B + 1'"
            ) from error
        self._written.update(SYMBOL.findall(text))
        if not is_symbolic(dim):
            return self.parse(int(dim))
        if self._is_negative(dim):
            raise InputSpecError(f"the dimension {text!r} is negative at every size; write for example 'B'")
        self._note(dim)
        return dim

    def _is_negative(self, dim: Any) -> bool:
        """Return whether a dimension is negative at every size. JAX looks at the constraints when it is first asked."""
        try:
            return bool(dim <= -1)
        except InconclusiveDimensionOperation:
            return False
        except ValueError as error:
            raise InputSpecError(
                f"constraints: no size satisfies {list(self._constraints)!r}: {first_line(error)}; leave one out"
            ) from error

    def _adopt_scope(self, scope: Any) -> None:
        """Use the scope of the user's symbolic dims from here on."""
        if self._is_constrained:
            raise InputSpecError(
                "constraints: the dims have some already; give all to jax.export.symbolic_shape where they are made, "
                "or write string dims with constraints="
            )
        if self._users_scope is None:
            if self.symbols:
                raise InputSpecError("string dims come before jax.export dims; put the latter first, or use strings")
            self._users_scope = scope
        if self._users_scope is not scope:
            raise InputSpecError("symbolic dims of two different scopes; make them in one symbolic_shape scope")

    def _note(self, dim: Any) -> None:
        symbols = SYMBOL.findall(str(dim))
        self.symbols.update(dict.fromkeys(symbols))


def _refuse_empty_ranges(constraints: Sequence[str]) -> None:
    """Raise InputSpecError for bounds of a dimension that no size satisfies."""
    least: dict[str, int] = {}
    most: dict[str, int] = {}
    for constraint in constraints:
        match = _BOUND.match(constraint)
        if match is None:
            continue
        dim, operator, number = match.groups()
        if operator != "<=":
            least[dim] = max(int(number), least.get(dim, 0))
        if operator != ">=":
            most[dim] = min(int(number), most.get(dim, int(number)))
    for dim, low in least.items():
        if low > most.get(dim, low):
            raise InputSpecError(
                f"constraints: no size {dim} is at least {low} and at most {most[dim]}; leave out one of the bounds"
            )


def _with_negative_divisors(constraints: Sequence[str]) -> list[str]:
    """Return ``mod(T, -4) == 0`` for ``mod(T, 4) == 0``.

    A reshape to ``(-1, 4)`` asks JAX for the former: it divides by the product of the new shape, the -1 included.
    """
    mirrored = []
    for constraint in constraints:
        match = _DIVISIBLE.match(constraint)
        if match is not None:
            dim, divisor = match.groups()
            mirrored.append(f"mod({dim}, -{divisor}) == 0")
    return mirrored


def _with_small_numbers(constraints: Sequence[str]) -> list[str]:
    """Return ``mod(1, N) == 1`` and ``floordiv(1, N) == 0`` for ``N >= 2``, and so on for the numbers below a bound.

    JAX does not see it by itself: ``jnp.pad(x, 1, mode='wrap')`` asks for the remainder of the padding by the size.
    """
    found = []
    for constraint in constraints:
        match = _BOUND.match(constraint)
        if match is None or match["operator"] != ">=" or "(" in match["dim"]:
            continue
        for number in range(1, min(int(match["number"]), _MOST_SMALL_NUMBERS)):
            found += [f"mod({number}, {match['dim']}) == {number}", f"floordiv({number}, {match['dim']}) == 0"]
    return found
