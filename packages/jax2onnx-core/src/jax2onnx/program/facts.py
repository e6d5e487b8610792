"""Facts: what core has to know of a primitive besides how it is lowered.

Core itself knows no primitive. The plugin that owns a primitive registers its facts beside its lowering.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

__all__ = [
    "UNKNOWN",
    "FactTable",
    "Facts",
    "FindCall",
    "IdleRule",
    "LargeRule",
    "Maker",
    "Need",
    "Params",
    "RangeRule",
    "Simplified",
    "SmallRule",
    "WorkRule",
    "ZeroRule",
    "blind",
    "telling",
]

Params: TypeAlias = Mapping[str, Any]

ZeroRule: TypeAlias = Callable[[Any, bool], Sequence[Any]]
"""Returns the operands of an ``Eqn`` in which the sign of a zero matters; is given whether it does in the result."""


@dataclass(frozen=True, slots=True)
class Need:
    """That small numbers among some values have to be exact in all their digits.

    Attributes:
        floor: numbers below it may have any value below it: something of that size is added to them.
        sums: whether the terms of a sum need it too; not so where a sum only becomes small as a whole, as in a norm.
    """

    floor: float = 0.0
    sums: bool = True


SmallRule: TypeAlias = Callable[[Any, Need], Sequence[tuple[Any, Need]]]
"""Returns the operands of an ``Eqn`` whose small numbers have to be exact, and how; is given the need of its result."""

LargeRule: TypeAlias = Callable[[Any, Sequence[bool], Mapping[Any, Any]], bool]
"""Returns whether the result of an ``Eqn`` may be very large.

It is given for each operand whether it may be, and the equations of the program by their results.
"""

Maker: TypeAlias = Callable[[Any], Callable[..., Any]]
"""Makes from a jaxpr's equation the JAX function, of representations, that does its work."""

WorkRule: TypeAlias = Callable[[Any, Sequence[float]], float]
"""Returns the steps of an ``Eqn``, given those of each of its bodies."""

RangeRule: TypeAlias = Callable[[Any, Any], tuple[Sequence[Any], Sequence[Sequence[Any]]]]
"""Returns the ranges of the results of an ``Eqn``, given a ``KnownRanges`` of its operands, and those of the inputs of
its bodies; None for the range of what is neither integers nor bools."""

IdleRule: TypeAlias = Callable[[Any, Any], int | None]
"""Returns the operand that the result of an ``Eqn`` is, given a ``KnownRanges``; None if it may be another value."""

FindCall: TypeAlias = Callable[[Any], tuple[Any, Sequence[Any]] | None]
"""Returns the jaxpr, and its constants, that a jaxpr's equation only calls; None where it does more."""


@dataclass(frozen=True, slots=True)
class Simplified:
    """What XLA makes of an equation of a jaxpr, if it compiles it with others.

    Attributes:
        function: the JAX function that does the equation's work then.
        operands: the operands of the function, literals or variables of the jaxpr.
        beside: the equations that have to be compiled with it.
    """

    function: Callable[..., Any]
    operands: Sequence[Any]
    beside: Sequence[Any] = ()


SimplifiedRule: TypeAlias = Callable[[Any, Mapping[Any, Any]], Simplified | None]
"""Returns what XLA makes of a jaxpr's equation, given the jaxpr's equations by their results."""


def telling(eqn: Any, _matters: bool) -> Sequence[Any]:  # noqa: FBT001 - a ZeroRule
    """Return all operands: zeros of different sign become different numbers, as in ``rsqrt`` or ``atan2``."""
    operands: Sequence[Any] = eqn.inputs
    return operands


def blind(_eqn: Any, _matters: bool) -> Sequence[Any]:  # noqa: FBT001 - a ZeroRule
    """Return no operand: no sign of a zero changes the result, as in ``abs``, ``cos`` and sums that start at 0."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts of one primitive; each default is right for a primitive of which nothing is known.

    Attributes:
        commutes: its two operands may be swapped.
        elementwise: it reads a scalar operand as if that were broadcast.
        common: it occurs in so many functions that it says nothing about which one an equation belongs to; it holds
            no jaxpr.
        scalar: ``broadcast`` or ``convert``, where the result of a scalar operand is that scalar, broadcast or in
            another dtype.
        size: its result is the size of a dimension.
        effect: it matters even if nobody reads its results.
        new_sizes: its results may have symbolic dims that no operand has.
        identity: it returns its operands (a function of the jaxpr's equation: only where that returns True).
        named: returns, of the jaxpr's equation, the name under which a rule for just this equation may be registered,
            as for one composite among all.
        calls: it only calls a jaxpr: the params that may hold it (the name changes between jax releases), or a
            function of the jaxpr's equation that finds it.
        compiles: JAX compiles the jaxpr that it calls as one.
        simplified: returns, of the jaxpr's equation and the equations around it by their results, what XLA makes of it
            where it compiles it with others, if that may give other numbers (``Simplified``); else None.
        instead: makes, of the jaxpr's equation and the operands that depend on no input, by their positions, a JAX
            function of its operands that does its work in fewer steps; None where there is none. Such an operand is an
            array that is computed when it is asked for, or None if that takes too long. Equations that it binds again
            (``bind_equation``) keep their lines.
        together: makes, of independent equations of the primitive, a JAX function of the operands of all that returns
            the results of all, one after the other; None where each is better computed alone.
        joined: makes, of two of a jaxpr's equations that need not wait for each other, a JAX function of the operands
            of both that returns the results of both at once; None where each is better computed alone.
        border: its operands and results take the form that the borders of its jaxprs have.
        bodies: returns, of its params, the jaxprs that its rule lowers; by default every closed one among them.
        stateful: its jaxpr reads and writes refs, and has to be discharged.
        fold: a numpy function ``fold(params, *arrays)`` of the result, or of the results if there are several, rounded
            as JAX rounds it; None where it cannot.
        decided: a numpy function ``decided(params, *arrays)`` of the number that all elements of the result are,
            whatever the operands are that are not known, and given as None; it returns None where these matter.
        work: how many steps computing an equation at conversion takes, besides one for each element; is given the
            equation and the steps of each of its bodies (by default each is executed once).
        bounded: makes, of an equation and a number, the JAX function of its operands that does its work in at most so
            many iterations; it returns the results, and whether the work was done.
        unchanged: the operands that its bodies read as they are: for each body, which of its inputs is which operand.
        unit: a scalar operand, of an integer or bool dtype, with which it returns its other operand.
        zeros: which operands' sign of a zero matters; by default those of all where the result's does.
        small: of which operands small numbers have to be exact; by default of all where those of the result have to.
        large: whether its result may be so large that a small number times it is not small, as that of ``exp`` may; by
            default where an operand may.
        multiplies: it multiplies numbers of its operands with each other.
        range: between which bounds its results lie, and what its bodies are given; by default what the dtype allows.
        idle: which operand its result is, by the ranges of its operands; by default none.
        indexes: its rule asks for the ranges of its operands.
        joins: returns, of its params, the axis along which it joins its operands.
        carried: returns, of its params, the first operand that is carried from iteration to iteration, and how many.
        permutation: returns, of its params, the permutation by which it transposes its operand.
        transposed: returns the equation whose result is this one's transposed by a permutation (``transposed(eqn,
            permutation)``), where that spares transposes; else None.
        rounding: where its rounding errors arise, for ``check``: each ``result`` is rounded; so is each result of a
            function that goes to 1, for which a runtime may be accurate to a ``unit`` of 1 only; the ``terms`` of sums
            are; or errors are as large as those of the largest number in ``rows``, or in a ``matrix``. An ``extremum``
            is not rounded, but JAX may pass over NaN; an ``order`` neither, but JAX may tell NaN apart by their sign.
        steps: returns, of the jaxpr's equation, a JAX function in plainer steps by which JAX computes it, where the
            rounding of each step decides, for ``check``; None where the equation is one step.
        vanishes: returns, of its operands, where the exact result is not 0, but may be a number so small that JAX on a
            CPU makes it 0, for ``check``.
        half: whether it is worth computing in float16 or bfloat16 where a user asks for that (``computes``: products of
            arrays), or takes part where an operand is in half (``follows``); by default it stays in float32. One that
            reads the ``bits`` of numbers is never computed in another dtype.
        on_complex: makes the function of the real and imaginary parts that does an equation's work.
        on_keys: makes the function of the words of random keys that does an equation's work.
        warning: returns, of the jaxpr's equation, what the user is told once of a program that has it, or None.
    """

    commutes: bool = False
    elementwise: bool = False
    common: bool = False
    scalar: Literal["", "broadcast", "convert"] = ""
    size: bool = False
    effect: bool = False
    new_sizes: bool = False
    identity: bool | Callable[[Any], bool] = False
    named: Callable[[Any], str] | None = None
    calls: Sequence[str] | FindCall = ()
    compiles: bool = False
    simplified: SimplifiedRule | None = None
    instead: Callable[[Any, Mapping[int, Any]], Callable[..., Any] | None] | None = None
    together: Callable[[Sequence[Any]], Callable[..., Any] | None] | None = None
    joined: Callable[[Sequence[Any]], Callable[..., Any] | None] | None = None
    border: bool = False
    bodies: Callable[[Params], Sequence[Any]] | None = None
    stateful: bool = False
    fold: Callable[..., Any] | None = None
    decided: Callable[..., Any] | None = None
    work: WorkRule | None = None
    bounded: Callable[[Any, int], Callable[..., Any]] | None = None
    unchanged: Callable[[Any], Sequence[Mapping[int, int]]] | None = None
    unit: int | None = None
    zeros: ZeroRule | None = None
    small: SmallRule | None = None
    large: LargeRule | None = None
    multiplies: bool = False
    range: RangeRule | None = None
    idle: IdleRule | None = None
    indexes: bool = False
    joins: Callable[[Params], int] | None = None
    carried: Callable[[Params], tuple[int, int]] | None = None
    permutation: Callable[[Params], Sequence[int]] | None = None
    transposed: Callable[[Any, Sequence[int]], Any] | None = None
    rounding: Literal["result", "unit", "terms", "rows", "matrix", "extremum", "order"] = "result"
    steps: Callable[[Any], Callable[..., Any] | None] | None = None
    vanishes: Callable[..., Any] | None = None
    half: Literal["", "computes", "follows", "bits"] = ""
    on_complex: Maker | None = None
    on_keys: Maker | None = None
    warning: Callable[[Any], str | None] | None = None

    def __post_init__(self) -> None:
        for fact in _FUNCTIONS:
            value = getattr(self, fact)
            if value is not None and not callable(value):
                raise TypeError(f"the fact {fact!r} is {value!r}, which cannot be called")
        for fact, choices in _WORDS.items():
            value = getattr(self, fact)
            if value not in choices:
                raise TypeError(f"the fact {fact!r} is {value!r}, none of {', '.join(map(repr, choices))}")

    def stated(self) -> dict[str, Any]:
        """Return the facts that differ from the defaults, by name."""
        stated = {}
        for fact in fields(self):
            value = getattr(self, fact.name)
            if value != fact.default:
                stated[fact.name] = value
        return stated


_FUNCTIONS = (
    *("bodies", "fold", "work", "bounded", "unchanged", "zeros", "small", "carried"),
    *("permutation", "transposed", "on_complex", "on_keys", "warning", "instead", "simplified", "together", "joined"),
    *("steps", "vanishes"),
)
"""The facts that are functions."""

_WORDS = {fact: get_args(get_type_hints(Facts)[fact]) for fact in ("scalar", "rounding", "half")}
"""The facts that are one of a few words."""

UNKNOWN = Facts()
"""The facts of a primitive of which nothing is registered."""


@dataclass(slots=True, eq=False)
class FactTable:
    """The facts of all primitives, and which plugin registered each; fixed once plugins are loaded.

    Traces of references are cached per table, since flattening depends on it.

    Attributes:
        by_primitive: the facts.
        owners: for each fact, by primitive and name, the plugin that registered it.
        lowered: the primitives with a lowering, at any opset; None if that is not known, so that all are taken to have
            one. Any other is replaced by its own definition.
    """

    by_primitive: dict[str, Facts] = field(default_factory=dict)
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    lowered: set[str] | None = None

    def of(self, primitive: str) -> Facts:
        """Return the facts of a primitive."""
        return self.by_primitive.get(primitive, UNKNOWN)

    def is_lowered(self, primitive: str) -> bool:
        """Return whether the primitive has a lowering."""
        return self.lowered is None or primitive in self.lowered

    def name_of(self, eqn: Any) -> str:
        """Return the name of a jaxpr's equation: its primitive's, or its own if a lowering has that."""
        name: str = eqn.primitive.name
        named = self.of(name).named
        own = None if named is None else named(eqn)
        return own if own is not None and own in (self.lowered or ()) else name

    def with_lowered(self, primitives: Iterable[str]) -> FactTable:
        """Return the table for an export in which these primitives have a lowering, whatever is registered of them."""
        names = frozenset(name for name in primitives if self._is_replaced(name))
        return _with_lowered(self, names) if names else self

    def _is_replaced(self, primitive: str) -> bool:
        """Return whether flattening puts something else in the place of the primitive."""
        facts = self.of(primitive)
        return bool(facts.identity or facts.calls) or not self.is_lowered(primitive)

    def add(self, primitive: str, facts: Facts, owner: str) -> None:
        """Add facts to those that are there, in place of such of the same name."""
        stated = facts.stated()
        self.by_primitive[primitive] = replace(self.of(primitive), **stated)
        for name in stated:
            self.owners[primitive, name] = owner


# Exports with the same rules of a user share the table, and with it the traces of references.
@functools.lru_cache(maxsize=16)
def _with_lowered(table: FactTable, primitives: frozenset[str]) -> FactTable:
    by_primitive = dict(table.by_primitive)
    for name in primitives:
        by_primitive[name] = replace(table.of(name), identity=False, calls=())
    return replace(table, by_primitive=by_primitive, lowered={*primitives, *(table.lowered or ())})
