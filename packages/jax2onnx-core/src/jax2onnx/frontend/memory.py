"""Memory: an export for which there is not enough of it ends in an error that says so, whoever noticed it first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from jax2onnx.errors import ConversionError, OutOfMemoryError, SaveError
from jax2onnx.frontend.remedies import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["memory_explained"]


@contextlib.contextmanager
def memory_explained() -> Iterator[None]:
    """Raise every exception that stands for a lack of memory as ``OutOfMemoryError``; errors of saving stay."""
    try:
        yield
    except SaveError:
        raise
    except Exception as error:  # a border: a lack of memory is wrapped by whoever met it
        lack = _lack_of_memory(error)
        if lack is None:
            raise
        where = error.where if isinstance(error, ConversionError) else None
        raise OutOfMemoryError(first_line(lack), where=where) from error


def _lack_of_memory(error: BaseException) -> BaseException | None:
    """Return what says that there is no memory, among an error and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        # protobuf says so in no other way.
        if isinstance(cause, MemoryError | EncodeError):
            return cause
        cause = cause.__cause__
    return None
