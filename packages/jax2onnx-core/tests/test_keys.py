"""Random keys as inputs: what a model draws from them is what JAX draws, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import Runner

X = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)


def drop(x, key):
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * 2, 0)


def spread(x, key):
    first, second = jax.random.split(key)
    return x + jax.random.normal(first, x.shape), jax.random.fold_in(second, 3)


def words(key):
    return np.asarray(jax.random.key_data(key)) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else np.asarray(key)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey, lambda s: jax.random.key(s, impl="rbg")])
@pytest.mark.parametrize("concrete", [True, False])
def test_dropout_by_a_key_is_that_of_jax(make, concrete):
    key = make(0)
    spec = key if concrete else jax.ShapeDtypeStruct(key.shape, key.dtype)
    model = to_onnx(drop, [X.shape, spec])
    assert [i.name for i in model.graph.input] == ["x", "key"]
    for seed in (0, 1, 2**31 + 5):
        other = make(seed)
        (found,) = Runner(model).run([X, words(other)])
        np.testing.assert_array_equal(found, drop(X, other))
    assert not np.array_equal(drop(X, make(0)), drop(X, make(1)))


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_keys_in_containers_as_results_and_in_batches(make):
    keys = jnp.stack([make(0), make(1)])
    spec = {"x": (4, 3), "keys": jax.ShapeDtypeStruct(keys.shape, keys.dtype)}

    def fn(batch):
        return jax.vmap(lambda key: spread(batch["x"], key))(batch["keys"])

    model = to_onnx(fn, [spec])
    assert [i.name for i in model.graph.input] == ["batch.keys", "batch.x"]
    check(model, fn, [spec], kinds=("ordinary",))
