"""Collect: what a report tells of one export, noted while it runs."""

from __future__ import annotations

import platform
import sys
import time
import traceback
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from jax2onnx._printable import printable
from jax2onnx.errors import ConversionError, Jax2OnnxError
from jax2onnx.fusion.report import report
from jax2onnx.legalise.legalise import missing_kernels
from jax2onnx.options import Options
from jax2onnx.output.report import nodes
from jax2onnx.output.report.strip import stripped
from jax2onnx.program.program import Eqn, Program
from jax2onnx.program.text import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir

    from jax2onnx.fusion.records import Record
    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.loaded import LoadedPlugins
    from jax2onnx.program.flatten import Note

__all__ = ["Collector"]

_DISTRIBUTIONS = ("jax2onnx-core", "jax", "jaxlib", "numpy", "onnx", "onnx-ir", "onnxruntime", "flax", "equinox")
_LONGEST = 200_000
"""Characters of a program that are told."""
_MOST = 20
"""Nodes without a kernel that are told of each target."""


class Collector:
    """Notes what an export does.

    Args:
        name: the callable's name.
        inputs: the specs, as the user wrote them.
        options: the options.
    """

    def __init__(self, name: str, inputs: Any, options: Options) -> None:
        self._last = time.perf_counter()
        self._program: Program | None = None
        self._before: set[ir.Node] = set()
        self.guards: list[Eqn] = []
        self.told: dict[str, Any] = {
            "callable": name,
            "inputs": _shown(inputs),
            "options": _options(options),
            "versions": _versions(),
            "stages": [],
        }

    def stage(self, name: str, result: Program | ir.Model) -> None:
        """Note that a stage is done."""
        seconds = time.perf_counter() - self._last
        entry: dict[str, Any] = {"stage": name, "seconds": round(seconds, 4)}
        if isinstance(result, Program):
            self._program = result
            entry["equations"] = sum(1 for _ in _equations(result))
        else:
            found = set(nodes.every_node(result))
            entry["nodes"] = len(found)
            if name != "final":
                self._before = found
        self.told["stages"].append(entry)
        self._last = time.perf_counter()

    def plugins(self, loaded: LoadedPlugins) -> None:
        """Note the plugins."""
        self.told["plugins"] = [asdict(info) for info in loaded.infos]

    def fusions(self, records: Sequence[Record], notes: Iterable[Note]) -> None:
        """Note the functions that were found, and nearly found."""
        found = asdict(report(records, notes))
        self.told["fusions"] = {name: list(entries) for name, entries in found.items()}

    def warnings(self, messages: Iterable[str]) -> None:
        """Note what the user was told."""
        self.told["warnings"] = list(dict.fromkeys(messages))

    def model(self, model: ir.Model, targets: Iterable[Target], constraints: Sequence[str]) -> None:
        """Note what the finished model has."""
        opset = model.graph.opset_imports.get("", 0)
        self.told |= {
            "model": {
                "opset": opset,
                "ir_version": model.ir_version,
                "inputs": list(map(_typed, model.graph.inputs)),
                "outputs": list(map(_typed, model.graph.outputs)),
                "operators": nodes.operators(model),
            },
            "casts": nodes.casts(model, self._before),
            "guards": [*map(_guard, dict.fromkeys(self.guards)), *nodes.added_for_target(model, self._before)],
            "modules": nodes.modules(model),
            "dims": [{"dim": dim, "places": places} for dim, places in nodes.dims(model).items()],
            "constraints": list(constraints),
            "portability": [_portability(model, target, opset) for target in targets],
        }

    def failed(self, error: BaseException) -> None:
        """Note that the export failed, with what somebody needs who looks into it."""
        told: dict[str, Any] = {
            "class": type(error).__name__,
            "message": str(error),
            "after": self.told["stages"][-1]["stage"] if self.told["stages"] else "",
            "traceback": "".join(traceback.format_exception(error)),
        }
        if isinstance(error, Jax2OnnxError):
            told["code"] = error.code
        if isinstance(error, ConversionError):
            told |= {"what": error.what, "where": error.where, "remedy": error.remedy, "plugin": error.plugin}
        if self._program is not None:
            told["program"] = describe(self._program)[:_LONGEST]
        self.told["error"] = told

    def document(self) -> dict[str, Any]:
        """Return all that was noted, without folders of this machine."""
        found = stripped(self.told)
        assert isinstance(found, dict)
        return found


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    jax = sys.modules.get("jax")
    if jax is not None:
        names = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion")
        found |= {name: str(jax.config.values.get(name)) for name in names}
    return found


def _options(options: Options) -> dict[str, str]:
    """Return the options that are not the defaults, in words; of arrays and functions only what they are."""
    default = Options()
    found = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in {"report", "weights", "explain"} or value == getattr(default, field.name):
            continue
        found[field.name] = _shown(value)
    return found


def _shown(value: Any) -> Any:
    """Return a value in words: numbers and texts as they are, of arrays the type, of functions the name."""
    if isinstance(value, str | int | float | bool) or value is None:
        return printable(value) if isinstance(value, str) else value
    if isinstance(value, list | tuple):
        return [_shown(part) for part in value]
    if isinstance(value, dict):
        return {printable(str(name)): _shown(part) for name, part in value.items()}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else type(value).__name__


def _equations(program: Program) -> Iterable[Eqn]:
    for eqn in program.eqns:
        yield eqn
        for body in eqn.bodies:
            yield from _equations(body.program)


def _typed(value: ir.Value) -> dict[str, str]:
    dims = ",".join(str(dim) for dim in value.shape or ())
    return {"name": str(value.name), "type": f"{'?' if value.dtype is None else value.dtype.name}[{dims}]"}


def _guard(eqn: Eqn) -> dict[str, Any]:
    why = "NaN, infinities or empty arrays are kept where kernels of the operator lose them"
    return {"what": eqn.primitive, "line": eqn.where or "", "why": why, "times": 1}


def _portability(model: ir.Model, target: Target, opset: int) -> dict[str, Any]:
    """Return whether a target has kernels for all nodes of a model."""
    told: dict[str, Any] = {"target": target.name, "runs": True, "problems": []}
    if not target.loads(opset):
        return told | {"runs": False, "problems": [f"it does not load opset {opset}"]}
    functions = frozenset((function.domain, function.name) for function in model.functions.values())
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    missing = missing_kernels(graphs, target, dict(model.graph.opset_imports), functions)
    problems = [error.what for error in missing]
    return told | {"runs": not problems, "problems": list(dict.fromkeys(problems))[:_MOST]}
