"""The flat program: what flattening yields, fusion rewrites and lowering reads.

A program is a list of equations over :class:`Var` and :class:`Const`, in an order in which every value is defined
before it is used. Call-like equations have been inlined; control flow keeps its closed jaxprs in ``params``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from jax2onnx._compat import user_frame
from jax2onnx.program.facts import UNKNOWN, Facts

if TYPE_CHECKING:
    from jax2onnx.program.bounds import Range

__all__ = ["CALL", "Atom", "Body", "Const", "Eqn", "Fused", "Program", "Var", "WholeFunction", "substitute"]

CALL = "onnx_function"
"""The primitive of equations that call an ONNX function: ``mark`` says which, ``inputs`` names what it takes."""


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
"""An operand of an equation: a variable, or a value that is known at conversion."""


def substitute(atoms: Iterable[Atom], replacements: Mapping[Atom, Atom]) -> list[Atom]:
    """Return the atoms, with those that have a replacement replaced."""
    return [replacements.get(atom, atom) for atom in atoms]


class WholeFunction(Protocol):
    """What lowering needs of the fusion that a fused equation stands for."""

    @property
    def name(self) -> str:
        """The function's public name."""

    @property
    def plugin(self) -> str:
        """The plugin that registered it."""

    @property
    def emit(self) -> Mapping[int, Callable[..., Any]]:
        """Minimum opset -> the rule that emits it."""


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What a fused equation stands for.

    Attributes:
        fusion: the whole function.
        kwargs: how it was called.
        interior: the equations it replaced.
        reads: what these name the operands of the fused equation, in its order.
    """

    fusion: WholeFunction
    kwargs: Mapping[str, Any]
    interior: tuple[Eqn, ...]
    reads: tuple[Atom, ...]

    def interior_of(self, operands: Sequence[Atom]) -> list[Eqn]:
        """Return the equations it replaced, reading the operands that the fused equation has now."""
        names = dict(zip(self.reads, operands, strict=True))
        return [replace(eqn, inputs=substitute(eqn.inputs, names)) for eqn in self.interior]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A jaxpr among an equation's params, and the program that it is."""

    jaxpr: Any
    program: Program


@dataclass(slots=True, eq=False)
class Eqn:
    """One operation.

    Attributes:
        primitive: the primitive's name; of a fused equation, the function's.
        inputs: the operands.
        outputs: the results.
        params: the primitive's parameters.
        source: JAX's source info of the user's line, or None.
        facts: what is registered about the primitive.
        bodies: the programs inside: of loops, branches and ONNX functions.
        fused: set on an equation that stands for a whole function.
        paired: where complex numbers take part and only the lowering may know what to do with them, what the operands
            are to JAX; they and the results take the form of a border.
        undefined: of a primitive without a lowering, the exception that says why the definition that its library gives
            does not serve.
        signed: whether the sign of a zero among the results, or within the bodies, can change another number.
        small: whether a small number among the results changes another one that is not small.
        ranges: of an equation that indexes, the ranges of each operand, or of each component of its index vectors.
        origin: JAX's own equation; None of what is none in JAX.
    """

    primitive: str
    inputs: list[Atom]
    outputs: list[Var]
    params: dict[str, Any]
    source: Any
    facts: Facts = UNKNOWN
    bodies: tuple[Body, ...] = ()
    fused: Fused | None = None
    paired: tuple[Any, ...] | None = None
    undefined: Exception | None = None
    signed: bool = False
    small: bool = False
    ranges: tuple[tuple[Range, ...], ...] = ()
    origin: Any = None

    @property
    def is_call(self) -> bool:
        """Whether the equation calls an ONNX function, which is its only body."""
        return self.primitive == CALL

    @property
    def where(self) -> str | None:
        """The user's line: ``file:line (function)``; None if it is not known."""
        return None if self.source is None else user_frame(self.source)


@dataclass(slots=True, eq=False)
class Program:
    """A flat program."""

    inputs: list[Var]
    eqns: list[Eqn] = field(default_factory=list)
    outputs: list[Atom] = field(default_factory=list)
