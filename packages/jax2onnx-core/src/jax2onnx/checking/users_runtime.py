"""A runtime of the user's: what it says and returns is looked at, and what it raises is told as its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jax2onnx._accepted import shown
from jax2onnx._printable import one_line
from jax2onnx.checking.runtime import RUNTIME_ERRORS
from jax2onnx.errors import CheckError, InputSpecError, described_error

__all__ = ["UsersRuntime"]

_LONGEST = 2000
_TOLD_AS_THEY_ARE: tuple[type[Exception], ...] = (MemoryError, *RUNTIME_ERRORS)
_FORM = "an object as jax2onnx.testing.Runner is: name, input_names, output_names, and run(arrays)"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class UsersRuntime:
    """A model in a runtime of the user's.

    Attributes:
        name: the runtime, for reports.
        input_names: the names of the model's inputs.
        output_names: the names of the model's outputs.
        loaded: the user's object.
    """

    name: str
    input_names: Sequence[str]
    output_names: Sequence[str]
    loaded: Any

    @classmethod
    def of(cls, loaded: Any) -> UsersRuntime:
        """Return the runtime that a function of the user's has returned.

        Raises:
            InputSpecError: it is of another form.
        """
        name = getattr(loaded, "name", None)
        inputs: Any = getattr(loaded, "input_names", None)
        outputs: Any = getattr(loaded, "output_names", None)
        is_named = isinstance(name, str) and _are_names(inputs) and _are_names(outputs)
        if not is_named or not callable(getattr(loaded, "run", None)):
            raise InputSpecError(f"runtime: the function returns {shown(loaded)}; return {_FORM}")
        return cls(str(name), list(inputs), list(outputs), loaded)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs for the inputs given in the model's order.

        Raises:
            CheckError: the user's code fails in a way in which no runtime does.
            InputSpecError: it returns something else.
        """
        try:
            results = self.loaded.run(arrays)
        except _TOLD_AS_THEY_ARE:
            raise
        except (Exception, SystemExit) as error:  # of the user's code: whatever it raises
            told = one_line(described_error(error), _LONGEST)
            raise CheckError(f"runtime: run fails: {told}; mend it, or leave runtime out for onnxruntime") from error
        if not isinstance(results, Sequence) or not all(isinstance(one, np.ndarray | np.generic) for one in results):
            raise InputSpecError(f"runtime: run returns {shown(results)}; return a list of numpy arrays")
        return list(map(np.asarray, results))


def _are_names(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(name, str) for name in value)
