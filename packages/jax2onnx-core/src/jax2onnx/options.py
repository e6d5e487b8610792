"""The options of an export, checked and handed on as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jax2onnx.fusion.report import FusionReport

DEFAULT_OPSET = 23
DEFAULT_TARGET = "onnxruntime-cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keyword arguments of :func:`jax2onnx.to_onnx`, where each is described."""

    opset: int = DEFAULT_OPSET
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    input_params: Mapping[str, Any] | None = None
    inputs_as_nchw: Sequence[str] | bool = ()
    outputs_as_nchw: Sequence[str] | bool = ()
    constraints: Sequence[str] = ()
    target: str | None = DEFAULT_TARGET
    lowerings: Mapping[str, Callable[..., Any]] | None = None
    fusions: bool = True
    functions: Literal["marked", "modules"] = "marked"
    state: Literal["drop", "io"] = "drop"
    training: bool = False
    fold_batch_norm: bool = False
    name: str | None = None
    explain: bool | Callable[[FusionReport], object] = False
