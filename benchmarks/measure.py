"""Measure one thing in a process of its own and print it as one line of JSON.

python measure.py versions|first|export|jit|run ... (see each function); bench.py calls it with each converter's Python.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.metadata
import json
import os
import platform
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from report import OURS

BURST_S = 0.05  # of repeated runs; the best one counts
ROUNDS = 20  # by turns, so that what else the machine does meets all alike


def _seconds(work: Callable[[], object]) -> float:
    """Return the seconds of processor time one call takes, from a heap without garbage of earlier ones."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def _peak() -> float:
    """Return the most memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _model(name: str) -> tuple[Any, Any]:
    """Return a case of models.py and what is exported of it."""
    import models

    case = {**models.CASES, **models.GROWING}[name]
    return case, models.exported(case)


def versions(args: argparse.Namespace) -> dict[str, Any]:
    """Return which packages this environment has."""
    names = (args.converter, "jax", "jaxlib", "flax", "onnx", "onnx-ir", "onnxruntime", "numpy")
    return {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def first(args: argparse.Namespace) -> dict[str, Any]:
    """Time the first export of a process, beyond importing jax and flax and building the model: wall clock."""
    case, model = _model(args.case)
    start = time.perf_counter()
    from jax2onnx import to_onnx

    to_onnx(model, [case.shape])
    return {"seconds": time.perf_counter() - start}


def _nodes(graph: Any) -> Iterator[str]:
    """Yield the operators of a graph or function and of the graphs within."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def export(args: argparse.Namespace) -> dict[str, Any]:
    """Note the memory of a model's first export and keep what it gives, then time tracing and exporting by turns.

    What protobuf takes to copy the model's weights is timed too: no export can take less.
    """
    import jax
    import onnx

    from jax2onnx import to_onnx

    case, model = _model(args.case)
    function = model.__call__
    spec = jax.ShapeDtypeStruct(case.shape, "float32")
    to_onnx(lambda x: x + 1, [(2,)])  # loads the converter
    gc.collect()
    before = _peak()
    start = time.process_time()
    _limit(args.limit)
    proto = to_onnx(model, [case.shape])
    _limit(0)
    exports = [time.process_time() - start]
    added = _peak() - before
    onnx.save_model(proto, args.path)
    traces: list[float] = []
    for _ in range(args.rounds):
        jax.clear_caches()
        traces.append(_seconds(lambda: jax.make_jaxpr(function)(spec)))
        if sum(exports) + max(exports) < args.budget:
            jax.clear_caches()
            exports.append(_seconds(lambda: to_onnx(model, [case.shape])))
    weights = [tensor.raw_data for tensor in proto.graph.initializer]
    copies = [_seconds(lambda: [onnx.TensorProto(raw_data=raw) for raw in weights]) for _ in range(args.rounds)]
    operators = Counter(name for graph in (proto.graph, *proto.functions) for name in _nodes(graph))
    result = {"trace": min(traces), "export": min(exports), "added": added, "peak": before + added}
    result |= {"copy": min(copies), "weights": sum(map(len, weights)) / 2**20}
    result |= {"nodes": operators.total(), "operators": dict(operators.most_common())}
    if args.converter == OURS:
        from jax2onnx.plugin import loader
        from jax2onnx.program.flatten import flatten

        result["equations"] = len(flatten(jax.make_jaxpr(function)(spec), loader.load().registry().facts).eqns)
    return result


def _limit(seconds: float) -> None:
    """End this process with SIGPROF after so much processor time; zero: no limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _best(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the least seconds of wall clock for each of some functions, run by turns."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            time.sleep(0.05)  # until the threads of the one before sleep
            run()
            deadline = time.perf_counter() + BURST_S
            while (start := time.perf_counter()) < deadline:
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def jit(args: argparse.Namespace) -> dict[str, Any]:
    """Time the jitted model, its weights constants as they are in an exported one, and keep its result."""
    _pin(args.cores)
    import jax
    import numpy as np
    from models import CASES, build, draw, split

    case = CASES[args.case]
    function, state = split(build(case))
    compiled = jax.jit(lambda x: function(state, x))
    x = jax.device_put(draw(case))
    np.save(args.path, np.asarray(compiled(x)))
    return {"seconds": _best({"jax": lambda: compiled(x).block_until_ready()})["jax"]}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Time exported models in onnxruntime, by turns, and compare their results with JAX's."""
    _pin(args.cores)
    import numpy as np
    import onnxruntime
    from models import CASES, draw

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.cores
    options.log_severity_level = 3
    x = draw(CASES[args.case])
    expected = np.load(args.path)
    runs, errors = {}, {}
    for path in args.models:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x}
        runs[path] = functools.partial(session.run, None, feed)
        errors[path] = float(np.abs(runs[path]()[0] - expected).max() / np.abs(expected).max())
    return {path: {"seconds": seconds, "error": errors[path]} for path, seconds in _best(runs).items()}


def _pin(cores: int) -> None:
    """Restrict this process to so many cores, before any library counts them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser()
    commands = {command.__name__: command for command in (versions, first, export, jit, run)}
    parser.add_argument("command", choices=commands)
    parser.add_argument("case", nargs="?")
    parser.add_argument("models", nargs="*", help="run: exported models")
    parser.add_argument("--converter", default=OURS, help="the distribution that owns the package jax2onnx here")
    parser.add_argument("--path", help="export: the model; jit: the result; run: the expected result")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=30.0, help="export: no further one beyond so many seconds")
    parser.add_argument("--limit", type=float, default=0.0, help="export: no first one beyond so many seconds")
    args = parser.parse_intermixed_args()
    print(json.dumps(commands[args.command](args)))


if __name__ == "__main__":
    main()
