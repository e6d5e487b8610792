"""Orbax: the arrays of a checkpoint, read leaf by leaf, and those that were written in shards shard by shard."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jax2onnx.errors import InputSpecError
from jax2onnx.weights.stored import StoredArray

__all__ = ["is_orbax", "read_orbax"]

_METADATA = "_METADATA"
_ITEMS = ("default", "state", "params", "model")
"""The names of the item of a step of a checkpoint manager that holds the arrays."""
_AT_ONCE = 1 << 25
"""How many bytes are read at once, where shards are smaller."""
_AHEAD = 3
"""How many reads are under way, at most, while the caller writes: each decompresses its shards in a thread."""
_MOST_AHEAD = 1 << 28
"""How many bytes are read ahead at most, unless one read has more."""


def is_orbax(folder: Path) -> bool:
    """Return whether a folder is a checkpoint, or has steps of a checkpoint manager."""
    return _checkpoint(folder) is not None


def _checkpoint(folder: Path) -> Path | None:
    """Return the folder of the arrays: the one given, an item in it, or that of the last step; None if none."""
    if (folder / _METADATA).is_file():
        return folder
    items = [folder / name for name in _ITEMS if (folder / name / _METADATA).is_file()]
    if items:
        return items[0]
    if not folder.is_dir():
        return None
    steps = [path for path in folder.iterdir() if path.name.rpartition("_")[2].isdigit() and path.is_dir()]
    for step in sorted(steps, key=lambda path: int(path.name.rpartition("_")[2]), reverse=True):
        found = _checkpoint(step)
        if found is not None:
            return found
    return None


def read_orbax(folder: Path) -> dict[str, StoredArray]:
    """Return the arrays of a checkpoint by their paths; only what describes them is read.

    Raises:
        InputSpecError: orbax is not installed, or cannot read the checkpoint.
    """
    checkpoint = _checkpoint(folder)
    assert checkpoint is not None
    try:
        orbax = importlib.import_module("orbax.checkpoint")
        tensorstore = importlib.import_module("tensorstore")
    except ImportError as error:
        raise InputSpecError(
            f"weights: {str(folder)!r} is a checkpoint of orbax, and {error.name} is not installed; "
            "pip install 'jax2onnx-core[orbax]'"
        ) from error
    root = Path(os.path.realpath(checkpoint))
    try:
        told = json.loads((root / _METADATA).read_text(encoding="utf-8"))
        metadata = orbax.PyTreeCheckpointer().metadata(root)
    except (ValueError, OSError, KeyError) as error:
        raise InputSpecError(
            f"weights: orbax cannot read {str(folder)!r}: {error}; write the checkpoint anew"
        ) from error
    tree = getattr(metadata, "item_metadata", metadata)  # older versions of orbax return the tree
    tree = getattr(tree, "tree", tree)
    reader = _Reader(tensorstore, root, is_zarr3=bool(told.get("use_zarr3")))
    return dict(_leaves(tree, "", reader))


def _leaves(node: Any, path: str, reader: _Reader) -> Iterator[tuple[str, StoredArray]]:
    if isinstance(node, dict | list | tuple):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, below in items:
            yield from _leaves(below, f"{path}.{key}" if path else str(key), reader)
    elif getattr(node, "shape", None) is not None and getattr(node, "dtype", None) is not None:
        yield path, reader.array(node)


class _Reader:
    """Reads the arrays of one checkpoint."""

    def __init__(self, tensorstore: Any, root: Path, *, is_zarr3: bool) -> None:
        self._tensorstore = tensorstore
        self._root = root
        self._driver = "zarr3" if is_zarr3 else "zarr"
        self._is_ocdbt = (root / "manifest.ocdbt").exists()
        self._last: tuple[str, np.ndarray[Any, Any]] | None = None

    def array(self, leaf: Any) -> StoredArray:
        """Return the array that a leaf of the metadata describes."""
        shape = tuple(leaf.shape)
        dtype = np.dtype(leaf.dtype)
        storage = getattr(leaf, "storage", None)  # a scalar has none
        chunk = getattr(storage, "chunk_shape", None) or shape
        read = partial(self._read, leaf.name)
        parts = None
        if shape and math.prod(shape) and chunk[0] < shape[0]:
            row = math.prod(shape[1:]) * dtype.itemsize
            rows = chunk[0] * max(1, _AT_ONCE // max(1, row * chunk[0]))
            parts = partial(self._parts, leaf.name, shape[0], min(rows, shape[0]))
        is_cut = bool(shape) and chunk[0] < shape[0]
        cut = partial(self._cut if is_cut else self._cut_of_all, leaf.name)
        return StoredArray(shape=shape, dtype=dtype, read=read, parts=parts, cut=cut)

    def _open(self, name: str) -> Any:
        store: dict[str, Any] = {"driver": "file", "path": f"{self._root}/{name}/"}
        if self._is_ocdbt:
            store = {"driver": "ocdbt", "base": f"file://{self._root}/", "path": f"{name}/"}
        return self._tensorstore.open({"driver": self._driver, "kvstore": store}, read=True).result()

    def _read(self, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(self._open(name).read().result())

    def _cut(self, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
        return np.asarray(self._open(name)[start:stop].read().result())

    def _cut_of_all(self, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return a part of an array that was written as one: the last such array is kept for its other parts."""
        if self._last is None or self._last[0] != name:
            self._last = None  # before the next one is read
            self._last = (name, self._read(name))
        return self._last[1][start:stop]

    def _parts(self, name: str, length: int, rows: int) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the array, so many rows at a time, in memory that is used again: each part before the next."""
        opened = self._open(name)
        first = self._tensorstore.d[0]
        shape, dtype = (rows, *opened.shape[1:]), opened.dtype.numpy_dtype
        ahead = max(1, min(_AHEAD, _MOST_AHEAD // (math.prod(shape) * dtype.itemsize)))
        free = [np.empty(shape, dtype) for _ in range(ahead + 1)]
        starts = iter(range(0, length, rows))
        reads: deque[tuple[np.ndarray[Any, Any], int, Any]] = deque()

        def begin(at: int) -> None:
            memory, stop = free.pop(), min(at + rows, length)
            source = opened[first[at:stop].translate_to[0]]
            reads.append((memory, stop - at, self._tensorstore.array(memory[: stop - at]).write(source)))

        for at in itertools.islice(starts, ahead):
            begin(at)
        while reads:
            memory, count, read = reads.popleft()
            read.result()
            for at in itertools.islice(starts, 1):
                begin(at)
            yield memory[:count]
            free.append(memory)
