"""Target runtimes: which operators a runtime can execute, at which opsets and dtypes.

A table is data, generated from a runtime's own list of kernels by ``python -m jax2onnx.legalise.targets.generate``. The
default target is onnxruntime's CPU provider, from the oldest onnxruntime that jax2onnx supports, so that models load
in newer ones; for opsets which that one does not load, from a newer one. The target ``onnx`` stands for the
specification itself: every operator, every dtype.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from jax2onnx.legalise.schema import Schema, body, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.resources.abc import Traversable

DEFAULT = "onnxruntime-cpu"
"""The name of the target used unless the user asks for another."""

_TABLES = {DEFAULT: ("onnxruntime-cpu-1.24.json", "onnxruntime-cpu-1.32.json")}
"""The tables of a target, from the oldest version of its runtime to the newest."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: the operator versions it serves and the dtypes it takes.

    Attributes:
        since: first operator version.
        until: last operator version; None serves ``since`` only, as later versions were unknown to the runtime.
        types: for each type parameter (or formal parameter) that the kernel restricts, the dtypes allowed.
    """

    since: int
    until: int | None
    types: Mapping[str, frozenset[ir.DataType]]

    def serves(self, version: int) -> bool:
        """Tell whether the kernel serves this version of its operator."""
        return self.since == version or (self.until is not None and self.since <= version <= self.until)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A runtime, as the kernels it has.

    Attributes:
        name: what ``to_onnx(..., target=name)`` calls it.
        runtime: the runtime and version that the table describes, for messages.
        max_opset: the newest opset of the default domain that the runtime loads; None for any.
        kernels: (domain, operator) -> its kernels; None if everything that ONNX specifies can be executed.
        newer: returns a newer version of the runtime, for opsets beyond ``max_opset``; None where none is known.
        plugin: the plugin that registered it.
    """

    name: str
    runtime: str
    max_opset: int | None
    kernels: Mapping[tuple[str, str], Sequence[Kernel]] | None
    newer: Callable[[], Target] | None = None
    plugin: str = "core"

    def at(self, opset: int) -> Target:
        """Return the oldest version of the runtime that loads this opset; the newest if none is known to."""
        if self.loads(opset) or self.newer is None:
            return self
        return self.newer().at(opset)

    def loads(self, opset: int) -> bool:
        """Tell whether the runtime loads a model of this opset of the default domain."""
        return self.max_opset is None or opset <= self.max_opset

    def supports(self, op_type: str, opset: int, dtypes: Sequence[ir.DataType | None], *, domain: str = "") -> bool:
        """Tell whether the runtime executes an operator on inputs of these dtypes, without any cast.

        Args:
            op_type: the operator.
            opset: the opset of ``domain`` that the model imports.
            dtypes: dtypes of the leading inputs; None for any.
            domain: the operator's domain.
        """
        found = schema(domain, op_type, opset)
        if self.kernels is None or found is None:
            return self.kernels is None
        bound = found.bind(dtypes, ())
        return self.executes(found, bound) or self.expands(found, dtypes, None)

    def executes(self, found: Schema, bound: Mapping[str, ir.DataType]) -> bool:
        """Tell whether there is a kernel of its own for an operator with its type parameters bound to dtypes."""
        if self.kernels is None or not found.allows(bound):
            return self.kernels is None
        for kernel in self.kernels.get((found.domain, found.name), ()):
            if kernel.serves(found.version) and all(
                bound[key] in allowed
                for name, allowed in kernel.types.items()
                if (key := found.parameters.get(name, name)) in bound
            ):
                return True
        return False

    def expands(self, found: Schema, dtypes: Sequence[ir.DataType | None], node: ir.Node | None) -> bool:
        """Tell whether an operator without kernel has a function body of which every node can be executed."""
        if not found.has_body:
            return False
        inner = body(found, tuple(dtypes), node)
        return inner is not None and all(
            self.executes(s, bound) or self.expands(s, types, n) for s, bound, types, n in inner
        )


SPECIFICATION = Target("onnx", "the ONNX specification", None, None)
"""Everything ONNX specifies; a model for this target keeps the form its rules gave it."""


def read(path: Traversable) -> Target:
    """Return the target that a file written by ``python -m jax2onnx.legalise.targets.generate`` describes."""
    return from_table(json.loads(path.read_text()))


def from_table(table: Mapping[str, Any]) -> Target:
    """Return the target that a table describes: ``name``, ``runtime``, ``max_opset``, ``kernels``."""
    kernels = {
        (domain, op_type): tuple(
            Kernel(since, until, {name: _dtypes(types) for name, types in restricted.items()})
            for since, until, restricted in entries
        )
        for domain, operators in table["kernels"].items()
        for op_type, entries in operators.items()
    }
    return Target(table["name"], table["runtime"], table["max_opset"], kernels)


@functools.cache
def _dtypes(names: str) -> frozenset[ir.DataType]:
    return frozenset(ir.DataType[name.upper()] for name in names.split())


def load(name: str) -> Target | None:
    """Return the target of this name that comes with jax2onnx, or None."""
    if name == SPECIFICATION.name:
        return SPECIFICATION
    return _version(name, 0) if name in _TABLES else None


@functools.cache
def _version(name: str, index: int) -> Target:
    tables = _TABLES[name]
    target = read(resources.files(__name__) / tables[index])
    newer = functools.partial(_version, name, index + 1) if index + 1 < len(tables) else None
    return replace(target, newer=newer)


def names() -> list[str]:
    """Return the names of the targets that come with jax2onnx."""
    return [*_TABLES, SPECIFICATION.name]


__all__ = ["DEFAULT", "SPECIFICATION", "Kernel", "Target", "from_table", "load", "names", "read"]
