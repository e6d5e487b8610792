"""Flattening: what becomes of calls, of bodies, of complex numbers and keys at borders, and of source lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import FACTS, VECTOR, array, flat, flat_with_functions, only, primitives, programs

from jax2onnx import onnx_function
from jax2onnx._compat import open_jaxpr, user_frame
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.program.flatten import flatten
from jax2onnx.program.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Callable

COMPLEX = array(3, dtype=jnp.complex64)
KEYS = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))


@onnx_function
def marked(x: Any) -> Any:
    return jnp.tanh(x) * 2


# -- calls -----------------------------------------------------------------------------------------------------------


def test_a_call_is_inlined_with_its_constants() -> None:
    table = np.arange(3, dtype=np.float32)
    program = flat(jax.jit(jax.jit(lambda x: x + table)))
    (add,) = program.eqns
    assert add.inputs[0] is program.inputs[0]
    assert isinstance(add.inputs[1], Const)
    np.testing.assert_array_equal(add.inputs[1].value, table)


def test_what_means_nothing_at_inference_is_dropped() -> None:
    program = flat(lambda x: lax.stop_gradient(x) + jax.named_call(lambda y: y, name="nothing")(x))
    assert primitives(program) == ["add"]


def test_a_literal_takes_the_type_that_it_is_converted_to() -> None:
    program = flat(lambda x: x + jnp.asarray(2, jnp.float32))
    assert program.eqns[-1].inputs[1].aval.dtype == np.float32


@pytest.mark.parametrize("keep", [True, False])
def test_a_marked_call_is_kept_where_that_is_asked_for(keep: bool) -> None:  # noqa: FBT001 - a test's parameter
    collect = flat_with_functions if keep else flat
    expected = ["onnx_function"] if keep else ["tanh", "mul"]
    assert primitives(collect(marked)) == expected
    looped = collect(lambda x: lax.scan(lambda x, _: (marked(x), None), x, length=3)[0])
    assert primitives(only(looped, "scan").bodies[0].program) == expected


def test_a_marked_call_names_what_it_takes() -> None:
    program = flat_with_functions(lambda x: marked(marked(x)))
    for call in program.eqns:
        assert call.is_call
        assert call.params["mark"].name == "marked"
        assert call.params["inputs"] == ["x"]
        assert primitives(call.bodies[0].program) == ["tanh", "mul"]


# -- bodies ----------------------------------------------------------------------------------------------------------


def test_a_body_that_two_equations_share_is_one_program() -> None:
    choose = jax.jit(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x))
    program = flat(lambda x: choose(choose(x)))
    first, second = [eqn for eqn in program.eqns if eqn.bodies]
    assert [primitives(body.program) for body in first.bodies] == [["cos"], ["sin"]]
    assert [body.program for body in first.bodies] == [body.program for body in second.bodies]


def test_a_body_belongs_to_a_jaxpr_among_the_params() -> None:
    program = flat(lambda x: lax.scan(lambda c, row: (c + row, c * 2), x[0], x))
    scan = only(program, "scan")
    (body,) = scan.bodies
    assert body.jaxpr is scan.params["jaxpr"]
    assert primitives(body.program) == ["add", "mul"]


# -- complex numbers and keys ----------------------------------------------------------------------------------------

SPECIAL: dict[str, tuple[Callable[..., Any], Any, tuple[int, ...], tuple[int, ...]]] = {
    "complex": (lambda z: z * (2 + 1j), COMPLEX, (3, 2), (3, 2)),
    "complex_to_real": (jnp.abs, COMPLEX, (3, 2), (3,)),
    "real_to_complex": (lambda x: x + 1j, VECTOR, (3,), (3, 2)),
    "keys": (lambda keys: keys[::-1], KEYS, (3, 2), (3, 2)),
    "keys_to_numbers": (jax.random.key_data, KEYS, (3, 2), (3, 2)),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("place", ["program", "body"])
def test_what_is_no_real_number_has_a_further_dim_at_a_border(name: str, place: str) -> None:
    function, aval, taken, given = SPECIAL[name]
    program = flat(function, aval)
    if place == "body":
        chosen = flat(lambda x, yes: lax.cond(yes, function, lambda x: function(x[::-1]), x), aval, array(dtype=bool))
        program = only(chosen, "cond").bodies[1].program
    assert [v.aval.shape for v in program.inputs] == [taken]
    assert [v.aval.shape for v in program.outputs] == [given]
    assert_real(program)


def assert_real(program: Program) -> None:
    """Check that no value of a program is complex or a key."""
    for one in programs(program):
        for eqn in one.eqns:
            for atom in (*eqn.inputs, *eqn.outputs):
                assert isinstance(atom.aval.dtype, np.dtype)
                assert atom.aval.dtype.kind != "c"


def test_a_key_that_is_known_is_a_constant_of_its_words() -> None:
    key = jax.random.key(7)
    program = flat(lambda x: jax.random.bits(jax.random.fold_in(key, x[0].astype(int)), (3,)))
    constants = [atom for eqn in program.eqns for atom in eqn.inputs if isinstance(atom, Const)]
    words = [np.asarray(c.value) for c in constants if c.aval.shape == (2,)]
    np.testing.assert_array_equal(words[0], jax.random.key_data(key))


def test_complex_numbers_of_which_only_the_lowering_knows_are_paired() -> None:
    program = flat(jnp.linalg.eigvals, array(3, 3, dtype=jnp.complex64))
    (paired,) = [eqn for eqn in program.eqns if eqn.paired is not None]
    assert paired.primitive == "eig"
    assert [aval.dtype for aval in paired.paired or ()] == [np.complex64]
    assert paired.inputs[0].aval.shape == (3, 3, 2)
    assert_real(program)


def test_keys_where_no_rule_takes_them_are_refused_with_the_users_line() -> None:
    with pytest.raises(UnsupportedCaseError, match=r"eq: random keys[\s\S]*test_flatten.py[\s\S]*jax.random.key_data"):
        flat(lambda keys: keys == keys[0], KEYS)


# -- source lines ----------------------------------------------------------------------------------------------------


def without_lines(closed: Any) -> Any:
    """Return a jaxpr without constants whose equations have lost their source lines, as some of JAX's own have none."""
    jaxpr, _ = open_jaxpr(closed)
    eqns = []
    for eqn in jaxpr.eqns:
        source = type(eqn.source_info)(None, eqn.source_info.name_stack)
        eqns.append(eqn.replace(source_info=source))
    return jaxpr.replace(eqns=eqns)


def test_an_equation_without_a_line_has_that_of_the_equation_around_it() -> None:
    closed = jax.make_jaxpr(lambda x: x * 2)(VECTOR)
    (around,) = flat(lambda x: x + 1).eqns
    assert around.where is not None
    (own,) = flatten(without_lines(closed), FACTS).eqns
    assert own.where is None
    (lent,) = flatten(without_lines(closed), FACTS, caller=around.source).eqns
    assert lent.where == around.where


def test_an_equation_of_the_users_keeps_its_line() -> None:
    closed = jax.make_jaxpr(lambda x: x * 2)(VECTOR)
    (around,) = flat(lambda x: x + 1).eqns
    (own,) = flatten(closed, FACTS).eqns
    (kept,) = flatten(closed, FACTS, caller=around.source).eqns
    assert kept.where == own.where != around.where
    (replaced,) = flatten(closed, FACTS, source=around.source).eqns
    assert replaced.where == around.where


@pytest.mark.parametrize("wrap", [jax.jit, lambda f: lambda x: lax.map(f, x)], ids=["call", "body"])
def test_a_call_and_a_loop_lend_their_line_to_what_is_in_them(wrap: Callable[..., Any]) -> None:
    def function(x: Any) -> Any:
        return wrap(lambda y: y * 2)(x)

    jaxpr, _ = open_jaxpr(jax.make_jaxpr(function)(VECTOR))
    (outer,) = jaxpr.eqns
    name, inner = next((name, value) for name, value in outer.params.items() if hasattr(value, "eqns"))
    stripped = outer.replace(params={**outer.params, name: without_lines(inner)})
    program = flatten(jaxpr.replace(eqns=[stripped]), FACTS)
    where = only(program, "mul").where
    assert where is not None
    assert where == user_frame(outer.source_info)
