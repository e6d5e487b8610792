"""Compute complex numbers, Fourier transforms and random keys with the real arrays that represent them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import Facts
from jax2onnx_lax.complex.keys import KEYS
from jax2onnx_lax.complex.rules import COMPLEX

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts({name: Facts(on_complex=maker) for name, maker in COMPLEX.items()})
    registry.facts({name: Facts(on_keys=maker) for name, maker in KEYS.items()})
