"""Layers: scans over stacked weights, one layer after the other."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from jax2onnx import to_onnx
from jax2onnx.plugin.naming import path_name
from jax2onnx.testing import Runner, operators

RNG = np.random.default_rng(0)


def floats(*shape):
    return jnp.asarray(RNG.normal(size=shape).astype(np.float32) / 4)


def initializers(model):
    return {i.name for i in model.graph.initializer if not i.name.startswith("const")}


def agrees(model, fn, *xs):
    expected = jax.tree.leaves(fn(*map(jnp.asarray, xs)))
    for got, one in zip(Runner(model).run([np.asarray(x) for x in xs]), expected, strict=True):
        np.testing.assert_allclose(np.asarray(got, np.float64), np.asarray(one, np.float64), rtol=1e-5, atol=1e-6)


class Network(eqx.Module):
    blocks: dict
    head: jax.Array
    reverse: bool = eqx.field(static=True, default=False)

    def __call__(self, x):
        def layer(x, block):
            x = jax.nn.gelu(x @ block["up"]["kernel"] + block["up"]["bias"])
            return x @ block["down"], x.sum()

        x, sums = jax.lax.scan(layer, x, self.blocks, reverse=self.reverse)
        return x @ self.head, sums


def network(length=3, **options):
    up = {"kernel": floats(length, 4, 8), "bias": floats(length, 8)}
    return Network({"up": up, "down": floats(length, 8, 4)}, floats(4, 2), **options)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_layer_has_weights_of_its_own(reverse):
    net = network(reverse=reverse)
    model = to_onnx(net, [("B", 4)], unroll_layers=True)
    names = {f"blocks.{i}.{name}" for i in range(3) for name in ("up.kernel", "up.bias", "down")}
    assert initializers(model) == names | {"head"}
    counts = operators(model)
    assert [counts[name] for name in ("Scan", "Loop", "Gelu", "Gemm")] == [0, 0, 3, 3]
    for batch in (1, 7):
        agrees(model, net, floats(batch, 4))
    assert operators(to_onnx(net, [("B", 4)]))["Scan"] == 1


def test_weights_of_other_origins():
    stacked = floats(3, 4, 4)

    def closed_over(x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stacked)[0]

    def as_argument(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w[0]), w[1]), x, (w, stacked))

    def moved(x):
        rows = jnp.moveaxis(stacked.astype(jnp.bfloat16), 1, 0).astype(jnp.float32)[:3]
        return jax.lax.scan(lambda x, w: (jnp.tanh(x * w[0]), None), x, rows)[0]

    for fn, specs in ((closed_over, [("B", 4)]), (as_argument, [("B", 4), (3, 4, 4)]), (moved, [("B", 4)])):
        model = to_onnx(fn, specs, unroll_layers=True)
        assert not operators(model)["Scan"]
        agrees(model, fn, *[floats(*(7 if size == "B" else size for size in spec)) for spec in specs])


def test_what_is_read_as_a_whole_is_stored_once():
    class Both(eqx.Module):
        w: jax.Array

        def __call__(self, x):
            y, _ = jax.lax.scan(lambda x, w: (x @ w, None), x, self.w)
            return y + self.w.sum()

    both = Both(floats(3, 80, 80) / 8)
    model = to_onnx(both, [("B", 80)], unroll_layers=True)
    assert initializers(model) == {"w"}
    agrees(model, both, floats(2, 80))


def test_scans_that_share_weights_and_scans_in_scans():
    class Twice(eqx.Module):
        w: jax.Array
        v: jax.Array

        def __call__(self, x):
            def outer(x, weights):
                x = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]
                return x, None

            x = jax.lax.scan(outer, x, self.v)[0]
            for _ in range(2):
                x = jax.lax.scan(lambda x, w: (x @ w, None), x, self.w)[0]
            return x

    twice = Twice(floats(2, 4, 4), floats(2, 3, 4, 4))
    model = to_onnx(twice, [("B", 4)], unroll_layers=True)
    assert not operators(model)["Scan"]
    assert initializers(model) == {"w.0", "w.1", *(f"v.{i}.{j}" for i in range(2) for j in range(3))}
    agrees(model, twice, floats(2, 4))


def test_loops_over_time_stay():
    cell = floats(4, 4)

    def recurrent(xs):
        return jax.lax.scan(lambda h, x: (jnp.tanh(h @ cell + x), h), jnp.zeros(4), xs)

    model = to_onnx(recurrent, [(6, 4)], unroll_layers=True)
    assert operators(model)["Scan"] == 1


def test_layers_of_nnx():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return nnx.relu(self.linear(x)) + x

    class Stack(nnx.Module):
        def __init__(self, rngs):
            @nnx.split_rngs(splits=3)
            @nnx.vmap(in_axes=(0,), out_axes=0)
            def make(rngs):
                return Block(rngs)

            self.blocks = make(rngs)

        def __call__(self, x):
            @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
            def forward(block, x):
                return block(x)

            return forward(self.blocks, x)

    stack = Stack(nnx.Rngs(0))
    model = to_onnx(stack, [("B", 4)], unroll_layers=True)
    assert initializers(model) == {f"blocks.{i}.linear.{name}" for i in range(3) for name in ("kernel", "bias")}
    agrees(model, stack, floats(2, 4))


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, np.int8])
def test_quantised_layers_are_unrolled_unless_forbidden(dtype):
    weights = jnp.asarray(RNG.integers(-7, 8, (3, 16, 16)).astype(dtype))
    scales = floats(3, 16) / 16

    def fn(x):
        def layer(x, block):
            w, scale = block
            return x @ (w.astype(jnp.float32) * scale), None

        return jax.lax.scan(layer, x, (weights, scales))[0]

    model = to_onnx(fn, [("B", 16)])
    assert operators(model)["MatMulNBits" if dtype != np.int8 else "FusedMatMul"] == 3
    agrees(model, fn, floats(2, 16))
    kept = to_onnx(fn, [("B", 16)], unroll_layers=False)
    assert operators(kept)["Scan"] == 1
    agrees(kept, fn, floats(2, 16))


def test_arrays_of_4_bits_are_scanned():
    def fn(xs):
        return jax.lax.scan(lambda total, x: (total + x.astype(jnp.int32), x), jnp.zeros(4, jnp.int32), xs)

    xs = jnp.asarray(RNG.integers(-8, 8, (6, 4)).astype(ml_dtypes.int4))
    agrees(to_onnx(fn, ["int4[6,4]"]), fn, xs)


def test_weights_that_are_not_in_memory():
    net = network()
    arrays = {path_name(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(net)}
    abstract = eqx.filter_eval_shape(lambda: net)
    model = to_onnx(abstract, [("B", 4)], weights=arrays, unroll_layers=True)
    assert {f"blocks.{i}.up.kernel" for i in range(3)} < initializers(model)
    agrees(model, net, floats(2, 4))
