"""Culprit: in the code of which plugin an exception arose."""

from __future__ import annotations

from jax2onnx._compat import is_library
from jax2onnx.plugin.loader import current

__all__ = ["culprit"]


def culprit(error: BaseException) -> str | None:
    """Return the plugin in whose code an error arose, and the function of it; None if it arose in other code."""
    loaded = current()
    tracebacks = []
    traceback = error.__traceback__
    while traceback is not None:
        tracebacks.append(traceback)
        traceback = traceback.tb_next
    for traceback in reversed(tracebacks):
        code = traceback.tb_frame.f_code
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        plugin = None if loaded is None else loaded.owner_of(module)
        if plugin is not None:
            return f"{plugin}, in {code.co_name} ({code.co_filename}:{traceback.tb_lineno})"
        if not is_library(code.co_filename) and not code.co_filename.startswith("<"):
            return None
    return None
