"""Random keys: words in, the same words and bits out; samplers agree with JAX's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random

from jax2onnx import check, to_onnx
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.testing import Runner, represented

if TYPE_CHECKING:
    from collections.abc import Callable

BITS: dict[str, Callable[[Any], Any]] = {
    "bernoulli": lambda k: random.bernoulli(k, 0.3, (20,)),
    "bits": lambda k: random.bits(k, (5,)),
    "choice": lambda k: random.choice(k, 7, (5,), replace=False),
    "fold_in": lambda k: random.fold_in(k, 7),
    "fori_loop": lambda k: lax.fori_loop(0, 3, lambda i, c: random.fold_in(c, i), k),
    "moved": lambda k: jnp.concatenate([random.split(k, 4)[::-1], random.split(k, 2)]).reshape(3, 2).T,
    "permutation": lambda k: random.permutation(k, 10),
    "randint": lambda k: random.randint(k, (20,), -5, 17),
    "scan": lambda k: lax.scan(lambda c, _: (random.split(c)[0], random.uniform(c, (2,))), k, None, length=4),
    "set": lambda k: random.split(k, 4).at[1].set(k),
    "split": lambda k: random.split(k, (2, 3)),
    "uniform": lambda k: random.uniform(k, (5, 3)),
    "vmap": lambda k: jax.vmap(lambda one: random.uniform(one, (3,)))(random.split(k, 4)),
    "words": lambda k: random.wrap_key_data(random.key_data(k) + 1),
}
"""Functions of a key whose results JAX and the model must have in common to the last bit."""

FLOATS: dict[str, Callable[[Any], Any]] = {
    "choice": lambda k: random.choice(k, 7, (5,), p=jnp.array([0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1])),
    "categorical": lambda k: random.categorical(k, jnp.arange(12.0).reshape(3, 4)),
    "exponential": lambda k: random.exponential(k, (8,)),
    "gamma": lambda k: random.gamma(k, jnp.array([0.5, 2.0, 7.0])),
    "gumbel": lambda k: random.gumbel(k, (8,)),
    "multinomial": lambda k: random.multinomial(k, 10, jnp.array([0.2, 0.3, 0.5])),
    "laplace": lambda k: random.laplace(k, (8,)),
    "normal": lambda k: random.normal(k, (50,)),
    "truncated_normal": lambda k: random.truncated_normal(k, -1.0, 2.0, (20,)),
    "ball": lambda k: random.ball(k, 3, shape=(4,)),
    "beta": lambda k: random.beta(k, 2.0, 3.0, (4,)),
    "binomial": lambda k: random.binomial(k, 10, 0.4, (4,)),
    "cauchy": lambda k: random.cauchy(k, (4,)),
    "chisquare": lambda k: random.chisquare(k, 3.0, shape=(4,)),
    "complex": lambda k: random.normal(k, (4,), jnp.complex64),
    "dirichlet": lambda k: random.dirichlet(k, jnp.array([1.0, 2, 3]), (2,)),
    "double_sided_maxwell": lambda k: random.double_sided_maxwell(k, 0.0, 1.0, (4,)),
    "f": lambda k: random.f(k, 3.0, 4.0, (4,)),
    "generalized_normal": lambda k: random.generalized_normal(k, 2.0, (4,)),
    "geometric": lambda k: random.geometric(k, 0.3, (4,)),
    "loggamma": lambda k: random.loggamma(k, 2.0, (4,)),
    "logistic": lambda k: random.logistic(k, (4,)),
    "lognormal": lambda k: random.lognormal(k, 1.0, (4,)),
    "maxwell": lambda k: random.maxwell(k, (4,)),
    "multivariate_normal": lambda k: random.multivariate_normal(k, jnp.zeros(3), 2 * jnp.eye(3) + 0.1, (2,)),
    "orthogonal": lambda k: random.orthogonal(k, 3),
    "pareto": lambda k: random.pareto(k, 2.0, (4,)),
    "poisson": lambda k: random.poisson(k, jnp.array([3.0, 50.0])),
    "rayleigh": lambda k: random.rayleigh(k, 2.0, (4,)),
    "t": lambda k: random.t(k, 3.0, (4,)),
    "triangular": lambda k: random.triangular(k, 0.0, 0.3, 1.0, (4,)),
    "wald": lambda k: random.wald(k, 2.0, (4,)),
    "weibull_min": lambda k: random.weibull_min(k, 2.0, 3.0, (4,)),
}
"""Functions of a key whose last step is a floating-point function."""


def _results(function: Callable[..., Any], *args: Any) -> tuple[list[Any], list[Any]]:
    model = to_onnx(function, [jnp.asarray(a) for a in args])
    expected = [represented(leaf) for leaf in jax.tree_util.tree_leaves(function(*args))]
    return expected, Runner(model).run([represented(a) for a in args])


@pytest.mark.parametrize("name", BITS)
def test_bits(name: str) -> None:
    expected, actual = _results(BITS[name], random.key(42))
    for want, got in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize("name", FLOATS)
def test_floats(name: str) -> None:
    check(to_onnx(FLOATS[name], [random.key(7)]), FLOATS[name], [random.key(7)])


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
@pytest.mark.parametrize("name", ["bits", "fold_in", "split"])
def test_implementations(name: str, implementation: str) -> None:
    expected, actual = _results(BITS[name], random.key(3, impl=implementation))
    np.testing.assert_array_equal(actual[0], expected[0], strict=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("word", [0, 5, 2**32 - 1])
def test_generator(dtype: Any, word: int) -> None:
    state = np.array([word, 2, word, word], np.uint32)
    expected, actual = _results(lambda s: lax.rng_bit_generator(s, (3, 3), dtype=dtype), state)
    for want, got in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("shape", [(), (3,), (4,), (5, 7), (3, 6), (3, 3), (5, 2, 3)])
def test_threefry_generator(shape: tuple[int, ...], dtype: Any) -> None:
    state = np.array([3, 2**32 - 1, 2**32 - 2, 7], np.uint32)
    algorithm = lax.RandomAlgorithm.RNG_THREE_FRY
    expected, actual = _results(lambda s: lax.rng_bit_generator(s, shape, dtype=dtype, algorithm=algorithm), state)
    for want, got in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def test_threefry_generator_of_symbolic_shape_is_refused() -> None:
    algorithm = lax.RandomAlgorithm.RNG_THREE_FRY
    with pytest.raises(UnsupportedCaseError, match="RNG_THREE_FRY"):
        to_onnx(lambda s, x: lax.rng_bit_generator(s, x.shape, algorithm=algorithm), ["uint32[4]", "float32[B]"])


def test_key_is_an_input_of_words() -> None:
    model = to_onnx(lambda k: random.uniform(k, (2,)), [random.split(random.key(0), 3)[0]])
    (key,) = model.graph.input
    assert [d.dim_value for d in key.type.tensor_type.shape.dim] == [2]
