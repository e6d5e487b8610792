"""Emit the recurrent operators of ONNX, and the scan of JAX where onnxruntime's kernels fail.

The kernels return numbers where a gate is NaN, leave the final states unset after no steps, and end the process on an
empty batch. So the model measures its operands first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import has_zero, is_static, may_be_zero
from jax2onnx_lax.branches import choose

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

__all__ = ["GRU", "GRU_RESET_EARLY", "LSTM", "RNN", "Operator", "Run", "emit_operator", "is_ordinary", "reason_against"]

_FLOAT32 = np.dtype(np.float32)
ORDINARY = 1e15
"""Arrays whose magnitudes add up to no more have products and sums that are finite in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A recurrent operator of ONNX.

    Attributes:
        name: its name.
        gates: the number of its gates.
        states: how many arrays it carries; the last of them is the output.
        step: computes the new states from the gates' sums over inputs, a function that returns those over a state (side
            by side in the order of the operator) and the carried states.
        attributes: its attributes.
        largest: the largest magnitude of an initial state with which onnxruntime's kernel is accurate.
    """

    name: str
    gates: int
    states: int
    step: Callable[..., Sequence[Any]]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    largest: float | None = None


def _lstm(over_inputs: Any, over_state: Any, c: Any, h: Any) -> Sequence[Any]:
    i, o, f, g = jnp.split(over_inputs + over_state(h), 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return c, jax.nn.sigmoid(o) * jnp.tanh(c)


def _gru(over_inputs: Any, over_state: Any, h: Any) -> Sequence[Any]:
    (z, r, n), (hz, hr, hn) = jnp.split(over_inputs, 3, -1), jnp.split(over_state(h), 3, -1)
    z, r = jax.nn.sigmoid(z + hz), jax.nn.sigmoid(r + hr)
    return ((1 - z) * jnp.tanh(n + r * hn) + z * h,)


def _gru_of_early_reset(over_inputs: Any, over_state: Any, h: Any) -> Sequence[Any]:
    (z, r, n), (hz, hr, _) = jnp.split(over_inputs, 3, -1), jnp.split(over_state(h), 3, -1)
    z, r = jax.nn.sigmoid(z + hz), jax.nn.sigmoid(r + hr)
    hn = jnp.split(over_state(r * h), 3, -1)[2]
    return ((1 - z) * jnp.tanh(n + hn) + z * h,)


def _rnn(over_inputs: Any, over_state: Any, h: Any) -> Sequence[Any]:
    return (jnp.tanh(over_inputs + over_state(h)),)


LSTM = Operator(name="LSTM", gates=4, states=2, step=_lstm)
# A gate that is off is 2e-7 in onnxruntime's kernel; a state comes in as its multiple.
GRU = Operator(name="GRU", gates=3, states=1, step=_gru, attributes={"linear_before_reset": 1}, largest=4.0)
GRU_RESET_EARLY = Operator(name="GRU", gates=3, states=1, step=_gru_of_early_reset, largest=4.0)
RNN = Operator(name="RNN", gates=1, states=1, step=_rnn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An operator over a sequence.

    Attributes:
        operator: the operator.
        x: the sequence, with time first.
        carry: the initial states; none for zeros.
        weights: ``W``, ``R`` and ``B``.
        shapes: the shape of the sequence, and that of the outputs.
        late: whether the bias of the products with states is apart from that of the inputs.
        reverse: whether the last step comes first.
        has_outputs: whether the outputs of all steps are wanted, besides the last states.
    """

    operator: Operator
    x: ir.Value
    carry: Sequence[ir.Value]
    weights: Sequence[ir.Value]
    shapes: tuple[Sequence[Any], Sequence[Any]]
    late: bool = False
    reverse: bool = False
    has_outputs: bool = True

    @property
    def avals(self) -> list[Any]:
        """The abstract values of the last states and of the outputs."""
        outputs = jax.ShapeDtypeStruct(tuple(self.shapes[1]), _FLOAT32)
        return [*self.state_avals, *[outputs] * self.has_outputs]

    @property
    def state_avals(self) -> list[Any]:
        """The abstract values of the states."""
        state = jax.ShapeDtypeStruct(tuple(self.shapes[1][1:]), _FLOAT32)
        return [state] * self.operator.states

    def products(self, ctx: LoweringContext) -> list[ir.Value]:
        """Emit the sums over inputs of all steps, and the matrix and the bias of products with states."""
        features, hidden = self.shapes[0][-1], self.shapes[1][-1]
        wide = self.operator.gates * hidden
        shapes = tuple(self.shapes[0]), (1, wide, features), (1, wide, hidden), (1, 2 * wide)
        avals = [jax.ShapeDtypeStruct(shape, _FLOAT32) for shape in shapes]
        values: list[ir.Value] = ctx.via_jax(_products, self.x, *self.weights, avals=avals)
        return values

    def step(self) -> Any:
        """Return the jaxpr of a step as JAX computes it.

        Its operands are the matrix and the bias of :meth:`products`, the states and the sums over inputs.
        """
        hidden = self.shapes[1][-1]
        wide = self.operator.gates * hidden

        def step(matrix: Any, bias: Any, *arrays: Any) -> list[Any]:
            *carried, sums = arrays

            def over_state(state: Any) -> Any:
                product = state @ matrix
                return product + bias if self.late else product

            new = list(self.operator.step(sums, over_state, *carried))
            return [*new, new[-1]]

        sums = (*self.shapes[0][1:-1], wide)
        parameters = [jax.ShapeDtypeStruct(shape, _FLOAT32) for shape in ((hidden, wide), (wide,))]
        return jax.make_jaxpr(step)(*parameters, *self.state_avals, jax.ShapeDtypeStruct(sums, _FLOAT32))


def _products(x: Any, weight: Any, recurrent: Any, bias: Any) -> list[Any]:
    half = bias.shape[1] // 2
    return [x @ weight[0].T + bias[0, :half], recurrent[0].T, bias[0, half:]]


def reason_against(ctx: LoweringContext, operator: Operator, shapes: tuple[Sequence[Any], Sequence[Any]]) -> str:
    """Return why an operator cannot stand for an equation; an empty text if it can."""
    features, hidden = shapes[0][-1], shapes[1][-1]
    if not ctx.supports(operator.name, np.float32):
        return f"{operator.name} is run in float32 only"
    if ctx.target is not None and ctx.small_results_matter():
        return f"a small result is divided by, or more, and {operator.name} is not exact there"
    if not is_static(features, hidden) or has_zero(*shapes[0], hidden):
        return "the number of features is not known at conversion, or something is empty"
    return ""


def is_ordinary(run: Run) -> bool:
    """Return whether the parameters and initial states that are known are numbers that the operator computes with."""
    carry, weights = map(_known, (run.carry, run.weights))
    largest = run.operator.largest
    small = largest is None or all(np.max(np.abs(array), initial=0.0) <= largest for array in carry)
    return small and all(np.abs(array).sum(dtype=np.float64) <= ORDINARY for array in (*carry, *weights))


def _known(values: Sequence[ir.Value]) -> list[np.ndarray[Any, Any]]:
    return [value.const_value.numpy() for value in values if value.const_value is not None]


def emit_operator(ctx: LoweringContext, run: Run, instead: Callable[[], Sequence[ir.Value]]) -> Sequence[ir.Value]:
    """Emit the last states and the outputs: by the operator, or ``instead`` where its kernel fails."""
    emit = functools.partial(_emit, ctx, run)
    return choose(ctx, _ordinary(ctx, run), emit, instead, avals=run.avals) if ctx.guards else emit()


def _ordinary(ctx: LoweringContext, run: Run) -> ir.Value:
    """Emit whether there are steps and sequences, and only numbers that the operator computes with as JAX does."""
    unknown = [run.x, *[value for value in (*run.carry, *run.weights) if value.const_value is None]]
    sums = [ctx.stamp(ctx.op.ReduceL1(value, keepdims=0), ()) for value in unknown]
    total = sums[0] if len(sums) == 1 else ctx.stamp(ctx.op.Sum(*sums), ())
    conditions = [ctx.op.LessOrEqual(total, ORDINARY)]
    if run.operator.largest is not None:
        for value in run.carry:
            if value.const_value is None:
                size = ctx.stamp(ctx.op.Abs(value), run.shapes[1][1:])
                largest = ctx.stamp(ctx.op.ReduceMax(size, keepdims=0), ())
                conditions.append(ctx.op.LessOrEqual(largest, run.operator.largest))
    if any(map(may_be_zero, run.shapes[0])):
        conditions.append(ctx.op.Greater(ctx.stamp(ctx.op.Size(run.x), ()), 0))
    result = ctx.stamp(conditions[0], ())
    for condition in conditions[1:]:
        result = ctx.stamp(ctx.op.And(result, ctx.stamp(condition, ())), ())
    return result


def _emit(ctx: LoweringContext, run: Run) -> list[ir.Value]:
    """Emit the operator, which takes one dim of sequences, and has one of directions."""
    shape, result = run.shapes
    steps, *batch, features = shape
    hidden = result[-1]
    count = math.prod(batch)
    state = (1, count, hidden)
    inner = (steps, *state)
    initial = [ctx.reshape(value, (*batch, hidden), state) for value in reversed(run.carry)]
    outputs = ctx.op.many(
        run.operator.name,
        ctx.reshape(run.x, shape, (steps, count, features)),
        *run.weights,
        *[None, *initial] if initial else [],
        outputs=1 + run.operator.states,
        hidden_size=hidden,
        direction="reverse" if run.reverse else None,
        **run.operator.attributes,
    )
    ys, *states = outputs
    finals = [ctx.reshape(ctx.stamp(value, state), state, (*batch, hidden)) for value in reversed(states)]
    return [*finals, *[ctx.reshape(ctx.stamp(ys, inner), inner, result)] * run.has_outputs]
