"""Models that AQT quantises convert as plain modules of linen: integers are multiplied, and weights stay in 8 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from aqt.jax.v2 import config, utils
from aqt.jax.v2.flax import aqt_flax
from flax import linen as nn

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators

pytestmark = pytest.mark.filterwarnings("ignore:Implicit conversion of an array to a dtype:DeprecationWarning")  # AQT's

CONFIGS = {
    "int8": {"fwd_bits": 8, "dlhs_bits": None, "drhs_bits": None},
    "int4": {"fwd_bits": 4, "dlhs_bits": None, "drhs_bits": None},
}


class MLP(nn.Module):
    bits: str
    mode: utils.QuantMode = utils.QuantMode.TRAIN

    @nn.compact
    def __call__(self, x):
        freeze = aqt_flax.FreezerMode.CALIBRATION_AND_VALUE
        for width in (64, 32):
            quantised = aqt_flax.AqtDotGeneral(
                config.config_v4(**CONFIGS[self.bits]), rhs_quant_mode=self.mode, rhs_freeze_mode=freeze
            )
            x = nn.relu(nn.Dense(width, dot_general=quantised)(x))
        return x


def applied(model, variables, x, **options):
    return model.apply(variables, x, rngs={"params": jax.random.key(0)}, **options)


def initial(bits):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 32)), jnp.float32)
    return MLP(bits).init(jax.random.key(0), x), x


def agrees(fn, x):
    model = to_onnx(fn, [("B", 32)])
    onnx.checker.check_model(model, full_check=True)
    (got,) = Runner(model).run([np.asarray(x)])
    expected = np.asarray(fn(x))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return model


@pytest.mark.parametrize("bits", CONFIGS)
def test_weights_that_are_quantised_in_each_call(bits):
    variables, x = initial(bits)
    model = agrees(lambda x: applied(MLP(bits), variables, x), x)
    assert operators(model)["MatMulInteger"] == 2


@pytest.mark.parametrize("bits", CONFIGS)
def test_weights_that_are_stored_quantised(bits):
    variables, x = initial(bits)
    _, frozen = applied(MLP(bits, utils.QuantMode.CONVERT), variables, x, mutable=True)
    served = {"params": variables["params"], "aqt": frozen["aqt"]}
    model = agrees(lambda x: applied(MLP(bits, utils.QuantMode.SERVE), served, x), x)
    assert operators(model)["MatMulInteger"] == 2
    floats = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(i.dims)) for i in floats) < 64 * 4  # biases and scales
    assert sum(len(i.raw_data) for i in model.graph.initializer) < 1.5 * 2 * 32 * 64
