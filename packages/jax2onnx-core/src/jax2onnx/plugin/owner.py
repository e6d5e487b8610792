"""Who owns the import package ``jax2onnx``: this distribution, and no other."""

from __future__ import annotations

import importlib.metadata

from jax2onnx.errors import PluginError

RIVAL = "jax2onnx"
"""The older single-package distribution. A scan of every installed file would find others too, at 0.7 s an import."""


def require_sole_owner() -> None:
    """Refuse to work on a mixture of two distributions' files.

    Raises:
        PluginError: the distribution ``jax2onnx`` is installed beside ``jax2onnx-core``.
    """
    try:
        version = importlib.metadata.version(RIVAL)
    except importlib.metadata.PackageNotFoundError:
        return
    raise PluginError(
        f"two distributions own the import package 'jax2onnx': jax2onnx-core and {RIVAL} {version}, and each "
        "overwrites files of the other; run `pip uninstall jax2onnx`, then "
        "`pip install --force-reinstall --no-deps jax2onnx-core`"
    )
