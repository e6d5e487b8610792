"""The hook of jax2onnx-openvino: the target ``openvino``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundTargets


@hookimpl
def jax2onnx_register_targets(registry: BoundTargets) -> None:
    """Register OpenVINO's CPU device, with what it computes otherwise than ONNX says."""
    from jax2onnx_openvino import target

    registry.add(target.openvino())
