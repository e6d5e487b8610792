"""State that JAX itself defines some primitives by plainer ones: sparse matrices and scaled products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import Facts, expand_as_defined

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

_SPARSE = (
    "bcoo_dot_general", "bcoo_dot_general_sampled", "bcoo_extract", "bcoo_fromdense", "bcoo_sort_indices",
    "bcoo_spdot_general", "bcoo_sum_duplicates", "bcoo_todense", "bcoo_transpose", "bcsr_dot_general", "bcsr_extract",
    "bcsr_fromdense", "bcsr_todense", "coo_fromdense", "coo_matmat", "coo_matvec", "coo_todense", "csr_fromdense",
    "csr_matmat", "csr_matvec", "csr_todense", "todense",
)  # fmt: skip
_OTHERS = ("broadcast_to", "scaled_dot", "scaled_matmul")


FACTS = dict.fromkeys((*_SPARSE, *_OTHERS), Facts(calls=expand_as_defined))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
