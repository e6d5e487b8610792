"""Structures: what is looked for in a program: the reference of each function, traced at its examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import ShapedArray
from jax2onnx.fusion.reference import NoTrace, trace_pattern
from jax2onnx.plugin.loader import blame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jax2onnx.fusion.reference import Pattern
    from jax2onnx.plugin.fusions import Candidate, Fusion
    from jax2onnx.program.facts import FactTable

__all__ = ["Structure", "Structures"]


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One structure to look for: a function's reference, traced at one example with one configuration.

    ``kwargs`` is the configuration; None if the fusion reads it off the equations found.
    """

    fusion: Fusion
    pattern: Pattern
    kwargs: Mapping[str, Any] | None

    def configurations(self, candidate: Candidate) -> Iterable[Mapping[str, Any]]:
        """Return the configurations to compare where the structure is found."""
        if self.kwargs is None and callable(self.fusion.kwargs):
            return self.fusion.kwargs(candidate)
        return (self.kwargs or {},)


class Structures:
    """The structures that are looked for in programs with the same primitives; traced when first asked for."""

    def __init__(
        self,
        fusions: Sequence[Fusion],
        present: frozenset[str],
        facts: FactTable,
    ) -> None:
        self._fusions = fusions
        self._present = present
        self._facts = facts
        self._by_dtype: dict[Any, dict[str, list[Structure]]] = {}

    def ending_in(self, primitive: str, dtype: Any) -> Sequence[Structure]:
        """Return the structures whose result has a dtype and comes from a primitive, the largest first."""
        if dtype not in self._by_dtype:
            self._by_dtype[dtype] = self._by_last_primitive(dtype)
        return self._by_dtype[dtype].get(primitive, ())

    def _by_last_primitive(self, dtype: Any) -> dict[str, list[Structure]]:
        structures: list[Structure] = []
        for fusion in self._fusions:
            if fusion.primitives <= self._present and _may_give(fusion, dtype):
                structures.extend(self._of(fusion, dtype))
        structures.sort(key=lambda structure: -len(structure.pattern.program.eqns))
        by_primitive: dict[str, list[Structure]] = {}
        for structure in structures:
            last = structure.pattern.anchor.primitive
            by_primitive.setdefault(last, []).append(structure)
        return by_primitive

    def _of(self, fusion: Fusion, dtype: Any) -> Iterator[Structure]:
        """Yield the structures of a function that may be present: for each configuration, its examples of each form."""
        failed: list[str] = []
        traced = False
        configurations: Sequence[Mapping[str, Any] | None] = (None,)
        if not callable(fusion.kwargs):
            configurations = fusion.kwargs
        for kwargs in configurations:
            forms: set[Any] = set()
            for example in fusion.examples:
                avals = [_aval(given, dtype) for given in example]
                pattern = trace_pattern(
                    fusion.reference,
                    avals,
                    kwargs or {},
                    self._facts,
                    loose=True,
                )
                if isinstance(pattern, NoTrace):
                    failed.append(pattern.reason)
                    continue
                traced = True
                if pattern.distinctive and pattern.distinctive.isdisjoint(self._present):
                    break  # the program has nothing of this function: its other examples need no trace
                fits = pattern.anchor.output.aval.dtype == dtype and pattern.distinctive <= self._present
                if fits and pattern.form not in forms:
                    forms.add(pattern.form)
                    yield Structure(fusion, pattern, kwargs)
        if failed and not traced and (fusion.dtypes or dtype == np.float32):
            reason = f"the function {fusion.name} is never found, not in its own examples: {failed[0]}"
            blame(fusion.plugin, reason, tell=True)


def _aval(given: Any, dtype: Any) -> Any:
    """Return the abstract value of an input of an example: a shape has the dtype of the result."""
    if isinstance(given, tuple):
        return ShapedArray(given, dtype)
    return given


def _may_give(fusion: Fusion, dtype: Any) -> bool:
    """Return whether a function is looked for where the result has a dtype."""
    if fusion.dtypes:
        return str(dtype) in fusion.dtypes
    return dtype is not None and bool(jnp.issubdtype(dtype, np.floating))
