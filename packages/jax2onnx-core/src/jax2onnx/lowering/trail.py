"""Trail: which value of the model each value of the program became when it was emitted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from jax2onnx.program.program import Eqn, Program, Var

__all__ = ["Run", "Trail"]


@dataclass(slots=True, eq=False)
class Run:
    """A program that was emitted into a graph.

    Attributes:
        program: the program: of the model, of the body of a loop, of a branch or of a function.
        values: the value of the model that each of its inputs and results became.
        inner: equation -> the programs that its rule emitted, in this order.
        at: the equation that is being emitted.
        sources: value of the model -> the values of the program that became it; None before somebody asks.
        counted: how many values there were then.
    """

    program: Program
    values: dict[Var, ir.Value]
    inner: dict[Eqn, list[Run]] = field(default_factory=dict)
    at: Eqn | None = None
    sources: dict[ir.Value, list[Var]] | None = None
    counted: int = 0


@dataclass(slots=True)
class Trail:
    """What one export emitted; what rules express in JAX is left out.

    Attributes:
        root: the program of the model.
        runs: all programs, by what they are.
        params: the arrays that the program of the model takes before its inputs, by name.
        updated: those that it takes after its inputs.
    """

    root: Run | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    updated: Mapping[str, Any] = field(default_factory=dict)
    runs: defaultdict[Program, list[Run]] = field(default_factory=lambda: defaultdict(list))
    _open: list[Run] = field(default_factory=list)

    def enter(self, program: Program, values: dict[Var, ir.Value]) -> None:
        """Note that a program begins; its values are added to ``values`` as it goes."""
        run = Run(program, values)
        self.runs[program].append(run)
        if self._open:
            around = self._open[-1]
            assert around.at is not None
            around.inner.setdefault(around.at, []).append(run)
        else:
            self.root = run
        self._open.append(run)

    def reach(self, eqn: Eqn) -> None:
        """Note which equation is emitted next."""
        self._open[-1].at = eqn

    def leave(self) -> None:
        """Note that the program ends."""
        self._open.pop()
