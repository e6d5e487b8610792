"""Rounding: how each equation of a program may round a little differently (:mod:`~jax2onnx.checking.perturbed`).

JAX does not promise the last digits of a result, and no other runtime has the same. How much a result may differ for
this reason depends on the program: a difference of two large sums has few digits in common, a sum of squares nearly
all. So the program is evaluated several times, with each result of an equation changed at random by one unit in its
last place. What changes in the program's results is what rounding alone explains.

What is changed depends on the equation, as the facts of its primitive say (:attr:`~jax2onnx.program.facts.Facts.
rounding`). A result that only has numbers of its operands, up to the sign, was not rounded and stays as it is.

A number that is positive under one rounding and negative under another may be 0 just as well: terms that cancel leave a
rounding error, or nothing. One more evaluation has 0 for all such numbers: a quotient of them is infinite, or NaN.

An evaluation is strict or loose. A strict one keeps multiples of one half (up to 1024) that arithmetic results in: the
ties and poles of the next equation lie there, and a rounding to exactly such a number usually was none. A loose one
changes them too. It explains small differences only: those between two ways to compute zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import bind_equation
from jax2onnx.checking.inexact import is_half_integer, is_inexact, is_real, only_moves, widened, with_changed
from jax2onnx.checking.inputs import finfo
from jax2onnx.checking.spreads import Spreads
from jax2onnx.checking.undetermined import (
    as_numbers,
    lifted,
    selects,
    undetermined,
    undetermined_parts,
    with_nan,
    with_one_nan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jax2onnx.program.facts import Facts

__all__ = ["Rounding", "roundings"]

Array = np.ndarray[Any, Any]

_AT_RANDOM = 4
_ROUNDINGS = _AT_RANDOM + 2
_EVEN = 2
"""The seed of the rounding that cancels."""


def roundings(coarse: frozenset[str] = frozenset(), *, loose: bool) -> Iterator[Rounding]:
    """Yield the ways to round under which a program is evaluated; each is to be used before the next."""
    spreads = Spreads()
    for seed in range(_ROUNDINGS):
        yield Rounding(seed, loose, coarse, spreads)
    yield Rounding(_EVEN, loose, coarse, spreads, cancels=True)


@dataclass(slots=True)
class Rounding:
    """A way to round.

    Attributes:
        seed: the same seed rounds alike. The last two move all numbers down, and all up: a step of the program is then
            met from both sides.
        loose: whether multiples of one half are changed too.
        coarse: primitives that the model computes by kernels of which only the absolute error is small, and whose
            results may differ by that.
        spreads: of the results under all of the roundings of a program.
        cancels: whether what may be 0 is.
    """

    seed: int
    loose: bool
    coarse: frozenset[str] = frozenset()
    spreads: Spreads | None = None
    cancels: bool = False
    rng: np.random.Generator = field(init=False)
    times: dict[int, int] = field(init=False, default_factory=dict)
    """An equation -> how often it has been evaluated."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def results(self, eqn: Any, facts: Facts, operands: Sequence[Any]) -> list[Any]:
        """Return the results of an equation, rounded in this way.

        JAX on a CPU rounds a number below the smallest normal one to 0. In odd seeds it is a small normal number: what
        a program makes of the exact one, such as its logarithm, lies between.
        """
        rounded = self._cancelled(eqn, facts, self._rounded(eqn, facts, operands))
        if facts.vanishes is None or not self.seed % 2:
            return rounded
        return [lifted(result, facts.vanishes(*operands)) for result in rounded]

    def _cancelled(self, eqn: Any, facts: Facts, results: list[Any]) -> list[Any]:
        """Note the results of an equation, or return them with 0 for what may be 0."""
        if self.spreads is None or facts.rounding not in {"result", "terms"} or not all(map(is_real, results)):
            return results
        self.spreads.held[id(eqn)] = eqn
        before = self.times[id(eqn)] = self.times.get(id(eqn), -1) + 1
        if self.cancels:
            return self.spreads.cancelled((id(eqn), before), results)
        self.spreads.note((id(eqn), before), results)
        return results

    def _rounded(self, eqn: Any, facts: Facts, operands: Sequence[Any]) -> list[Any]:
        plain = bind_equation(eqn, operands)
        if facts.rounding == "extremum":
            return with_nan(eqn, operands, plain) if self.seed % 2 else plain
        if facts.rounding == "order":
            return bind_equation(eqn, list(map(with_one_nan, operands))) if self.seed % 2 else plain
        alone = facts.rounding in {"result", "unit"}
        if not any(map(is_inexact, plain)) or (alone and only_moves(plain, operands)):
            return plain
        if eqn.primitive.name in self.coarse:
            return [self._changed_unit(result, least=1.0) for result in plain]
        if facts.rounding == "result":
            return [self._changed(result) for result in plain]
        if facts.rounding == "unit":
            return [self._changed_unit(result) for result in plain]
        rank = _rank(facts, eqn.params)
        steps = _steps(facts, operands)
        changed = bind_equation(eqn, [self._operand(operand, rank, steps) for operand in operands])
        if facts.rounding == "matrix":  # what is computed, such as orthogonal vectors, has errors of its own
            changed = [self._operand(result, rank, steps) for result in changed]
        results = [self._nearby(*pair) for pair in zip(plain, changed, strict=True)]
        if facts.rounding == "terms" and self.seed % 2 and selects(operands):
            multiplied = bind_equation(eqn, as_numbers(operands))
            results = [
                jnp.where(jnp.isnan(other), other, result) for other, result in zip(multiplied, results, strict=True)
            ]
        if self.seed % 2:
            value = np.nan if self.seed % 4 == 1 else 1.0  # which products with infinities keep
            if rank:
                return [undetermined(result, operands, rank, value) for result in results]
            if facts.rounding == "terms":
                return [undetermined_parts(result, value) for result in results]
        return results

    def _changed(self, value: Any) -> Any:
        """Return an array with each number changed by one unit in its last place.

        Strict rounding keeps multiples of one half.
        """
        if not is_inexact(value):
            return value
        array = np.asarray(value)
        keep = np.zeros(array.shape, bool) if self.loose else is_half_integer(array)
        unit = np.abs(widened(array))
        return with_changed(array, keep, self._moved_by(array, unit))

    def _changed_unit(self, value: Any, least: float = 0.0) -> Any:
        """Return the values of a function that goes to 1, changed by one unit in the last place, also where it is 1.

        The unit is that of the value, or of ``least`` if that is larger.
        """
        array = np.asarray(value)
        unit = np.maximum(np.abs(widened(array)), least)
        if least:
            # Errors of the same size in all places could cancel.
            unit = unit * self.rng.uniform(0.25, 1.0, array.shape)
        return with_changed(array, np.zeros(array.shape, bool), self._moved_by(array, unit))

    def _operand(self, value: Any, rank: int, steps: float) -> Any:
        """Return an operand changed in each of its terms, or by a unit of the largest number in the last axes.

        ``steps`` multiplies the unit.
        """
        if not is_inexact(value):
            return value
        array = np.asarray(value)
        unit = np.abs(widened(array))
        if rank and array.size:
            axes = tuple(range(max(0, array.ndim - rank), array.ndim))
            finite = np.where(np.isfinite(unit), unit, 0)
            unit = np.broadcast_to(finite.max(axes, keepdims=True), unit.shape)
        return with_changed(array, np.zeros(array.shape, bool), self._moved_by(array, unit * steps))

    def _nearby(self, plain: Any, changed: Any) -> Any:
        """Return the results of changed operands.

        Strict rounding keeps multiples of one half, unless the terms were so large that their sum is one by chance.
        """
        if self.loose or not is_inexact(plain):
            return changed
        array = np.asarray(plain)
        other = widened(np.asarray(changed))
        with np.errstate(invalid="ignore"):
            by_chance = np.abs(other - widened(array)) >= 1
        return with_changed(array, is_half_integer(array) & ~by_chance, other)

    def _moved_by(self, array: Array, unit: Array) -> Array:
        """Return the numbers moved up or down by a rounding error of ``unit``, in a wide dtype."""
        # What is not finite stays as it is.
        step = np.where(np.isfinite(unit), unit, 0) * float(finfo(array.dtype).eps)
        wide = widened(array)
        if not np.iscomplexobj(array):
            with np.errstate(invalid="ignore"):
                return np.asarray(wide + self._signs(array.shape) * step)
        moved = np.array(wide)
        moved.real = self._part(wide.real, step)
        moved.imag = self._part(wide.imag, step)
        return moved

    def _part(self, part: Array, step: Array) -> Array:
        """Return a part of complex numbers, moved.

        In a strict rounding 0 stays: it may lie on a branch cut. What JAX rounded to a number next to a multiple of one
        half, such as a part of ``z / z``, may be this multiple.
        """
        moved: Array = part + self._signs(part.shape) * step
        if self.loose:
            return moved
        half = np.round(2 * part) / 2
        with np.errstate(invalid="ignore"):
            chosen = np.abs(half - part) <= step if self.seed % 2 else part == 0
        return np.where(chosen | (part == 0), half, moved)

    def _signs(self, shape: tuple[int, ...]) -> Array:
        if self.seed >= _AT_RANDOM:
            return np.full(shape, -1.0 if self.seed == _AT_RANDOM else 1.0)
        return np.where(self.rng.random(shape) < 0.5, -1.0, 1.0)


def _rank(facts: Facts, params: Any) -> int:
    """Return over how many of the last axes the errors of an equation spread; 0 if each term has its own."""
    if facts.rounding == "rows":
        return len(params.get("fft_lengths", (0,)))
    return 2 if facts.rounding == "matrix" else 0


def _steps(facts: Facts, operands: Sequence[Any]) -> float:
    """Return how many errors of an algorithm for matrices add up in a number: the root of the number of its steps."""
    if facts.rounding != "matrix":
        return 1.0
    sizes = [size for operand in operands for size in np.shape(operand)[-2:]]
    return float(np.sqrt(max(sizes, default=1) or 1))
