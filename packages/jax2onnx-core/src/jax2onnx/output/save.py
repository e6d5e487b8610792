"""Save: write a model to disk, with large weights in a file beside it; all of it or nothing.

Files are written in a folder of their own and then moved into place. Two files cannot be moved at once, so the order of
the moves sees to it that after each of them the model and its weights belong together (docs/adr/0011).
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from jax2onnx.output.data_file import DataFile, Progress, Weights, is_text
from jax2onnx.output.destination import Destination, destination, explain_errors, keep_mode
from jax2onnx.output.external_data import location_of, refers_to, tensors
from jax2onnx.output.stream import TooLargeError, write
from jax2onnx.output.work_folder import FolderIsBusyError, clean, discard, locked, note_owned, releasing, work_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EXTERNAL_DATA_THRESHOLD", "one_at_a_time", "preflight", "save", "write_model"]

EXTERNAL_DATA_THRESHOLD = 2**30
"""Bytes of weights above which they go to a file of their own."""


def save(
    model: ir.Model | onnx.ModelProto,
    path: str | os.PathLike[str],
    *,
    external_data_threshold: int = EXTERNAL_DATA_THRESHOLD,
    progress: Progress | None = None,
) -> None:
    """Write a model to ``path``, replacing what an earlier save left there.

    Args:
        model: the model; it is not changed.
        path: the file, usually ``*.onnx``; its folder must exist.
        external_data_threshold: bytes of weights above which they are written to ``<path>.data``, beside the model.
            Weights that are in a file in the folder of the model, as a runtime reads them, stay there in any case.
        progress: receives how many bytes of weights are written, and how many there are.

    Raises:
        SaveError: nothing was written, and what was there before is unchanged.
    """
    if isinstance(model, onnx.ModelProto):
        model = ir.from_proto(model)
    with explain_errors(path, "model"), releasing():
        to = destination(path, "model")
        weights = Weights([model], to.file.parent, progress)
        with work_folder(to.file) as folder:
            written = folder / to.file.name
            if weights.left > external_data_threshold:
                to.require_encodable()
                with DataFile(folder / to.data.name, to.data.name, weights.told) as data:
                    write_model(model, written, to, weights, data)
            else:
                write_model(model, written, to, weights)
            with one_at_a_time(to):
                clean(to.file)
                _move_into_place(folder, to)
                clean(to.file)
                discard(folder, to.file)  # before another save of this file begins


def write_model(model: ir.Model, file: Path, to: Destination, weights: Weights, data: DataFile | None = None) -> None:
    """Write a model into a file, its large weights into another one if there is one."""
    with weights.outside(model, data):
        if is_text(file):
            ir.save(model, file)
        else:
            _write_one_file(model, file, to)


def _write_one_file(model: ir.Model, file: Path, to: Destination) -> None:
    try:
        write(model, file)
    except TooLargeError:
        reason = (
            "with its weights it takes more than 2 GiB, which protobuf does not read; let them be written beside it"
        )
        raise to.refuse(f"{reason} (save_onnx does)") from None


def preflight(path: str | os.PathLike[str]) -> None:
    """Check that a model can be written to ``path``, before any work is done; remove what killed saves left there.

    Raises:
        SaveError: it cannot be written; the message gives the reason.
    """
    with explain_errors(path, "model"), releasing():
        to = destination(path, "model")
        with work_folder(to.file), one_at_a_time(to):
            clean(to.file)


@contextlib.contextmanager
def one_at_a_time(to: Destination) -> Iterator[None]:
    """Keep other processes from moving files in the folder meanwhile: one model would meet the weights of another."""
    try:
        with locked(to.file.parent):
            yield
    except FolderIsBusyError:
        raise to.refuse("another process is saving into its folder; try again when it is done") from None


def _move_into_place(folder: Path, to: Destination) -> None:
    """Move what was written in a work folder to its destination.

    Whatever the step at which the process ends, the model that stands there finds the weights that belong to it.
    """
    model = folder / to.file.name
    weights = folder / to.data.name
    has_data = refers_to(to.file, to.data)
    if weights.exists():
        to.require_own_data(is_own=has_data)
    _keep_modes(folder, to, has_data=has_data)
    if not weights.exists():
        # The work folder removes the earlier model's data, which nobody needs then.
        note_owned(folder, [to.data] if has_data else [])
        model.replace(to.file)
    elif not has_data:
        # If the second step fails, the work folder removes the data again.
        note_owned(folder, [weights])
        weights.replace(to.data)
        model.replace(to.file)
    elif filecmp.cmp(weights, to.data, shallow=False):
        model.replace(to.file)
    else:
        _replace_both(folder, to)


def _replace_both(folder: Path, to: Destination) -> None:
    """Replace a model and its data, by way of a model whose data is in the work folder.

    The steps, and what they leave at the destination::

        the earlier model -> its data
        the new model -> the new data in the work folder, beside the earlier data
        the new model -> the new data in the work folder, beside a copy of it
        the new model -> the copy

    The copy is a file of its own: runtimes refuse data that has a second name (a hard link) as a possible attack.
    """
    model = folder / to.file.name
    weights = folder / to.data.name
    passing, copy = folder / "passing", folder / "copy"
    earlier_model, earlier_data = folder / "earlier", folder / "earlier.data"
    _relocate(model, passing, f"{folder.name}/{weights.name}")
    shutil.copyfile(weights, copy)
    shutil.copyfile(to.file, earlier_model)
    for made, like in ((passing, model), (copy, weights), (earlier_model, to.file)):
        keep_mode(made, like=like)
    note_owned(folder, [to.data, copy])
    folder.chmod(0o711)  # as long as its data is the model's, all who may read that must get there
    try:
        passing.replace(to.file)
        to.data.replace(earlier_data)
        copy.replace(to.data)
        model.replace(to.file)
    except BaseException:
        # If the first step back fails, the second is not done: the earlier model would meet the new weights.
        with contextlib.suppress(OSError):
            if earlier_data.exists():
                earlier_data.replace(to.data)
            earlier_model.replace(to.file)
        raise


def _relocate(model: Path, to: Path, location: str) -> None:
    """Write a model once more, with its external data at another place."""
    proto = onnx.load(model, format="protobuf", load_external_data=False)
    for tensor in tensors(proto):
        if location_of(tensor) is None:
            continue
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    to.write_bytes(proto.SerializeToString())


def _keep_modes(folder: Path, to: Destination, *, has_data: bool) -> None:
    """Give what was written the modes of the files that it replaces; new weights get the mode of their model."""
    model = folder / to.file.name
    weights = folder / to.data.name
    if to.file.exists():
        keep_mode(model, like=to.file)
    if weights.exists():
        keep_mode(weights, like=to.data if has_data else model)
