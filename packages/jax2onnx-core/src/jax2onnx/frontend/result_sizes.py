"""Result sizes: symbolic dims for sizes that only the run of a model decides, such as how many boxes are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jax import export

from jax2onnx._compat import current_trace
from jax2onnx._unique import free_name
from jax2onnx.frontend.over_dims import sizes_may_be_symbolic

if TYPE_CHECKING:
    from jax2onnx.frontend.specs import Inputs

__all__ = ["ResultSizes", "result_sizes", "sizes_of_export"]

_SIZES: ContextVar[ResultSizes | None] = ContextVar("jax2onnx_result_sizes", default=None)


@dataclass(slots=True)
class ResultSizes:
    """The symbols of one trace.

    Attributes:
        scope: the scope that all of them have.
        names: their names.
    """

    scope: Any
    names: set[str]
    _stack: contextlib.ExitStack
    _are_symbolic: bool
    _trace: Any = field(default=None)

    def begin(self) -> None:
        """Note that the program is traced from here on."""
        self._trace = current_trace()

    def is_outermost(self) -> bool:
        """Return whether what is traced now is the program itself, and not the body of a transformation in it."""
        return current_trace() is self._trace

    def fresh(self, wanted: str) -> str:
        """Return the name of a new symbol."""
        if not self._are_symbolic:
            self._stack.enter_context(sizes_may_be_symbolic())
            self._are_symbolic = True
        name = free_name(wanted, self.names, first=2)
        self.names.add(name)
        return name


@contextlib.contextmanager
def result_sizes(inputs: Inputs) -> Iterator[ResultSizes]:
    """Give results of operators symbolic dims, in this context."""
    with contextlib.ExitStack() as stack:
        if inputs.symbols:
            stack.enter_context(sizes_may_be_symbolic())
        scope = inputs.scope or export.SymbolicScope()
        sizes = ResultSizes(scope, set(inputs.symbols), stack, bool(inputs.symbols))
        token = _SIZES.set(sizes)
        try:
            yield sizes
        finally:
            _SIZES.reset(token)


def sizes_of_export() -> ResultSizes | None:
    """Return the symbols of the export that traces now; None outside of exports."""
    return _SIZES.get()
