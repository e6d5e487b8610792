"""Measure exports of very large programs: what they cost, and whether that grows no faster than they do.

python scripts/scale.py                    prints the table (a quarter of an hour)
python scripts/scale.py --write            writes docs/coverage/scale.md
python scripts/scale.py --only NAME        prints the rows of one program
python scripts/scale.py --one NAME SIZE    exports one program once, and prints what it cost as JSON

Each export runs in a process of its own, after a small one of the same program. Each program is exported at its full
size and at half of it. A row is right if the model converts, or the error is one of ours.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx import onnx_function, to_onnx
from jax2onnx.errors import Jax2OnnxError

PAGE = Path(__file__).parent.parent / "docs" / "coverage" / "scale.md"
X = jax.ShapeDtypeStruct((3,), np.float32)

_Call: TypeAlias = tuple[Callable[..., Any], Any, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Program:
    """A program of any size.

    Attributes:
        make: returns, for a size, a callable, its inputs and options.
        size: the size that is measured.
    """

    make: Callable[[int], _Call]
    size: int


def equations(n: int) -> _Call:
    """Return a chain of equations."""

    def chain(x: Any) -> Any:
        for _ in range(n // 2):
            x = jnp.sin(x) + x
        return x

    return chain, [X], {}


def layers(n: int) -> _Call:
    """Return dense layers with a normalisation each: initializers and fusions."""
    weights = [np.full((3, 3), i, np.float32) for i in range(n)]

    def network(x: Any) -> Any:
        for w in weights:
            x = jax.nn.softmax(x @ w)
        return x

    return network, [X], {}


def named_weights(n: int) -> _Call:
    """Return a sum over arrays of a pytree that are inputs with names."""
    tree = {f"group{i}": {"w": np.full(3, i, np.float32)} for i in range(n)}
    return lambda tree: sum(jax.tree.leaves(tree)), [tree], {}


def equal_constants(n: int) -> _Call:
    """Return sums with arrays of equal content."""
    arrays = [np.arange(3, dtype=np.float32) for _ in range(n)]

    def add(x: Any) -> Any:
        for array in arrays:
            x = jnp.sin(x + array)
        return x

    return add, [X], {}


def inputs_and_outputs(n: int) -> _Call:
    """Return a function of many inputs and as many outputs."""
    return lambda *xs: [x + i for i, x in enumerate(xs)], [X] * n, {}


def named_outputs(n: int) -> _Call:
    """Return a function of many named inputs and outputs."""
    options = {"input_names": [f"x{i}" for i in range(n)], "output_names": [f"y{i}" for i in range(n)]}
    return lambda *xs: [x + 1 for x in xs], [X] * n, options


def _nested(n: int, layer: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> _Call:
    def function(x: Any) -> Any:
        return jnp.sin(x)

    for _ in range(n):
        function = layer(function)
    return function, [X], {}


def nested_cond(n: int) -> _Call:
    """Return conditions in one another."""
    return _nested(n, lambda f: lambda x: lax.cond(x.sum() > 0, f, jnp.cos, x))


def nested_scan(n: int) -> _Call:
    """Return loops in one another."""
    return _nested(n, lambda f: lambda x: lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0])


def nested_jit(n: int) -> _Call:
    """Return jitted functions in one another."""
    return _nested(n, lambda f: jax.jit(lambda x: f(x) + 1))


def nested_functions(n: int) -> _Call:
    """Return ONNX functions in one another."""
    return _nested(n, lambda f: onnx_function(lambda x: f(x) + 1))


def equal_jits(n: int) -> _Call:
    """Return calls of one jitted function."""
    step = jax.jit(lambda x: jnp.sin(x) * 2)

    def calls(x: Any) -> Any:
        for _ in range(n):
            x = step(x)
        return x

    return calls, [X], {}


def equal_functions(n: int) -> _Call:
    """Return calls of equal ONNX functions."""

    def calls(x: Any) -> Any:
        for _ in range(n):
            x = onnx_function(lambda x: jnp.sin(x) * 2, name="Step")(x)
        return x

    return calls, [X], {}


def different_functions(n: int) -> _Call:
    """Return calls of different ONNX functions of one name."""

    def calls(x: Any) -> Any:
        for i in range(n):
            x = onnx_function(lambda x, i=i: jnp.sin(x) * i, name="Step")(x)
        return x

    return calls, [X], {}


def conditions(n: int) -> _Call:
    """Return conditions one after another."""

    def chain(x: Any) -> Any:
        for _ in range(n):
            x = lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)
        return x

    return chain, [X], {}


def branches(n: int) -> _Call:
    """Return one switch of many branches."""
    cases = [lambda x, i=i: x * i for i in range(n)]
    return lambda i, x: lax.switch(i, cases, x), ["int32[]", X], {}


def carried(n: int) -> _Call:
    """Return a loop that carries many arrays."""

    def loop(x: Any) -> Any:
        start = [x + i for i in range(n)]
        return sum(lax.fori_loop(0, 3, lambda _, xs: [jnp.sin(x) for x in xs], start))

    return loop, [X], {}


def long_name(n: int) -> _Call:
    """Return a program with names of this many characters."""
    name = "n" * n
    return onnx_function(jnp.sin, name=name), [X], {"input_names": [name], "output_names": [f"{name}y"]}


def deep_tree(n: int) -> _Call:
    """Return a function of a pytree of this many levels."""
    tree: Any = X
    for _ in range(n - 1):
        tree = {"a": tree}
    return lambda tree: jax.tree.map(jnp.sin, tree), [tree], {}


def symbols(n: int) -> _Call:
    """Return a function of inputs whose sizes are symbols of their own."""
    return lambda *xs: [jnp.concatenate([x, x + 1]) for x in xs], [(f"N{i}",) for i in range(n)], {}


def wide_sum(n: int) -> _Call:
    """Return one value that very many equations read."""
    return lambda x: jnp.stack([x * i for i in range(n)]), [X], {}


PROGRAMS: dict[str, Program] = {
    "equations in a chain": Program(equations, 100_000),
    "dense layers with softmax": Program(layers, 10_000),
    "arrays of a pytree": Program(named_weights, 10_000),
    "constants of equal content": Program(equal_constants, 10_000),
    "inputs and outputs": Program(inputs_and_outputs, 1_000),
    "named inputs and outputs": Program(named_outputs, 1_000),
    "cond in cond": Program(nested_cond, 300),
    "scan in scan": Program(nested_scan, 300),
    "jit in jit": Program(nested_jit, 300),
    "ONNX functions in one another": Program(nested_functions, 300),
    "calls of one jitted function": Program(equal_jits, 10_000),
    "calls of equal ONNX functions": Program(equal_functions, 1_000),
    "different ONNX functions": Program(different_functions, 1_000),
    "conditions in a row": Program(conditions, 1_000),
    "branches of a switch": Program(branches, 1_000),
    "arrays that a loop carries": Program(carried, 1_000),
    "characters of a name": Program(long_name, 10_000),
    "levels of a pytree": Program(deep_tree, 500),
    "symbolic sizes": Program(symbols, 200),
    "readers of one value": Program(wide_sum, 10_000),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What an export cost.

    Attributes:
        result: the number of nodes, or the error.
        seconds: the processor time it took, which other processes do not change much.
        mebibytes: how much memory it took more than the process had before.
        is_fine: whether the model converts, or the error is one of ours.
    """

    result: str
    seconds: float
    mebibytes: float
    is_fine: bool


def measure(program: Program, size: int) -> Cost:
    """Export a program once."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    is_fine = True
    try:
        function, inputs, options = program.make(size)
        model = to_onnx(function, inputs, **options)
        result = f"{len(model.graph.node)} nodes"
    except Jax2OnnxError as error:
        result = f"{type(error).__name__}: {str(error).splitlines()[0].partition(': ')[0]}"
    except Exception as error:  # noqa: BLE001 - it is what the table shows
        result = f"raw {type(error).__name__}: {str(error)[:100]}"
        is_fine = False
    seconds = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Cost(result, seconds, grown / 1024, is_fine)


def apart(name: str, size: int) -> Cost:
    """Export a program once, in a process of its own."""
    command = [sys.executable, __file__, "--one", name, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very file
    if done.returncode:
        return Cost(f"the process ended with {done.returncode}", 0, 0, is_fine=False)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def row(name: str, program: Program) -> str:
    """Measure a program at both sizes; return its row."""
    half = apart(name, program.size // 2)
    whole = apart(name, program.size)
    growth = ["", ""]
    if half.result.endswith(" nodes") and whole.result.endswith(" nodes"):
        growth = [f"{whole.seconds / half.seconds:.1f}", f"{whole.mebibytes / max(half.mebibytes, 1):.1f}"]
    result = whole.result if whole.is_fine else f"**{whole.result}**"
    cost = f"{whole.seconds:.1f} | {growth[0]} | {whole.mebibytes:.0f} | {growth[1]}"
    return f"| {name} | {program.size} | {result} | {cost} |"


INTRODUCTION = """# Very large programs

Written by `python scripts/scale.py --write`. Each program is exported in a process of its own, at this size and at half
of it. The growth is the ratio of the two: 2 is linear. Seconds are those of the processor. Memory is what the export
takes at most, in MiB; few MiB say nothing of the growth. What protobuf cannot read again, or Python's stack cannot
hold, is refused by an error of ours.

| Program | Size | Result | Seconds | Growth | MiB | Growth |
| --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Measure all, print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIZE"))
    given = parser.parse_args()
    if given.one:
        name, size = given.one
        measure(PROGRAMS[name], 4)
        print(json.dumps(asdict(measure(PROGRAMS[name], int(size)))))
        return
    lines = INTRODUCTION.splitlines()
    for name, program in PROGRAMS.items():
        if given.only in (None, name):
            lines.append(row(name, program))
            if not given.write:
                print(lines[-1], flush=True)
    if given.write:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
