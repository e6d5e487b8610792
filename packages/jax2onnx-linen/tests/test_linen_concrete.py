"""Arrays of flax.linen variables that code needs the values of become constants; all others keep their names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax2onnx import check, to_onnx


class Block(nn.Module):
    scale: float

    @nn.compact
    def __call__(self, x):
        angles = self.variable("tables", "angles", lambda: np.linspace(0, self.scale, 4)).value
        power = self.variable("tables", "power", lambda: jnp.array(2)).value
        shift = self.variable("tables", "shift", lambda: jnp.ones(4)).value
        return nn.Dense(4)(x) ** int(power) + np.outer(angles, angles)[1] + shift


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Block(2)(Block(1)(x))


def bound():
    net = Net()
    return net, net.init(jax.random.key(0), jnp.ones((1, 4)))


NAMES = {f"Block_{i}.{name}" for i in range(2) for name in ("Dense_0.kernel", "Dense_0.bias", "shift")}


@pytest.mark.parametrize(("functions", "count"), [("marked", 0), ("modules", 1)])
def test_numpy_tables_and_python_numbers(functions, count):
    net = bound()
    reports = []
    model = to_onnx(net, [("B", 4)], functions=functions, explain=reports.append)
    check(model, net, [("B", 4)], kinds=("ordinary",), sizes=(2,))
    assert {constant.name for constant in reports[0].constants} == {
        f"Block_{i}.{name}" for i in range(2) for name in ("angles", "power")
    }
    assert {t.name for t in model.graph.initializer if not t.name.startswith("const_")} == NAMES
    assert len(model.functions) == count
