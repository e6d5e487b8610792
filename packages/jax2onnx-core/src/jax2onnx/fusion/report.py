"""Report: which functions an export found in a program or nearly found, and which arrays became constants, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from jax2onnx.fusion.records import Found, MadeConstant, NearMiss
from jax2onnx.program.definitions import Defined
from jax2onnx.program.fold_constants import Computed, Left

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jax2onnx.fusion.records import Declined, Record
    from jax2onnx.program.flatten import Note
    from jax2onnx.program.program import Eqn, Fused

__all__ = ["Expansion", "Finding", "FusionReport", "Miss", "Result", "report"]

_WIDTH = 60
"""How much of a setting's value is shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A function that the model has as a whole.

    Attributes:
        name: the function's public name, with its settings: ``jax.nn.gelu(approximate=True)``.
        where: the user's line, ``file:line (function)``; None if none is known.
        equations: how many of JAX's equations it replaces.
        times: how often this line has it.
    """

    name: str
    where: str | None
    equations: int
    times: int = 1

    def __str__(self) -> str:
        return _entry(self, _equations(self.equations))


@dataclass(frozen=True, slots=True)
class Miss:
    """A function that the model nearly has as a whole; its primitives stay.

    Attributes:
        name: the function's public name, with its settings.
        where: the user's line, ``file:line (function)``; None if none is known.
        reason: what stands against it.
        times: how often this line misses it so.
    """

    name: str
    where: str | None
    reason: str
    times: int = 1

    def __str__(self) -> str:
        return _entry(self, self.reason)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A primitive without a lowering, exported as its own library defines it.

    Attributes:
        name: the primitive's name.
        library: the package whose definition it is.
        where: the user's line, ``file:line (function)``; None if none is known.
        equations: how many equations the definition has.
        times: how often this line has it.
    """

    name: str
    library: str
    where: str | None
    equations: int
    times: int = 1

    def __str__(self) -> str:
        return _entry(self, f"{_equations(self.equations)} of {self.library}")


@dataclass(frozen=True, slots=True)
class Result:
    """A constant that was computed at conversion.

    Attributes:
        name: the operation whose result it is.
        where: the user's line, ``file:line (function)``; None if none is known.
        type: dtype and shape.
        times: how often this line has it.
    """

    name: str
    where: str | None
    type: str
    times: int = 1

    def __str__(self) -> str:
        return _entry(self, self.type)


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What an export made of the program.

    Attributes:
        found: the functions that it found, in the program's order.
        missed: those that it nearly found, the nearest first.
        defined: the primitives that no plugin lowers, and that the model computes as their libraries define them.
        constants: arrays of the model that are constants, since Python code needs their values.
        computed: what it computed, since no input changes it.
        left: what it did not compute though no input changes it, and why not.
    """

    found: tuple[Finding, ...]
    missed: tuple[Miss, ...]
    defined: tuple[Expansion, ...] = ()
    constants: tuple[MadeConstant, ...] = ()
    computed: tuple[Result, ...] = ()
    left: tuple[Miss, ...] = ()

    def __str__(self) -> str:
        sections = [_section("Functions found", self.found), _section("Nearly found", self.missed)]
        if self.defined:
            sections.append(_section("Primitives without a lowering, as their libraries define them", self.defined))
        if self.constants:
            lines = map(str, self.constants)
            sections.append("\n  ".join(["Arrays made constants, since Python code needs their values:", *lines]))
        if self.computed:
            sections.append(_section("Computed at conversion", self.computed))
        if self.left:
            sections.append(_section("Constant, but computed by the model", self.left))
        return "\n".join(sections)


def report(records: Iterable[Record], notes: Iterable[Note] = ()) -> FusionReport:
    """Sum up what was recorded while one program was fused and lowered, and what else there is to tell of it."""
    found: dict[Fused, Found] = {}
    misses: list[NearMiss] = []
    declined: list[Declined] = []
    constants: list[MadeConstant] = []
    for record in records:
        if isinstance(record, Found):
            found[record.fused] = record
        elif isinstance(record, NearMiss):
            misses.append(record)
        elif isinstance(record, MadeConstant):
            constants.append(record)
        else:
            declined.append(record)
    for refusal in declined:
        found.pop(refusal.fused, None)
        misses.append(_near_miss(refusal))
    findings = map(_finding, found.values())
    missed = map(_miss, _nearest(misses, found))
    told = list(notes)
    expansions = [_expansion(note) for note in told if isinstance(note, Defined)]
    computed = [_computed(note) for note in told if isinstance(note, Computed)]
    left = [_left(note) for note in told if isinstance(note, Left)]
    return FusionReport(
        found=_count(findings),
        missed=_count(missed),
        defined=_count(expansions),
        constants=tuple(constants),
        computed=_count(computed),
        left=_count(left),
    )


def _computed(note: Computed) -> Result:
    return Result(note.eqn.primitive, note.eqn.where, note.result.aval.str_short())


def _left(note: Left) -> Miss:
    return Miss(note.eqn.primitive, note.eqn.where, note.reason)


def _near_miss(refusal: Declined) -> NearMiss:
    """Return a refusal as a near miss: all equations are equal, and the rule stands against the function."""
    equations = refusal.fused.interior
    return NearMiss(
        name=refusal.fused.fusion.name,
        kwargs=refusal.fused.kwargs,
        reason=f"declined: {refusal.reason}",
        anchor=equations[-1],
        matched=len(equations),
        complete=True,
    )


def _nearest(misses: Iterable[NearMiss], found: Iterable[Fused]) -> list[NearMiss]:
    """Return for each place the miss that is nearest to its function; the nearest of all comes first.

    At an equation of a function that was found, only a complete miss counts. A miss without one equal equation does not
    count: the function does not take the shapes that are there.
    """
    taken: set[Eqn] = set()
    for fused in found:
        taken.update(fused.interior)
    nearest: dict[tuple[Eqn, bool], NearMiss] = {}
    for miss in misses:
        if miss.matched < 1:
            continue
        if miss.anchor in taken and not miss.complete:
            continue
        place = miss.anchor, miss.complete
        known = nearest.setdefault(place, miss)
        if miss.matched > known.matched:
            nearest[place] = miss
    return sorted(nearest.values(), key=lambda miss: -miss.matched)


def _finding(record: Found) -> Finding:
    return Finding(_call(record), record.anchor.where, record.equations)


def _miss(record: NearMiss) -> Miss:
    return Miss(_call(record), record.anchor.where, record.reason)


def _expansion(note: Defined) -> Expansion:
    return Expansion(note.primitive, note.library, note.where, note.equations)


_Entry = TypeVar("_Entry", Finding, Miss, Expansion, Result)


def _count(entries: Iterable[_Entry]) -> tuple[_Entry, ...]:
    """Return each entry once, with how often it is there."""
    counted: list[_Entry] = []
    for entry, times in Counter(entries).items():
        counted.append(replace(entry, times=times))
    return tuple(counted)


def _call(record: Found | NearMiss) -> str:
    settings = [f"{key}={_shorten(value)}" for key, value in record.kwargs.items()]
    if not settings:
        return record.name
    return f"{record.name}({', '.join(settings)})"


def _shorten(value: object) -> str:
    text = repr(value)
    if len(text) <= _WIDTH:
        return text
    return f"{text[: _WIDTH - 1]}…"


def _equations(count: int) -> str:
    plural = "s" if count != 1 else ""
    return f"{count} equation{plural}"


def _section(title: str, entries: Sequence[Finding | Miss | Expansion | Result]) -> str:
    total = sum(entry.times for entry in entries)
    return "\n  ".join([f"{title}: {total or 'none'}", *map(str, entries)])


def _entry(entry: Finding | Miss | Expansion | Result, what: str) -> str:
    text = f"{entry.name}: {what}"
    if entry.times > 1:
        text += f", {entry.times} times"
    if entry.where:
        text += f"\n    at {entry.where}"
    return text
