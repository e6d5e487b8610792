"""Arrays of flax.nnx modules that code needs the values of become constants; all others keep their names."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax2onnx import check, to_onnx


class Block(nnx.Module):
    def __init__(self, scale):
        self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.angles = np.linspace(0, scale, 4)
        self.power = nnx.Variable(jnp.array(2))
        self.shift = jnp.ones(4)

    def __call__(self, x):
        return self.linear(x) ** int(self.power[...]) + np.outer(self.angles, self.angles)[1] + self.shift


class Net(nnx.Module):
    """Two blocks are equal but for their weights; the third has another table."""

    def __init__(self):
        self.blocks = nnx.List([Block(1), Block(1), Block(2)])

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


NAMES = {f"blocks.{i}.{name}" for i in range(3) for name in ("linear.kernel", "linear.bias", "shift")}


@pytest.mark.parametrize(("functions", "count"), [("marked", 0), ("modules", 3)])
def test_numpy_tables_and_python_numbers(functions, count):
    net = Net()
    reports = []
    model = to_onnx(net, [("B", 4)], functions=functions, explain=reports.append)
    check(model, net, [("B", 4)], kinds=("ordinary",), sizes=(2,))
    assert {constant.name for constant in reports[0].constants} == {
        f"blocks.{i}.{name}" for i in range(3) for name in ("angles", "power")
    }
    assert {t.name for t in model.graph.initializer if not t.name.startswith("const_")} == NAMES
    assert len(model.functions) == count
