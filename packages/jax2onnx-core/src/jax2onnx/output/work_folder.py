"""Work folders: where a save writes before it moves files into place; what killed saves left is removed.

A save holds the lock of its folder, which the operating system releases when the process ends, however it ends. So a
folder whose lock is free belongs to a process that is gone. Where there are no such locks, on Windows and on some
network file systems, such folders stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from jax2onnx.output.external_data import refers_to

if sys.platform != "win32":
    import fcntl

__all__ = [
    "FolderIsBusyError",
    "clean",
    "discard",
    "is_shared",
    "locked",
    "note_owned",
    "note_shared",
    "releasing",
    "work_folder",
]

_SUFFIX = ".jax2onnx"
_OWNED = "owned.json"
"""The file that says which files beside the model are ours, whichever of the steps of a save was the last."""
_SHARED = "shared.json"
"""The file that names the weights of several models that a save moves into place before the models."""
_PATIENCE = 120.0
"""Seconds to wait for another save in the same folder."""
_held: dict[int, int | None] = {}
"""What holds a lock (a descriptor), and the thread that took it; None once it is about to be closed."""


class FolderIsBusyError(Exception):
    """Another process holds the lock of a folder."""


@contextlib.contextmanager
def work_folder(file: Path) -> Iterator[Path]:
    """Yield a new folder beside a file; remove it, and what was noted as ours and is of no use, afterwards."""
    folder, lock = _new(file)
    try:
        yield folder
    finally:
        try:
            discard(folder, file)
        except BaseException:  # an interrupt meanwhile
            discard(folder, file)
            raise
        finally:
            _unlock(lock)


def clean(file: Path) -> None:
    """Remove what saves of this file left behind whose processes are gone."""
    with contextlib.suppress(OSError):
        for folder in _work_folders(file):
            _discard_if_left(folder, file)


def _discard_if_left(folder: Path, file: Path) -> None:
    try:
        lock = _lock(folder)
    except FolderIsBusyError:
        return
    if lock is not None:
        try:
            discard(folder, file)
        finally:
            _unlock(lock)


def note_owned(folder: Path, files: Iterable[Path]) -> None:
    """Note in a work folder which files are ours, also after they are moved beside the model."""
    identities = [_identity(file) for file in files]
    (folder / _OWNED).write_text(json.dumps(identities), encoding="utf-8")


def note_shared(folder: Path, files: Iterable[Path]) -> None:
    """Note in a work folder that files are ours, which models in the folder around it share, or shared until now."""
    notes = [{"name": file.name, "identity": _identity(file)} for file in files]
    (folder / _SHARED).write_text(json.dumps(notes), encoding="utf-8")


def is_shared(data: Path) -> bool:
    """Return whether a model in the folder of a file has its data there."""
    return any(refers_to(model, data) for model in data.parent.glob("*.onnx"))


@contextlib.contextmanager
def releasing() -> Iterator[None]:
    """Release the locks that an interrupt kept this thread from releasing, between two steps of Python.

    Else the process would hold them until its end, and wait for itself at the next save.
    """
    own = threading.get_ident()
    earlier = set(_held)
    try:
        yield
    except BaseException:
        forgotten = [lock for lock, thread in _held.items() if thread == own and lock not in earlier]
        for lock in forgotten:
            _unlock(lock)
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, if there are locks.

    Raises:
        FolderIsBusyError: another process holds it for too long.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            lock = _lock(folder)
            break
        except FolderIsBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    try:
        yield
    finally:
        _unlock(lock)


def _prefix(file: Path) -> str:
    """Return how the names of the work folders of a file start."""
    digest = hashlib.sha256(os.fsencode(file.name)).hexdigest()
    return f".{file.name[:32]}.{digest[:8]}."


def _new(file: Path) -> tuple[Path, int | None]:
    """Return a new work folder and its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(file), suffix=_SUFFIX, dir=file.parent))
        try:
            lock = _lock(folder)
        except (FolderIsBusyError, FileNotFoundError):
            continue  # until it is locked, another save takes it for a leftover
        except BaseException:
            folder.rmdir()
            raise
        if folder.exists():
            return folder, lock
        _unlock(lock)


def _work_folders(file: Path) -> list[Path]:
    prefix = _prefix(file)
    found = []
    with os.scandir(file.parent) as entries:
        for entry in entries:
            is_ours = entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX)
            if is_ours and entry.is_dir(follow_symlinks=False):
                found.append(Path(entry.path))
    return found


def discard(folder: Path, file: Path) -> None:
    """Remove a work folder and the data that it owns, both only if the model in the file does not need them.

    What cannot be removed stays for the next save: that is no error of this one.
    """
    data = file.with_name(f"{file.name}.data")
    with contextlib.suppress(OSError):
        if _owns(folder, data) and not refers_to(file, data) and not is_shared(data):
            data.unlink()
        for shared in _shared(folder, file):
            if not is_shared(shared):
                shared.unlink()
        if not refers_to(file, folder / data.name):
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder that holds files, with few file descriptors: a process may have one left, or none."""
    try:
        folder.rmdir()
    except OSError:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _owns(folder: Path, data: Path) -> bool:
    """Return whether a work folder notes a file as ours."""
    notes = folder / _OWNED
    if not notes.exists() or not data.is_file() or data.is_symlink():
        return False
    try:
        return _identity(data) in json.loads(notes.read_text(encoding="utf-8"))
    except ValueError:  # its process ended while it wrote them, so before it moved anything
        return False


def _shared(folder: Path, file: Path) -> list[Path]:
    """Return the files beside ``file`` that a work folder notes as shared by models, if they are still these."""
    notes = folder / _SHARED
    if not notes.exists():
        return []
    try:
        noted = json.loads(notes.read_text(encoding="utf-8"))
    except ValueError:  # as for what it owns
        return []
    found = []
    for note in noted:
        data = file.with_name(note["name"])
        if data.is_file() and not data.is_symlink() and _identity(data) == note["identity"]:
            found.append(data)
    return found


def _identity(file: Path) -> list[int]:
    """Return what tells a file from every other one, wherever it is moved on its disk."""
    status = file.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _lock(folder: Path) -> int | None:
    """Lock a folder; return what holds the lock, None if there are no locks here.

    Raises:
        FolderIsBusyError: it is locked already.
        FileNotFoundError: there is no such folder.
    """
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may be allowed to write in a folder, and not to read it
        return None
    thread = threading.get_ident()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _held[descriptor] = thread
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise FolderIsBusyError from None
        if isinstance(error, OSError):
            return None
        raise
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is None or sys.platform == "win32":
        return
    try:
        # A child that was forked meanwhile has a copy of the descriptor: closing ours would not release the lock.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        _held[lock] = None  # so that nobody closes the number twice: it may be another file's by then
        os.close(lock)
        _held.pop(lock, None)
