"""The families of primitives, one module each."""

from __future__ import annotations

from types import ModuleType

from jax2onnx_lax import (
    bits,
    control,
    conv,
    convert,
    cumulative,
    defined,
    dot,
    dynamic,
    effects,
    elementwise,
    gather,
    householder,
    integer,
    jacobi,
    lu,
    random,
    reduce,
    scatter,
    schur,
    select,
    shape,
    sort,
    special,
    transcendental,
    triangular,
    window,
)

ALL: tuple[ModuleType, ...] = (
    bits,
    control,
    conv,
    convert,
    cumulative,
    defined,
    dot,
    dynamic,
    effects,
    elementwise,
    gather,
    householder,
    integer,
    jacobi,
    lu,
    random,
    reduce,
    scatter,
    schur,
    select,
    shape,
    sort,
    special,
    transcendental,
    triangular,
    window,
)
"""Modules with ``register(registry)``."""
