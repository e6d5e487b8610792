"""The one module that touches ``jax._src`` or depends on which jax is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
from jax._src import config as _config
from jax._src import core as _core
from jax._src import source_info_util as _source_info
from jax._src.export import shape_poly as _shape_poly

if TYPE_CHECKING:
    from collections.abc import Sequence

Literal = _core.Literal
DropVar = _core.DropVar
ShapedArray = _core.ShapedArray
InconclusiveDimensionOperation = _core.InconclusiveDimensionOperation
DimExpr = _shape_poly._DimExpr  # noqa: SLF001 - jax offers no public type for a symbolic dimension
TRACING_ERRORS: tuple[type[Exception], ...] = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
)


def open_jaxpr(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """Split a closed or open jaxpr of any supported jax into ``(jaxpr, consts)``."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def is_symbolic(dim: Any) -> bool:
    """Tell whether a dimension is a symbolic expression."""
    return isinstance(dim, DimExpr)


def user_frame(source: Any) -> str | None:
    """Return ``file:line (function)`` of the user's own code for an equation's source info."""
    frame = _source_info.user_frame(source.traceback)
    if frame is None:
        return None
    return f"{frame.file_name}:{frame.start_line} ({frame.function_name})"


def name_stack(source: Any) -> str:
    """Return the name stack (named scopes and transforms) of an equation's source info."""
    return str(source.name_stack)


def trace_context() -> Any:
    """Return a hashable summary of every jax setting that tracing depends on."""
    return _config.trace_context()
