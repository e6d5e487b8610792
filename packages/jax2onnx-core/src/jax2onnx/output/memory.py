"""Memory: what fails because there is not enough of it ends in an error that says so, whoever noticed it first."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from jax2onnx.errors import ConversionError, OutOfMemoryError, SaveError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["explained", "is_lack_of_memory", "memory_explained"]

_SAID = {
    "onnxruntime": ("bad_alloc", "bad allocation", "Failed to allocate memory"),
    "google": ("alloc failed",),
    "jax": ("RESOURCE_EXHAUSTED",),
    "jaxlib": ("RESOURCE_EXHAUSTED",),
}
"""Library -> how its exceptions say that there is not enough memory; their classes tell nothing."""


@contextlib.contextmanager
def memory_explained() -> Iterator[None]:
    """Raise every exception that stands for a lack of memory as ``OutOfMemoryError``; errors of saving stay."""
    try:
        yield
    except Exception as error:  # a border: a lack of memory is wrapped by whoever met it
        told = explained(error)
        if told is error:
            raise
        raise told from error


def explained(error: BaseException) -> BaseException:
    """Return the ``OutOfMemoryError`` for an exception that stands for a lack of memory; every other one itself."""
    lack = _lack_of_memory(error)
    if lack is None or isinstance(error, OutOfMemoryError | SaveError):
        return error
    where = error.where if isinstance(error, ConversionError) else None
    return OutOfMemoryError(str(lack).strip().partition("\n")[0], where=where)


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an exception itself, whatever its causes are, stands for a lack of memory."""
    # protobuf says so in no other way.
    if isinstance(error, MemoryError | EncodeError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    library = "google" if isinstance(error, DecodeError) else type(error).__module__.partition(".")[0]
    return any(said in str(error) for said in _SAID.get(library, ()))


def _lack_of_memory(error: BaseException) -> BaseException | None:
    """Return what says that there is no memory, among an error and its causes."""
    cause: BaseException | None = error
    while cause is not None and not is_lack_of_memory(cause):
        cause = cause.__cause__
    return cause
