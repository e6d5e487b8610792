"""Scopes: a program as it is evaluated beside its model, and the values of the model that are known in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.checking.links import Form
    from jax2onnx.checking.pieces import Key
    from jax2onnx.lowering.trail import Run
    from jax2onnx.program.program import Var

__all__ = ["Cuts", "Scope", "at_start"]

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Scope:
    """A program as it is evaluated: that of the model, or a body in one iteration.

    Attributes:
        run: the program, and what its values became.
        known: JAX's values.
        trusted: those values that the model has too.
        around: the scope of the equation that this is a body of.
        further: values of the model that belong to none of the program, by place: counters of loops, sizes.
        steps: which iterations of which equations this is in, for messages.
    """

    run: Run
    known: dict[Var, Array]
    trusted: set[Var]
    around: Scope | None = None
    further: dict[tuple[int, Key, str], Array] = field(default_factory=dict)
    steps: tuple[str, ...] = ()

    def cuts(self, form: Form, key: Key) -> Cuts:
        """Return the values that a piece of a form of the model may take, by name."""
        return Cuts(self, form, key)

    def find(self, form: Form, key: Key, name: str) -> Array | None:
        """Return the array of a value that a piece of a form of the model may take; None for any other."""
        given = self.further.get((id(form), key, name))
        if given is not None:
            return given
        value = form.values.get((key, name))
        for var in () if value is None else self._variables(value):
            if var in self.trusted and var in self.known:
                return self.known[var]
        return None if self.around is None else self.around.find(form, key, name)

    def _variables(self, value: ir.Value) -> Sequence[Var]:
        """Return the values of the program that became a value of the model."""
        if self.run.sources is None or self.run.counted != len(self.run.values):
            self.run.sources, self.run.counted = {}, len(self.run.values)
            for var, became in self.run.values.items():
                self.run.sources.setdefault(became, []).append(var)
        return self.run.sources.get(value, ())


@dataclass(frozen=True, slots=True)
class Cuts(Mapping[str, Array]):
    """The values that a piece of a model may take, by name: JAX's values of those that are trusted."""

    scope: Scope
    form: Form
    key: Key

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.scope.find(self.form, self.key, name) is not None

    def __getitem__(self, name: str) -> Array:
        found = self.scope.find(self.form, self.key, name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        for key, name in self.form.values:
            if key == self.key and name in self:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def at_start(run: Run, operands: Sequence[Array]) -> Scope:
    """Return the scope of the whole program, before its first equation."""
    known = dict(zip(run.program.inputs, operands, strict=True))
    return Scope(run, known, set(known))
