"""The families of primitives, one module each."""

from __future__ import annotations

from types import ModuleType

from jax2onnx_lax import dot, elementwise

ALL: tuple[ModuleType, ...] = (dot, elementwise)
"""Modules with ``register(registry)``."""
