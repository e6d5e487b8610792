"""The target ``onnxruntime-genai``: the kernels of onnxruntime's CPU provider, and operators of its own."""

from __future__ import annotations

from dataclasses import replace

from jax2onnx.plugin import Fault, Target, load_target

__all__ = ["NAME", "genai"]

NAME = "onnxruntime-genai"
_OLDEST = "0.10"
"""The oldest version of onnxruntime-genai that the plugin supports."""


def genai() -> Target:
    """Return the target. Ranges of versions are of onnxruntime-genai, which has an onnxruntime of any version."""
    cpu = load_target("onnxruntime")
    assert cpu is not None
    return _named(cpu)


def _named(cpu: Target) -> Target:
    newer = cpu.newer
    return replace(
        cpu,
        name=NAME,
        version=_OLDEST,
        releases=None,
        newer=None if newer is None else lambda: _named(newer()),
        faults=tuple(map(_of_all_versions, cpu.faults)),
    )


def _of_all_versions(fault: Fault) -> Fault:
    return replace(fault, versions=type(fault.versions)())
