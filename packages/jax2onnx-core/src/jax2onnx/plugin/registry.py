"""Remember what plugins register: lowerings, fusions, examples and targets, each with the name of its plugin.

Registries are dictionaries keyed by plain strings, filled once when plugins load. A plugin is handed a *bound* registry
that knows the plugin's name, so a conflict can name both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jax2onnx._accepted import shown
from jax2onnx.errors import PluginConflictError
from jax2onnx.plugin import fields
from jax2onnx.plugin.lowerings import MIN_OPSET, Lowering, Lowerings, elementwise, named_params, takes_context
from jax2onnx.program.facts import Facts, FactTable

if TYPE_CHECKING:
    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.examples import Example
    from jax2onnx.plugin.fusions import Fusion

__all__ = [
    "BoundExamples",
    "BoundFusions",
    "BoundLowerings",
    "BoundTargets",
    "Examples",
    "Named",
    "Registry",
]

T = TypeVar("T", "Fusion", "Example", "Target")


class Named(Generic[T]):
    """Entries with unique keys, each owned by a plugin."""

    def __init__(self, what: str, key: Callable[[T], str]) -> None:
        self._what = what
        self._key: Callable[[T], str] = key
        self._entries: dict[str, T] = {}

    def add(self, entry: T, *, override: bool = False) -> None:
        """Add one entry; a taken key needs ``override``."""
        key = self._key(entry)
        present = self._entries.get(key)
        if present is not None and not override:
            raise PluginConflictError(f"the {self._what} {key!r}", present.plugin, entry.plugin)
        self._entries[key] = entry

    def __iter__(self) -> Iterator[T]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class _Bound(Generic[T]):
    _store: Named[T]
    plugin: str

    @staticmethod
    def _kind() -> type[Any]:
        """Return the class of the entries."""
        raise NotImplementedError

    @staticmethod
    def _check(entry: Any) -> None:
        """Raise TypeError for an entry that is malformed, and that its class accepts."""

    def add(self, *entries: T, override: bool = False) -> None:
        """Register entries of the plugin.

        Raises:
            PluginConflictError: an entry of this name is registered, and ``override`` is false.
        """
        kind = self._kind()
        for entry in entries:
            if not isinstance(entry, kind):
                raise TypeError(f"{shown(entry)} is no {kind.__name__}; give one by one, or *a_list")
            self._check(entry)
            self._store.add(replace(entry, plugin=self.plugin), override=override)


class BoundFusions(_Bound["Fusion"]):
    """The fusion registry as one plugin sees it."""

    @staticmethod
    def _kind() -> type[Any]:
        from jax2onnx.plugin.fusions import Fusion

        return Fusion


class BoundExamples(_Bound["Example"]):
    """The example registry as one plugin sees it."""

    @staticmethod
    def _kind() -> type[Any]:
        from jax2onnx.plugin.examples import Example

        return Example


class BoundTargets(_Bound["Target"]):
    """The target registry as one plugin sees it."""

    @staticmethod
    def _kind() -> type[Any]:
        from jax2onnx.legalise.targets import Target

        return Target

    @staticmethod
    def _check(entry: Any) -> None:
        from jax2onnx.legalise.targets import Fault

        fields.text("the name of a target", entry.name)
        fields.text(f"runtime of the target {entry.name}", entry.runtime)
        fields.maybe(fields.opset)(f"max_opset of the target {entry.name}", entry.max_opset)
        fields.maybe(fields.function)(f"newer of the target {entry.name}", entry.newer)
        fields.text(f"version of the target {entry.name}", entry.version or "0")
        fields.maybe(fields.function)(f"releases of the target {entry.name}", entry.releases)
        for fault in entry.faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"faults of the target {entry.name}: {shown(fault)} is no Fault")
            fields.text(f"a fault of the target {entry.name}", fault.fact)
            fields.maybe(fields.function)(f"mend of the fault {fault.fact}", fault.mend)
        if entry.kernels is None:
            return
        what = f"kernels of the target {entry.name}"
        if not isinstance(entry.kernels, Mapping):
            raise TypeError(f"{what} is {shown(entry.kernels)}, no mapping from domains and operators to kernels")
        for key, kernels in entry.kernels.items():
            if not isinstance(key, tuple) or [type(part) for part in key] != [str, str]:
                raise TypeError(f"a key of {what} is {shown(key)}, no pair of a domain and an operator")
            fields.rows(f"{what}: those of {key[1]}", kernels)
            for kernel in kernels:
                if not hasattr(kernel, "serves"):
                    raise TypeError(f"{what}: {shown(kernel)} of {key[1]} is no Kernel")
                _check_types(f"{what}: types of {key[1]}", kernel.types)


def _check_types(what: str, types: Any) -> None:
    """Check the dtypes of a kernel."""
    from onnx_ir import DataType

    fields.mapping(what, types)
    for name, dtypes in types.items():
        wrong = [dtype for dtype in dtypes if not isinstance(dtype, DataType)]
        if wrong:
            raise TypeError(f"{what}: {shown(wrong[0])} of {name} is no onnx_ir.DataType, such as DataType.FLOAT")


@dataclass(frozen=True, slots=True)
class BoundLowerings:
    """The registry of lowerings and of facts about primitives, as one plugin sees it."""

    _store: Lowerings
    _facts: FactTable
    plugin: str

    def add(
        self,
        primitive: str,
        rule: Callable[..., Any],
        *,
        min_opset: int = MIN_OPSET,
        via_jax: bool = False,
        override: bool = False,
    ) -> None:
        """Register ``rule`` for the primitive named ``primitive``.

        Raises:
            PluginConflictError: another plugin has registered the same primitive and opset.
        """
        name: Any = primitive
        if not isinstance(name, str) or not name:
            raise TypeError(f"{shown(name)} is no name of a primitive")
        fields.function(f"the rule of {primitive}", rule)
        fields.opset(f"min_opset of the rule of {primitive}", min_opset)
        if not via_jax and not takes_context(rule):
            raise TypeError(f"the rule of {primitive} takes no positional argument; the first one is the context")
        entry = Lowering(
            primitive=primitive,
            rule=rule,
            plugin=self.plugin,
            min_opset=min_opset,
            via_jax=via_jax,
            params=named_params(rule),
        )
        self._store.add(entry, override=override)
        if self._facts.lowered is not None:
            self._facts.lowered.add(primitive)

    def composite(
        self,
        name: str,
        rule: Callable[..., Any],
        *,
        version: int = 0,
        min_opset: int = MIN_OPSET,
        override: bool = False,
    ) -> None:
        """Register a rule for one ``jax.lax.composite``, by its name and version.

        The rule gets the operands, and the composite's attributes as keywords. Where it raises
        :class:`~jax2onnx.plugin.Decline`, and for an older opset, the composite's body is converted.

        Raises:
            PluginConflictError: another plugin has registered the same composite and opset.
        """
        from jax2onnx.plugin import composites

        fields.text("the name of a composite", name)
        fields.function(f"the rule of the composite {name}", rule)
        if isinstance(version, bool) or not isinstance(version, int):
            raise TypeError(f"version of the composite {name} is {shown(version)}, no int")
        key = composites.composite_name(name, version)
        self.add(key, composites.composite(rule), min_opset=min_opset, override=override)
        if min_opset > MIN_OPSET and self._store.find(key, MIN_OPSET) is None:
            self.add(key, composites.composite(None))

    def facts(self, facts: Mapping[str, Facts], *, override: bool = False) -> None:
        """Register facts about primitives, by name; those of one primitive may be registered bit by bit.

        Raises:
            PluginConflictError: another plugin has registered the same fact.
        """
        for primitive, stated in facts.items():
            if not isinstance(stated, Facts):
                raise TypeError(f"the facts of {primitive} are {shown(stated)}, no Facts")
            for fact in stated.stated():
                owner = self._facts.owners.get((primitive, fact))
                if owner is not None and not override:
                    what = f"the fact {fact!r} of {primitive!r}"
                    raise PluginConflictError(what, owner, self.plugin)
            self._facts.add(primitive, stated, self.plugin)

    def table(self, cells: Mapping[str, str | Callable[..., Any]]) -> None:
        """Register many at once: an operator name where ONNX has the operator, else a rule."""
        for primitive, cell in cells.items():
            self.add(primitive, elementwise(cell) if isinstance(cell, str) else cell)

    def via_jax(self, cells: Mapping[str, Callable[..., Any]]) -> None:
        """Register many primitives as JAX functions of the operands, with the params as keywords."""
        for primitive, function in cells.items():
            self.add(primitive, function, via_jax=True)


class Registry:
    """Everything that plugins register for exports."""

    def __init__(self) -> None:
        from jax2onnx.legalise import targets
        from jax2onnx.plugin import own_operators

        self.facts = FactTable(lowered=set())
        self.lowerings = Lowerings()
        self.fusions: Named[Fusion] = Named("fusion", lambda fusion: fusion.name)
        self.targets: Named[Target] = Named("target", lambda target: target.name)
        for name in targets.names():
            if target := targets.load(name):
                self.targets.add(target)
        own = BoundLowerings(self.lowerings, self.facts, own_operators.ONNX_OP)
        own.add(own_operators.ONNX_OP, own_operators.lower)
        own.facts({own_operators.ONNX_OP: own_operators.FACTS})

    def bound(self, plugin: str) -> dict[str, Any]:
        """Return, for each hook, what one plugin's implementation of it is called with."""
        return {
            "jax2onnx_register_lowerings": BoundLowerings(self.lowerings, self.facts, plugin),
            "jax2onnx_register_fusions": BoundFusions(self.fusions, plugin),
            "jax2onnx_register_targets": BoundTargets(self.targets, plugin),
        }


class Examples(Named["Example"]):
    """The examples of all plugins."""

    def __init__(self) -> None:
        super().__init__("example", lambda example: f"{example.context}.{example.name}")

    def bound(self, plugin: str) -> dict[str, Any]:
        """Return, for each hook, what one plugin's implementation of it is called with."""
        return {"jax2onnx_register_examples": BoundExamples(self, plugin)}
