"""Programs of equinox's own primitives: its loops, its checks and its marks, each a test and a row of the coverage."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STEPS = 6
_Kind: TypeAlias = Literal["lax", "checkpointed", "bounded"]


def _example(name: str, component: str, make: Callable[[], Any], inputs: Sequence[Any], **more: Any) -> Example:
    return Example(name=name, context="equinox", component=f"equinox.{component}", make=make, inputs=inputs, **more)


def _halve(x: jax.Array, *, kind: _Kind) -> Any:
    """Halve until the sum is below 1, and keep all steps in a buffer."""

    def unfinished(state: Any) -> jax.Array:
        return jnp.abs(state[0]).sum() > 1

    def body(state: Any) -> Any:
        value, steps, count = state
        value = value / 2
        return value, steps.at[count].set(value), count + 1

    steps = jnp.zeros((_STEPS, *x.shape), x.dtype)
    return eqxi.while_loop(unfinished, body, (x, steps, 0), kind=kind, max_steps=_STEPS, buffers=lambda state: state[1])


def _sum_of_steps(x: jax.Array, *, kind: _Kind) -> jax.Array:
    steps: jax.Array = _halve(x, kind=kind)[1]
    return steps.sum()


def _running_sum(x: jax.Array, *, kind: Literal["lax", "checkpointed"]) -> Any:
    return eqxi.scan(lambda carry, row: (carry + row, carry * row), x[0], x, kind=kind)


def _checked(x: jax.Array) -> Any:
    return eqx.error_if({"x": x, "positive": x > 0}, x.sum() > 1, "the sum is too large", on_error="nan")


def _branched(x: jax.Array, index: jax.Array) -> Any:
    return eqx.branched_error_if(x, x > 1, index, ["first", "second"], on_error="nan")


def _marked(x: jax.Array) -> Any:
    x = eqxi.nonbatchable(x)
    x = eqxi.nondifferentiable_backward(x)
    last: Any = eqxi.nontraceable
    return last(x) * 2


def _unvmapped(x: jax.Array) -> Any:
    most = eqxi.unvmap_max(jnp.asarray(jnp.round(x), jnp.int32))
    return eqxi.unvmap_any(x > 1), eqxi.unvmap_all(x > -1), most, x


def _noinlined(x: jax.Array) -> Any:
    step: Callable[[Any], Any] = eqxi.noinline(lambda y: jnp.sin(y) * 2)
    return jax.lax.fori_loop(0, 3, lambda _, y: step(y), x)


def _steps() -> list[list[Any]]:
    """Return inputs that no step halves, that all steps do not suffice for, and that have no number."""
    rows = ([0.1, -0.2, 0.0], [100.0, 200.0, -300.0], [1.0, -2.0, 0.5], [np.nan, 1.0, 2.0])
    return [[np.array(row, np.float32)] for row in rows]


def _batches() -> list[list[Any]]:
    rows = np.array([[0.1, -0.2, 0.0], [100.0, 200.0, -300.0], [1.0, -2.0, 0.5]], np.float32)
    return [[rows]]


def _loops(kind: _Kind) -> list[Example]:
    halve = functools.partial(_halve, kind=kind)
    loops = [
        _example(f"while_{kind}", "internal.while_loop", lambda: halve, [(3,)], values=_steps),
        _example(f"while_{kind}_vmap", "internal.while_loop", lambda: jax.vmap(halve), [("B", 3)], values=_batches),
    ]
    if kind != "lax":  # JAX has no reverse derivative of a while loop
        total = functools.partial(_sum_of_steps, kind=kind)
        loops.append(_example(f"while_{kind}_grad", "internal.while_loop", lambda: jax.grad(total), [(3,)]))
    return loops


ALL: tuple[Example, ...] = (
    *_loops("lax"),
    *_loops("bounded"),
    *_loops("checkpointed"),
    _example("scan_lax", "internal.scan", lambda: functools.partial(_running_sum, kind="lax"), [(5, 2)]),
    _example(
        "scan_checkpointed", "internal.scan", lambda: functools.partial(_running_sum, kind="checkpointed"), [(5, 2)]
    ),
    _example("error_if", "error_if", lambda: _checked, [(3,)]),
    _example("branched_error_if", "branched_error_if", lambda: _branched, [(3,), "int32[]"]),
    _example("marks", "internal.nontraceable", lambda: _marked, [("N",)], operators={"Mul": 1}),
    _example("unvmap", "internal.unvmap_any", lambda: _unvmapped, [(3,)]),
    _example("unvmap_batched", "internal.unvmap_any", lambda: jax.vmap(_unvmapped), [("B",)]),
    _example("noinline", "internal.noinline", lambda: _noinlined, [("N",)]),
)
