"""Convert JAX programs to ONNX.

Importing this package imports neither jax nor onnx: each public name loads its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx import errors
    from jax2onnx.api import save_onnx, show, to_onnx
    from jax2onnx.checking.check import allclose, check
    from jax2onnx.checking.diagnose import diagnose
    from jax2onnx.frontend.own_operators import onnx_op
    from jax2onnx.plugin.functions import onnx_function
    from jax2onnx.plugin.hookspecs import hookimpl

    __version__: str

__all__ = [
    "__version__",
    "allclose",
    "check",
    "diagnose",
    "errors",
    "hookimpl",
    "onnx_function",
    "onnx_op",
    "save_onnx",
    "show",
    "to_onnx",
]

_HOMES = {
    "allclose": "jax2onnx.checking.check",
    "check": "jax2onnx.checking.check",
    "diagnose": "jax2onnx.checking.diagnose",
    "hookimpl": "jax2onnx.plugin.hookspecs",
    "onnx_function": "jax2onnx.plugin.functions",
    "onnx_op": "jax2onnx.frontend.own_operators",
    "save_onnx": "jax2onnx.api",
    "show": "jax2onnx.api",
    "to_onnx": "jax2onnx.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("jax2onnx-core")
    if name == "errors":
        return importlib.import_module("jax2onnx.errors")
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    importlib.import_module("jax2onnx.plugin.owner").require_sole_owner()
    if name != "hookimpl":  # which plugins import where nothing is exported
        importlib.import_module("jax2onnx._deferred")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
