"""Fuse: what is found, what must not be found, and that what is found means the same."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fusing import (
    FUSIONS,
    RUNNING,
    SLOPED,
    STEPS,
    UNARY,
    evaluate,
    explained,
    found,
    fused,
    fusion,
    gelu_by_hand,
    jax_primitives,
    names,
    running,
)
from programs import FACTS, array

from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.records import Found
from jax2onnx.program.flatten import flatten
from jax2onnx.program.program import Const, Eqn, Program, Var

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@pytest.mark.parametrize("name", [*UNARY, *SLOPED, "gelu", "softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("how", ["plain", "jit", "vmap", "remat", "symbolic", "vector", "scalar"])
def test_finds_function(name: str, dtype: str, how: str) -> None:
    function = getattr(jax.nn, name)
    shape: tuple[Any, ...] = (4, 5)
    match how:
        case "jit":
            function = jax.jit(function)
        case "vmap":
            function = jax.vmap(function)
        case "remat":
            function = jax.checkpoint(function)
        case "symbolic":
            shape = jax.export.symbolic_shape("B, 5")
        case "vector":
            shape = (5,)
        case "scalar":
            if "softmax" in name:
                return
            shape = ()
    program = fused(function, array(*shape, dtype=dtype))
    assert [e.primitive for e in program.eqns] == [name]
    (eqn,) = program.eqns
    assert eqn.inputs[0] is program.inputs[0]
    assert eqn.outputs == program.outputs
    if name in SLOPED:
        assert isinstance(eqn.inputs[1], Const)
        np.testing.assert_array_equal(
            np.asarray(eqn.inputs[1].value, np.float64), np.asarray(1 if name != "leaky_relu" else 0.01, dtype)
        )


_captured = jax.nn.gelu


def test_finds_captured_function() -> None:
    assert names(lambda x: _captured(x), array(3)) == ["gelu"]  # noqa: PLW0108 - the reference is captured on purpose


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 4, 16), "B, T, 4, 16"])
def test_finds_attention(causal: bool, shape: Any) -> None:  # noqa: FBT001 - a test's parameter
    dims = jax.export.symbolic_shape(shape) if isinstance(shape, str) else shape
    program = fused(functools.partial(jax.nn.dot_product_attention, is_causal=causal), *[array(*dims)] * 3)
    assert found(program) == [("attention", {"is_causal": True} if causal else {})]
    assert program.eqns[-1].inputs == program.inputs


def test_largest_function_wins() -> None:
    assert names(jax.nn.relu6, array(3)) == ["relu6"]
    assert names(jax.nn.mish, array(3)) == ["mish"]
    assert names(jax.nn.hard_swish, array(3)) == ["hard_swish"]


@pytest.mark.parametrize("read", [(0, 1), (0,), (1,), (1, 0)])
@pytest.mark.parametrize("unroll", [1, 2])
def test_finds_a_function_of_several_results(read: Sequence[int], unroll: int) -> None:
    def function(x: jax.Array, start: jax.Array) -> list[jax.Array]:
        results = running(x, start, unroll=unroll)
        return [jnp.sin(results[i]) for i in read]

    program = fused(function, *STEPS, fusions=RUNNING)
    assert [e.primitive for e in program.eqns] == ["running", *["sin"] * len(read)]
    assert len(program.eqns[0].outputs) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"opset": 19}, ["relu"]),
        ({"opset": 20}, ["relu", "gelu"]),
        ({"exclude": frozenset({"relu"})}, ["gelu"]),
    ],
)
def test_opset_and_exclude(options: Mapping[str, Any], expected: list[str]) -> None:
    fusions = [fusion("gelu", jax.nn.gelu, opset=20), fusion("relu", jax.nn.relu)]
    assert names(lambda x: jax.nn.gelu(jax.nn.relu(x)), array(3), fusions=fusions, **options) == expected


def test_float64() -> None:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - jax's own signature
    try:
        avals = array(3, dtype=jnp.float64)
        assert names(lambda x: jax.nn.gelu(jax.nn.elu(x, 0.3)), avals) == ["elu", "gelu"]
        assert names(lambda x: jax.nn.selu(x.astype(jnp.float32)), avals) == ["selu"]
    finally:
        jax.config.update("jax_enable_x64", before)


def test_definitions_stay_before_uses() -> None:
    def function(x: jax.Array) -> jax.Array:
        h = jax.nn.softmax(jnp.sin(x))
        return jax.nn.gelu(h) + jax.nn.elu(jnp.cos(h), 0.5)

    program = fused(function, array(4, 5))
    known: set[Any] = set(program.inputs)
    for eqn in program.eqns:
        assert all(isinstance(a, Const) or a in known for a in eqn.inputs)
        known.update(eqn.outputs)
    assert sorted(name for name, _ in found(program)) == ["elu", "gelu", "softmax"]


def test_interior_is_a_program_of_its_own() -> None:
    (eqn,) = fused(lambda x: jax.nn.elu(x, 0.5), array(4, 5)).eqns
    assert eqn.fused is not None
    inside = Program([a for a in eqn.inputs if isinstance(a, Var)], list(eqn.fused.interior), list(eqn.outputs))
    table = jax_primitives(jax.make_jaxpr(lambda x: jax.nn.elu(x, 0.5))(array(4, 5)).jaxpr)
    x = np.linspace(-3, 3, 20, dtype=np.float32).reshape(4, 5)
    np.testing.assert_array_equal(evaluate(inside, table, [x])[0], jax.nn.elu(x, 0.5))
    assert fuse(inside, FUSIONS, FACTS, opset=23, exclude=frozenset({"elu"})).eqns == inside.eqns


def test_dead_equations_go_and_effects_stay() -> None:
    def function(x: jax.Array) -> jax.Array:
        jnp.sin(x)
        jax.debug.callback(lambda _: None, x)
        return jnp.cos(x)

    program = fused(function, array(3))
    assert [e.primitive for e in program.eqns] in (["debug_callback", "cos"], ["cos", "debug_callback"])


def test_gradient_keeps_what_is_used_outside() -> None:
    jaxpr = jax.make_jaxpr(jax.value_and_grad(lambda x: jnp.sum(jax.nn.softmax(x)[0])))(array(3, 4))
    records: list[Any] = []
    fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23, explain=records)
    assert [(r.name, r.reason) for r in records] == [("softmax", "a value inside is used outside")]


def test_explains() -> None:
    records = explained(lambda x: (jax.nn.gelu(x), gelu_by_hand(0.5)(x)), array(3))
    miss, hit = sorted(records, key=lambda r: isinstance(r, Found))
    assert (hit.name, hit.kwargs, hit.equations) == ("gelu", {"approximate": True}, 8)
    assert miss.reason == "0.5 stands where the function has 0.044715"


def test_records_are_in_program_order() -> None:
    records = explained(lambda x: jax.nn.softmax(x, axis=0) + jnp.clip(x, 0, 1), array(3, 3))
    assert [(r.name, isinstance(r, Found)) for r in records] == [("softmax", True), ("relu", True), ("relu6", False)]


def test_reports_what_a_newer_opset_would_find() -> None:
    records: list[Any] = []
    fusions = [fusion("gelu", jax.nn.gelu, kwargs=[{"approximate": True}, {"approximate": False}], opset=20)]
    program = fused(jax.nn.gelu, array(3), fusions=fusions, opset=19, explain=records)
    assert found(program) == []
    assert [(r.name, r.kwargs, r.reason) for r in records] == [
        ("gelu", {"approximate": True}, "it needs opset 20; this is opset 19")
    ]


UNARY_STEPS: tuple[Callable[[jax.Array], jax.Array], ...] = (
    *(getattr(jax.nn, name) for name in (*UNARY, *SLOPED, "gelu", "softmax", "log_softmax")),
    jnp.sin,
    jnp.tanh,
    lambda x: x * 0.5,
    lambda x: 1.0 + x,
    lambda x: jnp.maximum(0.0, x),
    lambda x: jax.nn.elu(x, 0.7),
    lambda x: jax.nn.softmax(x, axis=0),
    lambda x: jax.nn.gelu(x, approximate=False),
)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_mean_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = [(int(rng.integers(len(UNARY_STEPS))), int(rng.integers(100)), int(rng.integers(3))) for _ in range(25)]

    def function(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = [x, x * 0.25]
        for step, source, how in steps:
            value = UNARY_STEPS[step](values[-1 - source % min(3, len(values))])
            values.append((value, value + values[-1], value * values[-2])[how])
        return values[-1], values[len(values) // 2]

    x = rng.normal(size=(3, 4)).astype(np.float32)
    jaxpr = jax.make_jaxpr(function)(x)
    program = fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23)
    assert Counter(name for name, _ in found(program)).total() >= 3
    for got, expected in zip(evaluate(program, jax_primitives(jaxpr.jaxpr), [x]), function(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_cost_is_linear() -> None:
    """Count the searches, which time cannot flake: a fixed number per equation, whatever the length."""

    def chain(length: int) -> Program:
        def function(x: jax.Array) -> jax.Array:
            for _ in range(length):
                x = jax.nn.gelu(x) + jax.nn.softmax(x) * 0.5
            return x

        return flatten(jax.make_jaxpr(function)(array(2, 3)), FACTS)

    def attempts(program: Program) -> int:
        records: list[Any] = []
        fuse(program, FUSIONS, FACTS, opset=23, explain=records)
        return len(records)

    assert attempts(chain(80)) == 4 * attempts(chain(20))


def test_deep_program_needs_no_recursion() -> None:
    aval = jax.make_jaxpr(jnp.sin)(array(3)).in_avals[0]
    variables = [Var(aval) for _ in range(20_001)]
    eqns = [Eqn("add", [a, a], [b], {}, None) for a, b in itertools.pairwise(variables)]
    program = Program(variables[:1], eqns, [variables[-1]])
    assert len(fuse(program, FUSIONS, FACTS, opset=23).eqns) == len(eqns)
