"""Keep the lowerings: for each primitive, by name, the rule that emits it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jax2onnx.errors import PluginConflictError

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin.context import LoweringContext

__all__ = ["MIN_OPSET", "Lowering", "Lowerings", "Rule", "elementwise", "named_params", "takes_context"]

MIN_OPSET = 18
"""The oldest opset whose operators rules emit; for an older one that is asked for, jax2onnx rewrites what they emit."""

Result = Any
"""What a rule returns: one ``ir.Value`` or a sequence of them."""


class Rule(Protocol):
    """The function of a lowering: ONNX values in, ONNX values out; the params it uses are keyword-only."""

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


def named_params(rule: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the params that a rule reads; None if it takes any."""
    names = set()
    for parameter in inspect.signature(rule).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            return None
        if parameter.kind is parameter.KEYWORD_ONLY:
            names.add(parameter.name)
    return frozenset(names)


def takes_context(rule: Callable[..., Any]) -> bool:
    """Return whether a rule has a positional parameter."""
    kinds = [parameter.kind for parameter in inspect.signature(rule).parameters.values()]
    return any(kind in _POSITIONAL for kind in kinds)


_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


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
            what = f"the lowering of {entry.primitive!r}"
            raise PluginConflictError(what, present.plugin, entry.plugin)
        variants[entry.min_opset] = entry

    def find(self, primitive: str, opset: int) -> Lowering | None:
        """Return the entry with the largest minimum opset that fits, or None."""
        variants = self._entries.get(primitive, {})
        fitting = [o for o in variants if o <= opset]
        if not fitting:
            return None
        return variants[max(fitting)]

    def needed_opset(self, primitive: str) -> int | None:
        """Return the smallest opset at which the primitive can be lowered, or None."""
        variants = self._entries.get(primitive, {})
        return min(variants, default=None)

    def __iter__(self) -> Iterator[Lowering]:
        for name in sorted(self._entries):
            for _, entry in sorted(self._entries[name].items()):
                yield entry

    def with_user(self, rules: Mapping[str, Callable[..., Any]]) -> Lowerings:
        """Return a copy in which the user's own rules replace any other."""
        copy = Lowerings()
        for entry in self:
            copy.add(entry)
        for name, rule in rules.items():
            entry = Lowering(
                primitive=name,
                rule=rule,
                plugin="lowerings= argument",
                min_opset=MIN_OPSET,
                via_jax=False,
                params=named_params(rule),
            )
            copy.add(entry, override=True)
        return copy
