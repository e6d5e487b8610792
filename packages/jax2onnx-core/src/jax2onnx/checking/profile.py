"""Profile: where a model spends its time in onnxruntime, by the user's line, module, operator and fused group.

onnxruntime's profiler times each node that it executes. Nodes get names of their own first, which survive its
optimiser, so that each time belongs to a node of the model. Times are those of a node without the nodes of its bodies:
all of them, and what the session does in between, add up to the time of the runs.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx

from jax2onnx._accepted import natural_number
from jax2onnx._printable import counted, one_line
from jax2onnx.checking.inputs import draw
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.remedies import first_line
from jax2onnx.inspect.costs import symbols_of, with_sizes
from jax2onnx.inspect.flops import MOVES
from jax2onnx.inspect.summary import Model, operator_of, read_model, value_of
from jax2onnx.output.external_data import bodies, read_in
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.model_file import require_bounded_functions, require_own_data
from jax2onnx.output.sources import NAMESPACE, SOURCE
from jax2onnx.plugin import loader
from jax2onnx.plugin.opening import Opening

__all__ = ["Profile", "profile"]

_MARK = re.compile(r"j2o(\d+)_")
_SESSION = "(session)"
_OTHER = "(none)"


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time goes; all times are microseconds of one run on average.

    Attributes:
        total: a run, as onnxruntime's profiler has it.
        lines: the user's line -> its time; they add up to ``total``, as do the others.
        modules: path of the module -> its time.
        operators: operator, as it is executed -> its time.
        fused: operator that onnxruntime made of several nodes, or put in -> its time.
        kinds: ``compute``, ``cast``, ``transpose``, ``copy`` and ``session`` -> its time.
        stacks: module and operator, the parts separated by slashes -> its time, for the flame graph.
        runs: how many runs were measured.
        sizes: the sizes of the symbolic dims.
        jax: the median time of ``jax.jit`` of the function, if one was given.
    """

    total: float
    lines: dict[str, float]
    modules: dict[str, float]
    operators: dict[str, float]
    fused: dict[str, float]
    kinds: dict[str, float]
    stacks: dict[str, float]
    runs: int
    sizes: dict[str, int]
    jax: float | None = None


@memory_explained()
def profile(
    model: Model,
    fn: Callable[..., Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    runs: int = 10,
    seed: int = 0,
) -> Profile:
    """Run a model on drawn inputs, and return where onnxruntime spends its time.

    Args:
        model: the model, or the path of one.
        fn: a function of the same arrays, in the model's order, that is timed in ``jax.jit`` too.
        sizes: symbol -> size; the others are 1.
        runs: how many runs are measured, after one that is not.
        seed: of the drawn inputs.

    Raises:
        InputSpecError: there is no such symbol, or an input is no array.
        CheckError: the model cannot be run.
    """
    natural_number("runs", runs)
    natural_number("seed", seed)
    runs = max(runs, 1)
    read = read_model(model)
    known = symbols_of(read, sizes or {})
    marked, nodes = _marked(read, None if isinstance(model, onnx.ModelProto) else Path(model).parent)
    arrays = _drawn(marked, known, seed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            runner = Runner(marked, profile=Path(folder) / "profile")
            for _ in range(runs + 1):
                runner.run(arrays)
            events = json.loads(Path(runner.end_profile()).read_text(encoding="utf-8"))
        except RUNTIME_ERRORS as error:
            told = f"onnxruntime cannot run the model: {first_line(error)}"
            raise CheckError(
                f"{told}; choose other sizes, or look with `jax2onnx check` whether it runs at all"
            ) from error
    timed = None if fn is None else _timed(fn, arrays, runs)
    return _summed(list(_own_times(events)), nodes, runs, known, timed)


def _marked(model: onnx.ModelProto, folder: Path | None) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """Return a copy of a model, weights included, whose nodes have numbers in their names, and these nodes."""
    require_own_data(model, folder)
    require_bounded_functions(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if folder is not None:
        read_in(copy, folder)
    nodes = [node for body in bodies([copy.graph, *copy.functions]) for node in body.node]
    for number, node in enumerate(nodes):
        node.name = f"j2o{number}_"
    return copy, nodes


def _drawn(model: onnx.ModelProto, sizes: Mapping[str, int], seed: int) -> list[Any]:
    stored = {tensor.name for tensor in model.graph.initializer}
    avals = []
    for value in model.graph.input:
        if value.name in stored:
            continue
        tensor = value_of(value)
        shape = with_sizes(tensor, sizes)
        try:
            avals.append(jax.ShapeDtypeStruct(shape or (), np.dtype(tensor.dtype)))
        except (TypeError, ValueError):  # no dtype of numpy
            shape = None
        if shape is None or any(dim < 0 for dim in shape):
            raise InputSpecError(
                f"the input {one_line(str(tensor))} cannot be drawn; profile a model whose inputs are arrays"
            )
    return list(draw(avals, kinds=("ordinary",), seed=seed)[0].arrays)


def _timed(fn: Callable[..., Any], arrays: Sequence[Any], runs: int) -> float:
    opened = open_callable(fn, loader.load().hook, Opening())
    jitted = functools.partial(jax.jit(opened.function), {**opened.params, **opened.state})
    try:
        jax.block_until_ready(jitted(*arrays))
    except (TypeError, ValueError) as error:
        raise InputSpecError(
            f"fn: cannot be called with the model's {counted(len(arrays), 'input')} in their order: "
            f"{first_line(error)}; name a function of these arrays"
        ) from error
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(jitted(*arrays))
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def _own_times(events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Yield name, operator and own time of each node that was executed, and of the session; not of the first run."""
    timed = [e for e in events if e["name"] == "model_run" or e["name"].endswith("_kernel_time")]
    timed.sort(key=lambda e: (e["ts"], -e["dur"], e["name"] != "model_run"))
    starts = [e["ts"] for e in timed if e["name"] == "model_run"]
    around: list[tuple[Mapping[str, Any], list[float]]] = []
    own: list[tuple[Mapping[str, Any], list[float]]] = []
    for event in timed:
        if len(starts) < 2 or event["ts"] < starts[1]:
            continue
        while around and (event["name"] == "model_run" or event["ts"] >= around[-1][0]["ts"] + around[-1][0]["dur"]):
            if len(around) == 1 and event["name"] != "model_run":
                break  # what ends with a run, but for rounding
            around.pop()
        if around:
            around[-1][1][0] -= event["dur"]
        entry = (event, [float(event["dur"])])
        around.append(entry)
        own.append(entry)
    for event, (left,) in own:
        yield event["name"], event.get("args", {}).get("op_name", ""), left


def _summed(
    own: Sequence[tuple[str, str, float]],
    nodes: Sequence[onnx.NodeProto],
    runs: int,
    sizes: Mapping[str, int],
    timed: float | None,
) -> Profile:
    sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in ("line", "module", "op", "fused", "kind")}
    stacks: dict[str, float] = defaultdict(float)
    total = 0.0
    for (name, executed, micros), node in zip(own, _found(own, nodes), strict=True):
        spent = micros / runs
        total += spent
        told = {} if node is None else {entry.key: entry.value for entry in node.metadata_props}
        is_session = name == "model_run"
        other = _SESSION if is_session else _OTHER
        operator = executed or _SESSION
        sums["line"][told.get(SOURCE, other)] += spent
        sums["module"][told.get(NAMESPACE, other)] += spent
        sums["op"][operator] += spent
        if not is_session and (node is None or operator_of(node).rpartition("::")[2] != executed):
            sums["fused"][operator] += spent
        sums["kind"]["session" if is_session else _kind(executed)] += spent
        stacks[operator if is_session else "/".join(filter(None, (told.get(NAMESPACE, ""), operator)))] += spent
    lines, modules, operators, fused, kinds = (_largest_first(part) for part in sums.values())
    return Profile(total, lines, modules, operators, fused, kinds, dict(stacks), runs, dict(sizes), timed)


def _found(own: Sequence[tuple[str, str, float]], nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto | None]:
    """Return the node of the model to which each that was executed belongs.

    onnxruntime's optimiser keeps the names of nodes, or names a node by a result (``val_5_nchwc``). One that it puts in
    before a node (``gemm_input_reshape``) belongs to the next one, any other to the one before.
    """
    makers = {output: node for node in nodes for output in node.output}
    found: list[onnx.NodeProto | None] = []
    for name, executed, _ in own:
        mark = _MARK.search(name)
        result = name.removesuffix("_kernel_time").removesuffix("_nchwc")
        found.append(nodes[int(mark[1])] if mark else _fused_into(makers.get(result), executed, makers))
    known = list(found)
    for place, (name, _, _) in enumerate(own):
        if known[place] is None and name != "model_run":
            around = known[place + 1 :] if "input" in name.lower() else found[:place][::-1]
            found[place] = next(filter(None, around), None)
    return found


def _fused_into(
    last: onnx.NodeProto | None, executed: str, makers: Mapping[str, onnx.NodeProto]
) -> onnx.NodeProto | None:
    """Return the node of the operator that is executed, if it is just before the last one of a fused group."""
    node = last
    for _ in range(3):
        if node is None or node.op_type == executed or not node.input:
            break
        node = makers.get(node.input[0])
    return node if node is not None and node.op_type == executed else last


def _kind(operator: str) -> str:
    if operator in {"Cast", "Transpose"}:
        return operator.lower()
    return "copy" if operator in MOVES or operator.startswith("Memcpy") else "compute"


def _largest_first(times: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(times.items(), key=lambda item: (-item[1], item[0])))
