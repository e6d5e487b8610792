"""Keep-lists: which equations, weights and outputs of a program a user names, to keep them in float32."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jax2onnx._compat import name_stack

if TYPE_CHECKING:
    from jax2onnx.program.program import Eqn

__all__ = ["KeepList", "module_path"]


def module_path(eqn: Eqn) -> str:
    """Return the path of the module that an equation is in, with dots; empty outside of modules."""
    return "" if eqn.source is None else name_stack(eqn.source).replace("/", ".")


@dataclass(slots=True)
class KeepList:
    """What stays in float32.

    An entry is a glob of a module's path (``*.norm``, with all that is in the module), of a weight's name, of an
    output, of a function or primitive (``jax.nn.gelu``, ``dot_general``), or of a user's line (``model.py:42``).

    Attributes:
        entries: the globs.
        used: those that named something.
        seen: what could have been named.
    """

    entries: Sequence[str]
    used: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def has_name(self, name: str) -> bool:
        """Return whether a weight, or a module that it is in, or an output is named."""
        return self._any(_prefixes(name))

    def has(self, eqn: Eqn, around: str = "") -> bool:
        """Return whether an equation is named; ``around`` is the path of the call that it is in."""
        told = [eqn.primitive]
        for one in (eqn, *(eqn.fused.interior if eqn.fused is not None else ())):
            path = module_path(one)
            told += _prefixes(f"{around}.{path}" if around and path else around or path)
            told += _lines(one)
        return self._any(told)

    def _any(self, told: Sequence[str] | Iterator[str]) -> bool:
        names = set(told)
        self.seen |= names
        found = [entry for entry in self.entries if any(fnmatch.fnmatchcase(name, entry) for name in names)]
        self.used.update(found)
        return bool(found)

    def unused(self) -> list[str]:
        """Return the entries that name nothing."""
        return [entry for entry in self.entries if entry not in self.used]


def _prefixes(path: str) -> Iterator[str]:
    """Yield ``blocks``, ``blocks.0`` and ``blocks.0.norm`` of ``blocks.0.norm``."""
    parts = path.split(".") if path else []
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _lines(eqn: Eqn) -> Iterator[str]:
    """Yield the user's line as ``/home/me/model.py:42``, and with shorter paths up to ``model.py:42``."""
    where = eqn.where
    if where is None:
        return
    place = where.partition(" (")[0]
    while place:
        yield place
        place = place.partition("/")[2]
