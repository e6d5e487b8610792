"""List the families of primitives, one module each."""

from __future__ import annotations

import importlib

_NAMES = (
    "bits", "calls", "complex", "control", "conv", "convert", "cumulative", "defined", "dot", "dynamic", "effects",
    "elementwise", "gather", "half", "householder", "idle", "integer", "jacobi", "large", "random", "range_arithmetic",
    "range_loops", "ranges", "reduce", "rounding", "scans", "scatter", "schur", "shape", "simplified", "small", "sort",
    "special", "transcendental", "triangular", "tridiagonal", "window",
)  # fmt: skip

ALL = tuple(importlib.import_module(f"jax2onnx_lax.{name}") for name in _NAMES)
"""Modules with ``register(registry)``."""
