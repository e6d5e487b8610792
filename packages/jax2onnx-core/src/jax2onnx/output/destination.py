"""Destination: the file that is written; what may not be replaced there, and what of the earlier file stays."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from jax2onnx.errors import SaveError

__all__ = ["Destination", "destination", "explain_errors", "keep_mode"]

_REMEDIES = {
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "free some space (your quota is used up), or choose a folder on another disk",
    errno.EFBIG: "the file system or a limit of this process allows no file of that size; choose another folder",
    errno.EACCES: "choose a folder you may write to, or change its permissions",
    errno.EPERM: "choose a folder you may write to, or change its permissions",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EILSEQ: "choose a name without unusual characters",
    errno.ELOOP: "the symbolic links lead in a circle; choose another name",
}

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
"""What may stand at a path and is no regular file."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A file to write.

    Attributes:
        given: its name as the user wrote it.
        what: what is written, for messages.
        file: its absolute path, without links.
    """

    given: str
    what: str
    file: Path

    @property
    def data(self) -> Path:
        """The file beside it that gets large weights."""
        return self.file.with_name(f"{self.file.name}.data")

    def refuse(self, reason: str) -> SaveError:
        """Return the error for a reason, which includes the remedy."""
        return _refusal(self.given, self.what, reason)

    def require_encodable(self) -> None:
        """Raise SaveError if a model cannot name the file of its weights."""
        try:
            self.data.name.encode()
        except UnicodeEncodeError:
            reason = (
                "a model has to name the file of its weights, and this name is no text in UTF-8; choose another name"
            )
            raise self.refuse(reason) from None

    def require_own_data(self, *, is_own: bool) -> None:
        """Raise SaveError if something stands where weights go that is not the earlier model's data.

        Args:
            is_own: whether the model that stands at the destination has its data there.
        """
        try:
            status = self.data.lstat()
        except FileNotFoundError:
            return
        where = f"its weights go to {self.data.name!r} beside it"
        if not stat.S_ISREG(status.st_mode):
            raise self.refuse(f"{where}, which is {_kind(status)}; move that away, or choose another path")
        if not is_own:
            raise self.refuse(
                f"{where}, and there is such a file that does not belong to the model at this path; "
                "move it away, or choose another path"
            )
        if _is_read_only(self.data, status):
            raise self.refuse(f"{where}, which is read-only; make it writable (chmod u+w), or choose another path")


def destination(path: str | os.PathLike[str], what: str) -> Destination:
    """Return the destination that a path names.

    Raises:
        SaveError: what stands there may not be replaced, or the path leads nowhere.
    """
    given = os.fsdecode(path)
    if "\0" in given:
        raise _refusal(given, what, "the name has a NUL character; choose another name")
    try:
        os.fsencode(given)
    except UnicodeEncodeError:
        raise _refusal(given, what, "the name has what is no character; choose another name") from None
    file = Path(os.path.realpath(given))
    if given.endswith(("/", os.sep)) or file.is_dir():
        raise _refusal(given, what, "it is a folder; add a name such as model.onnx")
    if not file.parent.is_dir():
        raise _refusal(given, what, f"no folder {str(file.parent)!r}; create it first")
    # A name in /dev or /proc may lead to what has no path, such as the pipe of a process: ask for what was given.
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(given)  # noqa: PTH116 - Path would drop what the user wrote
        if not stat.S_ISREG(status.st_mode):
            raise _refusal(given, what, f"it is {_kind(status)}; name a regular file")
        if _is_read_only(file, status):
            raise _refusal(given, what, "it is read-only; make it writable (chmod u+w), or choose another path")
    return Destination(given, what, file)


def _refusal(given: str, what: str, reason: str) -> SaveError:
    return SaveError(f"cannot write the {what} to {given!r}: {reason}")


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")


def _is_read_only(file: Path, status: os.stat_result) -> bool:
    """Return whether a file says that it is not to be written; root might, and a rename asks for the folder only."""
    is_marked = not status.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return is_marked or not os.access(file, os.W_OK)


def keep_mode(written: Path, like: Path) -> None:
    """Give a new file the mode, the owner and the access lists of another one, as far as this process may."""
    status = like.stat()
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):
            os.chown(written, status.st_uid, status.st_gid)
    shutil.copystat(like, written)
    os.utime(written)


@contextlib.contextmanager
def explain_errors(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Raise errors of the operating system as ``SaveError``, with a remedy."""
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        # numpy reports a short write without saying why.
        remedy = _REMEDIES.get(error.errno or errno.ENOSPC, "choose another path")
        raise _refusal(os.fsdecode(path), what, f"{error.strerror or error}; {remedy}") from error
    except (MemoryError, EncodeError) as error:
        reason = "there is not enough memory to serialise it; raise the memory limit of this process, or free memory"
        raise _refusal(os.fsdecode(path), what, reason) from error
