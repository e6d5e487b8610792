"""Trials: changes of the inputs with which a callable that cannot be traced perhaps can.

A remedy that changes an input or an argument is tried before it is told: the callable is traced with it.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx._compat import is_symbolic
from jax2onnx.frontend.over_dims import sizes_may_be_symbolic
from jax2onnx.frontend.specs import Inputs, described
from jax2onnx.frontend.static import MODES

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterator, Mapping, Sequence

    from jax2onnx.plugin.opening import Opened

__all__ = ["Trials"]

_MOST_TRIALS = 24
"""How many changes of the inputs are tried after an error, each by a trace."""
_LARGEST_BOUND = 64
_MOST_SECONDS = 6.0
"""How long they are tried; a trial that has begun ends."""
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")


@dataclass(frozen=True, slots=True)
class Trials:
    """Tries changes of the inputs of a callable, until one works or time is up.

    Attributes:
        opened: its pure function.
        inputs: its inputs.
        parameters: those of its signature, by name.
    """

    opened: Opened
    inputs: Inputs
    parameters: Mapping[str, inspect.Parameter]

    def working_change(self, message: str) -> str | None:
        """Return the change of the inputs, in words, with which the callable can be traced; None if none is found."""
        return self._first_working(self._changes(message))

    def working_mode(self) -> str | None:
        """Return the argument for the mode, in words, with which the callable can be traced; None if none is found."""
        return self._first_working(self._with_modes())

    def _first_working(self, changes: Iterator[tuple[str, Inputs]]) -> str | None:
        end = time.monotonic() + _MOST_SECONDS
        for number, (text, changed) in enumerate(changes):
            if number == _MOST_TRIALS or time.monotonic() > end:
                return None
            if self._works(changed):
                return text
        return None

    def _works(self, inputs: Inputs) -> bool:
        arrays = {**self.opened.params, **self.opened.state}
        function = partial(self.opened.function, arrays)
        avals = [spec.aval for spec in inputs.specs]
        sizes = sizes_may_be_symbolic() if inputs.symbols else contextlib.nullcontext()
        try:
            with sizes:
                jax.eval_shape(partial(inputs.call, function), avals)
        except (Exception, SystemExit):  # noqa: BLE001 - a trial, of the user's code: it works or it does not
            return False
        return True

    def _changes(self, message: str) -> Iterator[tuple[str, Inputs]]:
        """Yield inputs that were perhaps meant, the likely ones first."""
        yield from self._with_modes()
        numbers = dict.fromkeys(_NUMBER.findall(message))
        yield from self._with_bounds(sorted(map(int, numbers)))
        makers = (_other_dtypes, partial(_other_dims, numbers=list(numbers)), _other_ranks)
        for make in makers:
            for index, spec in enumerate(self.inputs.specs):
                for aval in make(spec.aval):
                    changed = self._with_aval(index, aval)
                    yield f"give {spec.name} as '{described(aval)}'", changed
        yield from self._swapped()

    def _with_modes(self) -> Iterator[tuple[str, Inputs]]:
        """Yield the inputs with each of the arguments for the mode that is not given."""
        args, kwargs = self.inputs.arguments()
        for place, (name, parameter) in enumerate(self.parameters.items()):
            is_given = name in kwargs or (place < len(args) and parameter.kind is not parameter.KEYWORD_ONLY)
            if name in MODES and not is_given and parameter.default is not parameter.empty:
                yield f"pass static={{{name!r}: {MODES[name]}}}", self.inputs.with_static(name, MODES[name])

    def _with_bounds(self, numbers: Sequence[int]) -> Iterator[tuple[str, Inputs]]:
        """Yield the inputs with a symbolic dim that is at least a number of the message."""
        for number in numbers:
            for symbol in reversed(self.inputs.symbols):
                if 1 < number <= _LARGEST_BOUND:
                    constraint = f"{symbol} >= {number}"
                    yield f"pass constraints=['{constraint}'] if that always holds", self.inputs.constrained(constraint)

    def _with_aval(self, index: int, aval: Any) -> Inputs:
        specs = list(self.inputs.specs)
        specs[index] = replace(specs[index], aval=aval)
        return replace(self.inputs, specs=tuple(specs))

    def _swapped(self) -> Iterator[tuple[str, Inputs]]:
        """Yield the inputs with two of them in each other's place."""
        specs = self.inputs.specs
        for first in range(len(specs)):
            for second in range(first):
                changed = list(specs)
                changed[first], changed[second] = specs[second], specs[first]
                text = f"exchange the specs of {specs[second].name} and {specs[first].name}"
                yield text, replace(self.inputs, specs=tuple(changed))


def _other_dtypes(aval: Any) -> Iterator[Any]:
    is_number = isinstance(aval.dtype, np.dtype)
    if is_number and jax.numpy.issubdtype(aval.dtype, np.floating):
        yield jax.ShapeDtypeStruct(aval.shape, np.int32)
        yield jax.ShapeDtypeStruct(aval.shape, np.bool_)
    elif is_number and aval.dtype != np.float32:
        yield jax.ShapeDtypeStruct(aval.shape, np.float32)
        if aval.dtype != np.int32:
            yield jax.ShapeDtypeStruct(aval.shape, np.int32)


def _other_dims(aval: Any, numbers: Sequence[str]) -> Iterator[Any]:
    """Yield the shape with one dimension replaced by another number of the message, the last dimension first."""
    for axis in reversed(range(len(aval.shape))):
        dim = aval.shape[axis]
        if str(dim) not in numbers and not is_symbolic(dim):
            continue
        for number in numbers:
            if number != str(dim):
                shape = (*aval.shape[:axis], int(number), *aval.shape[axis + 1 :])
                yield jax.ShapeDtypeStruct(shape, aval.dtype)


def _other_ranks(aval: Any) -> Iterator[Any]:
    yield jax.ShapeDtypeStruct((1, *aval.shape), aval.dtype)
    yield jax.ShapeDtypeStruct((*aval.shape, 1), aval.dtype)
    if aval.shape:
        yield jax.ShapeDtypeStruct(aval.shape[1:], aval.dtype)
