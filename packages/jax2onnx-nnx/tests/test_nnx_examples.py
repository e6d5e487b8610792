"""Every example of the plugin, static and dynamic, with fusions and without; and that none of the seed's is missing."""

from jax2onnx.testing import PluginSuite, cases

SEED = set(
    """
    avg_pool avg_pool_same_padding avg_pool_default_padding batch_norm batch_norm_2 batch_norm_3d batch_norm_float64
    batch_norm_single_batch conv_dynamic conv conv_2 conv_3 conv_4 conv_transpose_valid_padding
    conv_transpose_circular_padding dot_product_attention dropout_inference elu gelu gelu_1 gelu_2 gelu_3 group_norm
    group_norm_2 layer_norm layer_norm_multiaxis leaky_relu linear_2d linear_dynamic linear linear_general_dynamic
    linear_general linear_general_2 linear_general_3 linear_general_4 log_softmax max_pool max_pool_same_padding relu
    relu_2 rms_norm rms_norm_2 sigmoid softmax softplus tanh
""".split()  # noqa: SIM905 - a list of 46 strings is longer
)
"""The cases of flax.nnx that the project carries forward."""


class TestNnx(PluginSuite):
    plugin = "nnx"


def test_every_case_carried_forward_is_here() -> None:
    assert len(SEED) == 46
    assert SEED.issubset(case.name for case in cases("nnx", contexts=["nnx"]))
