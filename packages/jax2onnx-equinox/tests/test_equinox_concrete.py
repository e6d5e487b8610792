"""Arrays of equinox modules that code needs the values of become constants; all others keep their names."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from onnx.numpy_helper import to_array

from jax2onnx import check, to_onnx


class Block(eqx.Module):
    linear: eqx.nn.Linear
    angles: np.ndarray
    power: jax.Array
    shift: jax.Array

    def __init__(self, scale):
        self.linear = eqx.nn.Linear(4, 4, key=jax.random.key(0))
        self.angles = np.linspace(0, scale, 4)
        self.power = jnp.array(2)
        self.shift = jnp.ones(4)

    def __call__(self, x):
        return self.linear(x) ** int(self.power) + np.outer(self.angles, self.angles)[1] + self.shift


class Net(eqx.Module):
    """Two blocks are equal but for their weights; the third has another table."""

    blocks: list[Block]

    def __init__(self):
        self.blocks = [Block(1), Block(1), Block(2)]

    def __call__(self, x):
        def row(x):
            for block in self.blocks:
                x = block(x)
            return x

        return jax.vmap(row)(x)


NAMES = {f"blocks.{i}.{name}" for i in range(3) for name in ("linear.weight", "linear.bias", "shift")}


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


def test_a_table_is_computed_with_in_its_own_dtype():
    class Rotary(eqx.Module):
        base: np.ndarray

        def __call__(self, x):
            return x * np.sin(self.base).astype(np.float32)

    # In float32 the sine of such numbers is another one.
    net = Rotary(np.array([1e9 + 0.25, 1e8 + 0.125]))
    model = to_onnx(net, [("B", 2)])
    check(model, net, [("B", 2)], kinds=("ordinary",), sizes=(2,), rtol=1e-6)
    expected = np.sin(net.base).astype(np.float32)
    assert any(np.array_equal(to_array(t).ravel(), expected) for t in model.graph.initializer)


def test_code_that_asks_whether_an_array_is_numpys():
    class Typed(eqx.Module):
        table: np.ndarray
        other: np.ndarray
        weight: jax.Array

        def __call__(self, x):
            assert isinstance(self.table, np.ndarray)
            return jax.checkpoint(lambda y: y * self.table + self.other * self.weight)(x)

    net = Typed(np.arange(4.0), np.ones(4), jnp.ones(4))
    reports = []
    model = to_onnx(net, [("B", 4)], explain=reports.append)
    check(model, net, [("B", 4)], kinds=("ordinary",), sizes=(2,))
    assert [constant.name for constant in reports[0].constants] == ["table"]
