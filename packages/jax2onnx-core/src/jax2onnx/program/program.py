"""The flat program: what flattening yields, fusion rewrites and lowering reads.

A program is a list of equations over :class:`Var` and :class:`Const`, in an order in which every value is defined
before it is used. Call-like equations have been inlined; control flow keeps its closed jaxprs in ``params``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.plugin.fusions import Fusion


@dataclass(slots=True, eq=False)
class Var:
    """A value computed at run time; ``aval`` is JAX's: ``.shape`` (ints or symbolic dims) and ``.dtype``."""

    aval: Any


@dataclass(slots=True, eq=False)
class Const:
    """A value known at conversion: a numpy or JAX array, and its abstract value."""

    aval: Any
    value: Any


Atom: TypeAlias = Var | Const


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What a fused equation stands for: the fusion, how it was called, and the equations it replaced."""

    fusion: Fusion
    kwargs: Mapping[str, Any]
    interior: tuple[Eqn, ...]


@dataclass(slots=True, eq=False)
class Eqn:
    """One operation.

    ``source`` is JAX's source info; ``fused`` is set on equations that stand for a whole function; ``paired``, where
    complex numbers take part, holds what the operands are to JAX (they and the results take the form of a border).
    """

    primitive: str
    inputs: list[Atom]
    outputs: list[Var]
    params: dict[str, Any]
    source: Any
    fused: Fused | None = None
    paired: tuple[Any, ...] | None = None


@dataclass(slots=True, eq=False)
class Program:
    """A flat program."""

    inputs: list[Var]
    eqns: list[Eqn] = field(default_factory=list)
    outputs: list[Atom] = field(default_factory=list)
