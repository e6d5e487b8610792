"""The families of primitives, one module each."""

from __future__ import annotations

from types import ModuleType

from jax2onnx_lax import control, conv, dot, dynamic, effects, elementwise, gather, scatter, shape

ALL: tuple[ModuleType, ...] = (control, conv, dot, dynamic, effects, elementwise, gather, scatter, shape)
"""Modules with ``register(registry)``."""
