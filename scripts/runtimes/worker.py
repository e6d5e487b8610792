"""Run models in one runtime, for a program that is in another environment: ``python worker.py RUNTIME``.

Requests and answers are lines of JSON. A request is ``["load", model]`` or ``["run", {name: array}]``, an answer
``["ok", result]`` or ``["refused", message]``. Bytes are in base64, arrays (dtype, shape, bytes). Beside the runtime
only numpy and ml_dtypes are needed. ``worker.mjs`` is its twin for onnxruntime-web.
"""

from __future__ import annotations

import base64
import ctypes
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np


def to_wire(array: Any) -> list[Any]:
    """Return an array as a name of its dtype, its shape and its bytes."""
    array = np.asarray(array)
    return [str(array.dtype), array.shape, base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]


def from_wire(wire: list[Any]) -> Any:
    """Return the array that ``to_wire`` took apart."""
    dtype, shape, content = wire
    kind = getattr(ml_dtypes, dtype) if hasattr(ml_dtypes, dtype) else np.dtype(dtype)
    return np.frombuffer(base64.b64decode(content), kind).reshape(shape).copy()


_PLANS_MEMORY_RIGHTLY = (1, 19)
"""The first version of onnxruntime in which arrays do not overlap from the second run on."""


class Onnxruntime:
    """An onnxruntime of any version, on the CPU."""

    def load(self, content: bytes) -> tuple[list[str], list[str]]:
        """Load a model; return the names of its inputs and outputs."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        major, minor, *_ = onnxruntime.__version__.split(".")
        options.enable_mem_pattern = (int(major), int(minor)) >= _PLANS_MEMORY_RIGHTLY
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.outputs = self.session.get_outputs()
        return [value.name for value in self.inputs], [value.name for value in self.outputs]

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """Return the outputs for the inputs."""
        values = {name: _to_ort(array) for name, array in feeds.items()}
        results = self.session.run_with_ort_values([value.name for value in self.outputs], values)
        return [_from_ort(value) for value in results]


_NUMBERS = {
    "bfloat16": 16,
    "float8_e4m3fn": 17,
    "float8_e4m3fnuz": 18,
    "float8_e5m2": 19,
    "float8_e5m2fnuz": 20,
    "uint4": 21,
    "int4": 22,
}
"""The dtypes that numpy lacks -> their numbers in ONNX."""


def _to_ort(array: Any) -> Any:
    """Return an array as a value of onnxruntime, which takes no arrays of the dtypes that numpy lacks."""
    import onnxruntime

    if array.dtype.isbuiltin == 1:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    name = str(array.dtype)
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, _NUMBERS[name])
    if name in {"int4", "uint4"}:  # two in each byte, the first in the low bits
        nibbles = array.ravel().astype(np.uint8) & 15
        nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
        content = (nibbles[::2] | nibbles[1::2] << 4).tobytes()
    else:
        content = array.tobytes()
    ctypes.memmove(value.data_ptr(), content, len(content))
    return value


def _from_ort(value: Any) -> Any:
    name = value.data_type().removeprefix("tensor(").removesuffix(")")
    name = name.replace("float8", "float8_")
    if name not in _NUMBERS:
        return value.numpy()
    shape, dtype = value.shape(), getattr(ml_dtypes, name)
    count, is_packed = math.prod(shape), name in {"int4", "uint4"}
    content = ctypes.string_at(value.data_ptr(), (count + 1) // 2 if is_packed else count * dtype(0).nbytes)
    if is_packed:
        both = np.frombuffer(content, np.uint8)
        flat = np.stack([both & 15, both >> 4], axis=-1).ravel().astype(dtype)
    else:
        flat = np.frombuffer(content, dtype)
    return flat[:count].reshape(shape).copy()


class OpenVINO:
    """OpenVINO on the CPU, in float32."""

    def load(self, content: bytes) -> tuple[list[str], list[str]]:
        """Load a model; return the names of its inputs and outputs."""
        import openvino

        core = openvino.Core()
        model = core.read_model(content)
        # Devices may choose a narrower float otherwise. With one thread, its process ends for some small models.
        self.compiled = core.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
        )
        return [_name(port) for port in self.compiled.inputs], [_name(port) for port in self.compiled.outputs]

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """Return the outputs for the inputs."""
        import openvino

        request = self.compiled.create_infer_request()
        for index, port in enumerate(self.compiled.inputs):  # without those that nothing reads
            given = next(feeds[name] for name in port.names if name in feeds)
            array = np.ascontiguousarray(given).reshape(given.shape)
            if array.dtype.isbuiltin == 1:
                tensor = openvino.Tensor(array)
            else:
                tensor = openvino.Tensor(port.get_element_type(), openvino.Shape(array.shape))
                tensor.data.view(np.uint8).reshape(-1)[:] = array.view(np.uint8).reshape(-1)
            request.set_input_tensor(index, tensor)
        request.infer()
        return [_array(request.get_output_tensor(index)) for index in range(len(self.compiled.outputs))]


def _name(port: Any) -> str:
    return min(port.names) if port.names else ""


def _array(tensor: Any) -> Any:
    kind = tensor.get_element_type().get_type_name()
    if kind == "bf16":
        return tensor.data.view(ml_dtypes.bfloat16).reshape(tuple(tensor.shape)).copy()
    return np.array(tensor.data).reshape(tuple(tensor.shape))


class Reference:
    """The reference evaluator of onnx."""

    def load(self, content: bytes) -> tuple[list[str], list[str]]:
        """Load a model; return the names of its inputs and outputs."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        self.model = onnx.load_from_string(content)
        self.evaluator = ReferenceEvaluator(self.model)
        return list(self.evaluator.input_names), list(self.evaluator.output_names)

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """Return the outputs for the inputs."""
        return self.evaluator.run(None, feeds)


class Tract:
    """tract, by its bindings for Python."""

    def load(self, content: bytes) -> tuple[list[str], list[str]]:
        """Load a model; return the names of its inputs and outputs."""
        import tract

        with tempfile.NamedTemporaryFile(suffix=".onnx", delete=False) as file:
            file.write(content)
        try:
            model = tract.onnx().load(file.name)
            inputs = [model.input_name(i) for i in range(model.input_count())]
            outputs = [model.output_name(i) for i in range(model.output_count())]
            self.runnable = model.into_model().into_runnable()
        finally:
            Path(file.name).unlink()
        self.names = inputs
        return inputs, outputs

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """Return the outputs for the inputs."""
        return [result.to_numpy() for result in self.runnable.run([feeds[name] for name in self.names])]


RUNTIMES = {"onnxruntime": Onnxruntime, "openvino": OpenVINO, "reference": Reference, "tract": Tract}


def main() -> None:
    """Answer requests until there are no more."""
    runtime = RUNTIMES[sys.argv[1]]()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what runtimes print is no answer
    for line in sys.stdin:
        what, payload = json.loads(line)
        try:
            if what == "load":
                result: Any = runtime.load(base64.b64decode(payload))
            else:
                result = [
                    to_wire(array) for array in runtime.run({name: from_wire(wire) for name, wire in payload.items()})
                ]
            answer = ("ok", result)
        except Exception as error:  # noqa: BLE001 - the border to the runtime
            answer = ("refused", f"{type(error).__name__}: {error}")
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
