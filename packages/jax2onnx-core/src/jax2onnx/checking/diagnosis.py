"""Diagnosis: where a model first differs from JAX and whose fault that is, in words."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.checking.compare import CheckReport
    from jax2onnx.checking.finding import Culprit

__all__ = ["Diagnosis"]

_WORDS: Mapping[str, str] = {
    "none": "the model agrees with JAX",
    "ill-conditioned": "the model agrees with JAX; the program itself magnifies rounding errors",
    "rule": "the rule that emits this equation is wrong",
    "fusion": "the rule of this whole function (a fusion) is wrong",
    "rewrite": "a rewrite of the graph, after the rules, is wrong",
    "kernel": "the kernel of onnxruntime is wrong",
    "optimiser": "the optimiser of onnxruntime is wrong",
    "model": "the model is not what the export makes of the program",
    "program": "the program as it was traced computes something else than the callable",
    "unknown": "no single value is at fault",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where a model first differs from JAX, and whose fault it is.

    Attributes:
        culprit: who: see :data:`~jax2onnx.checking.finding.Culprit`.
        batch: the inputs on which they differ, in words.
        difference: how the outputs differ.
        equation: the primitive or the function whose result is the first to differ.
        steps: in which iterations of which loops.
        node: the name of the first result of the node that is at fault.
        operator: the node in words: ``Gemm(x, w) -> y``.
        nodes: the first results of all nodes of the piece that computes the value.
        module: path of the module.
        line: the user's line, ``file:line (function)``.
        plugin: the plugin whose rule emitted the node, with its version.
        values: how the values differ.
        what: what is wrong with the node, if that is known.
        evidence: which ways to compute the value agree with JAX.
        proven: whether the outputs agree once JAX's value is in the place of this one.
        reproducer: the script that was written.
        unknown: equations of which JAX computes no value alone, and why; the model's values are taken there.
        report: what was compared, if the outputs agree.
    """

    culprit: Culprit
    batch: str = ""
    difference: str = ""
    equation: str = ""
    steps: tuple[str, ...] = ()
    node: str = ""
    operator: str = ""
    nodes: tuple[str, ...] = ()
    module: str = ""
    line: str = ""
    plugin: str = ""
    values: str = ""
    what: str = ""
    evidence: tuple[str, ...] = ()
    proven: bool = False
    reproducer: str = ""
    unknown: tuple[str, ...] = ()
    report: CheckReport | None = None

    @property
    def agrees(self) -> bool:
        """Whether the outputs of the model agree with JAX."""
        return self.culprit in {"none", "ill-conditioned"}

    def __str__(self) -> str:
        lines = [f"{self.culprit}: {_WORDS[self.culprit]}"]
        told = {
            "equation": " in ".join([self.equation, *reversed(self.steps)]) if self.equation else "",
            "node": self.operator,
            "what": self.what,
            "module": self.module,
            "line": self.line,
            "source": _source(self.line),
            "plugin": self.plugin,
        }
        lines += [f"  {name + ':':10}{text}" for name, text in told.items() if text]
        if self.values:
            lines += [f"  {line}" for line in self.values.splitlines()]
        lines += [f"  - {line}" for line in self.evidence]
        if self.proven:
            lines.append("  - with JAX's value in the place of this one, the outputs agree")
        lines += [f"  - not compared: {line}" for line in self.unknown]
        if self.batch:
            lines.append(f"  on {self.batch}")
        if self.reproducer:
            lines.append(f"  reproducer: {self.reproducer}")
        if self.report is not None:
            lines += [f"  {line}" for line in str(self.report).splitlines()]
        return "\n".join(lines)


def _source(line: str) -> str:
    file, _, number = line.partition(" (")[0].rpartition(":")
    return linecache.getline(file, int(number)).strip() if number.isdigit() else ""
