"""The suite for a fusion: it is found where it must be and nowhere else, and its model equals JAX."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jax2onnx.options import DEFAULT_OPSET
from jax2onnx.plugin import loader
from jax2onnx.testing.exports import assert_exports
from jax2onnx.testing.suite import Call, Suite, Trial, described

if TYPE_CHECKING:
    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.plugin.fusions import Fusion

__all__ = ["FusionSuite"]


class FusionSuite(Suite):
    """A fusion: it is found where it must be and nowhere else, and its model equals JAX as its primitives do.

    The function itself, at the fusion's own examples and settings, must be found too.

    Attributes:
        fusion: the fusion's name.
        match: programs in which it must be found, each a callable and its specs.
        no_match: programs in which it must not be found, the nearer to it the better.
        ops: operators that a model with it must have, as in :func:`assert_exports`.
        opsets: the opsets to export for (default: the least ones of its rules, and the default one).
        options: further options of :func:`assert_exports`.
    """

    fusion: str = ""
    match: Sequence[Call] = ()
    no_match: Sequence[Call] = ()
    ops: Mapping[str, int] | Collection[str] = ()
    opsets: Sequence[int] = ()
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return f"no plugin has a fusion {self.fusion!r}; set fusion to the name of one"

    def trials(self) -> Iterator[Trial]:
        """Return trials for programs that match, and for those that do not."""
        if not self.fusion:
            return
        found = [fusion for fusion in loader.load().registry().fusions if fusion.name == self.fusion]
        for fusion in found:
            oldest = min(fusion.emit)
            opsets = self.opsets or sorted({*fusion.emit, max(oldest, DEFAULT_OPSET)})
            calls = [*_own_calls(fusion), *self.match]
            for call, opset in itertools.product(calls, opsets):
                yield Trial(f"match-{described(call)}-{opset}", functools.partial(self._match, call, opset))
            for call in calls:
                yield Trial(f"primitives-{described(call)}", functools.partial(self._primitives, call))
            for call in self.no_match:
                yield Trial(f"no-match-{described(call)}", functools.partial(self._no_match, call, max(opsets)))
            if not self.no_match:
                yield Trial("no-match", _fail_without_no_match)

    def _export(self, call: Call, **options: Any) -> list[FusionReport]:
        fn, *specs = call
        reports: list[FusionReport] = []
        assert_exports(fn, *specs, explain=reports.append, **options, **self.options)
        return reports

    def _found(self, reports: Sequence[FusionReport]) -> bool:
        return any(finding.name.partition("(")[0] == self.fusion for report in reports for finding in report.found)

    def _match(self, call: Call, opset: int) -> None:
        reports = self._export(call, opsets=[opset], ops=self.ops)
        assert self._found(reports), f"{self.fusion} is not found:\n{reports[0]}"

    def _primitives(self, call: Call) -> None:
        self._export(call, fusions=False)

    def _no_match(self, call: Call, opset: int) -> None:
        reports = self._export(call, opsets=[opset])
        assert not self._found(reports), f"{self.fusion} is found, and must not be:\n{reports[0]}"


def _fail_without_no_match() -> None:
    raise AssertionError("no_match is empty; give programs that are nearly the function, and must stay primitives")


def _own_calls(fusion: Fusion) -> Iterator[Call]:
    """Return the function of a fusion at its own examples, in the settings that it lists."""
    if callable(fusion.kwargs):
        return
    for example, settings in itertools.product(fusion.examples, fusion.kwargs):
        fn = functools.partial(fusion.reference, **settings) if settings else fusion.reference
        yield fn, *example
