"""Concrete arrays: those of a model's arrays whose values its Python code needs become constants.

A model's arrays are inputs of the traced function, so that they keep their names. JAX cannot give their values to
Python code then: ``if self.flag:``, ``jnp.arange(self.size)`` and ``np.asarray(self.table)`` fail. Nothing is done
about that until a trace fails. Then a second trace, whose result is not used, gives the values and records which arrays
they come from. The last trace has these arrays as constants, the very objects that the model holds.
"""

from __future__ import annotations

import contextlib
import operator
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import jax
import numpy as np

from jax2onnx._compat import users_own
from jax2onnx.errors import DimensionError, TraceError
from jax2onnx.plugin.functions import fixing, inlining
from jax2onnx.program.conversions import answer_conversions

__all__ = ["AVOIDABLE", "Arrays", "Constants", "Recording", "find_constants", "may_need_values"]

AVOIDABLE = (
    TraceError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that a callable may raise because an array of its model has no value."""

_MOST_TRIALS = 60
"""How many traces the search may take where no conversion shows which arrays are needed."""

_Result = TypeVar("_Result")


class Arrays(Protocol):
    """How one trace treats the arrays of the model."""

    @property
    def constants(self) -> Mapping[str, Any]:
        """The arrays that are constants, by name; the others are inputs."""

    def tracing(self) -> contextlib.AbstractContextManager[None]:
        """Return the context of the trace."""

    def begin(self, traced: Mapping[str, Any]) -> None:
        """Begin the trace, in which the arrays that are inputs are ``traced``."""


@dataclass(frozen=True, slots=True)
class Constants:
    """Some arrays are constants, the others inputs. Python code gets what follows from constants."""

    constants: Mapping[str, Any]

    def tracing(self) -> contextlib.AbstractContextManager[None]:
        """Make the arrays constants of ONNX functions too."""
        return fixing(self.constants.values())

    def begin(self, _: Mapping[str, Any]) -> None:
        """Give Python code the values that follow from constants."""
        answer_conversions()


@dataclass(frozen=True, slots=True)
class Recording:
    """All arrays are inputs, and Python code gets their values, which is recorded.

    Attributes:
        arrays: the arrays, by name.
        used: the names of those that Python code needed, with the user's line that was the first to need it.
        constants: none.
    """

    arrays: Mapping[str, Any]
    used: dict[str, str | None] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def tracing(self) -> contextlib.AbstractContextManager[None]:
        """Trace through ONNX functions: JAX traces a function once for all its calls, which hold other arrays."""
        return inlining()

    def begin(self, traced: Mapping[str, Any]) -> None:
        """Give Python code values."""
        names = list(traced)

        def record(positions: frozenset[int]) -> None:
            for position in sorted(positions):
                if names[position] not in self.used:
                    self.used[names[position]] = _current_line()

        answer_conversions(list(traced.values()), [self.arrays[name] for name in names], record)


def may_need_values(error: BaseException, arrays: Mapping[str, Any]) -> bool:
    """Return whether a trace may have failed because an array has no value.

    Without arrays it may be a constant of the callable, of which JAX computes nothing while it traces.
    """
    if isinstance(error, DimensionError):
        return False
    if isinstance(error, TraceError):
        return not isinstance(error.__cause__, jax.errors.UnexpectedTracerError)
    return bool(arrays)


def find_constants(
    trial: Callable[[Constants], _Result], recording: Recording, error: BaseException
) -> tuple[_Result, dict[str, str | None]]:
    """Return what a trace gives that has as few arrays as possible as constants, and where these are needed.

    Args:
        trial: traces with some arrays as constants; raises one of ``AVOIDABLE`` if that fails.
        recording: what a trace recorded whose result is not used.
        error: why the trace without constants failed; raised if no array is to blame.
    """
    search = _Search(trial, recording.arrays)
    if search.succeeds(recording.used):
        return search.result, recording.used
    remaining = search.error if recording.used else error
    if not recording.arrays or not search.succeeds(recording.arrays):
        raise remaining
    # Code may need an array without converting it: it asks whether it is numpy's, or formats it as text.
    numpys = [name for name, array in recording.arrays.items() if isinstance(array, np.ndarray)]
    among = numpys if search.succeeds(numpys) else list(recording.arrays)
    names = search.fewest([], among)
    if not search.succeeds(names):
        raise remaining
    return search.result, {name: recording.used.get(name) for name in names}


class _Search(Generic[_Result]):
    """A search for the fewest arrays that must be constants for a trace to succeed.

    Attributes:
        result: what the last trace gave that succeeded.
        error: the error of the last trace that failed.
    """

    def __init__(self, trial: Callable[[Constants], _Result], arrays: Mapping[str, Any]) -> None:
        self._trial = trial
        self._arrays = arrays
        self._trials = 0
        self.result: _Result
        self.error: BaseException

    def succeeds(self, names: Iterable[str]) -> bool:
        """Return whether a trace succeeds with these arrays as constants."""
        self._trials += 1
        chosen = {name: self._arrays[name] for name in names}
        try:
            self.result = self._trial(Constants(chosen))
        except AVOIDABLE as error:
            self.error = error
            return False
        return True

    def fewest(self, base: list[str], names: list[str], *, is_new: bool = False) -> list[str]:
        """Return the fewest of ``names`` with which, and ``base``, a trace succeeds; with all of them it does.

        The search halves ``names``, as QuickXplain does: it takes about ``2 k log(n / k)`` traces for k of n names.
        With more than ``_MOST_TRIALS`` it ends, and what is not decided counts as needed.
        """
        if is_new and self.succeeds(base):
            return []
        if len(names) <= 1 or self._trials > _MOST_TRIALS:
            return names
        middle = len(names) // 2
        left, right = names[:middle], names[middle:]
        of_right = self.fewest(base + left, right, is_new=True)
        of_left = self.fewest(base + of_right, left, is_new=bool(of_right))
        return of_left + of_right


def _current_line() -> str | None:
    """Return the user's line that is running."""
    frames = reversed(traceback.extract_stack())
    frame = users_own(frames, operator.attrgetter("filename"))
    return frame and f"{frame.filename}:{frame.lineno} ({frame.name})"
