"""List the layers of flax.nnx for which ONNX has an operator, as fusions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx_nnx.fusions import linear, norm, pool, recurrent

if TYPE_CHECKING:
    from jax2onnx.plugin import Fusion

ALL: tuple[Fusion, ...] = (*linear.FUSIONS, *norm.FUSIONS, *pool.FUSIONS, *recurrent.FUSIONS)
