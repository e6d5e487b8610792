"""``check`` with its default arguments: right models pass, whatever the seed, and models that are a little wrong fail.

A wrong model is the export of a program that differs a little from the one that it is compared with.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.checking.rounding import roundings
from jax2onnx.checking.spreads import Spreads
from jax2onnx.errors import CheckError
from jax2onnx.program.facts import Facts

W = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
BF16 = jnp.bfloat16
SEEDS = range(int(os.environ.get("CHECK_SEEDS", "1")))
"""`nox -s checks` takes many."""


def recurrent(x: jax.Array) -> jax.Array:
    return lax.scan(lambda c, v: (jnp.tanh(c @ W + v),) * 2, jnp.zeros(4), x)[1]


def newton(x: jax.Array) -> jax.Array:
    """Take the square root of |x| + 1."""
    square = jnp.abs(x) + 1

    def closer(state: Any) -> Any:
        step, root = state
        return step + 1, (root + square / root) / 2

    return lax.while_loop(lambda state: state[0] < 6, closer, (0, square))[1]


def normed(x: jax.Array) -> jax.Array:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def beam_search(logits: jax.Array) -> Any:
    """Follow the three likeliest sequences; an infinite logit makes a negative NaN, which ``top_k`` puts last."""

    def step(scores: jax.Array, new: jax.Array) -> Any:
        candidates = scores[:, None] + jax.nn.log_softmax(new)
        scores, places = lax.top_k(candidates.reshape(-1), 3)
        return scores, (places // new.shape[-1], places % new.shape[-1])

    return lax.scan(step, jnp.array([0.0, -jnp.inf, -jnp.inf]), logits)


RIGHT = {
    "complex product": (jnp.matmul, ["complex64[7,4]", "complex64[4,3]"]),
    "complex einsum": (lambda x, y: jnp.einsum("bij,bj->bi", x, y).sum(0), ["complex64[B,3,4]", "complex64[B,4]"]),
    "mean of large integers": (lambda x: (x * jnp.array([1, 1, -1, -1, 1])).mean(-1), ["int32[B,5]"]),
    "complex quotient": (lambda x: x / x != 1, ["complex64[30]"]),
    "complex angle": (jnp.arctan2, ["complex64[9]", "complex64[9]"]),
    "saturated": (lambda x: jnp.tanh(8 * jnp.sign(x)).astype(jnp.int32), [(30,)]),
    "logarithm of sigmoid": (lambda x: jnp.log(jax.nn.sigmoid(x)), [("B", 8)]),
    "whether a float16 sigmoid is 0": (lambda x: jax.nn.sigmoid(x.astype(jnp.float16)) != 0, [("B", 30)]),
    "root of log_sigmoid": (lambda x: jnp.sqrt(jax.nn.log_sigmoid(x)), [("B", 8)]),
    "reciprocal of softmax": (lambda x: 1 / jax.nn.softmax(x), [("B", 8)]),
    "logarithm of a normal density": (lambda x: jnp.log(jax.scipy.stats.norm.pdf(x)), [("B", 8)]),
    "root of a gradient of exp": (lambda x: lax.rsqrt(jax.grad(lambda x: jnp.exp(x).sum())(x)), [("B", 8)]),
    "Fourier transforms": (lambda x: (jnp.fft.fft(x), jnp.fft.ifft(x) * x), ["complex64[6]"]),
    "beam search": (beam_search, [("T", 3, 11)]),
    "gradient of tanh": (jax.grad(lambda x: jnp.tanh(x @ W).sum()), [("B", 4)]),
    "large gradient of tanh": (jax.grad(lambda x: (1e4 * jnp.tanh(3 * x @ W)).sum()), [(3, 4)]),
    "gradient of sigmoid": (jax.grad(lambda x: jax.nn.sigmoid(x @ W).sum()), [(3, 4)]),
    "gradient of erf": (jax.grad(lambda x: jax.nn.gelu(x, approximate=False).sum()), [(3, 4)]),
    "cubic resize": (lambda x: jax.image.resize(x, (8, 9), "cubic"), [(5, 4)]),
    "lanczos resize": (lambda x: jax.image.resize(x, (3, 9), "lanczos3"), [(5, 4)]),
    "associative sum": (lambda x: lax.associative_scan(jnp.add, x), [(19,)]),
    "associative recurrence": (
        lambda a, b: lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (a, b))[1],
        [(9,), (9,)],
    ),
    "product with bools": (jax.vmap(jnp.dot), ["bool[4,4]", (4, 4)]),
    "sum and difference": (lambda x: jnp.cumsum(x) - jnp.sum(x), [(9,)]),
    "bfloat16 product": (lambda x: (x.astype(BF16) @ W.astype(BF16)).astype(jnp.float32), [("B", 4)]),
    "bfloat16 sum": (lambda x: jnp.exp(x.astype(BF16)).sum(-1).astype(jnp.float32), [("B", 4)]),
    "float16 softmax": (lambda x: jax.nn.softmax(x.astype(jnp.float16)).astype(jnp.float32), [(3, 4)]),
    "complex transform of 7": (jnp.fft.fft, ["complex64[7]"]),
    "complex transform of 8": (jnp.fft.fft, ["complex64[8]"]),
    "real transform": (jnp.fft.rfft, [(7,)]),
    "inverse real transform": (jnp.fft.irfft, ["complex64[5]"]),
    "two-dimensional transform": (jnp.fft.ifft2, ["complex64[3,4]"]),
    "recurrent": (recurrent, [(5, 4)]),
    "while": (newton, [(5,)]),
    "normalised": (normed, [("B", 6)]),
    "variance": (lambda x: x.var(-1), [("B", 6)]),
    "inverse": (jnp.linalg.inv, [(3, 3)]),
    "elu": (jax.nn.elu, [("B", 3)]),
    "sigmoid": (jax.nn.sigmoid, [("B", 3)]),
    "silu": (jax.nn.silu, [("B", 3)]),
    "branches": (lambda x: lax.cond(x.sum() > 0, jnp.sinh, jnp.cosh, x), [(3,)]),
    "Python bool": (lambda x, flag: jnp.sin(x) - x if flag else x, [(3,), "bool[]"]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_model_passes(name: str) -> None:
    function, specs = RIGHT[name]
    model = to_onnx(function, specs)
    for seed in SEEDS:
        check(model, function, specs, seed=seed)


WRONG = {
    "the smallest": (lambda x: lax.top_k(x, 2)[0], lambda x: -lax.top_k(-x, 2)[0]),
    "a constant": (lambda x: 2 * x + 1, lambda x: 2.002 * x + 1),
    "a small constant": (lambda x: x + 1e-7, lambda x: x + 1.001e-7),
    "a constant in a sum that cancels": (lambda x: jnp.tanh(x) - x, lambda x: 1.001 * jnp.tanh(x) - x),
    "a constant in a scan": (
        lambda x: lax.scan(lambda c, v: (0.9 * c + v,) * 2, jnp.zeros(4), x)[1],
        lambda x: lax.scan(lambda c, v: (0.901 * c + v,) * 2, jnp.zeros(4), x)[1],
    ),
    "a constant in a loop": (newton, lambda x: newton(x) * 1.001),
    "an operator": (jnp.sin, jnp.tan),
    "a near operator": (lambda x: jax.nn.gelu(x, approximate=True), lambda x: jax.nn.gelu(x, approximate=False)),
    "an axis": (lambda x: jnp.cumsum(x, 0), lambda x: jnp.cumsum(x, 1)),
    "a transposed product": (lambda x: x @ W, lambda x: x @ W.T),
    "a strict comparison": (lambda x: jnp.where(x > 0, x, 5.0), lambda x: jnp.where(x >= 0, x, 5.0)),
    "a rounding of ties": (jnp.round, lambda x: jnp.floor(x + 0.5)),
    "a lost NaN": (lambda x: jnp.maximum(x, 0), lambda x: jnp.where(x > 0, x, 0)),
    "a lost infinity": (lambda x: x * 2, lambda x: jnp.clip(x * 2, -3e38, 3e38)),
    "a lost sign of zero": (lambda x: 1 / x, lambda x: 1 / jnp.where(x == 0, 0.0, x)),
    "log1p as log": (jnp.log1p, lambda x: jnp.log(1 + x)),
    "expm1 as exp": (jnp.expm1, lambda x: jnp.exp(x) - 1),
    "a small sinh": (jnp.sinh, lambda x: (jnp.exp(x) - jnp.exp(-x)) / 2),
    "a sigmoid that is 0": (jax.nn.sigmoid, lambda x: jnp.where(x < -18, 0.0, 1 / (1 + jnp.exp(-x)))),
    "its logarithm": (
        lambda x: jnp.log(jax.nn.sigmoid(x)),
        lambda x: jnp.log(jnp.where(x < -18, 0.0, 1 / (1 + jnp.exp(-x)))),
    ),
    "its reciprocal": (
        lambda x: 1 / jax.nn.sigmoid(x),
        lambda x: 1 / jnp.where(x < -18, 0.0, 1 / (1 + jnp.exp(-x))),
    ),
    "an exponential that is 0": (jnp.exp, lambda x: jnp.where(x < -20, 0.0, jnp.exp(x))),
    "a softmax without its tail": (
        lambda x: jax.nn.softmax(x, -1),
        lambda x: jnp.where(jax.nn.softmax(x, -1) < 1e-7, 0.0, jax.nn.softmax(x, -1)),
    ),
    "a tail of erfc": (lax.erfc, lambda x: 1 - lax.erf(x)),
    "an epsilon": (normed, lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)),
    "a biased variance": (lambda x: x.var(-1), lambda x: x.var(-1, ddof=1)),
    "a reversed transform": (lambda x: jnp.fft.fft(x + 0j), lambda x: jnp.fft.ifft(x + 0j) * 4),
    "a coarser dtype": (lambda x: x @ W, lambda x: (x.astype(BF16) @ W.astype(BF16)).astype(jnp.float32)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_fails(name: str) -> None:
    right, wrong = WRONG[name]
    specs = [("B", 4)]
    model = to_onnx(wrong, specs)
    for seed in SEEDS:
        with pytest.raises(CheckError, match="elements differ"):
            check(model, right, specs, seed=seed)


def test_the_kernels_of_the_model_decide_what_is_coarse() -> None:
    """The Sigmoid of onnxruntime is 0 at -20; a model that has it passes, one that is 0 for another reason does not."""
    model = to_onnx(jax.nn.sigmoid, [(3,)])
    assert [node.op_type for node in model.graph.node] == ["Sigmoid"]
    values = [[np.float32([-20, 0, 20])]]
    check(model, jax.nn.sigmoid, [(3,)], values=values)

    scaled = onnx.ModelProto()
    scaled.CopyFrom(model)
    scaled.graph.node[0].op_type = "HardSigmoid"
    with pytest.raises(CheckError):
        check(scaled, jax.nn.sigmoid, [(3,)], values=values)


def test_an_absolute_tolerance_accepts_small_differences() -> None:
    model = to_onnx(lambda x: jnp.where(x < 0, 0.0, jnp.exp(x)), [(3,)])
    values = [[np.float32([-20, 1, 2])]]
    with pytest.raises(CheckError):
        check(model, jnp.exp, [(3,)], values=values)
    check(model, jnp.exp, [(3,)], values=values, atol=1e-6)


@pytest.mark.parametrize("name", ["max", "min", "window"])
def test_jax_may_pass_over_nan_in_the_largest_of_many(name: str) -> None:
    def pooled(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2), (1, 2, 2), "VALID")

    function = {"max": lambda x: x.max((1, 2)), "min": lambda x: x.min(2), "window": pooled}[name]
    x = np.random.default_rng(0).normal(size=(7, 64, 64)).astype(np.float32)
    x[:, ::9, ::7] = np.nan
    model = to_onnx(function, [x.shape])
    check(model, function, [x.shape], values=[[x]])
    x[0] = 3.0
    wrong = to_onnx(lambda x: function(x) + 1.0, [x.shape])
    with pytest.raises(CheckError):
        check(wrong, function, [x.shape], values=[[x]])


def test_terms_that_cancel_may_leave_nothing() -> None:
    """What JAX computes of a rounding error is one where it is not 0, and NaN where it is."""

    def quotient(x: jax.Array) -> jax.Array:
        return x / jnp.tanh(x)

    def cancelling(x: jax.Array) -> jax.Array:
        return quotient((x - x.mean(1, keepdims=True)).sum(1))

    specs = [(64, 24)]
    missing = to_onnx(lambda x: jnp.full(x.shape[0], jnp.nan), specs)
    for seed in range(3):
        check(missing, cancelling, specs, kinds=["ordinary"], seed=seed)
        with pytest.raises(CheckError, match="64 of 64 elements differ"):
            check(missing, lambda x: quotient(x.sum(1)), specs, kinds=["ordinary"], seed=seed)


def test_equations_that_are_made_for_one_evaluation_are_told_apart() -> None:
    """Where a primitive is evaluated by steps, these are traced each time, and an equation may be where one was."""
    facts = Facts(rounding="terms")
    for rounding in roundings(loose=False):
        for size in range(1, 60):
            numbers = jnp.ones(size)
            (eqn,) = jax.make_jaxpr(lambda x: x + x)(numbers).eqns
            (result,) = rounding.results(eqn, facts, [numbers, numbers])
            assert result.shape == numbers.shape
            del eqn


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_spread_of_nan_is_noted(dtype: str) -> None:
    """NumPy warns of a NaN where it takes the minimum of bfloat16 numbers."""
    spreads = Spreads()
    for first in (1, np.nan):
        spreads.note((0, 0), [np.array([first, 1, -np.inf], dtype)])
    (result,) = spreads.cancelled((0, 0), [jnp.asarray([np.nan, 1, -np.inf], dtype)])
    np.testing.assert_array_equal(np.asarray(result, np.float32), [np.nan, 1, -np.inf])
