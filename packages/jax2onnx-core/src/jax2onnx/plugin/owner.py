"""Require that no other distribution owns the import package ``jax2onnx``."""

from __future__ import annotations

from jax2onnx.errors import PluginError
from jax2onnx.plugin.installed import find

__all__ = ["require_sole_owner"]

RIVAL = "jax2onnx"
"""The older single-package distribution. A scan of every installed file would find others too, at 0.7 s an import."""


def require_sole_owner() -> None:
    """Refuse to work on a mixture of two distributions' files.

    Raises:
        PluginError: the distribution ``jax2onnx`` is installed beside ``jax2onnx-core``.
    """
    rival = find(RIVAL)
    if rival is None:
        return
    raise PluginError(
        f"two distributions own the import package 'jax2onnx': jax2onnx-core and {RIVAL} {rival.version}, and each "
        f"overwrites files of the other; run `pip uninstall jax2onnx` (remove {rival.folder} if pip does not find it), "
        "then `pip install --force-reinstall --no-deps jax2onnx-core`"
    )
