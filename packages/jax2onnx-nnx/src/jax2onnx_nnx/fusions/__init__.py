"""The layers of flax.nnx for which ONNX has an operator, as whole functions."""

from __future__ import annotations

from jax2onnx.registry import Fusion
from jax2onnx_nnx.fusions import linear, norm

ALL: tuple[Fusion, ...] = (*linear.FUSIONS, *norm.FUSIONS)
