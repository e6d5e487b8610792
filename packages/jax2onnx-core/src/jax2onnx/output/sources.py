"""Sources: the user's lines that nodes carry, written alike wherever the source is installed or checked out.

Errors name the whole path; a model, which must not depend on the folder or the machine that made it, the part of it
that the source itself decides: from the outermost package on, or the file alone.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jax2onnx.tidy.subgraphs import every_node

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["NAMESPACE", "SOURCE", "portable", "portable_file", "write_sources"]

SOURCE = "jax2onnx.source"
"""The key in a node's metadata of the user's line: ``file:line (function)``."""

NAMESPACE = "namespace"
"""The key of the module's path, its parts separated by slashes; the viewers of graphs that group nodes look there."""


def write_sources(model: ir.Model, provenance: Literal["none", "relative", "full"] = "relative") -> None:
    """Rewrite what the nodes of a model tell of where they come from.

    Args:
        model: the model; it is changed.
        provenance: ``relative`` makes the lines independent of the folder and the machine, ``full`` leaves them as they
            are, ``none`` removes them and the modules' paths.
    """
    if provenance == "full":
        return
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in every_node(graph):
            told = node.metadata_props
            if provenance == "none":
                told.pop(SOURCE, None)
                told.pop(NAMESPACE, None)
            elif SOURCE in told:
                told[SOURCE] = portable(told[SOURCE])


@functools.lru_cache(maxsize=1024)
def portable(where: str) -> str:
    """Return a line without the folders of this machine."""
    file, colon, line = where.rpartition(":")
    return f"{portable_file(file)}{colon}{line}"


@functools.cache
def portable_file(file: str) -> str:
    """Return the path of a file from its outermost package on: ``flax/nnx/nn/linear.py``, ``model.py``."""
    path = Path(file)
    installed = [place for place, part in enumerate(path.parts) if part in {"site-packages", "dist-packages"}]
    if installed:
        return Path(*path.parts[installed[-1] + 1 :]).as_posix()
    if not path.is_absolute():  # what has no file: "<stdin>"
        return path.as_posix()
    root = path.parent
    while (root / "__init__.py").is_file() and root != root.parent:
        root = root.parent
    return path.relative_to(root).as_posix()
