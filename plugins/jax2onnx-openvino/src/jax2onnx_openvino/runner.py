"""Run a model in OpenVINO, as ``jax2onnx.check(..., runtime=OpenVINO)`` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import openvino

__all__ = ["OpenVINO"]


class OpenVINO:
    """A model on OpenVINO's CPU device, in float32 where it has that.

    Args:
        model: the model.
        settings: properties of the device, such as ``{"INFERENCE_PRECISION_HINT": "bf16"}``.
    """

    name = f"OpenVINO {openvino.__version__.partition('-')[0]}"

    def __init__(self, model: onnx.ModelProto, settings: dict[str, Any] | None = None) -> None:
        core = openvino.Core()
        chosen = {"INFERENCE_PRECISION_HINT": "f32", **(settings or {})}
        self._compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", chosen)
        self._outputs = [value.type.tensor_type.elem_type for value in model.graph.output]
        self.input_names = [value.name for value in model.graph.input]
        self.output_names = [value.name for value in model.graph.output]

    def run(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for the inputs given in the model's order."""
        feeds = dict(zip(self.input_names, arrays, strict=True))
        request = self._compiled.create_infer_request()
        for index, port in enumerate(self._compiled.inputs):  # without those that nothing reads
            array = next(feeds[name] for name in port.names if name in feeds)
            tensor = openvino.Tensor(port.get_element_type(), openvino.Shape(array.shape))
            if array.size:
                tensor.data.reshape(-1).view(np.uint8)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            request.set_input_tensor(index, tensor)
        request.infer()
        results = []
        for index, element in enumerate(self._outputs):
            tensor = request.get_output_tensor(index)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
            data = np.asarray(tensor.data).reshape(-1)
            data = data.view(dtype) if data.dtype != dtype and data.itemsize == dtype.itemsize else data
            results.append(data.reshape(tuple(tensor.shape)).copy())
        return results
