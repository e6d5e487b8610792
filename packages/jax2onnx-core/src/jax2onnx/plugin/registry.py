"""What plugins register: lowerings, fusions, examples and targets, each remembered with its plugin.

Registries are dictionaries keyed by plain strings, filled once when plugins load. A plugin is handed a *bound* registry
that knows its name, so a conflict can name both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jax2onnx.errors import PluginConflictError
from jax2onnx.plugin.lowerings import MIN_OPSET, Lowering, Lowerings, elementwise, named_params
from jax2onnx.program.facts import Facts, FactTable

if TYPE_CHECKING:
    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.examples import Example
    from jax2onnx.plugin.fusions import Fusion


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
        entry = Lowering(primitive, rule, self.plugin, min_opset, via_jax, named_params(rule))
        self._store.add(entry, override=override)

    def facts(self, facts: Mapping[str, Facts], *, override: bool = False) -> None:
        """Register facts about primitives, by name; those of one primitive may be registered bit by bit.

        Raises:
            PluginConflictError: another plugin has registered the same fact.
        """
        for primitive, stated in facts.items():
            for fact in stated.stated():
                owner = self._facts.owners.get((primitive, fact))
                if owner is not None and not override:
                    raise PluginConflictError(f"the fact {fact!r} of {primitive!r}", owner, self.plugin)
            self._facts.add(primitive, stated, self.plugin)

    def table(self, cells: Mapping[str, str | Callable[..., Any]]) -> None:
        """Register many at once: an operator name where ONNX has the operator, else a rule."""
        for primitive, cell in cells.items():
            self.add(primitive, elementwise(cell) if isinstance(cell, str) else cell)

    def via_jax(self, cells: Mapping[str, Callable[..., Any]]) -> None:
        """Register many primitives said in JAX: functions of the operands, with the params as keywords."""
        for primitive, function in cells.items():
            self.add(primitive, function, via_jax=True)


T = TypeVar("T", "Fusion", "Example")


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

    def __getitem__(self, key: str) -> T:
        return self._entries[key]


@dataclass(frozen=True, slots=True)
class BoundFusions:
    """The fusion registry as one plugin sees it."""

    _store: Named[Fusion]
    plugin: str

    def add(self, *fusions: Fusion, override: bool = False) -> None:
        """Register fusions."""
        for fusion in fusions:
            self._store.add(replace(fusion, plugin=self.plugin), override=override)


@dataclass(frozen=True, slots=True)
class BoundExamples:
    """The example registry as one plugin sees it."""

    _store: Named[Example]
    plugin: str

    def add(self, *examples: Example, override: bool = False) -> None:
        """Register examples."""
        for example in examples:
            self._store.add(replace(example, plugin=self.plugin), override=override)


@dataclass(frozen=True, slots=True)
class BoundTargets:
    """The target registry as one plugin sees it."""

    _store: dict[str, tuple[Target, str]]
    plugin: str

    def add(self, target: Target, *, override: bool = False) -> None:
        """Register a target under its name."""
        present = self._store.get(target.name)
        if present is not None and not override:
            raise PluginConflictError(f"the target {target.name!r}", present[1], self.plugin)
        self._store[target.name] = (target, self.plugin)


class Registry:
    """Everything that the loaded plugins registered for exports."""

    def __init__(self) -> None:
        self.facts = FactTable()
        self.lowerings = Lowerings()
        self.fusions: Named[Fusion] = Named("fusion", lambda f: f.name)
        self.targets: dict[str, tuple[Target, str]] = {}
