"""Explain: what became of the functions that fusions look for, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from jax2onnx.fusion.fuse import Declined, Found, NearMiss

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jax2onnx.fusion.fuse import Record
    from jax2onnx.program.program import Eqn

_WIDTH = 60


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
        return _entry(self.name, f"{self.equations} equation{'s' * (self.equations != 1)}", self.times, self.where)


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
        return _entry(self.name, self.reason, self.times, self.where)


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Which functions an export found in the program, in its order, and which it missed, the nearest first."""

    found: tuple[Finding, ...]
    missed: tuple[Miss, ...]

    def __str__(self) -> str:
        parts = []
        for title, entries in (("Functions found", self.found), ("Nearly found", self.missed)):
            times = sum(entry.times for entry in entries)
            parts.append("\n".join([f"{title}: {times or 'none'}", *(f"  {entry}" for entry in entries)]))
        return "\n".join(parts)


def report(records: Iterable[Record]) -> FusionReport:
    """Sum up what fusing and lowering one program recorded.

    A place is told once, with the function that is nearest to it; not at all if another function was found there, or if
    the nearest function does not take the shapes that are there.
    """
    records = list(records)
    declined = {id(r.fused): r for r in records if isinstance(r, Declined)}
    found = [r for r in records if isinstance(r, Found) and id(r.fused) not in declined]
    taken = {id(e) for r in found for e in r.fused.interior}
    nearest: dict[tuple[int, bool], tuple[int, Miss]] = {}

    def near(anchor: Eqn, matched: int, miss: Miss, *, complete: bool) -> None:
        key = (id(anchor), complete)
        if (complete or id(anchor) not in taken) and matched > nearest.get(key, (0, miss))[0]:
            nearest[key] = (matched, miss)

    for record in records:
        if isinstance(record, NearMiss):
            miss = Miss(_called(record.name, record.kwargs), record.where, record.reason)
            near(record.anchor, record.matched, miss, complete=record.complete)
    for refusal in declined.values():
        interior = refusal.fused.interior
        miss = Miss(
            _called(refusal.fused.fusion.name, refusal.fused.kwargs), refusal.where, f"declined: {refusal.reason}"
        )
        near(interior[-1], len(interior), miss, complete=True)
    ordered = [miss for _, miss in sorted(nearest.values(), key=lambda item: -item[0])]
    findings = [Finding(_called(r.name, r.kwargs), r.where, r.equations) for r in found]
    return FusionReport(tuple(_counted(findings)), tuple(_counted(ordered)))


Entry = TypeVar("Entry", Finding, Miss)


def _counted(entries: Sequence[Entry]) -> list[Entry]:
    return [replace(entry, times=times) for entry, times in Counter(entries).items()]


def _called(name: str, kwargs: Mapping[str, Any]) -> str:
    told = ", ".join(f"{key}={_short(value)}" for key, value in kwargs.items())
    return f"{name}({told})" if told else name


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _entry(name: str, what: str, times: int, where: str | None) -> str:
    count = f", {times} times" if times > 1 else ""
    return f"{name}: {what}{count}" + (f"\n    at {where}" if where else "")
