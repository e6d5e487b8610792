"""Lower primitives that JAX itself defines by plainer ones: sparse matrices and scaled products."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from jax2onnx.errors import UnsupportedPrimitiveError
from jax2onnx.plugin import own_definition

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

_SPARSE = (
    "bcoo_dot_general", "bcoo_dot_general_sampled", "bcoo_extract", "bcoo_fromdense", "bcoo_sort_indices",
    "bcoo_spdot_general", "bcoo_sum_duplicates", "bcoo_todense", "bcoo_transpose", "bcsr_dot_general", "bcsr_extract",
    "bcsr_fromdense", "bcsr_todense", "coo_fromdense", "coo_matmat", "coo_matvec", "coo_todense", "csr_fromdense",
    "csr_matmat", "csr_matvec", "csr_todense", "todense",
)  # fmt: skip
_OTHERS = ("broadcast_to", "scaled_dot", "scaled_matmul")


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.via_jax({name: functools.partial(_defined, name) for name in (*_SPARSE, *_OTHERS)})


def _defined(name: str, *operands: Any, **params: Any) -> Any:
    function = own_definition(name)
    if function is None:
        msg = f"this jax does not define {name!r} by plainer primitives"
        raise UnsupportedPrimitiveError(msg, remedy=f"pass lowerings={{{name!r}: rule}}")
    return function(*operands, **params)
