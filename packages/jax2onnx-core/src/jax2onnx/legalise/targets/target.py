"""Targets: a runtime, as the kernels that it has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from jax2onnx.legalise.function_body import body
from jax2onnx.legalise.schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnx_ir as ir
    from onnx_ir import DataType

    from jax2onnx.legalise.schema import Call
    from jax2onnx.legalise.targets.fault import Fault, Span

__all__ = ["SPECIFICATION", "Kernel", "Target"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: the operator versions it serves and the dtypes it takes.

    Attributes:
        since: first operator version.
        until: last operator version. None means that no later version was known: the kernel serves ``since`` only.
        types: for each type parameter (or formal parameter) that the kernel restricts, the dtypes allowed.
    """

    since: int
    until: int | None
    types: Mapping[str, frozenset[DataType]]

    def serves(self, call: Call) -> bool:
        """Return whether the kernel serves the operator version and takes the dtypes of a call."""
        if not self.has_version(call.schema.version):
            return False
        for name, allowed in self.types.items():
            dtype = call.bound.get(call.schema.variables.get(name, name))
            if dtype is not None and dtype not in allowed:
                return False
        return True

    def has_version(self, version: int) -> bool:
        """Return whether the kernel serves a version of the operator."""
        return version == self.since or (self.until is not None and self.since <= version <= self.until)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A runtime, as the kernels it has.

    Attributes:
        name: what ``to_onnx(..., target=name)`` calls it.
        runtime: the runtime and version that the table describes, e.g. ``onnxruntime 1.24.1 (CPUExecutionProvider)``.
        max_opset: the newest opset of the default domain that the runtime loads; None for any.
        kernels: (domain, operator) -> its kernels; None if everything that ONNX specifies can be executed.
        newer: returns a newer version of the runtime, for opsets beyond ``max_opset``; None where none is known.
        plugin: the plugin that registered it.
        version: the version of the runtime that the table describes, for targets with a range of versions.
        releases: returns the versions of the runtime that have tables, from the oldest on; None for this one alone.
        faults: what the runtime computes otherwise than ONNX says.
        guards: whether models keep NaN and infinities where kernels lose them, and empty arrays where they fail.
        static_shapes: whether the runtime takes no symbolic dims.
        preferred: the kernels of an accelerator, which leaves the other nodes to a slower part that has ``kernels``.
        functions: whether the runtime reads ONNX functions of a model; else their calls are inlined.
        refused: dtypes of inputs that the runtime does not take as they are, and why.
        one_file: whether weights are never written beside the model, however large they are.
        refuses: returns why a model is refused, for what is no fault at single nodes.
        finish: rewrites the model, after kernels and faults, for what concerns no node alone.
        mixes_bytes: whether sums of products of uint8 by int8 are exact and fast.
        needs: what it needs besides, for a reader: ``int8 by QDQ``.
    """

    name: str
    runtime: str
    max_opset: int | None
    kernels: Mapping[tuple[str, str], Sequence[Kernel]] | None
    newer: Callable[[], Target] | None = None
    plugin: str = "core"
    version: str = ""
    releases: Callable[[], Sequence[Target]] | None = None
    faults: tuple[Fault, ...] = ()
    guards: bool = True
    static_shapes: bool = False
    functions: bool = True
    preferred: Mapping[tuple[str, str], Sequence[Kernel]] | None = None
    refused: Mapping[DataType, str] = field(default_factory=dict)
    one_file: bool = False
    refuses: Callable[[ir.Model], Iterable[str]] | None = None
    needs: tuple[str, ...] = ()
    finish: Callable[[ir.Model], None] | None = None
    mixes_bytes: bool = False

    @property
    def is_onnxruntime(self) -> bool:
        """Whether the runtime is an onnxruntime, of whatever version and provider."""
        return self.runtime.startswith("onnxruntime ")

    def at(self, opset: int) -> Target:
        """Return the oldest version of the runtime that loads this opset; the newest if none is known to."""
        if self.loads(opset) or self.newer is None:
            return self
        return self.newer().at(opset)

    def within(self, span: Span) -> Target | None:
        """Return the target for all versions in a span: the newest table that is not newer than the oldest of them.

        None if all tables are newer.
        """
        known = [self] if self.releases is None else list(self.releases())
        if span.low:
            known = [one for one in known if one.version and not_newer(one.version, span.low)][-1:]
        if not known:
            return None
        all_faults = dict.fromkeys((*self.faults, *known[0].faults))
        faults = tuple(fault for fault in all_faults if fault.versions.meets(span))
        return replace(known[0], name=self.name, newer=None, faults=faults, guards=self.guards)

    def lacks(self, fact: str) -> bool:
        """Return whether the runtime has the fault of this name."""
        return any(fault.fact == fact for fault in self.faults)

    def cautions(self) -> tuple[str, ...]:
        """Return what a user has to do about faults that no rewrite avoids."""
        told = [fault for fault in self.faults if fault.remedy and fault.mend is None]
        return tuple(f"in versions {fault.versions}, {fault.fact}; {fault.remedy}" for fault in told)

    def loads(self, opset: int) -> bool:
        """Return whether the runtime loads a model of this opset of the default domain."""
        return self.max_opset is None or opset <= self.max_opset

    def supports(self, op_type: str, opset: int, dtypes: Sequence[DataType | None], *, domain: str = "") -> bool:
        """Return whether the runtime executes an operator on inputs of these dtypes, without any cast.

        Args:
            op_type: the operator.
            opset: the opset of ``domain`` that the model imports.
            dtypes: dtypes of the leading inputs; None for any.
            domain: the operator's domain.
        """
        if self.kernels is None:
            return True
        found = schema(domain, op_type, opset)
        if found is None:
            return False
        outputs = (None,) * len(found.outputs.formal)
        return self.runs(found.call(tuple(dtypes), outputs))

    def runs(self, call: Call) -> bool:
        """Return whether the runtime executes a call, with a kernel of its own or by its function body."""
        return self.has_kernel(call) or self._expands(call)

    def has_kernel(self, call: Call) -> bool:
        """Return whether there is a kernel for the operator and the dtypes of a call."""
        if self.kernels is None:
            return True
        if not call.schema.allows(call.bound):
            return False
        kernels = self.kernels.get((call.schema.domain, call.schema.name), ())
        return any(kernel.serves(call) for kernel in kernels)

    def accelerates(self, call: Call) -> bool:
        """Return whether the accelerator has a kernel for a call, or the call is one that no accelerator executes."""
        if self.preferred is None:
            return True
        kernels = self.preferred.get((call.schema.domain, call.schema.name), ())
        return any(kernel.serves(call) for kernel in kernels) or self._expands_there(call)

    def _expands_there(self, call: Call) -> bool:
        inner = body(call)
        return inner is not None and all(map(self.accelerates, inner))

    def _expands(self, call: Call) -> bool:
        """Return whether the operator of a call has a function body of which every node can be executed."""
        inner = body(call)
        return inner is not None and all(map(self.runs, inner))


def not_newer(version: str, release: str) -> bool:
    """Return whether a version is of a release, or before it: 1.20.1 is of 1.20."""
    parts = Version(release).release
    return Version(version).release[: len(parts)] <= parts


SPECIFICATION = Target("onnx", "the ONNX specification", None, None)
"""Everything ONNX specifies; a model for this target keeps the form its rules gave it."""
