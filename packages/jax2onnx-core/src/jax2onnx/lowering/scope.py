"""The graphs under construction: their nodes, and the constants that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

__all__ = ["DimSource", "Scope"]


@dataclass(frozen=True, slots=True)
class DimSource:
    """Where a symbol is read at run time: the size of ``value`` along ``axis`` is ``scale * symbol + offset``."""

    value: ir.Value
    axis: int
    scale: int = 1
    offset: int = 0


class Scope:
    """One graph under construction.

    A graph within another (``parent``) may use the other's values. A root, which has no parent, also holds what its
    inner graphs share. The root of a function holds, besides, what its callers pass in addition to the operands.

    Attributes:
        parent: the graph around it; None for a root.
        function: whether it is the root of a function.
        nodes: the nodes so far.
        dims: computed dimensions, by their expressions.
        sources: for each symbol, where its value is read.
        constants: constants that may be used again, by keys that :meth:`shared` is given.
        initializers: the constants that the model stores.
        names: the names of these.
        hoisted: the parameters that a function's callers pass: arrays, and dimensions that no operand shows.
    """

    def __init__(self, parent: Scope | None = None, *, function: bool = False) -> None:
        self.parent = parent
        self.function = function
        self.nodes: list[ir.Node] = []
        self.dims: dict[str, ir.Value] = {}
        self.sources: dict[str, DimSource] = {}
        self.constants: dict[Any, ir.Value] = {}
        self.initializers: list[ir.Value] = []
        self.names: set[str] = set()
        self.hoisted: list[tuple[ir.Value, Any]] = []
        self._kept: list[Any] = []

    @property
    def root(self) -> Scope:
        """The outermost scope that this one captures from."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def shared(self, key: Any, source: Any, make: Callable[[], ir.Value]) -> ir.Value:
        """Return the constant of a key; the first call makes it.

        The key may hold the id of ``source``, which therefore stays alive as long as the scope.
        """
        value = self.constants.get(key)
        if value is None:
            value = make()
            self.constants[key] = value
            self._kept.append(source)
        return value
