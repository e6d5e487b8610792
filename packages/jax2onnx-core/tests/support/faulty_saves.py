"""Saves that are killed, interrupted or refused by the operating system at each of their system calls.

Run as a program: saves over each kind of earlier model meet each fault at call 1, 2, … until one gets through. Python
announces system calls to audit hooks, so nothing of a save is replaced for the test. Prints a JSON list of what became
of each.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax2onnx._deferred  # noqa: F401 - first of all: importing sympy takes as long as all saves

# isort: split
import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from jax2onnx.errors import SaveError
from jax2onnx.output.save import save

CALLS = ("os.", "open", "shutil.", "fcntl.", "tempfile.")
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime"}
"""Calls after which what a killed process leaves is another; a write is one too."""
FAULTS = ("kill", "interrupt", "error", "errors")
THRESHOLDS = {"data": 100, "inline": 10**9}


def model_of(fill: float, count: int = 1000) -> ir.Model:
    """Return ``y = x + w`` with float32 weights that all are ``fill``."""
    tensor = ir.tensor(np.full(count, fill, np.float32), name="w")
    float32 = ir.TensorType(ir.DataType.FLOAT)
    w = ir.Value(name="w", type=float32, shape=tensor.shape, const_value=tensor)
    x = ir.Value(name="x", type=float32, shape=tensor.shape)
    y = ir.Value(name="y", type=float32, shape=tensor.shape)
    node = ir.Node("", "Add", [x, w], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 23}, name=f"g{fill}")
    return ir.Model(graph, ir_version=10)


def found(path: Path) -> int | None:
    """Return the fill of the model that stands at a path, None if there is none.

    The name of the graph has the fill too, so that a model with the weights of another one is an error.
    """
    if not path.exists():
        return None
    model = onnx.load(path)
    weights = numpy_helper.to_array(model.graph.initializer[0])
    (fill,) = set(weights.tolist())
    assert model.graph.name == f"g{fill:.0f}", f"{model.graph.name} with weights of {fill}"
    return int(fill)


class Faults:
    """The faults that the calls of this process meet.

    Attributes:
        count: how many calls there were that may meet one.
    """

    def __init__(self) -> None:
        self.count = 0
        self._fault = ""
        self._at = 0
        sys.addaudithook(self._hook)

    def meet(self, fault: str, at: int) -> None:
        """Make the ``at``-th call from now on meet a fault; ``errors``: all from that on."""
        self.count = 0
        self._at = at
        self._fault = fault

    def _hook(self, event: str, arguments: Sequence[Any]) -> None:
        if not self._fault or not event.startswith(CALLS):
            return
        is_change = event in CHANGES or (event == "open" and str(arguments[1])[:1] in "wx+")
        if self._fault != "error" and not is_change:
            return
        self.count += 1
        if self.count != self._at and not (self._fault == "errors" and self.count > self._at):
            return
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "interrupt":
            raise KeyboardInterrupt
        raise OSError(errno.EIO, "Input/output error")


def attempt(faults: Faults, path: Path, threshold: int, fault: str, at: int) -> str:
    """Save a model of 2, and meet the fault; return how that ended, empty if the save has fewer calls."""
    if fault == "kill":
        process = os.fork()
        if process:
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            return "killed" if code == -signal.SIGKILL else ""
    faults.meet(fault, at)
    end = "done"
    try:
        save(model_of(2), path, external_data_threshold=threshold)
    except SaveError:
        end = "SaveError"
    except KeyboardInterrupt:
        end = "KeyboardInterrupt"
    count = faults.count
    faults.meet("", 0)
    if fault == "kill":
        os._exit(0)
    return end if count >= at else ""


def others(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def main() -> None:
    """Make saves meet faults, over earlier models."""
    faults = Faults()
    records = []
    scenarios = itertools.product(("nothing", "inline", "data"), ("inline", "data"), FAULTS)
    for earlier, new, fault in scenarios:
        for at in itertools.count(1):
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "m.onnx"
                if earlier != "nothing":
                    save(model_of(1), path, external_data_threshold=THRESHOLDS[earlier])
                end = attempt(faults, path, THRESHOLDS[new], fault, at)
                if not end:
                    break
                left = {"found": found(path), "others": others(path)}
                save(model_of(3), path, external_data_threshold=THRESHOLDS[new])
                again = {"found again": found(path), "others again": others(path)}
                records.append({"earlier": earlier, "new": new, "fault": fault, "at": at, "end": end, **left, **again})
    json.dump(records, sys.stdout)


if __name__ == "__main__":
    main()
