"""Does `diagnose` name the node, the line and the culprit of planted faults, and nothing on right models?

    python scripts/diagnose.py             all planted faults
    python scripts/diagnose.py --right 200 also so many right models: registered examples, evenly chosen
    python scripts/diagnose.py --random 50 also so many random changes of models of registered examples
    python scripts/diagnose.py --write     all that, and docs/coverage/diagnose.md

The faults and their programs are in scripts/planted_faults.py.
"""

from __future__ import annotations

import argparse
import contextlib
import linecache
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import onnx
import onnxruntime
from onnx import numpy_helper
from planted_faults import FAULTS

from jax2onnx import diagnose, to_onnx
from jax2onnx.errors import CheckError
from jax2onnx.testing import cases, x64

if TYPE_CHECKING:
    from planted_faults import Fault

PAGE = Path(__file__).parents[1] / "docs" / "coverage" / "diagnose.md"
HEAD = """# What `diagnose` finds

Written by `python scripts/diagnose.py --write` (`nox -s diagnose`), with jax {jax}, onnx {onnx} and onnxruntime
{onnxruntime}. Each fault is planted in a right model, or in a rule, a fusion or a rewrite while the model is exported.
*Named* are the node, the line and the culprit, as the fault was planted.

**{found} of {total} faults are named in all three.** On {right} right models, which are registered examples with all
their inner values compared, there are {alarms} false alarms.

| Fault | Where | Culprit | node | line | culprit |
| --- | --- | --- | --- | --- | --- |
"""


CHANGES = """
## Random changes

One node of the model of a registered example, chosen at random, has another operator, or a constant of its own with
other numbers. Changes that no output shows are left out, and models with loops that may never end. **{named} of
{tries} are named as a change of the model, with the node.** The others:

"""
SWAPS = {
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Add",
    "Div": "Mul",
    "Max": "Min",
    "Min": "Max",
    "Sin": "Cos",
    "Cos": "Sin",
    "Exp": "Sin",
    "Tanh": "Sin",
    "Sigmoid": "Tanh",
    "Relu": "Abs",
    "Sqrt": "Abs",
    "Neg": "Abs",
    "Less": "Greater",
    "Greater": "Less",
    "ReduceSum": "ReduceMax",
    "ReduceMax": "ReduceMin",
    "And": "Or",
    "Or": "And",
    "Log": "Neg",
    "Erf": "Tanh",
    "Gelu": "Relu",
    "Abs": "Neg",
    "Floor": "Ceil",
    "ReduceMean": "ReduceMax",
    "Softmax": "Exp",
    "ReduceMin": "ReduceMax",
    "LogSoftmax": "Neg",
    "Round": "Floor",
    "Softplus": "Exp",
    "Equal": "Less",
}
"""Operator -> one that is put in its place."""


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--right", type=int, default=0)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--show", action="store_true", help="print each diagnosis")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for fault in FAULTS:
        if args.only in fault.name:
            rows.append((fault, tried(fault, show=args.show)))
            say(f"{fault.name}: {rows[-1][1]}")
    right = args.right or (200 if args.write else 0)
    alarms, count = on_right_models(right) if right else ([], 0)
    changed = args.random or (25 if args.write else 0)
    missed, tries = random_changes(changed, args.seed) if changed else ([], 0)
    say(f"{tries - len(missed)} of {tries} random changes named")
    named = sum(all(row[1].values()) for row in rows)
    say(f"{named} of {len(rows)} faults named; {len(alarms)} false alarms on {count} right models")
    for alarm in alarms:
        say(f"  {alarm}")
    if args.write:
        write(rows, alarms, count, missed, tries)
    sys.exit(named < 0.95 * len(rows) or bool(alarms))


def tried(fault: Fault, *, show: bool) -> dict[str, bool]:
    """Return whether node, line and culprit of a fault are named."""
    try:
        with x64(enabled=fault.x64), contextlib.ExitStack() as stack:
            stack.enter_context(fault.broken())
            model = to_onnx(fault.fn, fault.inputs, **fault.options)
            node = fault.plant(model) if fault.plant is not None else ""
            found = diagnose(model, fault.fn, fault.inputs, **fault.options, **fault.comparison)
    except Exception:  # noqa: BLE001 - whatever goes wrong is a fault that is not found
        traceback.print_exc()
        return {"node": False, "line": False, "culprit": False}
    if show:
        say(str(found))
    file, _, number = found.line.partition(" (")[0].rpartition(":")
    file = str(Path(__file__).parent / Path(file).name)
    line = linecache.getline(file, int(number)) if number.isdigit() else ""
    operators = {name: node.op_type for node in every_node(model) for name in node.output}
    at = found.node == node if node else operators.get(found.node) in fault.operators
    return {"node": at, "line": fault.line in line, "culprit": found.culprit == fault.culprit}


def every_node(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes of a model, those of functions and bodies too."""
    found = [*model.graph.node, *[node for function in model.functions for node in function.node]]
    for node in found:
        found += [inner for attribute in node.attribute for inner in attribute.g.node]
    return found


def on_right_models(count: int) -> tuple[list[str], int]:
    """Diagnose right models; return the false alarms, and how many models there were."""
    every = [case for case in cases() if case.fusions and case.example.draw]
    chosen = every[:: max(1, len(every) // count)][:count]
    alarms = []
    done = 0
    for case in chosen:
        start = time.perf_counter()
        with x64(enabled=case.example.x64):
            fn = case.example.make()
            try:
                model = to_onnx(fn, case.inputs, **case.options)
                found = diagnose(
                    model, fn, case.inputs, inner=True, rtol=case.example.rtol, atol=case.example.atol, **case.options
                )
                told = "" if found.agrees else str(found)
            except Exception as error:  # noqa: BLE001 - an alarm too
                told = f"{type(error).__name__}: {error}"
        done += 1
        seconds = time.perf_counter() - start
        if told or seconds > 30:
            say(f"{case}: {seconds:.0f} s {told}")
        if told:
            alarms.append(f"{case}: {told.splitlines()[0]}")
    return alarms, done


def random_changes(count: int, seed: int) -> tuple[list[str], int]:
    """Change models of registered examples; return what is not named, and how many changes an output shows."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    every = [case for case in cases() if case.fusions and case.example.draw]
    missed = []
    tries = 0
    while tries < count and every:
        case = every.pop(rng.randrange(len(every)))
        with x64(enabled=case.example.x64):
            fn = case.example.make()
            model = to_onnx(fn, case.inputs, **case.options)
            if any(node.op_type == "Loop" for node in every_node(model)):
                continue  # a change may keep it from ending
            node = changed_at_random(model, rng)
            if not node:
                continue
            own = {"rtol": case.example.rtol, "atol": case.example.atol, **case.options}
            try:
                found = diagnose(model, fn, case.inputs, **own)
                if found.agrees:
                    continue
                told = "" if (found.culprit, found.node) == ("model", node) else f"{found.culprit} {found.node}"
            except CheckError:
                continue  # onnxruntime refuses the changed model
            except Exception as error:  # noqa: BLE001 - what goes wrong is a change that is not named
                told = f"{type(error).__name__}: {error}".splitlines()[0]
        tries += 1
        say(f"{tries}: {case}")
        if told:
            missed.append(f"{case}: {node} was changed, named is {told}")
            say(missed[-1])
    return missed, tries


def changed_at_random(model: onnx.ModelProto, rng: random.Random) -> str:
    """Change a node; return its first result, or an empty text if there is nothing to change."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = every_node(model)
    readers = Counter(name for node in nodes for name in node.input)
    places: list[tuple[onnx.NodeProto, str]] = [
        (node, "") for node in nodes if node.op_type in SWAPS and not node.domain
    ]
    for node in nodes:
        places += [(node, name) for name in node.input if name in constants and readers[name] == 1]
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    places = [(node, name) for node, name in places if not name or constants[name].data_type in floats]
    if not places:
        return ""
    node, name = rng.choice(places)
    if name:
        array = numpy_helper.to_array(constants[name])
        changed = (array * 1.25 + 0.125).astype(array.dtype)
        constants[name].CopyFrom(numpy_helper.from_array(changed, name))
    else:
        if not node.op_type.startswith("Reduce"):
            del node.attribute[:]
        node.op_type = SWAPS[node.op_type]
    return node.output[0]


def write(
    rows: list[tuple[Fault, dict[str, bool]]], alarms: list[str], count: int, missed: list[str], tries: int
) -> None:
    """Write the page."""
    text = HEAD.format(
        jax=jax.__version__,
        onnx=onnx.__version__,
        onnxruntime=onnxruntime.__version__,
        found=sum(all(named.values()) for _, named in rows),
        total=len(rows),
        right=count,
        alarms=len(alarms) or "no",
    )
    for fault, named in rows:
        marks = " | ".join("yes" if named[what] else "**no**" for what in ("node", "line", "culprit"))
        text += f"| {fault.name} | {fault.where} | `{fault.culprit}` | {marks} |\n"
    counted = Counter(fault.culprit for fault, _ in rows)
    listed = ", ".join(f"{number} `{culprit}`" for culprit, number in counted.items())
    text += f"\nPlanted are {listed}.\n"
    if alarms:
        text += "\nFalse alarms:\n\n" + "".join(f"- {alarm}\n" for alarm in alarms)
    if tries:
        text += CHANGES.format(named=tries - len(missed), tries=tries)
        text += "".join(f"- {line}\n" for line in missed) or "none\n"
    PAGE.write_text(text, encoding="utf-8")


def say(text: Any) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
