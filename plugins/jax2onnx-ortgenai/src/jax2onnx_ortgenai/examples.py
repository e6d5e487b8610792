"""Examples: steps of decoders."""

from __future__ import annotations

from typing import Any

import jax

from jax2onnx.plugin import Example
from jax2onnx_ortgenai.caches import lengthened


def _append(past: Any, new: Any) -> Any:
    longer = lengthened(past, 1, new.shape[1])
    return jax.lax.dynamic_update_slice(longer, new, (0, past.shape[1], 0))


ALL: tuple[Example, ...] = (
    Example(
        name="cache_that_grows",
        context="ortgenai",
        component="jax.lax.dynamic_update_slice",
        make=lambda: _append,
        inputs=[("B", "P", 3), ("B", "T", 3)],
        operators={"Concat": 1},
    ),
)
