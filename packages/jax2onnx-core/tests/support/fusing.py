"""Fusions of functions of jax.nn, and what the fusion engine finds of them, for tests of the room ``fusion``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from programs import FACTS, array, flat

from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.reference import Pattern, trace_pattern
from jax2onnx.plugin.fusions import Candidate, Fusion
from jax2onnx.program.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jax2onnx.fusion.records import Record


ARRAY = (2, 3)
"""The shape of an example's input."""


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
    **options: Any,
) -> Fusion:
    """Return a fusion that can be emitted from an opset on."""
    return Fusion(
        name=name,
        reference=reference,
        examples=examples,
        kwargs=kwargs,
        emit={opset: emit},
        dtypes=frozenset(dtypes),
        **options,
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


def fused(function: Callable[..., Any], *avals: Any, fusions: Iterable[Fusion] = FUSIONS, **options: Any) -> Program:
    """Return the fused program of a function."""
    return fuse(flat(function, *avals), fusions, FACTS, **{"opset": 23, **options})


def found(program: Program) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the configuration of each function in a fused program."""
    return [(eqn.primitive, dict(eqn.fused.kwargs)) for eqn in program.eqns if eqn.fused is not None]


def names(function: Callable[..., Any], *avals: Any, **options: Any) -> list[str]:
    """Return the names of the functions that are found in a function's program."""
    return [name for name, _ in found(fused(function, *avals, **options))]


def explained(function: Callable[..., Any], *avals: Any, **options: Any) -> list[Any]:
    """Return the records of fusing a function's program."""
    records: list[Record] = []
    fused(function, *avals, explain=records, **options)
    return records


def gelu_by_hand(constant: float, power: int = 3) -> Callable[[jax.Array], jax.Array]:
    """Return tanh's approximation of gelu, with its constant and its power open."""
    return lambda x: x * (0.5 * (1.0 + jnp.tanh(0.7978845608 * (x + constant * (x**power)))))


def jax_primitives(jaxpr: Any) -> dict[str, Any]:
    """Return every primitive of a jaxpr by name."""
    result: dict[str, Any] = {}
    for eqn in jaxpr.eqns:
        result[eqn.primitive.name] = eqn.primitive
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                result |= jax_primitives(inner)
    return result


def evaluate(program: Program, table: Mapping[str, Any], values: Sequence[Any]) -> list[Any]:
    """Run a program: found functions by their references, everything else by JAX's primitives."""
    env: dict[Any, Any] = dict(zip(program.inputs, values, strict=True))

    def read(atom: Any) -> Any:
        if isinstance(atom, Const):
            return jnp.asarray(np.asarray(atom.value), atom.aval.dtype)
        return env[atom]

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


def running(x: jax.Array, start: jax.Array, *, scale: float = 1.0, unroll: int = 1) -> tuple[jax.Array, jax.Array]:
    """Return the last sum and all products of a scan, which are results of one equation."""
    return jax.lax.scan(lambda c, v: (c + v, c * v * scale), start, x, unroll=unroll)


RUNNING = [fusion("running", running, [[(5, 3), (3,)]])]
STEPS = (array(4, 2), array(2))


def traced(reference: Callable[..., Any], *avals: Any, loose: bool = True, **kwargs: Any) -> Pattern:
    """Return the trace of a reference."""
    pattern = trace_pattern(reference, avals, kwargs, FACTS, loose=loose)
    assert isinstance(pattern, Pattern)
    return pattern
