"""Primitives without a lowering: their own definitions take their place, or an error says why they cannot."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse
from jax.interpreters import mlir, xla
from programs import array, flat, only, primitives

from jax2onnx import check, to_onnx
from jax2onnx.errors import DimensionError, UnsupportedCaseError, UnsupportedPrimitiveError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.fusion.report import FusionReport


LIBRARY = __name__.partition(".")[0]


def by_impl(name: str, function: Callable[..., Any], *, several: bool = False) -> Any:
    """Return a primitive as libraries make them: of a function that computes it for arrays."""
    primitive = jax.extend.core.Primitive(name)
    primitive.multiple_results = several
    primitive.def_impl(function)
    return primitive


def by_jit(name: str, function: Callable[..., Any], *, several: bool = False) -> Any:
    """Return a primitive as libraries make them: of a function that jit traces."""
    primitive = by_impl(name, lambda *args, **params: xla.apply_primitive(primitive, *args, **params), several=several)
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=several))
    return primitive


def same(primitive: Any) -> Any:
    """Give a primitive results like its first operand."""
    primitive.def_abstract_eval(lambda x, *_, **__: x)
    return primitive


def scale(x: Any, *, factor: float = 2.0) -> Any:
    return jax.nn.gelu(x) * factor


def tanh(x: Any) -> Any:
    return jnp.tanh(x)


BY_IMPL = same(by_impl("toy_by_impl", scale))
BY_JIT = same(by_jit("toy_by_jit", scale))
BOTH = [BY_IMPL, BY_JIT]


@pytest.mark.parametrize("primitive", BOTH, ids=str)
def test_the_definition_is_exported_and_its_functions_are_found(primitive: Any) -> None:
    model = to_onnx(lambda x: primitive.bind(x, factor=3.0), [("B", 4)])
    assert sorted(n.op_type for n in model.graph.node) == ["Gelu", "Mul"]
    check(model, lambda x: primitive.bind(x, factor=3.0), [("B", 4)])


@pytest.mark.parametrize("primitive", BOTH, ids=str)
@pytest.mark.parametrize("place", ["jit", "scan", "cond", "while"])
def test_a_definition_stands_wherever_its_primitive_does(primitive: Any, place: str) -> None:
    def function(step: Callable[..., Any], x: Any) -> Any:
        if place == "jit":
            return jax.jit(step)(x)
        if place == "scan":
            return jax.lax.scan(lambda carry, row: (carry + step(row), row), x[0], x)
        if place == "cond":
            return jax.lax.cond(x.sum() > 0, step, jnp.sin, x)
        return jax.lax.fori_loop(0, 2, lambda _, y: step(y), x)

    model = to_onnx(functools.partial(function, primitive.bind), [(3, 2)])
    check(model, functools.partial(function, scale), [(3, 2)])


def test_several_results_and_definitions_in_definitions() -> None:
    inner = same(by_jit("toy_inner", tanh))
    outer = by_impl("toy_outer", lambda x, y: [inner.bind(x) + y, x], several=True)
    outer.def_abstract_eval(lambda x, _: [x, x])
    notes: list[Any] = []
    program = flat(outer.bind, array(3), array(3), notes=notes)
    assert primitives(program) == ["tanh", "add"]
    assert program.outputs[1] is program.inputs[0]
    assert [(n.primitive, n.library) for n in notes] == [
        ("toy_outer", LIBRARY),
        ("toy_inner", LIBRARY),
    ]
    check(to_onnx(outer.bind, [(3,), (3,)]), outer.bind, [(3,), (3,)])


def test_complex_operands() -> None:
    rotate = same(by_jit("toy_rotate", lambda z, angle: z * jnp.exp(1j * angle)))
    model = to_onnx(rotate.bind, ["complex64[N,3]", "float32[3]"])
    check(model, rotate.bind, ["complex64[N,3]", "float32[3]"])


def test_random_keys() -> None:
    noise = by_jit("toy_noise", lambda key, *, shape: jax.random.normal(key, shape))
    noise.def_abstract_eval(lambda _, *, shape: jax.core.ShapedArray(shape, np.dtype("float32")))
    function = lambda seed: noise.bind(jax.random.key(seed), shape=(4,))  # noqa: E731
    check(to_onnx(function, ["int32[]"]), function, ["int32[]"])


def test_a_definition_may_choose_by_a_constant() -> None:
    functions = [jnp.sin, jnp.cos]
    chosen = by_impl("toy_chosen", lambda number, x: functions[number.item()](x))
    chosen.def_abstract_eval(lambda _, x: x)
    number = np.array(1)
    model = to_onnx(lambda x: chosen.bind(number, x), [(3,)])
    assert [n.op_type for n in model.graph.node] == ["Cos"]
    with pytest.raises(UnsupportedPrimitiveError, match="ConcretizationTypeError"):
        to_onnx(chosen.bind, ["int32[]", (3,)])


def test_explain_tells_of_definitions() -> None:
    reports: list[FusionReport] = []
    to_onnx(lambda x: BY_IMPL.bind(BY_IMPL.bind(x)), [(3,)], explain=reports.append)
    (entry,) = reports[0].defined
    assert (entry.name, entry.library, entry.times) == ("toy_by_impl", LIBRARY, 2)
    assert entry.where is not None
    assert "test_definitions.py" in entry.where
    text = str(reports[0])
    assert "as their libraries define them: 2\n  toy_by_impl: " in text
    assert f"of {LIBRARY}, 2 times\n    at " in text


def test_equations_of_a_definition_are_at_the_users_line_even_in_its_loops() -> None:
    loop = same(by_jit("toy_loop", lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y), x)))
    program = flat(loop.bind)
    scan = only(program, "scan")
    inner = only(scan.bodies[0].program, "sin")
    assert inner.where == scan.where


def test_a_rule_of_the_users_goes_before_the_definition() -> None:
    model = to_onnx(BY_IMPL.bind, [(3,)], lowerings={"toy_by_impl": lambda ctx, x: ctx.op.Neg(x)})
    assert [n.op_type for n in model.graph.node] == ["Neg"]


# -- refused ---------------------------------------------------------------------------------------------------------


def in_numpy(x: Any) -> Any:
    return np.sin(np.asarray(x))


def by_value(x: Any) -> Any:
    return x if x.sum() > 0 else -x


def at_random(x: Any) -> Any:
    return x + np.random.default_rng().normal()


def by_calling(primitive: Any, x: Any) -> Any:
    return jax.jit(primitive.bind)(x)


def at_random_of_many(x: Any) -> Any:
    return x + np.random.default_rng().normal(size=x.shape)


def of_another_shape(x: Any) -> Any:
    return x.sum()


REFUSED = {
    "in numpy": (in_numpy, f"its definition in {LIBRARY} cannot be traced: TracerArrayConversionError"),
    "by value": (by_value, f"its definition in {LIBRARY} cannot be traced: TracerBoolConversionError"),
    "at random": (at_random, f"its definition in {LIBRARY} is another program each time"),
    "at random, many": (at_random_of_many, f"its definition in {LIBRARY} is another program each time"),
    "another shape": (
        of_another_shape,
        r"its definition returns f(loat)?32\[\] where the primitive has f(loat)?32\[3\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_function_of_jax_is_refused_and_a_rule_helps(case: str) -> None:
    function, reason = REFUSED[case]
    primitive = same(by_impl("toy_refused", function))
    with pytest.raises(UnsupportedPrimitiveError, match=f"'toy_refused', and {reason}") as raised:
        to_onnx(lambda x: primitive.bind(x), [(3,)])  # noqa: PLW0108 - it has a line
    assert "test_definitions.py" in str(raised.value.where)
    assert "lowerings={'toy_refused': rule}" in str(raised.value.remedy)
    to_onnx(primitive.bind, [(3,)], lowerings={"toy_refused": lambda ctx, x: ctx.op.Sin(x)})


def test_an_operation_of_its_own_has_no_definition() -> None:
    primitive = same(by_impl("toy_opaque", lambda x: x))
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    with pytest.raises(UnsupportedPrimitiveError, match="primitive 'toy_opaque'") as raised:
        to_onnx(primitive.bind, [(3,)])
    assert raised.value.what.endswith("'toy_opaque'")


def test_definitions_without_an_end() -> None:
    ping, pong, itself = [jax.extend.core.Primitive(f"toy_{name}") for name in ("ping", "pong", "itself")]
    for primitive, called in ((ping, pong), (pong, ping), (itself, itself)):
        same(primitive).def_impl(functools.partial(by_calling, called))
    with pytest.raises(UnsupportedPrimitiveError, match="its definition only calls it again"):
        to_onnx(itself.bind, [(3,)])
    with pytest.raises(UnsupportedPrimitiveError, match="its definition has no end"):
        to_onnx(ping.bind, [(3,)])


def test_a_callback_in_a_definition_is_named() -> None:
    primitive = same(by_impl("toy_calls_back", lambda x: jax.pure_callback(in_numpy, x, x)))
    with pytest.raises(UnsupportedCaseError, match="calls back to the Python function in_numpy"):
        to_onnx(primitive.bind, [(3,)])


def test_nobody_is_told_of_what_nobody_needs() -> None:
    primitive = same(by_impl("toy_unneeded", in_numpy))

    def function(x: Any) -> Any:
        primitive.bind(x)
        return x + 1

    model = to_onnx(function, [(3,)])
    assert [n.op_type for n in model.graph.node] == ["Add"]


def test_a_definition_may_need_to_compare_dimensions() -> None:
    primitive = same(by_impl("toy_compares", lambda x: x * 2 if x.shape[0] > 4 else x))
    function = lambda x: primitive.bind(x)  # noqa: E731, PLW0108 - it has a line
    with pytest.raises(DimensionError, match="toy_compares: its definition cannot decide a comparison") as raised:
        to_onnx(function, [("N",)])
    assert "constraints=['N >= 5']" in str(raised.value.remedy)
    assert "test_definitions.py" in str(raised.value.where)
    model = to_onnx(function, [("N",)], constraints=["N >= 5"])
    assert [n.op_type for n in model.graph.node] == ["Mul"]


def test_a_definition_that_cannot_be_traced_costs_nothing_where_nobody_needs_it() -> None:
    # JAX compiles only what a result needs; it has no sum of bools.
    def program(x: Any, flags: Any) -> Any:
        return x * 2, sparse.BCOO.fromdense(flags, nse=4).T.todense()

    specs = [(3,), "bool[1]"]
    check(to_onnx(lambda x, flags: program(x, flags)[0], specs), lambda x, flags: program(x, flags)[0], specs)
    with pytest.raises(UnsupportedPrimitiveError, match=r"bcoo_todense.*add does not accept dtype bool"):
        to_onnx(program, specs)
