"""Run a model in onnxruntime on arrays of any dtype that JAX has, bfloat16 and float8 included."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from jax2onnx.output.memory import is_lack_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["RUNTIME_ERRORS", "Runner", "Runtime", "loads_deep_models", "runtime_name"]


class Runtime(Protocol):
    """A model in a runtime, ready to run; what it raises is a ``RuntimeError`` or ``ValueError``."""

    @property
    def name(self) -> str:
        """The runtime, for reports."""

    @property
    def input_names(self) -> Sequence[str]:
        """The names of the model's inputs."""

    @property
    def output_names(self) -> Sequence[str]:
        """The names of the model's outputs."""

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs for the inputs given in the model's order."""


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *filter(_is_error, vars(native).values()),
    ValueError,
    RuntimeError,
)
"""What onnxruntime raises: its exceptions have no base of their own. A lack of memory is none of them."""

Array = np.ndarray[Any, Any]

_PROVIDERS = ["CPUExecutionProvider"]
_DEEP = 14
"""Levels of bodies in bodies that every onnxruntime loads within a second."""
_LOADS_DEEP_MODELS = (1, 29)
"""The onnxruntime from which on a level of bodies does not double the time to load a model."""
_FATAL = 4
_NIBBLE = 4
_LOW = 15


class Runner:
    """An onnxruntime session on the CPU, with onnxruntime's default optimisations.

    Args:
        model: a model, or the path of one (needed above 2 GiB and for external data).
        libraries: libraries of further operators.
        profile: the start of the name of the file to which times are written, if they are.
        optimised: whether onnxruntime rewrites the graph first.

    Raises:
        ValueError: this onnxruntime would load the model for hours.
        MemoryError: there is not enough memory for it.
    """

    def __init__(
        self,
        model: onnx.ModelProto | str | os.PathLike[str],
        libraries: Sequence[str | os.PathLike[str]] = (),
        profile: str | os.PathLike[str] | None = None,
        *,
        optimised: bool = True,
    ) -> None:
        options = onnxruntime.SessionOptions()
        if not optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = os.fspath(profile)
        for library in libraries:
            options.register_custom_ops_library(os.fspath(library))
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # JAX needs the cores in between
        if not loads_deep_models():
            _refuse_deep(model)
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else os.fspath(model)
        with _memory_told():
            session = onnxruntime.InferenceSession(source, options, providers=_PROVIDERS)
        self.input_names: Sequence[str] = _names(session.get_inputs())
        self.output_names: Sequence[str] = _names(session.get_outputs())
        self.name = runtime_name()
        self._session = session

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs for the inputs given in the model's order."""
        with _memory_told():
            values = map(_to_ort, arrays)
            feeds = dict(zip(self.input_names, values, strict=True))
            results = self._session.run_with_ort_values(self.output_names, feeds)
            return list(map(_to_numpy, results))

    def end_profile(self) -> str:
        """Write the times of all runs; return the file."""
        return str(self._session.end_profiling())


@contextlib.contextmanager
def _memory_told() -> Iterator[None]:
    """Raise MemoryError where onnxruntime has too little memory: the model is not at fault."""
    try:
        yield
    except RUNTIME_ERRORS as error:
        if is_lack_of_memory(error):
            raise MemoryError(str(error)) from error
        raise


def loads_deep_models() -> bool:
    """Return whether this onnxruntime loads bodies in bodies in a time that does not double with each level."""
    major, minor, *_ = onnxruntime.__version__.split(".")
    return (int(major), int(minor)) >= _LOADS_DEEP_MODELS


def _refuse_deep(model: onnx.ModelProto | str | os.PathLike[str]) -> None:
    proto = model if isinstance(model, onnx.ModelProto) else onnx.load(os.fspath(model), load_external_data=False)
    levels = max(map(_levels, (proto.graph, *proto.functions)))
    if levels > _DEEP:
        version = ".".join(map(str, _LOADS_DEEP_MODELS))
        raise ValueError(
            f"{runtime_name()} needs twice the time for each level of bodies in bodies, and the model has {levels} "
            f"levels; install onnxruntime {version} or newer"
        )


def _levels(graph: onnx.GraphProto | onnx.FunctionProto) -> int:
    """Return how deep bodies lie in bodies."""
    parts = [part for node in graph.node for a in node.attribute for part in (a.g, *a.graphs) if part.node]
    return 1 + max(map(_levels, parts), default=-1)


def runtime_name() -> str:
    """Return the name and version of the runtime, for reports."""
    return f"onnxruntime {onnxruntime.__version__}"


def _names(values: Sequence[Any]) -> list[str]:
    return [value.name for value in values]


def _to_ort(array: Array | np.generic) -> Any:
    # ``ascontiguousarray`` makes a vector of a number, such as that of one step of a loop.
    array = np.ascontiguousarray(array) if array.ndim else np.asarray(array)
    if _is_native(array.dtype):
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    element_type = ir.DataType.from_numpy(array.dtype)
    if element_type.bitwidth == _NIBBLE:
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, int(element_type))
        packed = _packed(array)
        ctypes.memmove(value.data_ptr(), packed, len(packed))
        return value
    bits = array.view(f"u{array.itemsize}")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, int(element_type))


def _to_numpy(value: Any) -> Array:
    name = value.data_type()  # for example tensor(float16)
    element_type = name.removeprefix("tensor(").removesuffix(")")
    onnx_dtype = ir.DataType[element_type.upper()]
    dtype = onnx_dtype.numpy()
    if _is_native(dtype):
        array: Array = value.numpy()
        return array
    # For a dtype that numpy itself lacks, onnxruntime gives no array but only the address of the bytes.
    size = value.tensor_size_in_bytes()
    raw = ctypes.string_at(value.data_ptr(), size)
    flat = _unpacked(raw, dtype) if onnx_dtype.bitwidth == _NIBBLE else np.frombuffer(raw, dtype)
    return flat[: math.prod(value.shape())].reshape(value.shape()).copy()


def _packed(array: Array) -> bytes:
    """Return the bytes of an array of 4-bit integers: two in each byte, the first in the low bits."""
    nibbles = array.ravel().astype(np.uint8) & _LOW
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    packed: bytes = (nibbles[::2] | nibbles[1::2] << _NIBBLE).tobytes()
    return packed


def _unpacked(raw: bytes, dtype: np.dtype[Any]) -> Array:
    """Return the 4-bit integers that are packed into bytes."""
    both = np.frombuffer(raw, np.uint8)
    nibbles = np.stack([both & _LOW, both >> _NIBBLE], axis=-1)
    return nibbles.ravel().astype(dtype)


def _is_native(dtype: np.dtype[Any]) -> bool:
    """Return whether the dtype is numpy's own, not one of ml_dtypes'."""
    return dtype.isbuiltin == 1
