"""Save: write a model to disk, with large weights in a file beside it; all of it or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from jax2onnx.errors import SaveError
from jax2onnx.tidy.subgraphs import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXTERNAL_DATA_THRESHOLD", "preflight", "save"]

EXTERNAL_DATA_THRESHOLD = 2**30
"""Bytes of weights above which they go to a file of their own."""

_INLINE = 1024
"""Tensors of up to this many bytes stay in the model file in any case."""

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "free some space (your quota is used up), or choose a folder on another disk",
    errno.EFBIG: "the file system or a limit of this process allows no file of that size; choose another folder",
    errno.EACCES: "choose a folder you may write to, or change its permissions",
    errno.EPERM: "choose a folder you may write to, or change its permissions",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def save(
    model: ir.Model | onnx.ModelProto,
    path: str | os.PathLike[str],
    *,
    external_data_threshold: int = EXTERNAL_DATA_THRESHOLD,
) -> None:
    """Write a model to ``path``, replacing what an earlier save left there.

    Args:
        model: the model; it is not changed.
        path: the file, usually ``*.onnx``; its folder must exist.
        external_data_threshold: bytes of weights above which they are written to ``<path>.data``, beside the model.

    Raises:
        SaveError: nothing was written, and what was there before is unchanged.
    """
    if isinstance(model, onnx.ModelProto):
        model = ir.from_proto(model)
    external = _weight_bytes(model) > external_data_threshold
    with _explain_errors(path), _work_folder(path) as (file, folder):
        data = file.with_name(f"{file.name}.data")
        stale = not external and _refers_to(file, data.name)
        written = folder / file.name
        ir.save(model, written, external_data=data.name if external else None, size_threshold_bytes=_INLINE)
        _replace(folder, file, data, stale=stale)


def preflight(path: str | os.PathLike[str]) -> None:
    """Check that a model can be written to ``path``, before any work is done.

    Raises:
        SaveError: it cannot be written; the message gives the reason.
    """
    with _explain_errors(path), _work_folder(path):
        pass


@contextlib.contextmanager
def _work_folder(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the file to write and a temporary folder beside it."""
    file = Path(os.path.realpath(path))
    if os.fspath(path).endswith(("/", os.sep)) or file.is_dir():
        raise SaveError(f"cannot write the model to {os.fspath(path)!r}: it is a folder; add a name such as model.onnx")
    if not file.parent.is_dir():
        raise SaveError(
            f"cannot write the model to {os.fspath(path)!r}: no folder {str(file.parent)!r}; create it first"
        )
    with tempfile.TemporaryDirectory(prefix=f".{file.name[:32]}.", dir=file.parent) as folder:
        with contextlib.suppress(FileNotFoundError):
            file.stat()  # raises if the file system does not allow the name
        yield file, Path(folder)


def _weight_bytes(model: ir.Model) -> int:
    total = 0
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                total += stored_bytes(value.const_value)
    return total


def _refers_to(file: Path, data: str) -> bool:
    """Return whether the model in ``file``, if there is one, keeps weights in the file named ``data`` beside it."""
    if not file.exists() or not file.with_name(data).exists():
        return False
    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, OSError):
        return False
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value == data:
                return True
    return False


def _replace(folder: Path, file: Path, data: Path, *, stale: bool) -> None:
    """Move both files into place; if the second move fails, undo the first."""
    new, kept = folder / data.name, folder / "kept"
    if stale or new.exists():
        with contextlib.suppress(FileNotFoundError):
            data.replace(kept)
    try:
        if new.exists():
            new.replace(data)
        (folder / file.name).replace(file)
    except OSError:
        data.unlink(missing_ok=True)
        if kept.exists():
            kept.replace(data)
        raise


@contextlib.contextmanager
def _explain_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise errors of the operating system as ``SaveError``, with a remedy."""
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        # numpy reports a short write without saying why.
        remedy = _REMEDIES.get(error.errno or errno.ENOSPC, "choose another path")
        msg = f"cannot write the model to {os.fspath(path)!r}: {error.strerror or error}; {remedy}"
        raise SaveError(msg) from error
