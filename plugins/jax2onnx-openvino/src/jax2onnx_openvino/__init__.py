"""Export models for OpenVINO, and compare them there with JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx_openvino.runner import OpenVINO

__all__ = ["OpenVINO"]


def __getattr__(name: str) -> Any:
    if name == "OpenVINO":
        from jax2onnx_openvino.runner import OpenVINO

        return OpenVINO
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
