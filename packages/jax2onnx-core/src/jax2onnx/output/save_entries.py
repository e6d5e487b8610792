"""Save entries: several models that share one file of weights; each of them finds its own weights at any time.

The steps of a save, where an earlier one stands there, and what they leave::

    the new weights, under a name that no file has, beside the earlier ones
    the first new model -> the new weights; the other earlier models -> the earlier weights
    ...
    all new models -> the new weights
    the earlier weights are removed, unless another model in the folder has its data there

So a process that ends in between leaves models of two saves, each whole; the next save removes weights of no use.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jax2onnx.errors import InputSpecError, SaveError
from jax2onnx.output.data_file import DataFile, Progress, Weights
from jax2onnx.output.destination import Destination, destination, explain_errors, keep_mode
from jax2onnx.output.external_data import locations
from jax2onnx.output.save import one_at_a_time, write_model
from jax2onnx.output.work_folder import clean, discard, note_shared, releasing, work_folder

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["EntryFiles", "entry_files", "preflight_entries", "save_entries"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What the name of an entry is, as a part of the name of a file."""
_DATA = "weights.data"


@dataclass(frozen=True, slots=True)
class EntryFiles:
    """The files of several entries.

    Attributes:
        given: what the user named.
        folder: the folder of all of them.
        prefix: how their names start.
        models: entry -> the file of its model.
    """

    given: str
    folder: Path
    prefix: str
    models: Mapping[str, Destination]

    @property
    def base(self) -> Path:
        """The file by whose name work folders of these entries are known."""
        return self.folder / f"{self.prefix}weights"

    @property
    def data(self) -> Path:
        """A file for weights that is not there."""
        number = 1
        while True:
            name = _DATA if number == 1 else f"weights.{number}.data"
            file = self.folder / f"{self.prefix}{name}"
            if not os.path.lexists(file):
                return file
            number += 1

    def is_data(self, name: str) -> bool:
        """Return whether a file is named as these entries name their weights."""
        return re.fullmatch(rf"{re.escape(self.prefix)}weights(\.\d+)?\.data", name) is not None


@contextlib.contextmanager
def entry_files(path: str | os.PathLike[str], entries: Mapping[Any, object]) -> Iterator[EntryFiles]:
    """Yield the files of entries; a folder that is made for them is removed if nothing comes to be in it.

    Args:
        path: a folder, which gets ``<entry>.onnx`` and ``weights.data``; or ``name.onnx``, beside which
            ``name.<entry>.onnx`` and ``name.weights.data`` are written.
        entries: the entries by name.

    Raises:
        InputSpecError: an entry has a name that is none of a file.
        SaveError: there may be no files.
    """
    given = os.fsdecode(path)
    for name in entries:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputSpecError(
                f"fn: the entry {name!r} has no name for a file; use letters, digits, '_', '-' and '.'"
            )
    if len({name.lower() for name in entries}) < len(entries):
        raise InputSpecError(
            "fn: two entries differ in upper and lower case only, as files may not; give one another name"
        )
    prefix = ""
    folder = Path(given)
    with explain_errors(path, "models"):
        if given.lower().endswith(".onnx") and not folder.is_dir():
            prefix = f"{folder.name[:-5]}."
            folder = folder.parent
        is_new = not folder.is_dir()
        if is_new:
            if not folder.parent.is_dir() or os.path.lexists(folder):
                reason = f"no folder {str(folder.parent)!r}; create it first"
                if os.path.lexists(folder):
                    reason = "it is no folder; name a folder, or a file such as model.onnx"
                raise SaveError(f"cannot write the models to {given!r}: {reason}")
            folder.mkdir()
        try:
            models = {name: destination(folder / f"{prefix}{name}.onnx", "model") for name in entries}
            yield EntryFiles(given, Path(os.path.realpath(folder)), prefix, models)
        finally:
            if is_new:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def preflight_entries(files: EntryFiles) -> None:
    """Check that models can be written, before any work is done; remove what killed saves left there."""
    with explain_errors(files.given, "models"), releasing(), work_folder(files.base), one_at_a_time(_any(files)):
        clean(files.base)


def save_entries(models: Mapping[str, ir.Model], files: EntryFiles, progress: Progress | None = None) -> None:
    """Write the models of entries, with all weights of more than 1 KiB in one file, each of them once.

    Args:
        models: entry -> model.
        files: where they go.
        progress: receives how many bytes of weights are written, and how many there are.

    Raises:
        SaveError: the models could not be written; those that stood there are unchanged.
    """
    weights = Weights(list(models.values()), files.folder, progress)
    with explain_errors(files.given, "models"), releasing(), work_folder(files.base) as folder:
        data = files.data
        written = folder / data.name
        with DataFile(written, data.name, weights.told) as opened:
            for name, model in models.items():
                to = files.models[name]
                write_model(model, folder / to.file.name, to, weights, opened)
        with one_at_a_time(_any(files)):
            clean(files.base)
            _move_into_place(folder, written, files)
            clean(files.base)
            discard(folder, files.base)


def _any(files: EntryFiles) -> Destination:
    return next(iter(files.models.values()))


def _move_into_place(folder: Path, data: Path, files: EntryFiles) -> None:
    """Move the weights, then the models; the work folder removes the weights that none of the models needs any more."""
    earlier = set()
    for to in files.models.values():
        if to.file.exists():
            keep_mode(folder / to.file.name, like=to.file)
            earlier |= {files.folder / name for name in locations(to.file) if files.is_data(name)}
    ours = [file for file in sorted(earlier) if file.is_file() and not file.is_symlink()]
    has_data = data.stat().st_size > 0
    if has_data and os.path.lexists(files.folder / data.name):
        reason = "another process has saved there meanwhile; try again"
        raise SaveError(f"cannot write the models to {files.given!r}: {reason}")
    note_shared(folder, [data, *ours] if has_data else ours)
    if has_data:
        data.replace(files.folder / data.name)
    for to in files.models.values():
        (folder / to.file.name).replace(to.file)
