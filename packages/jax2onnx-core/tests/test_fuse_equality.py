"""Equality: constants, parameters, and the bodies that parameters hold."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fusing import FUSIONS, RUNNING, STEPS, fused, fusion, names, running
from programs import FACTS, array, flat

from jax2onnx.fusion.equality import describe, difference, same_constant, same_equation
from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.records import Found, NearMiss
from jax2onnx.program.flatten import flatten
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_attention_with_another_precision_stays() -> None:
    with jax.default_matmul_precision("highest"):
        jaxpr = jax.make_jaxpr(jax.nn.dot_product_attention)(*[array(2, 8, 4, 16)] * 3)
        assert [e.primitive for e in fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23).eqns] == ["attention"]
    records: list[Any] = []
    program = fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23, explain=records)
    assert "attention" not in [e.primitive for e in program.eqns]
    misses = [r for r in records if isinstance(r, NearMiss) and r.name == "attention"]
    (reason,) = [m.reason for m in misses]
    assert reason.startswith("dot_general has precision=")
    assert reason.endswith(" where the function has None")


def _matmul(x: jax.Array, w: jax.Array, *, precision: Any = None, preferred: Any = None) -> jax.Array:
    return jax.nn.relu(jnp.matmul(x, w, precision=precision, preferred_element_type=preferred))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, ["dense"]), ({"precision": "highest"}, ["relu"]), ({"preferred": jnp.float32}, ["relu"])],
)
def test_params_count(options: Mapping[str, Any], expected: list[str]) -> None:
    dense = fusion("dense", _matmul, [[(2, 3), (3, 4)]])
    avals = array(5, 6, dtype=jnp.bfloat16), array(6, 7, dtype=jnp.bfloat16)
    assert names(functools.partial(_matmul, **options), *avals, fusions=[dense, *FUSIONS]) == expected


def test_references_with_control_flow_compare_their_bodies() -> None:
    def power(x: jax.Array, *, by: float = 0.5) -> jax.Array:
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) * by, x)

    powers = [fusion("power", power)]
    assert names(functools.partial(power, by=0.5), array(3), fusions=powers) == ["power"]
    assert names(functools.partial(power, by=0.25), array(3), fusions=powers) == []


def test_another_body_of_a_scan_is_another_function() -> None:
    records: list[Any] = []
    program = fused(lambda x, s: running(x, s, scale=2.0), *STEPS, fusions=RUNNING, explain=records)
    assert [e.primitive for e in program.eqns] == ["scan"]
    assert not any(isinstance(r, Found) for r in records)


def constant(value: Any, dtype: Any = "float32") -> Const:
    array = np.asarray(value, dtype)
    return Const(jax.typeof(jnp.asarray(array)), array)


def test_constants_are_equal_in_dtype_shape_and_bits() -> None:
    one = constant([0.0, 1.0])
    assert same_constant(one, constant([0.0, 1.0]))
    assert not same_constant(one, constant([-0.0, 1.0]))
    assert not same_constant(one, constant([0.0, 1.0], "float16"))
    assert not same_constant(one, constant([[0.0, 1.0]]))
    assert not same_constant(one, constant([0.0, 2.0]))
    assert not same_constant(one, flat(jnp.sin, array(2)).inputs[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_any_nan_equals_any_other(dtype: str) -> None:
    nan = np.asarray([np.nan, 1], jnp.dtype(dtype))
    other = nan.copy()
    other.view(np.uint8)[0] ^= 1  # another payload
    assert other.tobytes() != nan.tobytes()
    assert same_constant(constant(nan, nan.dtype), constant(other, nan.dtype))
    assert not same_constant(constant(nan, nan.dtype), constant(nan[::-1], nan.dtype))


def test_a_constant_in_words() -> None:
    assert describe(constant(0.5)) == "0.5"
    array = constant([0.5])
    assert describe(array) == f"a constant {array.aval.str_short()}"


def test_the_first_parameter_that_differs_in_words() -> None:
    def last(**params: Any) -> Any:
        (eqn,) = flat(jnp.sin, array(2)).eqns
        eqn.params = params
        return eqn

    assert difference(last(axes=(0,), name="f"), last(axes=(0,), name="g")) is None
    assert difference(last(axes=(0,)), last(axes=[0])) is None
    assert difference(last(axes=(0,)), last(axes=(1,))) == "axes=(0,) where the function has (1,)"
    assert difference(last(), last(axes=(1,))) == "no parameter axes"
    assert difference(last(axes=(1,)), last()) == "a parameter axes"
    assert difference(last(table=np.arange(3)), last(table=np.arange(3))) is None
    assert difference(last(table=np.arange(3)), last(table=np.ones(3))) is not None


def test_equations_are_equal_up_to_what_stands_for_their_operands() -> None:
    (product,) = flat(lambda x, y: x * y, array(2), array(2)).eqns
    (square,) = flat(lambda x: x * x, array(2)).eqns
    counterparts: dict[Any, Any] = {}
    assert same_equation(product, square, counterparts)
    assert [counterparts[v] for v in (*product.inputs, *product.outputs)] == [*square.inputs, *square.outputs]
    assert not same_equation(square, product, {})
