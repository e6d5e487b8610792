"""What plugins register: lowerings, fusions, examples and targets, each remembered with its plugin.

Registries are dictionaries keyed by plain strings, filled once when plugins load. A plugin is handed a *bound* registry
that knows its name, so a conflict can name both sides.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from jax2onnx.errors import PluginConflictError

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.legalise import Target
    from jax2onnx.lower import LoweringContext

MIN_OPSET = 18
"""The oldest opset that can be asked for."""

Result = Any
"""What a rule returns: one ``ir.Value`` or a sequence of them."""


class Rule(Protocol):
    """A lowering: ONNX values in, ONNX values out; the params it uses are keyword-only."""

    def __call__(self, ctx: LoweringContext, /, *operands: ir.Value, **params: Any) -> Result:
        """Lower one equation."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """One registered lowering.

    Attributes:
        primitive: the primitive's name.
        rule: the rule, or with ``via_jax`` a JAX function of the equation's operands and params.
        plugin: the plugin that registered it.
        min_opset: the oldest opset whose operators the rule uses.
        via_jax: whether ``rule`` is a JAX function that core traces and lowers in the equation's place.
        params: names of the params the rule reads; None if it takes any.
    """

    primitive: str
    rule: Callable[..., Any]
    plugin: str
    min_opset: int
    via_jax: bool
    params: frozenset[str] | None


def _named_params(rule: Callable[..., Any]) -> frozenset[str] | None:
    parameters = inspect.signature(rule).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def elementwise(op_type: str) -> Callable[..., Any]:
    """Return the rule of a primitive for which ONNX has exactly the operator ``op_type``."""

    def rule(ctx: LoweringContext, *operands: ir.Value) -> ir.Value:
        return ctx.op.emit(op_type, *operands)

    rule.__name__ = rule.__qualname__ = op_type
    return rule


class Lowerings:
    """All lowerings, by primitive name; for each name, by minimum opset."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[int, Lowering]] = {}

    def add(self, entry: Lowering, *, override: bool = False) -> None:
        """Add one entry; a second plugin's entry for the same key needs ``override``."""
        variants = self._entries.setdefault(entry.primitive, {})
        if override:
            variants.clear()
        present = variants.get(entry.min_opset)
        if present is not None:
            raise PluginConflictError(f"the lowering of {entry.primitive!r}", present.plugin, entry.plugin)
        variants[entry.min_opset] = entry

    def find(self, primitive: str, opset: int) -> Lowering | None:
        """Return the entry with the largest minimum opset that fits, or None."""
        fitting = [o for o in self._entries.get(primitive, ()) if o <= opset]
        return self._entries[primitive][max(fitting)] if fitting else None

    def needed_opset(self, primitive: str) -> int | None:
        """Return the smallest opset at which the primitive can be lowered, or None."""
        return min(self._entries.get(primitive, ()), default=None)

    def __iter__(self) -> Iterator[Lowering]:
        for name in sorted(self._entries):
            yield from (self._entries[name][o] for o in sorted(self._entries[name]))

    def with_user(self, rules: Mapping[str, Callable[..., Any]]) -> Lowerings:
        """Return a copy in which the user's own rules replace any other."""
        copy = Lowerings()
        copy._entries = {name: dict(variants) for name, variants in self._entries.items()}
        bound = BoundLowerings(copy, "lowerings= argument")
        for name, rule in rules.items():
            bound.add(name, rule, override=True)
        return copy


@dataclass(frozen=True, slots=True)
class BoundLowerings:
    """The lowering registry as one plugin sees it."""

    _store: Lowerings
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
        entry = Lowering(primitive, rule, self.plugin, min_opset, via_jax, _named_params(rule))
        self._store.add(entry, override=override)

    def table(self, cells: Mapping[str, str | Callable[..., Any]]) -> None:
        """Register many at once: an operator name where ONNX has the operator, else a rule."""
        for primitive, cell in cells.items():
            self.add(primitive, elementwise(cell) if isinstance(cell, str) else cell)

    def via_jax(self, cells: Mapping[str, Callable[..., Any]]) -> None:
        """Register many primitives said in JAX: functions of the operands, with the params as keywords."""
        for primitive, function in cells.items():
            self.add(primitive, function, via_jax=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fusion:
    """A whole function that core finds again in the traced program.

    Attributes:
        name: the function's public name, e.g. ``jax.nn.gelu``.
        reference: the function itself: arrays positionally, static configuration as keywords, one array out, or
            several that are results of one equation (of a ``scan``, say).
        examples: for each structure that the function takes, its positional inputs: shapes (in the dtype of the
            result) or ``jax.ShapeDtypeStruct``.
        kwargs: the static configurations to try (hashable values): mappings, or a function of the
            :class:`~jax2onnx.fuse.Candidate` that reads them off the equations found.
        emit: minimum opset -> rule ``emit(ctx, *operands, **kwargs)``; it may raise
            :class:`~jax2onnx.fuse.Decline`, and then the primitives stay.
        dtypes: names of the result dtypes for which the fusion is tried; empty for any floating one.
        primitives: some that the function always has. Where a program lacks one, the function is not looked for, and
            tracing it is saved; the fusion finds the same without.
        library: the module that defines the function, likewise: where it is not imported, no program has the function.
    """

    name: str
    reference: Callable[..., Any]
    examples: Sequence[Sequence[Any]]
    kwargs: Sequence[Mapping[str, Any]] | Callable[[Any], Iterable[Mapping[str, Any]]] = ({},)
    emit: Mapping[int, Callable[..., Any]]
    dtypes: frozenset[str] = frozenset()
    primitives: frozenset[str] = frozenset()
    library: str = ""
    plugin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A runnable example: a test, a row of the coverage table and documentation.

    Attributes:
        name: unique in its context.
        context: area, e.g. ``lax``, ``jnp``, ``nn``, ``nnx``.
        component: the public name of what it shows, e.g. ``jax.lax.add``.
        make: builds the callable to export (called once per use, never at registration).
        inputs: input specs as ``to_onnx`` takes them. With a string dim the example counts twice: ``name`` with the
            dim at 3, and ``name_dynamic`` with the dim symbolic.
        values: builds lists of concrete inputs to compare on, besides those that ``check`` draws; None for none.
        draw: whether ``check`` also draws inputs of its own.
        options: further keyword arguments of ``to_onnx``.
        operators: operators that the export must contain, with their counts, at the default opset; None for any.
        x64: whether to run with ``jax_enable_x64``.
        requires_jax: version specifier, e.g. ``>=0.9``.
        rtol: relative tolerance, where the default of the dtype does not hold (say why beside it).
        atol: absolute tolerance, likewise.
    """

    name: str
    context: str
    component: str
    make: Callable[[], Callable[..., Any]]
    inputs: Sequence[Any]
    values: Callable[[], Sequence[Sequence[Any]]] | None = None
    draw: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    operators: Mapping[str, int] | None = None
    x64: bool = False
    requires_jax: str = ""
    rtol: float | None = None
    atol: float | None = None
    plugin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the user asked for a framework object to be opened.

    Attributes:
        training: keep training behaviour instead of the inference form.
        functions: ``modules`` to export every submodule as an ONNX function, not only what is marked.
        state: ``io`` to make the state that a call updates inputs and outputs, instead of dropping the updates.
    """

    training: bool = False
    functions: Literal["marked", "modules"] = "marked"
    state: Literal["drop", "io"] = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A framework object, opened.

    Attributes:
        function: pure function ``function(params, *args, **kwargs)``; where there is ``state``, ``params`` holds it
            too, and the function returns ``(result, new_state)``, the latter a mapping with the names of ``state``.
        params: the parameters: a flat mapping from readable path (``linear1.kernel``) to array.
        name: a name for the graph.
        state: the initial state, by name; what a call changes of it is an input of the model and, as ``<name>.next``,
            an output; the rest are parameters.
        warnings: messages to show the user who exports it.
        signature: the callable whose parameters name the inputs; None for the target itself.
    """

    function: Callable[..., Any]
    params: Mapping[str, Any]
    name: str
    state: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    signature: Callable[..., Any] | None = None


T = TypeVar("T", Fusion, Example)


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
        self.lowerings = Lowerings()
        self.fusions: Named[Fusion] = Named("fusion", lambda f: f.name)
        self.targets: dict[str, tuple[Target, str]] = {}
