"""Target runtimes: which operators a runtime can execute, at which opsets and dtypes.

A table is data, generated from a runtime's own list of kernels by ``python -m jax2onnx.legalise.targets.generate``. The
default target is onnxruntime's CPU provider, from the oldest onnxruntime that jax2onnx supports, so that models load
in newer ones; for opsets which that one does not load, from a newer one. The target ``onnx`` stands for the
specification itself: every operator, every dtype.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx_ir import DataType

from jax2onnx.legalise.targets.documented import DOCUMENTED
from jax2onnx.legalise.targets.fault import Fault, Span
from jax2onnx.legalise.targets.released import FAULTS
from jax2onnx.legalise.targets.target import SPECIFICATION, Kernel, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

    import onnx_ir as ir

__all__ = [
    "DEFAULT",
    "SPECIFICATION",
    "Fault",
    "Kernel",
    "Span",
    "Target",
    "from_table",
    "load",
    "load_target",
    "names",
    "read",
    "read_target",
]

DEFAULT = "onnxruntime-cpu"
"""The name of the target used unless the user asks for another."""

OLDEST = "1.24"
"""The oldest onnxruntime that jax2onnx supports: without a range of versions, models are for it."""

_TABLES = ("1.17", "1.20", "1.22", "1.24", "1.32")
"""The versions of onnxruntime whose kernels are known, from the oldest on."""

_VNNI = "onnxruntime-vnni"
"""The name of that target on x86 processors that have the instructions called VNNI."""

_NAMES = (DEFAULT, "onnxruntime", _VNNI)
"""The names of that target."""


_WEB = ("onnxruntime-web", "web", "onnxruntime-web-webgpu")
"""The names of the targets of browsers: wasm, and WebGPU, which leaves to wasm what it has no kernel for."""


def names() -> list[str]:
    """Return the names of the targets that come with jax2onnx."""
    return [*_NAMES, *_WEB, *(target.name for target in DOCUMENTED), SPECIFICATION.name]


def load(name: str) -> Target | None:
    """Return the target of this name that comes with jax2onnx, or None."""
    for target in (SPECIFICATION, *DOCUMENTED):
        if name == target.name:
            return target
    if name in _WEB:
        return _web(name)
    return _release(name, _TABLES.index(OLDEST)) if name in _NAMES else None


@functools.cache
def _web(name: str) -> Target:
    listed = _with_faults(read(resources.files(__name__) / f"{_WEB[0]}.json"))
    wasm = replace(listed, name=name, one_file=True, refuses=_without_arrays)
    if name != _WEB[-1]:
        return wasm
    webgpu = read(resources.files(__name__) / f"{name}.json")
    return replace(wasm, runtime=webgpu.runtime, preferred=webgpu.kernels)


_IN_JAVASCRIPT = frozenset(
    map(DataType.from_numpy, map(np.dtype, ("f4", "f8", "f2", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")))
)
"""The dtypes of which onnxruntime-web takes and returns arrays."""


def _without_arrays(model: ir.Model) -> Iterator[str]:
    """Yield a reason for each input and output of a dtype that JavaScript has no arrays of."""
    for what, values in (("input", model.graph.inputs), ("result", model.graph.outputs)):
        for value in values:
            if value.dtype is not None and value.dtype not in _IN_JAVASCRIPT:
                dtype = value.dtype.name.lower()
                yield f"the {what} {value.name} is {dtype}, of which JavaScript has no arrays; cast it"


load_target = load
"""As plugins import it."""


@functools.cache
def _release(name: str, index: int) -> Target:
    target = _table(_TABLES[index])
    newer = None if index + 1 == len(_TABLES) else functools.partial(_release, name, index + 1)
    releases = functools.partial(_releases, name)
    return replace(target, name=name, newer=newer, releases=releases, mixes_bytes=name == _VNNI)


@functools.cache
def _table(version: str) -> Target:
    return _with_faults(read(resources.files(__name__) / f"{DEFAULT}-{version}.json"))


def _with_faults(target: Target) -> Target:
    return replace(target, faults=tuple(fault for fault in FAULTS if fault.versions.meets(Span(target.version))))


def _releases(name: str) -> Sequence[Target]:
    return [_release(name, index) for index in range(len(_TABLES))]


def read(path: Traversable) -> Target:
    """Return the target that a file written by ``python -m jax2onnx.legalise.targets.generate`` describes."""
    return from_table(json.loads(path.read_text()))


read_target = read
"""As plugins import it."""


def from_table(table: Mapping[str, Any]) -> Target:
    """Return the target that a table describes: ``name``, ``runtime``, ``max_opset``, ``kernels``."""
    kernels: dict[tuple[str, str], tuple[Kernel, ...]] = {}
    for domain, operators in table["kernels"].items():
        for op_type, entries in operators.items():
            kernels[domain, op_type] = tuple(_kernel(*entry) for entry in entries)
    version = _VERSION.search(table["runtime"])
    return Target(table["name"], table["runtime"], table["max_opset"], kernels, version=version[0] if version else "")


_VERSION = re.compile(r"\d+(\.\d+)+")
"""The version in the text that names a runtime."""


def _kernel(since: int, until: int | None, restricted: Mapping[str, str]) -> Kernel:
    return Kernel(since, until, {name: _dtypes(types) for name, types in restricted.items()})


@functools.cache
def _dtypes(names: str) -> frozenset[DataType]:
    return frozenset(DataType[name.upper()] for name in names.split())
