"""Text files: write one, all of it or nothing."""

from __future__ import annotations

import os

from jax2onnx.output.destination import destination, explain_errors, keep_mode
from jax2onnx.output.work_folder import releasing, work_folder

__all__ = ["write_text"]


def write_text(text: str, path: str | os.PathLike[str], what: str) -> None:
    """Write a text file, all of it or nothing.

    Args:
        text: its text.
        path: the file; its folder must exist.
        what: what the text is, for messages.

    Raises:
        SaveError: nothing was written, and what was there before is unchanged.
    """
    with explain_errors(path, what), releasing():
        to = destination(path, what)
        with work_folder(to.file) as folder:
            written = folder / to.file.name
            written.write_text(text, encoding="utf-8")
            if to.file.exists():
                keep_mode(written, like=to.file)
            written.replace(to.file)
