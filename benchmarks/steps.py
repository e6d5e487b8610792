"""Measure programs of many small steps: equations and nodes as they are executed, and onnxruntime's time beside JAX's.

python benchmarks/steps.py [NAME ...] [--no-times] [--kinds] [--json FILE] [--against FILE] [--theirs PYTHON]
    [--baseline FOLDER] [--write]

Everything runs on one core. Programs of packages from PyPI (tests/libraries) are measured where their package is
installed. ``--kinds`` lists which operators are executed, and how often; ``--against`` prints figures of an earlier run
in front of the new ones; ``--theirs`` is the Python of an environment with jax2onnx 0.17, or the folder to which
it wrote its models by ``--only-export``; ``--baseline`` is the folder to which an earlier tree of ours wrote its models
in the same way. Without it, times are compared with those of steps_baseline.json, which are of another run.
``--write`` writes the section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from parts import write_part
from steps_page import BASELINE, COLUMNS, head, means, render, row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
SECONDS = 0.15
"""How much processor time each side is run for."""
ROOT = Path(__file__).resolve().parents[1]
_FAR = 0.01
"""A difference from JAX that is no rounding."""
_ROUNDING = 1e-5
"""How far a model that is written by hand may be from JAX, over the largest element."""
_HASHES = frozenset({"random_bits", "random_fold_in", "random_split", "threefry2x32"})
"""Equations that are hashes."""
_WORDS = frozenset({"uint32", "uint64"})
"""What a hash computes with; hardly anything else does."""
LIBRARIES = {
    "blackjax": ["Steps of Hamiltonian Monte Carlo"],
    "brax": ["A step of the spring pipeline"],
    "diffrax": ["A stochastic differential equation", "A stiff chemical system"],
    "dynamax": ["Kalman's filter and smoother", "The forward-backward algorithm"],
    "evosax": ["A generation of CMA-ES"],
    "gymnax": ["An episode of CartPole"],
    "jaxopt": ["A quadratic program"],
    "jumanji": ["Moves of the game 2048"],
    "mctx": ["Gumbel MuZero"],
    "mujoco-mjx": ["Steps of a jointed body"],
    "numpyro": ["Steps of the No-U-Turn sampler"],
    "optimistix": ["A curve fitted by Levenberg-Marquardt", "The minimum of Rosenbrock"],
    "ott-jax": ["The entropic distance"],
}
"""Package -> how the names of its programs begin, in tests/libraries."""


class Executed:
    """Counts the equations that a run executes, by evaluating a jaxpr one equation after the other.

    A factorisation, a hash and the drawing of random bits are one equation each.
    """

    def __init__(self) -> None:
        self.count = self.hashes = 0

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
        if name == "custom_linear_solve":
            return self._linear_solve(params, inputs)
        if name == "cond":
            branches = params["branches"]
            return self._closed(branches[min(max(int(inputs[0]), 0), len(branches) - 1)], *inputs[1:])
        for inner in ("jaxpr", "call_jaxpr"):
            if hasattr(params.get(inner), "consts"):
                return self._closed(params[inner], *inputs)
        self.count += 1
        self.hashes += name in _HASHES
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
        while bool(np.any(self._closed(params["cond_jaxpr"], *inputs[:first], *state)[0])):
            state = self._closed(params["body_jaxpr"], *inputs[first:second], *state)
        return state

    def _linear_solve(self, params: Any, inputs: list[Any]) -> list[Any]:
        """Evaluate the solver of ``custom_linear_solve``, which is what a run executes of it."""
        lengths = params["const_lengths"]
        start = lengths.matvec + lengths.vecmat
        end = start + lengths.solve
        return self._closed(params["jaxprs"].solve, *inputs[start:end], *inputs[end + lengths.transpose_solve :])


def count_equations(jaxpr: Any) -> int:
    """Return how many equations a jaxpr and those in it have."""
    from jax2onnx._compat import inner_jaxprs

    return sum(sum(map(count_equations, inner_jaxprs(eqn))) or 1 for eqn in jaxpr.eqns)


def best(work: Callable[[], object]) -> float:
    """Return the least processor time of a call, in microseconds."""
    work()
    end = time.process_time() + SECONDS
    times = []
    while not times or time.process_time() < end:
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


def executed_nodes(model: bytes, feeds: Any) -> tuple[Counter[str], int]:
    """Return which operators onnxruntime's optimised graph executes in one run, how often, and how many on words."""
    with tempfile.TemporaryDirectory() as folder:
        runner = session(model, profile=str(Path(folder) / "profile"))
        runner.run(None, feeds)
        events = json.loads(Path(runner.end_profiling()).read_text())
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    on_words = sum(any(not _WORDS.isdisjoint(one) for one in e["args"]["input_type_shape"]) for e in kernels)
    return Counter(event["args"]["op_name"] for event in kernels), on_words


@functools.cache
def empty_node() -> float:
    """Return what a node on one number takes in onnxruntime, in microseconds: a run of a thousand of them."""
    import onnx

    count = 1000
    names = [f"v{i}" for i in range(count + 1)]
    nodes = [onnx.helper.make_node("Neg", [one], [other]) for one, other in itertools.pairwise(names)]
    given, result = (onnx.helper.make_tensor_value_info(name, 1, [1]) for name in (names[0], names[-1]))
    graph = onnx.helper.make_graph(nodes, "nodes", [given], [result])
    opset = onnx.helper.make_opsetid("", 18)
    runner = session(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString())
    one = np.ones(1, np.float32)
    return best(lambda: runner.run(None, {"v0": one})) / count


def programs() -> dict[str, Callable[[], tuple[Any, Sequence[Any]]]]:
    """Return our own programs, and those of packages that are installed."""
    from step_programs import PROGRAMS

    found: dict[str, Callable[[], tuple[Any, Sequence[Any]]]] = dict(PROGRAMS)
    sys.path.insert(0, str(ROOT / "tests" / "libraries"))
    for module in ("dynamics", "learning", "probability", "solvers"):
        importlib.import_module(module)
    for program in importlib.import_module("kit").PROGRAMS:
        begins = LIBRARIES.get(program.package, ())
        if any(program.name.startswith(begin) for begin in begins) and _is_installed(program.package):
            found[f"{program.package}: {program.name.partition(',')[0]}"] = functools.partial(_case, program)
    return found


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _case(program: Any) -> tuple[Any, Sequence[Any]]:
    case = program.build()
    return case.fn, case.values[0]


def _is_key(x: Any) -> bool:
    import jax

    return isinstance(x, jax.Array) and bool(jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key))


def export_theirs(python: str, names: Sequence[str]) -> Path:
    """Return the folder of the models that jax2onnx 0.17 makes of programs; of some it makes none."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run([python, __file__, *names, "--only-export", str(folder)], capture_output=True, check=False)
    return folder


def only_export(names: Sequence[str], folder: Path) -> None:
    """Write the models that the installed converter, an older one, makes of programs.

    It has two minutes of processor time for each.
    """
    import jax

    from jax2onnx import to_onnx

    def give_up(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, give_up)
    for name in names:
        signal.setitimer(signal.ITIMER_PROF, 120)
        try:
            function, inputs = programs()[name]()
            arrays = [x if _is_key(x) else np.asarray(x) for x in inputs]
            model = to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays])
            (folder / _file_of(name)).write_bytes(model.SerializeToString())
        except Exception as error:  # noqa: BLE001 - an older converter may raise anything
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _file_of(name: str) -> str:
    return f"{re.sub(r'[^a-z0-9]+', '_', name.lower())}.onnx"


def measure(
    name: str, *, kinds: bool, times: bool, folders: dict[str, Path], counted: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return the figures of one program; how many equations and hashes a run executes may be known.

    ``folders`` has others' models, by the key of the figure that compares ours with them.
    """
    import jax

    from jax2onnx import to_onnx

    function, inputs = programs()[name]()
    arrays = [x if _is_key(x) else np.asarray(x) for x in inputs]
    closed = jax.make_jaxpr(function)(*arrays)
    executed = Executed()
    if counted is None:
        executed.run(closed.jaxpr, closed.consts, *[x if _is_key(x) else jax.numpy.asarray(x) for x in arrays])
    else:
        executed.count, executed.hashes = counted
    start = time.process_time()
    proto = to_onnx(function, [x if _is_key(x) else jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays])
    export = time.process_time() - start
    model = proto.SerializeToString()
    fed = [np.asarray(jax.random.key_data(x)) if _is_key(x) else x for x in arrays]
    feeds = dict(zip((i.name for i in proto.graph.input), fed, strict=True))
    nodes, on_words = executed_nodes(model, feeds)
    if kinds:
        print(name, dict(nodes.most_common(16)))
    row = {
        "equations": count_equations(closed.jaxpr),
        "executed": executed.count,
        "nodes": sum(nodes.values()),
        "nodes/eqns": sum(nodes.values()) / executed.count,
        "executed hashes": executed.hashes,
        "export, ms": export * 1e3,
    }
    if executed.hashes:
        row["hashes"] = on_words
        row["without"] = (row["nodes"] - on_words) / (executed.count - executed.hashes)
    runner, compiled = session(model), jax.jit(function)
    given = [x if _is_key(x) else jax.numpy.asarray(x) for x in arrays]
    expected = jax.tree.leaves(compiled(*given))
    row["difference"] = _difference(runner.run(None, feeds), expected)
    if times:
        row["ort, us"] = best(lambda: runner.run(None, feeds))
        row["jit, us"] = best(lambda: jax.block_until_ready(compiled(*given)))
        row["ratio"] = row["ort, us"] / row["jit, us"]
        row["empty, us"] = empty_node()
        row["floor"] = row["ort, us"] / (row["nodes"] * row["empty, us"])
    row |= _by_hand(name, fed, expected, times=times)
    for key, folder in folders.items():
        row |= _against_theirs(key, folder / _file_of(name), feeds, expected, row)
    if times and "baseline" not in folders:
        row["baseline"] = _against_other_run(name, row)
    return row


def _against_other_run(name: str, row: dict[str, Any]) -> float | str:
    """Return the time of our model over that of the earlier tree's, both in times of ``jax.jit`` in their runs."""
    earlier = json.loads(BASELINE.read_text())["times"].get(name)
    return row["ratio"] * earlier["jit, us"] / earlier["ort, us"] if earlier else "-"


def _by_hand(name: str, fed: Sequence[Any], expected: Sequence[Any], *, times: bool) -> dict[str, Any]:
    """Return the figures of a model that is written by hand, which agrees with JAX; none if there is no such model."""
    from hand_written import MODELS, feeds_of

    if name not in MODELS:
        return {}
    model, feeds = MODELS[name](), feeds_of(fed)
    runner = session(model)
    difference = _difference(runner.run(None, feeds), expected)
    assert difference < _ROUNDING, f"{name} by hand differs from JAX by {difference}"
    found = {"hand nodes": sum(executed_nodes(model, feeds)[0].values()), "hand difference": difference}
    return {**found, "hand, us": best(lambda: runner.run(None, feeds))} if times else found


def _against_theirs(
    key: str, path: Path, feeds: dict[str, Any], expected: Sequence[Any], row: dict[str, Any]
) -> dict[str, Any]:
    """Return the time of our model over that of theirs and how far it is from JAX, or what became of it."""
    if not path.exists():
        return {key: "not converted"}
    try:
        runner = session(path.read_bytes())
        given = dict(zip((i.name for i in runner.get_inputs()), feeds.values(), strict=True))
        results = runner.run(None, given)
    except Exception:  # noqa: BLE001 - what onnxruntime raises has no common class
        return {key: "does not run"}
    found: dict[str, Any] = {f"{key} difference": _difference(results, expected)}
    if found[f"{key} difference"] > max(_FAR, 10 * row["difference"]):
        return {**found, key: "wrong numbers"}
    if "ort, us" in row:
        found[key] = row["ort, us"] / best(lambda: runner.run(None, given))
    return found


def _difference(ours: Sequence[Any], expected: Sequence[Any]) -> float:
    """Return the largest difference, over the largest element of each result."""
    import jax

    difference = 0.0
    for one, other in zip(ours, expected, strict=True):
        theirs = np.asarray(jax.random.key_data(other) if _is_key(other) else other, np.float64)
        scale = np.max(np.abs(theirs[np.isfinite(theirs)]), initial=1e-30)
        mine = np.asarray(one, np.float64)
        if mine.shape != theirs.shape:
            return math.inf
        with np.errstate(invalid="ignore"):
            apart = np.where((mine == theirs) | (np.isnan(mine) & np.isnan(theirs)), 0, np.abs(mine - theirs))
        difference = max(difference, float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0)) / scale)
    return difference


def main() -> None:
    """Measure the programs that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--counted", action="store_true", help="take the counts of equations from the earlier run")
    parser.add_argument("--theirs", default="", help="its Python, or the folder that it wrote by --only-export")
    parser.add_argument("--baseline", type=Path, help="the folder to which an earlier tree wrote by --only-export")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--rows", type=Path, help="measure nothing: write what a run left by --json")
    parser.add_argument("--note", default="", help="what the section says of the machine")
    parser.add_argument("--only-export", type=Path, help="write the models of the installed converter to a folder")
    args = parser.parse_args()
    if not args.theirs:
        del COLUMNS["theirs"]
    warnings.simplefilter("ignore")  # of libraries
    if args.only_export:
        only_export(args.names or list(programs()), args.only_export)
        return
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    names = [] if args.rows else args.names or list(programs())
    theirs = Path(args.theirs) if args.theirs else None
    if theirs is not None and not theirs.is_dir():
        theirs = export_theirs(args.theirs, names)
    folders = {key: folder for key, folder in (("theirs", theirs), ("baseline", args.baseline)) if folder is not None}
    before = json.loads(args.against.read_text()) if args.against else {}
    found: dict[str, Any] = json.loads(args.rows.read_text()) if args.rows else {}
    print("\n".join(head()))
    for name in names:
        earlier = before.get(name, {})
        counted = (
            (earlier["executed"], earlier["executed hashes"]) if args.counted and "executed hashes" in earlier else None
        )
        found[name] = measure(name, kinds=args.kinds, times=not args.no_times, folders=folders, counted=counted)
        print(row_of(name, found[name], before), flush=True)
        if args.json:
            args.json.write_text(json.dumps(found))
    print(*means(before, found), sep="\n")
    if args.write:
        write_part("steps", "\n".join(render(found, args.note, is_one_run=args.baseline is not None)))


if __name__ == "__main__":
    main()
