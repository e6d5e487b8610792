"""The fusion engine: what it finds, what it must not find, and that what it finds means the same."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.records import Found, NearMiss
from jax2onnx.plugin import loader
from jax2onnx.plugin.fusions import Candidate, Fusion
from jax2onnx.program.flatten import flatten
from jax2onnx.program.program import Const, Eqn, Program, Var

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

FACTS = loader.load().registry().facts

ARRAY = (2, 3)


def emit(*_: Any, **__: Any) -> Any:
    """Stand for an emit rule; the engine never calls it."""
    raise AssertionError


def fusion(
    name: str,
    reference: Callable[..., Any],
    examples: Sequence[Sequence[Any]] = ([ARRAY],),
    kwargs: Any = ({},),
    *,
    opset: int = 18,
    dtypes: Iterable[str] = (),
) -> Fusion:
    return Fusion(
        name=name,
        reference=reference,
        examples=examples,
        kwargs=kwargs,
        emit={opset: emit},
        dtypes=frozenset(dtypes),
    )


def axis(candidate: Candidate) -> list[Mapping[str, Any]]:
    axes = candidate.params("reduce_max")[0]["axes"]
    return [{"axis": int(axes[0])}] if len(axes) == 1 else []


HEADS = ((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4))
UNARY = ("relu", "relu6", "sigmoid", "silu", "selu", "softplus", "mish", "hard_sigmoid", "hard_swish", "soft_sign")
SLOPED = ("elu", "celu", "leaky_relu")
FUSIONS = [
    fusion("gelu", jax.nn.gelu, kwargs=[{"approximate": True}, {"approximate": False}]),
    fusion("softmax", jax.nn.softmax, kwargs=axis),
    fusion("log_softmax", jax.nn.log_softmax, kwargs=axis),
    *(fusion(name, getattr(jax.nn, name)) for name in UNARY),
    *(fusion(name, getattr(jax.nn, name), [[ARRAY, ()]]) for name in SLOPED),
    fusion("attention", jax.nn.dot_product_attention, [HEADS], kwargs=[{}, {"is_causal": True}]),
]


def array(*shape: Any, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def fused(fn: Callable[..., Any], *avals: Any, fusions: Iterable[Fusion] = FUSIONS, **options: Any) -> Program:
    return fuse(flatten(jax.make_jaxpr(fn)(*avals), FACTS), fusions, FACTS, **{"opset": 23, **options})


def found(program: Program) -> list[tuple[str, dict[str, Any]]]:
    return [(e.primitive, dict(e.fused.kwargs)) for e in program.eqns if e.fused is not None]


def names(fn: Callable[..., Any], *avals: Any, **options: Any) -> list[str]:
    return [name for name, _ in found(fused(fn, *avals, **options))]


def primitives(jaxpr: Any) -> dict[str, Any]:
    """Return every primitive of a jaxpr by name."""
    result: dict[str, Any] = {}
    for eqn in jaxpr.eqns:
        result[eqn.primitive.name] = eqn.primitive
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                result |= primitives(inner)
    return result


def evaluate(program: Program, table: Mapping[str, Any], values: Sequence[Any]) -> list[Any]:
    """Run a program: found functions by their references, everything else by JAX's primitives."""
    env: dict[Any, Any] = dict(zip(program.inputs, values, strict=True))

    def read(atom: Any) -> Any:
        return jnp.asarray(np.asarray(atom.value), atom.aval.dtype) if isinstance(atom, Const) else env[atom]

    for eqn in program.eqns:
        operands = [read(a) for a in eqn.inputs]
        if eqn.fused is not None:
            results = [eqn.fused.fusion.reference(*operands, **eqn.fused.kwargs)]
        else:
            primitive = table[eqn.primitive]
            results = primitive.bind(*operands, **eqn.params)
            results = results if primitive.multiple_results else [results]
        env.update(zip(eqn.outputs, results, strict=True))
    return [read(a) for a in program.outputs]


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


@pytest.mark.parametrize("approximate", [True, False])
def test_reads_configuration(approximate: bool) -> None:  # noqa: FBT001 - a test's parameter
    program = fused(lambda x: jax.nn.gelu(x, approximate=approximate) * 2, array(3))
    assert found(program) == [("gelu", {"approximate": approximate})]


@pytest.mark.parametrize(("inner", "outer"), [(0, 1), (1, 2), (-1, 2), (-2, 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_under_vmap_takes_the_axis_of_the_whole_array(name: str, inner: int, outer: int) -> None:
    function = functools.partial(getattr(jax.nn, name), axis=inner)
    assert found(fused(jax.vmap(function), array(6, 4, 5))) == [(name, {"axis": outer})]


def test_shared_broadcast_of_a_scalar_inside() -> None:
    """A broadcast of an inner scalar belongs to the function, unless it is read outside too."""

    def softmax(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        top = jnp.broadcast_to(jnp.max(x), (3,))
        shifted = jnp.exp(x - top)
        return shifted / jnp.broadcast_to(jnp.sum(shifted), (3,)), top

    private = [fusion("private", lambda x: softmax(x)[0])]
    assert names(lambda x: softmax(x)[0], array(3), fusions=private) == ["private"]
    assert names(softmax, array(3), fusions=private) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_one_place_shares_is_found_at_all(place: int) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        read = []
        for i in range(3):
            zeros = jnp.broadcast_to(jnp.float32(0), x.shape)
            read += [zeros] * (i == place)
            x = jnp.sin(jnp.maximum(x, zeros))
        return [x, *read]

    assert names(function, array(4, 5)) == ["relu"] * 3


def test_softmax_over_several_axes_stays() -> None:
    assert names(lambda x: jax.nn.softmax(x, axis=(0, 1)), array(4, 5)) == []


_captured = jax.nn.gelu


def test_finds_captured_function() -> None:
    assert names(lambda x: _captured(x), array(3)) == ["gelu"]  # noqa: PLW0108 - the reference is captured on purpose


@pytest.mark.parametrize("name", SLOPED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_binds_slope(name: str, dtype: str) -> None:
    program = fused(lambda x: getattr(jax.nn, name)(x, 0.3), array(4, 5, dtype=dtype))
    (eqn,) = program.eqns
    assert eqn.primitive == name
    slope = eqn.inputs[1]
    assert isinstance(slope, Const)
    assert np.asarray(slope.value).astype(slope.aval.dtype) == np.asarray(0.3, dtype)
    computed = fused(getattr(jax.nn, name), array(4, 5, dtype=dtype), array(dtype=dtype))
    assert computed.eqns[0].inputs == computed.inputs


def test_finds_handwritten_function() -> None:
    def gelu(x: jax.Array) -> jax.Array:
        return x * (0.5 * (1.0 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * (x**3)))))

    def swapped(x: jax.Array) -> jax.Array:
        return ((jnp.tanh((0.044715 * (x**3) + x) * np.sqrt(2 / np.pi)) + 1.0) * 0.5) * x

    assert names(gelu, array(3)) == ["gelu"]
    assert names(swapped, array(3)) == ["gelu"]


def test_largest_function_wins() -> None:
    assert names(jax.nn.relu6, array(3)) == ["relu6"]
    assert names(jax.nn.mish, array(3)) == ["mish"]
    assert names(jax.nn.hard_swish, array(3)) == ["hard_swish"]


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
    table = primitives(jax.make_jaxpr(lambda x: jax.nn.elu(x, 0.5))(array(4, 5)).jaxpr)
    x = np.linspace(-3, 3, 20, dtype=np.float32).reshape(4, 5)
    np.testing.assert_array_equal(evaluate(inside, table, [x])[0], jax.nn.elu(x, 0.5))
    assert fuse(inside, FUSIONS, FACTS, opset=23, exclude=frozenset({"elu"})).eqns == inside.eqns


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 8, 4, 16), "B, T, 4, 16"])
def test_finds_attention(causal: bool, shape: Any) -> None:  # noqa: FBT001 - a test's parameter
    dims = jax.export.symbolic_shape(shape) if isinstance(shape, str) else shape
    program = fused(functools.partial(jax.nn.dot_product_attention, is_causal=causal), *[array(*dims)] * 3)
    assert found(program) == [("attention", {"is_causal": True} if causal else {})]
    assert program.eqns[-1].inputs == program.inputs


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


def _gelu_with(constant: float, power: int = 3) -> Callable[[jax.Array], jax.Array]:
    return lambda x: x * (0.5 * (1.0 + jnp.tanh(0.7978845608 * (x + constant * (x**power)))))


def _leak(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    inner = jnp.tanh(0.7978845608 * (x + 0.044715 * (x**3)))
    return x * (0.5 * (1.0 + inner)), inner


def _mixed_axes(x: jax.Array) -> jax.Array:
    shifted = jnp.exp(x - jax.lax.stop_gradient(jnp.max(x, axis=1, keepdims=True)))
    return shifted / jnp.sum(shifted, axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("function", "aval"),
    [
        (_gelu_with(0.0447), array(3)),
        (_gelu_with(0.044715, power=5), array(3)),
        (_leak, array(3)),
        (_mixed_axes, array(4, 4)),
        (lambda x: jnp.maximum(x, 0.5), array(3)),
        (lambda x: jnp.maximum(x, -0.0), array(3)),
        (lambda x: jnp.minimum(jnp.maximum(x, 0), 5.0) * 2, array(3, dtype=jnp.int32)),
        (lambda x: jnp.where(x > 0, x, jnp.expm1(x)), array(3)),
        (lambda x: jnp.where(x > 0.5, x, 0.1 * x), array(3)),
        (lambda x: jnp.where(x >= 0, 0.1 * x, x), array(3)),
        (lambda x: x * jax.lax.logistic(1.5 * x), array(3)),
    ],
)
def test_near_misses_stay(function: Callable[..., Any], aval: Any) -> None:
    assert set(names(function, aval)) <= {"sigmoid"}


def test_gradient_keeps_what_is_used_outside() -> None:
    jaxpr = jax.make_jaxpr(jax.value_and_grad(lambda x: jnp.sum(jax.nn.softmax(x)[0])))(array(3, 4))
    records: list[Any] = []
    fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23, explain=records)
    assert [(r.name, r.reason) for r in records] == [("softmax", "a value inside is used outside")]


def test_explains() -> None:
    records: list[Any] = []
    fused(lambda x: (jax.nn.gelu(x), _gelu_with(0.5)(x)), array(3), explain=records)
    miss, hit = sorted(records, key=lambda r: isinstance(r, Found))
    assert (hit.name, hit.kwargs, hit.equations) == ("gelu", {"approximate": True}, 8)
    assert miss.reason == "0.5 stands where the function has 0.044715"


def test_the_difference_told_is_the_deepest() -> None:
    """The operands of ``mul`` and ``add`` are tried in both orders; what went wrong is told of the order that fits."""
    records: list[Any] = []
    fused(lambda x: ((jnp.tanh((x + x**3 * 0.04) * 0.7978845608) + 1) * 0.5) * x, array(3), explain=records)
    assert [(r.name, r.reason, r.matched) for r in records] == [
        ("gelu", "0.04 stands where the function has 0.044715", 7)
    ]


def test_records_are_in_program_order() -> None:
    records: list[Any] = []
    fused(lambda x: jax.nn.softmax(x, axis=0) + jnp.clip(x, 0, 1), array(3, 3), explain=records)
    assert [(r.name, isinstance(r, Found)) for r in records] == [("softmax", True), ("relu", True), ("relu6", False)]


def test_tells_what_a_newer_opset_would_find() -> None:
    records: list[Any] = []
    fusions = [fusion("gelu", jax.nn.gelu, kwargs=[{"approximate": True}, {"approximate": False}], opset=20)]
    program = fused(jax.nn.gelu, array(3), fusions=fusions, opset=19, explain=records)
    assert found(program) == []
    assert [(r.name, r.kwargs, r.reason) for r in records] == [
        ("gelu", {"approximate": True}, "it needs opset 20; this is opset 19")
    ]


def test_reference_that_does_not_trace_is_no_match() -> None:
    def broken(x: jax.Array) -> jax.Array:
        if x.shape != ARRAY:
            msg = "only examples"
            raise ValueError(msg)
        return jnp.sin(x) * 2

    records: list[Any] = []
    program = fused(lambda x: jnp.sin(x) * 2, array(7), fusions=[fusion("broken", broken)], explain=records)
    assert [e.primitive for e in program.eqns] == ["sin", "mul"]
    assert [r.reason for r in records] == ["the reference does not trace here: ValueError: only examples"]


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


def test_dtypes() -> None:
    only = [fusion("relu", jax.nn.relu, dtypes=["bfloat16", "int32"])]
    assert names(jax.nn.relu, array(3), fusions=only) == []
    assert names(jax.nn.relu, array(3, dtype=jnp.bfloat16), fusions=only) == ["relu"]
    assert names(jax.nn.relu, array(3, dtype=jnp.int32), fusions=only) == ["relu"]
    assert names(jax.nn.relu, array(3, dtype=jnp.int32)) == []


def test_float64() -> None:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - jax's own signature
    try:
        avals = array(3, dtype=jnp.float64)
        assert names(lambda x: jax.nn.gelu(jax.nn.elu(x, 0.3)), avals) == ["elu", "gelu"]
        assert names(lambda x: jax.nn.selu(x.astype(jnp.float32)), avals) == ["selu"]
    finally:
        jax.config.update("jax_enable_x64", before)


def test_mean_over_a_symbolic_axis() -> None:
    def centred(x: jax.Array) -> jax.Array:
        return x - jnp.mean(x, axis=0, keepdims=True)

    centre = [fusion("centre", centred)]
    batch = jax.export.symbolic_shape("B, 3")
    assert names(centred, array(5, 3), fusions=centre) == ["centre"]
    assert names(centred, array(*batch), fusions=centre) == ["centre"]
    # A size that is read outside too does not hinder: sizes are recomputed at will.
    assert names(lambda x: centred(x) * (x.shape[0] * 2), array(*batch), fusions=centre) == ["centre"]


def test_references_with_control_flow_compare_their_bodies() -> None:
    def power(x: jax.Array, *, by: float = 0.5) -> jax.Array:
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) * by, x)

    powers = [fusion("power", power)]
    assert names(functools.partial(power, by=0.5), array(3), fusions=powers) == ["power"]
    assert names(functools.partial(power, by=0.25), array(3), fusions=powers) == []


def test_dead_equations_go_and_effects_stay() -> None:
    def function(x: jax.Array) -> jax.Array:
        jnp.sin(x)
        jax.debug.callback(lambda _: None, x)
        return jnp.cos(x)

    program = fused(function, array(3))
    assert [e.primitive for e in program.eqns] in (["debug_callback", "cos"], ["cos", "debug_callback"])


def test_symbolic_scopes_do_not_mix() -> None:
    for _ in range(2):
        assert names(jax.nn.gelu, array(*jax.export.symbolic_shape("B, 3"))) == ["gelu"]


def _running(x: jax.Array, start: jax.Array, *, scale: float = 1.0, unroll: int = 1) -> tuple[jax.Array, jax.Array]:
    """Return the last sum and all products of a scan, which are results of one equation."""
    return jax.lax.scan(lambda c, v: (c + v, c * v * scale), start, x, unroll=unroll)


RUNNING = [fusion("running", _running, [[(5, 3), (3,)]])]
STEPS = (array(4, 2), array(2))


@pytest.mark.parametrize("read", [(0, 1), (0,), (1,), (1, 0)])
@pytest.mark.parametrize("unroll", [1, 2])
def test_finds_a_function_of_several_results(read: Sequence[int], unroll: int) -> None:
    def function(x: jax.Array, start: jax.Array) -> list[jax.Array]:
        results = _running(x, start, unroll=unroll)
        return [jnp.sin(results[i]) for i in read]

    program = fused(function, *STEPS, fusions=RUNNING)
    assert [e.primitive for e in program.eqns] == ["running", *["sin"] * len(read)]
    assert len(program.eqns[0].outputs) == 2


def test_tells_the_bodies_of_scans_apart() -> None:
    records: list[Any] = []
    program = fused(lambda x, s: _running(x, s, scale=2.0), *STEPS, fusions=RUNNING, explain=records)
    assert [e.primitive for e in program.eqns] == ["scan"]
    assert not any(isinstance(r, Found) for r in records)


def test_does_not_look_for_results_of_several_equations() -> None:
    fusions = [fusion("both", lambda x: (jnp.sin(x), jnp.cos(x)))]
    assert names(lambda x: (jnp.sin(x), jnp.cos(x)), array(3), fusions=fusions) == []


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
    for got, expected in zip(evaluate(program, primitives(jaxpr.jaxpr), [x]), function(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def gelu_of(
    x: jax.Array, y: jax.Array, *, literal: float = 0.044715, power: int = 3, squash: Any = jnp.tanh
) -> tuple[jax.Array, jax.Array]:
    """Return tanh's approximation of gelu as jax.nn writes it, if y is x; and a value from within."""
    inner = np.sqrt(2 / np.pi).astype(x.dtype) * (x + literal * (y**power))
    return x * (0.5 * (1.0 + squash(inner))), inner


ODD: dict[str, Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]] = {
    "literal": lambda x, _: gelu_of(x, x, literal=0.045),
    "parameter": lambda x, _: gelu_of(x, x, power=2),
    "primitive": lambda x, _: gelu_of(x, x, squash=jnp.sin),
    "operand": gelu_of,
    "order": lambda x, y: gelu_of(y, x),
}


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("odd", [*ODD, "read"])
def test_a_place_is_compared_in_full_with_those_before(odd: str, place: int) -> None:
    def function(x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        read = []
        for i in range(5):
            layer = ODD[odd] if odd in ODD and i == place else lambda x, _: gelu_of(x, x)
            x, inner = layer(jnp.sin(x), jnp.cos(x))
            read += [inner] * (odd == "read" and i == place)
        return x, read

    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    jaxpr = jax.make_jaxpr(function)(x)
    program = fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23)
    assert [name for name, _ in found(program)] == ["gelu"] * 4
    for got, expected in zip(
        evaluate(program, primitives(jaxpr.jaxpr), [x]), jax.tree.leaves(function(x)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


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
