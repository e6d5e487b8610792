"""Diagnose: where a model first differs from its program, and whose fault that is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import onnx
import onnx_ir as ir

from jax2onnx._accepted import readable
from jax2onnx.checking.check import check
from jax2onnx.checking.compare import CheckReport, combine
from jax2onnx.checking.comparison import Comparison, ProgramError
from jax2onnx.checking.conditioning import Amplifier, amplifier
from jax2onnx.checking.diagnosis import Diagnosis
from jax2onnx.checking.evaluate import Evaluator
from jax2onnx.checking.expected_halves import half_within
from jax2onnx.checking.links import export_again
from jax2onnx.checking.reproducer import write_reproducer
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.checking.search import Result, Search, operands
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.options import CheckOptions, DiagnoseOptions, ExportOptions, Options, check_values, refuse_unknown
from jax2onnx.output.external_data import read_in
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.sources import NAMESPACE, SOURCE, portable
from jax2onnx.output.stream import MOST_BYTES
from jax2onnx.plugin import loader
from jax2onnx.plugin.targets import find_target

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from jax2onnx.checking.finding import Culprit
    from jax2onnx.checking.inputs import Batch
    from jax2onnx.program.program import Eqn

__all__ = ["Diagnosis", "diagnose"]

Array = np.ndarray[Any, Any]


@readable
@memory_explained()
def diagnose(
    model: onnx.ModelProto | str | os.PathLike[str],
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    reproducer: str | os.PathLike[str] | None = None,
    inner: bool = False,
    **options: Unpack[DiagnoseOptions],
) -> Diagnosis:
    """Find where a model first differs from JAX, and whose fault it is.

    The outputs are compared as :func:`check` does. Where they differ, the program is evaluated equation by equation in
    JAX, and the model value by value in onnxruntime. The first value that differs beyond what rounding explains is
    computed in several ways, which tells who is at fault.

    Args:
        model: the model, or the path of one; another tool may have changed it.
        fn: what was exported.
        inputs: the specs it was exported with.
        reproducer: a folder in which a script, a model and arrays are written that show the difference.
        inner: whether the values are compared even where the outputs agree.
        **options: those of the export (``opset=`` is the model's by default), and those of :func:`check`.

    Raises:
        CheckError: onnxruntime refuses the model, or the program has no result to compare with.
        InputSpecError: an argument is not of an accepted form.
    """
    refuse_unknown(options, DiagnoseOptions.__annotations__)
    if isinstance(fn, Mapping) and any(isinstance(entry, tuple) for entry in fn.values()):
        raise InputSpecError(
            "fn: diagnose takes one entry; write diagnose('folder/decode.onnx', fn, inputs) for the model that differs"
        )
    comparing = {
        **_defaults(),
        **{name: value for name, value in options.items() if name in CheckOptions.__annotations__},
    }
    if options.get("runtime") is not None:
        raise InputSpecError("runtime: diagnose looks for faults in onnxruntime; leave it out, or use check")
    check_values({**comparing, "reproducer": reproducer, "inner": inner})
    if options.get("target") is not None:
        loaded = loader.load()
        find_target(options["target"], loaded.registry().targets, remedy=loaded.target_remedy)
    refused = ""
    try:
        comparison = Comparison.of(model, fn, inputs, comparing)
    except CheckError as error:
        if not isinstance(error.__cause__, RUNTIME_ERRORS):
            raise
        comparison = _without_optimisation(error, model, fn, inputs, comparing)
        refused = error.message
    exporting: dict[str, Any] = {
        name: value for name, value in options.items() if name in ExportOptions.__annotations__
    }
    given = whole(model, comparison.proto)
    exporting.setdefault("opset", _opset(given))
    request = _Request(comparison, fn, inputs, Options(**exporting), given, comparing["libraries"])
    if refused:
        return request.refused(refused)
    return request.answer(reproducer, inner=inner, seed=comparing["seed"])


def _defaults() -> dict[str, Any]:
    """Return the options of a comparison with their defaults."""
    parameters = inspect.signature(check).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _without_optimisation(error: CheckError, model: Any, fn: Any, inputs: Any, options: dict[str, Any]) -> Comparison:
    """Return the comparison in onnxruntime without optimisation; raise ``error`` if it refuses the model then too."""

    def load(proto: onnx.ModelProto) -> Runner:
        del proto
        return Runner(model, options["libraries"], optimised=False)

    try:
        return Comparison.of(model, fn, inputs, {**options, "runtime": load})
    except CheckError:
        raise error from error.__cause__


@dataclass(slots=True)
class _Request:
    """One diagnosis."""

    comparison: Comparison
    fn: Any
    inputs: Any
    options: Options
    given: onnx.ModelProto
    libraries: Sequence[Any]

    def answer(self, reproducer: str | os.PathLike[str] | None, *, inner: bool, seed: int) -> Diagnosis:
        """Compare the outputs; where they differ, look for the first value that does."""
        reports = []
        done: list[Batch] = []
        for batch in self.comparison.batches:
            label = f"{batch} (seed {seed})"
            try:
                reports.append(self.comparison.on(batch, label))
            except ProgramError:
                continue
            except CheckError as error:
                return self._search(batch, label, error.message, reproducer)
            done.append(batch)
        if not reports:
            raise CheckError("nothing to compare with: JAX itself raises an error on all inputs; pass values=")
        outputs = tuple(map(combine, zip(*reports, strict=True)))
        report = CheckReport(self.comparison.runner.name, tuple(map(str, done)), outputs)
        if inner:
            for batch in done:
                found = self._search(batch, str(batch), "", reproducer)
                if found.culprit not in {"none", "unknown", "rewrite"}:
                    return found
        first = next((b for b, r in zip(done, reports, strict=True) if any(o.ill_conditioned for o in r)), None)
        if first is None:
            return Diagnosis("none", report=report)
        return self._ill_conditioned(first, report)

    def refused(self, difference: str) -> Diagnosis:
        """Return at which node the optimiser makes onnxruntime refuse the model."""
        batch = self.comparison.batches[0]
        links = export_again(self.fn, self.inputs, self.options, self.given)
        found = Search(self.comparison, links, batch, self.libraries, differ=True).optimised()
        return self._told(str(batch), difference, found, "")

    def _ill_conditioned(self, batch: Batch, report: CheckReport) -> Diagnosis:
        links = export_again(self.fn, self.inputs, self.options, self.given)
        found: Amplifier | None = amplifier(links.program, Evaluator(batch.sizes), operands(links, batch))
        if found is None:
            return Diagnosis("ill-conditioned", str(batch), report=report)
        return Diagnosis(
            "ill-conditioned",
            str(batch),
            equation=found.eqn.primitive,
            line=found.eqn.where or "",
            values=str(found),
            report=report,
        )

    def _search(self, batch: Batch, label: str, difference: str, reproducer: Any) -> Diagnosis:
        links = export_again(self.fn, self.inputs, self.options, self.given)
        search = Search(self.comparison, links, batch, self.libraries, differ=bool(difference))
        found = search.result()
        written = ""
        if reproducer is not None and found.suspect is not None:
            written = str(write_reproducer(Path(reproducer), found.suspect, found.finding))
        return self._told(label, difference, found, written)

    def _told(self, label: str, difference: str, found: Result, written: str) -> Diagnosis:
        suspect, finding = found.suspect, found.finding
        where = suspect.eqn if suspect is not None else None
        told = {} if finding.node is None else {e.key: e.value for e in finding.node.metadata_props}
        plugin = told.get("jax2onnx.plugin", "")
        return Diagnosis(
            finding.culprit,
            label,
            difference,
            equation="" if where is None else where.primitive,
            steps=() if suspect is None else suspect.scope.steps,
            node="" if finding.node is None else next(filter(None, finding.node.output), ""),
            operator="" if finding.node is None else _in_words(finding.node),
            nodes=() if suspect is None else tuple(next(filter(None, n.output), "") for n in suspect.piece.nodes),
            module=told.get(NAMESPACE, ""),
            line=_line(where, told.get(SOURCE)),
            plugin=loader.load().describe(plugin) if plugin else "",
            values="" if suspect is None else suspect.message,
            what="; ".join(filter(None, [finding.what, self._of_precision(finding.culprit)])),
            evidence=finding.evidence,
            proven=found.proven,
            reproducer=written,
            unknown=found.unknown,
        )

    def _of_precision(self, culprit: Culprit) -> str:
        """Return what half precision may have to do with a finding."""
        asked = self.options.precision
        if culprit == "program" and asked is not None:
            return f"precision={asked!r} rounds so; pass rtol= and atol= for it (jax2onnx precision measures it)"
        half = half_within(self.given)
        if culprit == "model" and asked is None and half:
            return f"it has {half} inside: if it was exported with precision={half!r}, pass that here, too"
        return ""


def whole(model: Any, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the tensors that are in files beside it."""
    size = sum(map(_bytes_of, proto.graph.initializer))
    if size > MOST_BYTES:
        raise InputSpecError(
            f"model: {size / 2**30:.1f} GiB of weights are more than parts of a model can be made of; "
            "diagnose a smaller configuration of the same program"
        )
    if isinstance(model, onnx.ModelProto):
        return model
    loaded = onnx.ModelProto()
    loaded.CopyFrom(proto)
    read_in(loaded, Path(model).parent)
    return loaded


def _bytes_of(tensor: onnx.TensorProto) -> float:
    try:
        return float(math.prod(tensor.dims) * ir.DataType(tensor.data_type).itemsize)
    except (TypeError, ValueError):  # strings have no size, nor has what is no type
        return float(tensor.ByteSize())


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)


def _in_words(node: onnx.NodeProto) -> str:
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    return f"{operator}({', '.join(node.input)}) -> {', '.join(node.output)}"


def _line(eqn: Eqn | None, told: str | None) -> str:
    """Return the user's line: that of the equation, unless the node tells another."""
    own = None if eqn is None else eqn.where
    if own is None or (told and told not in {own, portable(own)}):
        return told or ""
    return own
