"""Target runtimes: which operators a runtime can execute, at which opsets and dtypes.

A table is data, generated from a runtime's own list of kernels by ``python -m jax2onnx.legalise.targets.generate``. The
default target is onnxruntime's CPU provider, from the oldest onnxruntime that jax2onnx supports, so that models load
in newer ones; for opsets which that one does not load, from a newer one. The target ``onnx`` stands for the
specification itself: every operator, every dtype.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from onnx_ir import DataType

from jax2onnx.legalise.targets.target import SPECIFICATION, Kernel, Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

__all__ = ["DEFAULT", "SPECIFICATION", "Kernel", "Target", "from_table", "load", "names", "read"]

DEFAULT = "onnxruntime-cpu"
"""The name of the target used unless the user asks for another."""

_TABLES = {DEFAULT: ("onnxruntime-cpu-1.24.json", "onnxruntime-cpu-1.32.json")}
"""The tables of a target, from the oldest version of its runtime to the newest."""


def names() -> list[str]:
    """Return the names of the targets that come with jax2onnx."""
    return [*_TABLES, SPECIFICATION.name]


def load(name: str) -> Target | None:
    """Return the target of this name that comes with jax2onnx, or None."""
    if name == SPECIFICATION.name:
        return SPECIFICATION
    return _version(name, 0) if name in _TABLES else None


@functools.cache
def _version(name: str, index: int) -> Target:
    tables = _TABLES[name]
    target = read(resources.files(__name__) / tables[index])
    if index + 1 == len(tables):
        return target
    return replace(target, newer=functools.partial(_version, name, index + 1))


def read(path: Traversable) -> Target:
    """Return the target that a file written by ``python -m jax2onnx.legalise.targets.generate`` describes."""
    return from_table(json.loads(path.read_text()))


def from_table(table: Mapping[str, Any]) -> Target:
    """Return the target that a table describes: ``name``, ``runtime``, ``max_opset``, ``kernels``."""
    kernels: dict[tuple[str, str], tuple[Kernel, ...]] = {}
    for domain, operators in table["kernels"].items():
        for op_type, entries in operators.items():
            kernels[domain, op_type] = tuple(_kernel(*entry) for entry in entries)
    return Target(table["name"], table["runtime"], table["max_opset"], kernels)


def _kernel(since: int, until: int | None, restricted: Mapping[str, str]) -> Kernel:
    return Kernel(since, until, {name: _dtypes(types) for name, types in restricted.items()})


@functools.cache
def _dtypes(names: str) -> frozenset[DataType]:
    return frozenset(DataType[name.upper()] for name in names.split())
