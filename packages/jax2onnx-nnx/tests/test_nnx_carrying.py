"""Modules whose structure cannot be hashed are arguments of ONNX functions like others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax2onnx import check, onnx_function, to_onnx


@dataclasses.dataclass
class Config:
    width: int = 2


@onnx_function
class Block(nnx.Module):
    def __init__(self, held):
        self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.held = held

    def __call__(self, x):
        return self.linear(x) * 2


class Net(nnx.Module):
    def __init__(self, make):
        self.blocks = nnx.List([Block(make()), Block(make())])

    def __call__(self, x):
        for block in self.blocks:
            x = block(block(x))
        return x


HELD = {
    "list": lambda: nnx.static([1, 2]),
    "dict": lambda: nnx.static({"a": [1]}),
    "set": lambda: {1, 2},
    "bytes": lambda: bytearray(b"a"),
    "dataclass": Config,
    "metadata": lambda: nnx.Param(jnp.ones(4), names=["a"], table=np.ones(3)),
    "array": lambda: np.arange(4.0),
    "key": lambda: jax.random.key(0),
    "function": lambda: lambda x: x,
}


@pytest.mark.parametrize("held", HELD)
def test_structure_that_cannot_be_hashed(held):
    net = Net(HELD[held])
    model = to_onnx(net, [("B", 4)])
    check(model, net, [("B", 4)], kinds=("ordinary",), sizes=(2,))
    assert [function.name for function in model.functions] == ["Block"]


def test_a_list_that_calls_change():
    class Growing(nnx.Module):
        def __init__(self):
            self.widths = nnx.static([])

        @onnx_function
        def __call__(self, x):
            self.widths.append(x.shape[-1])
            return x * len(self.widths)

    def call(x):
        net = Growing()
        return net(net(net(x)))

    check(to_onnx(call, [(2, 3)]), call, [(2, 3)], kinds=("ordinary",))
