"""Flat programs of JAX functions, for tests of the stages that go through them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jax2onnx.lowering.dims import find_sources
from jax2onnx.lowering.driver import Driver
from jax2onnx.lowering.faults import Faults
from jax2onnx.plugin import loader
from jax2onnx.plugin.context import graph_input
from jax2onnx.plugin.functions import exporting
from jax2onnx.plugin.marks import marked_call
from jax2onnx.program.flatten import flatten
from jax2onnx.program.prepare import FindFunctions, Preparer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jax2onnx.program.program import Eqn, Program

REGISTRY = loader.load().registry()
FACTS = REGISTRY.facts


def array(*shape: Any, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


VECTOR = array(3)


def flat(function: Callable[..., Any], *avals: Any, **options: Any) -> Program:
    """Return the flat program of a function; of one vector, if it takes something and ``avals`` are not given."""
    takes_vector = not avals and inspect.signature(function).parameters
    jaxpr = jax.make_jaxpr(function)(*((VECTOR,) if takes_vector else avals))
    return flatten(jaxpr, FACTS, **options)


def flat_with_functions(function: Callable[..., Any], *avals: Any) -> Program:
    """Return the flat program of a function in which calls of marked functions are kept."""
    with exporting(lambda _: None):
        return flat(function, *avals, keep=marked_call)


def programs(program: Program) -> Iterator[Program]:
    """Yield a program and all bodies in it; one that several equations share as often as they do."""
    yield program
    for eqn in program.eqns:
        for body in eqn.bodies:
            yield from programs(body.program)


def primitives(program: Program) -> list[str]:
    """Return the primitives of a program's own equations."""
    return [eqn.primitive for eqn in program.eqns]


def only(program: Program, primitive: str) -> Eqn:
    """Return the one equation of a primitive, in the program or in the bodies in it."""
    (found,) = [eqn for one in programs(program) for eqn in one.eqns if eqn.primitive == primitive]
    return found


def preparer(find_functions: FindFunctions | None = None) -> Preparer:
    return Preparer(FACTS, find_functions, marked_call)


def driver(find_functions: FindFunctions | None = None, **options: Any) -> Driver:
    """Return a driver that has emitted nothing yet."""
    given = {"asked": 21, "lowerings": REGISTRY.lowerings, "target": None, **options}
    given.setdefault("faults", Faults(asked=given["asked"], lowerings=given["lowerings"]))
    return Driver(preparer=preparer(find_functions), **given)


def emitted(driver: Driver) -> list[str]:
    """Return the operators of the nodes in the graph under construction."""
    return [node.op_type for node in driver.op.scope.nodes]


def lowered(function: Callable[..., Any], *avals: Any, **options: Any) -> Driver:
    """Return the driver that has emitted a function, marked functions as ONNX functions; its fusions are none."""
    emitting = driver(**options)
    program = emitting.preparer.prepare(flat_with_functions(function, *avals))
    inputs = [graph_input(v.aval, f"x{i}") for i, v in enumerate(program.inputs)]
    emitting.op.scope.sources.update(find_sources(inputs, [v.aval for v in program.inputs]))
    emitting.run(program, inputs)
    return emitting
