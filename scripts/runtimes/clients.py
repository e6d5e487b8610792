"""Runtimes in other processes, as ``jax2onnx.check(..., runtime=...)`` takes them."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))
from worker import from_wire, to_wire

if TYPE_CHECKING:
    import onnx

WORKER = Path(__file__).with_name("worker.py")


class RefusedError(RuntimeError):
    """The runtime does not take a model, or a run of it."""


class CrashedError(RuntimeError):
    """The process of the runtime ended, or did not answer in time."""


class Process:
    """A process that runs models in one runtime; it is started anew after it has crashed."""

    def __init__(self, name: str, command: Sequence[str], seconds: float = 60) -> None:
        self.name = name
        self.flushes = name == "openvino"
        self._command = list(command)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, what: str, payload: Any) -> Any:
        """Return the answer to a request."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(  # noqa: S603 - our own worker
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        content = json.dumps([what, payload]).encode() + b"\n"
        answers: queue.Queue[Any] = queue.Queue()
        thread = threading.Thread(target=lambda: answers.put(_answer(process, content)), daemon=True)
        thread.start()
        try:
            answer = answers.get(timeout=self._seconds)
        except queue.Empty:
            answer = None
        if answer is None:
            process.kill()
            process.wait()
            self._process = None
            raise CrashedError(f"{self.name} ended, or took longer than {self._seconds:.0f} s ({what})")
        kind, result = answer
        if kind != "ok":
            raise RefusedError(str(result))
        return result

    def __call__(self, model: onnx.ModelProto) -> Loaded:
        """Return a model, loaded."""
        return Loaded(self, model)


def _answer(process: subprocess.Popen[bytes], content: bytes) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(content)
        process.stdin.flush()
        line = process.stdout.readline()
        return json.loads(line) if line else None
    except OSError:
        return None


class Loaded:
    """A model in a process."""

    def __init__(self, process: Process, model: onnx.ModelProto) -> None:
        self._process = process
        self.name = process.name
        self.input_names = [value.name for value in model.graph.input]
        self.output_names = [value.name for value in model.graph.output]
        process.ask("load", base64.b64encode(model.SerializeToString()).decode())

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the outputs for the inputs given in the model's order."""
        feeds = dict(zip(self.input_names, map(to_wire, arrays), strict=True))
        return list(map(from_wire, self._process.ask("run", feeds)))
