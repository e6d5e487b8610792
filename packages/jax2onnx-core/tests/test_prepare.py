"""Preparing: each stage goes through the whole tree of programs, and through each program of it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import pytest
from jax import lax
from programs import FACTS, array, driver, emitted, flat, flat_with_functions, only, preparer, primitives, programs

from jax2onnx import onnx_function
from jax2onnx.fusion.fuse import fuse
from jax2onnx.plugin.context import graph_input
from jax2onnx.plugin.fusions import Decline, Fusion
from jax2onnx.program.graph import live
from jax2onnx.program.text import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.program.program import Program

MATRIX = array(2, 3)


def nested(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of a matrix that applies ``body`` to sums of its rows, in a scan inside a cond.

    Each step needs the one before: else its work is done for all rows at once.
    """

    def step(before: Any, row: Any) -> Any:
        return (body(before + row),) * 2

    def choose(matrix: Any) -> Any:
        return lax.cond(matrix[0, 0] > 0, lambda rows: lax.scan(step, rows[0], rows)[1], lambda rows: rows, matrix)

    return choose


def body_of_scan(program: Program) -> Program:
    return only(program, "scan").bodies[0].program


class Finder:
    """Finds nothing, and remembers where it has been told to look."""

    def __init__(self) -> None:
        self.seen: list[Program] = []
        self.told: set[tuple[frozenset[str], bool]] = set()

    def __call__(self, program: Program, *, exclude: frozenset[str], derived: bool) -> Program:
        self.seen.append(program)
        self.told.add((exclude, derived))
        return live(program)


# -- each stage, in a body inside a body -----------------------------------------------------------------------------

WEIGHTS = jnp.ones((5, 3))


def dead(row: Any) -> Any:
    jnp.sin(row)
    return row + 1


def known(row: Any) -> Any:
    return row * (lax.iota(jnp.float32, 3) + 1)


def transposed(row: Any) -> Any:
    product = lax.dot_general(WEIGHTS, jnp.stack([row, row]), (((1,), (1,)), ((), ())))
    return product.T[0, :3]


STAGES: dict[str, tuple[Callable[[Any], Any], str, bool]] = {
    "dead equations go": (dead, "sin", False),
    "dead equations go, though no functions are looked for": (dead, "sin", True),
    "what is known is computed": (known, "iota", False),
    "transposes are absorbed": (transposed, "transpose", False),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reaches_a_scan_inside_a_cond(name: str) -> None:
    body, gone, without_functions = STAGES[name]
    program = flat(nested(body), MATRIX)
    assert gone in primitives(body_of_scan(program))
    find = None if without_functions else Finder()
    assert gone not in primitives(body_of_scan(preparer(find).prepare(program)))


@pytest.mark.parametrize("signed", [True, False])
def test_signs_are_marked_there_too(signed: bool) -> None:  # noqa: FBT001 - a test's parameter
    program = flat(nested(lambda row: lax.select(row > 1, row, row)), MATRIX)
    prepared = preparer().prepare(program, signed=signed)
    assert only(prepared, "select_n").signed is signed


def test_calls_are_pruned() -> None:
    @onnx_function
    def both(x: Any) -> tuple[Any, Any]:
        return jnp.sin(x), jnp.cos(x)

    program = preparer().prepare(flat_with_functions(lambda x: both(x)[0]))
    (call,) = program.eqns
    assert primitives(call.bodies[0].program) == ["sin"]


# -- once each -------------------------------------------------------------------------------------------------------


def test_functions_are_looked_for_once_in_each_program_outer_ones_first() -> None:
    program = flat(nested(jnp.tanh), MATRIX)
    find = Finder()
    preparer(find).prepare(program, exclude=frozenset({"gelu"}), derived=True)
    assert find.seen == list(programs(program))
    assert len(find.seen) == 4  # the program, two branches, and the body of the scan
    assert find.told == {(frozenset({"gelu"}), True)}


def test_a_body_that_two_equations_share_is_prepared_once() -> None:
    @onnx_function
    def inner(x: Any) -> Any:
        return jnp.tanh(x)

    program = flat_with_functions(lambda x: inner(inner(x)))
    find = Finder()
    prepared = preparer(find).prepare(program)
    assert find.seen == [program, program.eqns[0].bodies[0].program]
    first, second = [call.bodies[0].program for call in prepared.eqns]
    assert first is second


def test_the_program_that_is_prepared_stays_as_it_is() -> None:
    program = flat(nested(dead), MATRIX)
    before = describe(program)
    preparer(Finder()).prepare(program)
    assert describe(program) == before


def test_a_function_that_its_rule_declines_is_prepared_again_without_it() -> None:
    def decline(*_: Any) -> Any:
        raise Decline("not here")

    fusion = Fusion(name="pair", reference=lambda x: jnp.tanh(x) * 2, examples=[[(3,)]], emit={18: decline})
    found: list[tuple[frozenset[str], bool]] = []

    def find(program: Program, *, exclude: frozenset[str], derived: bool) -> Program:
        found.append((exclude, derived))
        return fuse(program, [fusion], FACTS, opset=21, exclude=exclude)

    emitting = driver(find)
    program = emitting.preparer.prepare(flat(lambda x: jnp.tanh(x) * 2))
    assert primitives(program) == ["pair"]
    emitting.run(program, [graph_input(v.aval, "x") for v in program.inputs])
    assert emitted(emitting) == ["Tanh", "Mul"]
    assert found == [(frozenset(), False), (frozenset({"pair"}), False)]
