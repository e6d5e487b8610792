"""The suite for a target: programs that its runtime executes, and programs that are refused."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from jax2onnx.api import to_onnx
from jax2onnx.errors import ConversionError, InputSpecError
from jax2onnx.testing.exports import assert_exports, of_export
from jax2onnx.testing.suite import Call, Suite, Trial, described

__all__ = ["TargetSuite"]


class TargetSuite(Suite):
    """A target: programs that its runtime executes, and programs that are refused.

    Attributes:
        target: the target's name.
        programs: programs that can be exported for it, each a callable and its specs.
        refused: programs that cannot.
        compare: whether onnxruntime runs the models, and they are compared with JAX.
        options: further options of ``assert_exports``, such as tolerances.
    """

    target: str = ""
    programs: Sequence[Call] = ()
    refused: Sequence[Call] = ()
    compare: bool = True
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return "set programs and refused"

    def trials(self) -> Iterator[Trial]:
        """Return a trial for each program."""
        for call in self.programs:
            yield Trial(f"exports-{described(call)}", functools.partial(self._exports, call))
        for call in self.refused:
            yield Trial(f"refused-{described(call)}", functools.partial(self._refused, call))

    def _exports(self, call: Call) -> None:
        fn, *specs = call
        if self.compare:
            assert_exports(fn, *specs, target=self.target, **self.options)
            return
        model: onnx.ModelProto = to_onnx(fn, specs, target=self.target, **of_export(self.options))
        onnx.checker.check_model(model, full_check=True)

    def _refused(self, call: Call) -> None:
        fn, *specs = call
        try:
            to_onnx(fn, specs, target=self.target, **of_export(self.options))
        except InputSpecError:
            raise
        except ConversionError:
            return
        raise AssertionError(f"{self.target} takes {described(call)}, and should refuse it")
