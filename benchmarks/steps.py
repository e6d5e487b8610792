"""Measure programs of many small steps: equations and nodes as they are executed, and onnxruntime's time beside JAX's.

python benchmarks/steps.py [NAME ...] [--kinds] [--json FILE] [--against FILE]

Everything runs on one core. ``--kinds`` lists which operators are executed, and how often; ``--against`` prints figures
of an earlier run in front of the new ones.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
SECONDS = 0.5
"""How long each side is run."""


class Executed:
    """Counts the equations that a run executes, by evaluating a jaxpr one equation after the other."""

    def __init__(self) -> None:
        self.count = 0

    def run(self, jaxpr: Any, consts: Any, *operands: Any) -> list[Any]:
        """Evaluate a jaxpr."""
        env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *operands), strict=True))
        for eqn in jaxpr.eqns:
            inputs = [atom.val if hasattr(atom, "val") else env[atom] for atom in eqn.invars]
            env.update(zip(eqn.outvars, self._equation(eqn, inputs), strict=True))
        return [atom.val if hasattr(atom, "val") else env[atom] for atom in jaxpr.outvars]

    def _closed(self, closed: Any, *operands: Any) -> list[Any]:
        return self.run(closed.jaxpr, closed.consts, *operands)

    def _equation(self, eqn: Any, inputs: list[Any]) -> list[Any]:
        params, name = eqn.params, eqn.primitive.name
        if name == "scan":
            return self._scan(eqn, inputs)
        if name == "while":
            return self._while(params, inputs)
        if name == "cond":
            branches = params["branches"]
            return self._closed(branches[min(max(int(inputs[0]), 0), len(branches) - 1)], *inputs[1:])
        for inner in ("jaxpr", "call_jaxpr"):
            if hasattr(params.get(inner), "consts"):
                return self._closed(params[inner], *inputs)
        self.count += 1
        results = eqn.primitive.bind(*inputs, **params)
        return list(results) if eqn.primitive.multiple_results else [results]

    def _scan(self, eqn: Any, inputs: list[Any]) -> list[Any]:
        import jax.numpy as jnp

        from jax2onnx.plugin import scan_counts

        consts, carries = scan_counts(eqn.params)
        fixed, state, xs = inputs[:consts], inputs[consts : consts + carries], inputs[consts + carries :]
        order = range(eqn.params["length"])
        ys = []
        for i in reversed(order) if eqn.params["reverse"] else order:
            results = self._closed(eqn.params["jaxpr"], *fixed, *state, *[x[i] for x in xs])
            state = results[:carries]
            ys.append(results[carries:])
        ys = ys[::-1] if eqn.params["reverse"] else ys
        return [*state, *map(jnp.stack, zip(*ys, strict=True))]

    def _while(self, params: Any, inputs: list[Any]) -> list[Any]:
        first = params["cond_nconsts"]
        second = first + params["body_nconsts"]
        state = inputs[second:]
        while bool(self._closed(params["cond_jaxpr"], *inputs[:first], *state)[0]):
            state = self._closed(params["body_jaxpr"], *inputs[first:second], *state)
        return state


def count_equations(jaxpr: Any) -> int:
    """Return how many equations a jaxpr and those in it have."""
    from jax2onnx._compat import inner_jaxprs

    return sum(sum(map(count_equations, inner_jaxprs(eqn))) or 1 for eqn in jaxpr.eqns)


def best(work: Callable[[], object]) -> float:
    """Return the least processor time of a call, in microseconds."""
    work()
    end = time.perf_counter() + SECONDS
    times = []
    while time.perf_counter() < end:
        start = time.process_time()
        for _ in range(5):
            work()
        times.append(time.process_time() - start)
    return min(times) / 5 * 1e6


def session(model: bytes, *, profile: str = "") -> Any:
    """Return a session of one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def executed_nodes(model: bytes, feeds: Any) -> Counter[str]:
    """Return which operators onnxruntime's optimised graph executes in one run, and how often."""
    with tempfile.TemporaryDirectory() as folder:
        runner = session(model, profile=str(Path(folder) / "profile"))
        runner.run(None, feeds)
        events = json.loads(Path(runner.end_profiling()).read_text())
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    return Counter(event["args"]["op_name"] for event in kernels)


def measure(name: str, *, kinds: bool) -> dict[str, Any]:
    """Return the figures of one program."""
    import jax
    from step_programs import PROGRAMS

    from jax2onnx import to_onnx

    function, inputs = PROGRAMS[name]()
    arrays = [np.asarray(x) for x in inputs]
    closed = jax.make_jaxpr(function)(*arrays)
    executed = Executed()
    executed.run(closed.jaxpr, closed.consts, *map(jax.numpy.asarray, arrays))
    start = time.process_time()
    proto = to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays])
    export = time.process_time() - start
    model = proto.SerializeToString()
    feeds = dict(zip((i.name for i in proto.graph.input), arrays, strict=True))
    nodes = executed_nodes(model, feeds)
    if kinds:
        print(name, dict(nodes.most_common(16)))
    runner, compiled = session(model), jax.jit(function)
    given = list(map(jax.numpy.asarray, arrays))
    expected = jax.tree.leaves(compiled(*given))
    difference = 0.0
    for ours, theirs in zip(runner.run(None, feeds), expected, strict=True):
        scale = np.max(np.abs(np.asarray(theirs, np.float64)), initial=1e-30)
        difference = max(difference, float(np.max(np.abs(ours - np.asarray(theirs, np.float64)), initial=0)) / scale)
    return {
        "equations": count_equations(closed.jaxpr),
        "executed": executed.count,
        "nodes": sum(nodes.values()),
        "nodes/eqns": sum(nodes.values()) / executed.count,
        "ort, us": best(lambda: runner.run(None, feeds)),
        "jit, us": best(lambda: jax.block_until_ready(compiled(*given))),
        "export, ms": export * 1e3,
        "difference": difference,
    }


def main() -> None:
    """Measure the programs that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path)
    args = parser.parse_args()
    from step_programs import PROGRAMS

    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    before = json.loads(args.against.read_text()) if args.against else {}
    found: dict[str, Any] = {}
    print("| Program | equations | executed | nodes | nodes / executed | ort, µs | ort / jit | difference |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in args.names or PROGRAMS:
        row = found[name] = measure(name, kinds=args.kinds)
        row["ratio"] = row["ort, us"] / row["jit, us"]
        cells = [str(row["equations"]), str(row["executed"])]
        for key, form in (("nodes", "d"), ("nodes/eqns", ".2f"), ("ort, us", ".0f"), ("ratio", ".1f")):
            old = f"{before[name][key]:{form}} → " if name in before else ""
            cells.append(f"{old}{row[key]:{form}}")
        print(f"| {name} | {' | '.join(cells)} | {row['difference']:.0e} |", flush=True)
    for key, form in (("nodes/eqns", ".2f"), ("ratio", ".1f")):
        means = [np.exp(np.mean(np.log([row[key] for row in rows]))) for rows in _both(before, found)]
        print(f"\nGeometric mean of {key}: {' → '.join(f'{mean:{form}}' for mean in means)}")
    if args.json:
        args.json.write_text(json.dumps(found))


def _both(before: dict[str, Any], found: dict[str, Any]) -> list[list[Any]]:
    old = [before[name] for name in found if name in before]
    return [*([old] if len(old) == len(found) else []), list(found.values())]


if __name__ == "__main__":
    main()
