"""Normalisation layers in configurations that ONNX has no operator for: no reference raises into the export."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jax2onnx import check, to_onnx

LAYERS = [
    (nn.LayerNorm(reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3)), (3, 2, 5)),
    (nn.LayerNorm(reduction_axes=1, feature_axes=(2, 1), use_bias=False), (3, 2)),
    (nn.InstanceNorm(), (5,)),
    (nn.InstanceNorm(feature_axes=1), (3, 5)),
    (nn.GroupNorm(num_groups=3, reduction_axes=2), (2, 6)),
    (nn.BatchNorm(use_running_average=True, axis=(1, 2)), (3, 2, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=range(len(LAYERS)))
def test_a_layer_of_other_axes_converts(layer, shape):
    variables = layer.init(jax.random.key(0), jnp.zeros((2, *shape)))
    inputs = [("B", *shape)]
    model = to_onnx((layer, variables), inputs)
    check(model, (layer, variables), inputs, sizes=(2,))


def test_the_report_says_why_a_layer_is_no_operator():
    layer, shape = LAYERS[0]
    variables = layer.init(jax.random.key(0), jnp.zeros((2, *shape)))
    reports = []
    to_onnx((layer, variables), [(2, *shape)], explain=reports.append)
    assert "the reference does not trace here: ScopeParamShapeError" in str(reports[0])
