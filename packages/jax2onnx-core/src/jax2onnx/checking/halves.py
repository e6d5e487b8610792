"""Halves: how much a model in half precision differs from JAX, whose modules that is, and what should stay float32.

For each module with products of arrays a model is exported in which only this module is in half, run in onnxruntime and
compared with JAX. The modules with the largest errors are kept in float32, as few as make the error small enough.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.checking.comparison import Comparison
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.options import DEFAULT_TARGET, Options
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.sources import NAMESPACE, SOURCE
from jax2onnx.pipeline.parts import export_ir, runnable

if TYPE_CHECKING:
    from jax2onnx.checking.inputs import Batch
    from jax2onnx.options import Precision

__all__ = ["ModuleError", "PrecisionReport", "measure"]

TOLERANCES = {"float16": 1e-3, "bfloat16": 1e-2}
"""How large an error may be, in terms of the largest number of an output, unless the user says it."""

_MOST = 48
"""So many modules are measured at most; beyond, those that are inside the same one count as one."""

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "GRU", "Gather", "Gemm", "LSTM", "MatMul", "RNN"})

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ModuleError:
    """The error of a model in which only one module is in half.

    Attributes:
        module: its path, or the user's line where there are no modules.
        error: the largest difference to JAX, in terms of the largest number of the output.
    """

    module: str
    error: float


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """What half precision does to a program.

    Attributes:
        precision: float16 or bfloat16.
        target: the runtime that the model is for.
        inputs: what it was run on, in words.
        tolerance: how large the error may be.
        full: the error of the model in float32.
        error: the error of the model in half, with what the user keeps.
        modules: the error of each module alone, the largest first; not measured where the whole error is small enough.
        keep: what should stay float32.
        kept: the error then.
    """

    precision: str
    target: str
    inputs: str
    tolerance: float
    full: float
    error: float
    modules: tuple[ModuleError, ...]
    keep: tuple[str, ...]
    kept: float


@memory_explained()
def measure(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    precision: Precision = "float16",
    keep: Sequence[str] = (),
    target: str | None = DEFAULT_TARGET,
    tolerance: float | None = None,
    seed: int = 0,
    sizes: Sequence[Any] = (),
    values: Sequence[Any] | None = None,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> PrecisionReport:
    """Measure a program in half precision, module by module, and propose what stays float32.

    Args:
        fn: as ``to_onnx``.
        inputs: as ``to_onnx``.
        precision: ``'float16'`` or ``'bfloat16'``.
        keep: what stays float32 in any case.
        target: the runtime that the model is for. Where that computes in half, onnxruntime's CPU provider stands in for
            it, with casts that round after each node.
        tolerance: how large the error may be, in terms of the largest number of an output.
        seed: the seed of the drawn inputs.
        sizes: the sizes of symbolic dims, as ``check`` takes them; the first is used.
        values: inputs instead of drawn ones, as ``check`` takes them.
        progress: receives how many models were run, and of how many.
        **options: further options of ``to_onnx``.
    """
    if tolerance is None:
        tolerance = TOLERANCES[precision]
    if not tolerance > 0:
        raise InputSpecError(
            f"tolerance: expected a number above 0, got {tolerance!r}; write for example tolerance=1e-2"
        )
    measuring = _Measuring.of(fn, inputs, {**options, "target": target}, seed=seed, sizes=sizes, values=values)
    full = measuring.error({})
    total = measuring.error({"precision": precision, "keep": keep})
    modules: list[ModuleError] = []
    proposed: Sequence[str] = ()
    kept = total
    if not total <= tolerance:
        modules = measuring.modules(precision, keep, progress)
        proposed, kept = measuring.propose(precision, keep, [one.module for one in modules], tolerance)
    return PrecisionReport(
        precision,
        str(target),
        str(measuring.batch),
        tolerance,
        full,
        total,
        tuple(modules),
        (*keep, *proposed),
        kept,
    )


@dataclass(frozen=True, slots=True)
class _Measuring:
    """Measures models of one program on one batch of inputs."""

    fn: Any
    inputs: Any
    options: Mapping[str, Any]
    comparison: Comparison
    batch: Batch
    expected: Sequence[Array]
    entries: Sequence[str]

    @classmethod
    def of(
        cls,
        fn: Any,
        inputs: Any,
        options: Mapping[str, Any],
        *,
        seed: int,
        sizes: Sequence[Any],
        values: Sequence[Any] | None,
    ) -> _Measuring:
        """Export the program in float32, and evaluate it in JAX."""
        model = runnable(export_ir(fn, inputs, Options(**options)))
        shared = {name: options.get(name, default) for name, default in _SHARED.items()}
        given = {**_COMPARED, **shared, "seed": seed, "sizes": list(sizes) or None, "values": values}
        comparison = Comparison.of(ir.to_proto(model), fn, inputs, given)
        batch = comparison.batches[-1]
        return cls(fn, inputs, options, comparison, batch, comparison.expected(batch), _entries(model))

    def error(self, precision: Mapping[str, Any]) -> float:
        """Return the error of a model in some precision, in terms of the largest number of an output."""
        model = runnable(export_ir(self.fn, self.inputs, Options(**{**self.options, **precision})))
        try:
            runner = Runner(ir.to_proto(model))
            feeds = self.comparison.reference.feeds(self.batch.arrays, runner.input_names)
            results = runner.run(feeds)
        except RUNTIME_ERRORS as error:
            told = f"onnxruntime cannot run the model in half precision: {error}"
            raise CheckError(f"{told}; give keep= what it cannot run, or try the other precision") from error
        return max((_error(*pair) for pair in zip(results, self.expected, strict=True)), default=0.0)

    def modules(
        self, precision: str, keep: Sequence[str], progress: Callable[[int, int], object] | None
    ) -> list[ModuleError]:
        """Return the error of each module alone, the largest first."""
        found = []
        for number, module in enumerate(self.entries):
            if progress is not None:
                progress(number, len(self.entries))
            others = [one for one in self.entries if not f"{module}.".startswith(f"{one}.")]
            kept = [*keep, *map(glob.escape, others)]
            found.append(ModuleError(module, self.error({"precision": precision, "keep": kept})))
        return sorted(found, key=lambda one: -one.error)

    def propose(
        self, precision: str, keep: Sequence[str], modules: Sequence[str], tolerance: float
    ) -> tuple[Sequence[str], float]:
        """Return as few modules, those with the largest errors, as make the error small enough, and the error then."""
        low, high = 0, len(modules)
        best = self._kept(precision, keep, modules)
        while best[1] <= tolerance and high - low > 1:
            middle = (low + high) // 2
            found = self._kept(precision, keep, modules[:middle])
            if found[1] <= tolerance:
                high, best = middle, found
            else:
                low = middle
        return best

    def _kept(self, precision: str, keep: Sequence[str], modules: Sequence[str]) -> tuple[Sequence[str], float]:
        escaped = list(map(glob.escape, modules))
        return escaped, self.error({"precision": precision, "keep": [*keep, *escaped]})


_SHARED: Mapping[str, Any] = {
    "input_params": None, "static": None, "inputs_as_nchw": (), "outputs_as_nchw": (), "constraints": (),
    "state": "drop", "training": False,
}  # fmt: skip
_COMPARED: Mapping[str, Any] = {
    "weights": None, "weight_names": None, "rtol": None, "atol": None, "kinds": ["ordinary"], "libraries": (),
    "runtime": None,
}  # fmt: skip


def _entries(model: ir.Model) -> list[str]:
    """Return the modules with products, or the user's lines where there are no modules."""
    paths = dict.fromkeys(_place(node) for node in model.graph.all_nodes() if node.op_type in _PRODUCTS)
    for function in model.functions.values():
        paths |= dict.fromkeys(_place(node) for node in function.graph.all_nodes() if node.op_type in _PRODUCTS)
    found = [path for path in paths if path]
    depth = max((path.count(".") for path in found), default=0)
    while len(found) > _MOST and depth:
        found = list(dict.fromkeys(".".join(path.split(".")[:depth]) for path in found))
        depth -= 1
    return found


def _place(node: ir.Node) -> str:
    path = node.metadata_props.get(NAMESPACE, "")
    if path:
        return path.replace("/", ".")
    return node.metadata_props.get(SOURCE, "").partition(" (")[0]


def _error(actual: Array, expected: Array) -> float:
    """Return the largest difference in terms of the largest number; infinity where one of two is not finite."""
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not a.size:
        return 0.0
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return float("inf")
    largest = np.abs(b[finite]).max(initial=0)
    difference = np.abs(a[finite] - b[finite]).max(initial=0)
    return float(difference / largest) if largest else float(difference)
