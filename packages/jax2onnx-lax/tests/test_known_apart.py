"""What a scan computes of known numbers alone is computed at conversion, and is what JAX computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from placed_operators import bodies_in

from jax2onnx import check, to_onnx

if TYPE_CHECKING:
    import onnx

XS, X = (5, 3), (3,)


def _gains(ys: Any, x: Any) -> Any:
    move = np.eye(3, dtype=np.float32) + 0.1 * np.eye(3, k=1, dtype=np.float32)

    def step(state: Any, y: Any) -> Any:
        mean, cov, count = state
        cov = move @ cov @ move.T + 0.1 * jnp.eye(3)
        gain = cov @ jnp.linalg.inv(cov + jnp.eye(3) * (count + 1))
        new = move @ mean + gain @ (y - mean)
        return (new, cov - gain @ cov, count + 1), (new, cov, count)

    return lax.scan(step, (x, jnp.eye(3), 0), ys)


def _schedule(xs: Any, x: Any) -> Any:
    def step(c: Any, given: Any) -> Any:
        i, v = given
        rate = jnp.exp(-0.1 * i.astype(jnp.float32)) * jnp.cos(i.astype(jnp.float32))
        return c + rate * v, rate

    return lax.scan(step, x, (jnp.arange(5), xs), reverse=True)


def _a_known_chain_that_values_join(xs: Any, x: Any) -> Any:
    """The second of the carried values is known at first only."""

    def step(state: Any, v: Any) -> Any:
        a, b, c = state
        return (jnp.sin(a) * 0.5 + 1, jnp.cos(a) + c, v * a), b

    return lax.scan(step, (jnp.ones(3), jnp.ones(3), x), xs)


KNOWN: dict[Callable[..., Any], set[str]] = {
    _gains: {"Div", "Split", "Where", "Concat"},
    _schedule: {"Exp", "Cos", "Sin"},
    _a_known_chain_that_values_join: {"Sin", "Cos"},
}


def _in_bodies(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for body in bodies_in(model.graph) for node in body.node}


@pytest.mark.parametrize("program", KNOWN, ids=lambda program: program.__name__.strip("_"))
def test_what_is_known_is_computed_at_conversion(program: Callable[..., Any]) -> None:
    model = to_onnx(program, [XS, X])
    assert not KNOWN[program] & ({node.op_type for node in model.graph.node} | _in_bodies(model))
    check(model, program, [XS, X], kinds=("ordinary", "special"))


def test_what_is_known_of_inputs_alone_is_not_taken_for_known() -> None:
    def program(xs: Any, x: Any) -> Any:
        return lax.scan(lambda c, v: ((c[0] + v, jnp.sin(c[1]) * 2), c), (x, xs[0]), xs)

    check(to_onnx(program, [XS, X]), program, [XS, X], kinds=("ordinary", "special"))


def test_weights_in_few_bits_stay_so() -> None:
    weights = np.arange(-24, 24, dtype=np.int8).reshape(3, 4, 4)

    def program(x: Any) -> Any:
        return lax.scan(lambda c, w: (jnp.tanh(c @ (w.astype(jnp.float32) * 0.01)), None), x, weights)[0]

    model = to_onnx(program, [(4,)], unroll_layers=False)
    assert {"Cast", "DequantizeLinear"} & _in_bodies(model)
    check(model, program, [(4,)])
