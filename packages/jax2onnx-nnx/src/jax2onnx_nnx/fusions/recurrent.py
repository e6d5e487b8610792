"""Emit recurrent layers as ONNX's operators, and as the scan of JAX where onnxruntime's kernels fail.

The kernels return numbers where a gate is NaN, leave the final states unset after no steps, and end the process on an
empty batch. So the model measures its operands first.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion, has_zero, is_static, may_be_zero
from jax2onnx_lax.branches import choose
from jax2onnx_nnx.fusions._layers import NO_RANDOM, given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

ORDINARY = 1e15
"""Arrays whose magnitudes add up to no more have products and sums that are finite in float32."""

_FEATURES, _HIDDEN = 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    """A recurrent operator of ONNX.

    Attributes:
        name: its name.
        gates: the number of its gates.
        states: how many arrays it carries; the last of them is the output.
        step: computes the new states from the gates' sums over inputs and over states (side by side in the order of the
            operator) and the carried states.
        primitives: how often some primitives occur in one step.
        attributes: its attributes.
        largest: the largest magnitude of an initial state with which onnxruntime's kernel is accurate.
    """

    name: str
    gates: int
    states: int
    step: Callable[..., Sequence[Any]]
    primitives: Mapping[str, int]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    largest: float | None = None


def _lstm(over_inputs: Any, over_states: Any, c: Any, h: Any) -> Sequence[Any]:
    del h
    i, o, f, g = jnp.split(over_inputs + over_states, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return c, jax.nn.sigmoid(o) * jnp.tanh(c)


def _gru(over_inputs: Any, over_states: Any, h: Any) -> Sequence[Any]:
    (z, r, n), (hz, hr, hn) = jnp.split(over_inputs, 3, -1), jnp.split(over_states, 3, -1)
    z, r = jax.nn.sigmoid(z + hz), jax.nn.sigmoid(r + hr)
    return ((1 - z) * jnp.tanh(n + r * hn) + z * h,)


def _rnn(over_inputs: Any, over_states: Any, h: Any) -> Sequence[Any]:
    del h
    return (jnp.tanh(over_inputs + over_states),)


LSTM = _Operator(name="LSTM", gates=4, states=2, step=_lstm, primitives={"logistic": 3, "tanh": 2})
GRU = _Operator(
    name="GRU",
    gates=3,
    states=1,
    step=_gru,
    primitives={"logistic": 2, "tanh": 1},
    attributes={"linear_before_reset": 1},
    # A gate that is off is 2e-7 in onnxruntime's kernel; a state comes in as its multiple.
    largest=4.0,
)
RNN = _Operator(name="RNN", gates=1, states=1, step=_rnn, primitives={"logistic": 0, "tanh": 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell for which there is an operator.

    Attributes:
        name: its name.
        library: the name of the module that has it and the layer that applies it to a sequence.
        operator: the operator.
        run: the layer: called with the cell's parameters by path, sequences with time first and the carried states
            (None for zeros), it returns the carried states and the outputs.
        kernels: names of the cell's parts that multiply the input: one of the operator's gates each, in its order, or
            one of all gates.
        recurrent: likewise, of those that multiply the state.
        biased: likewise, of those that add a bias to the sum of both products.
        late: the part that adds a bias to its product of the state, before the last gate resets that; "" if none does.
        order: for each gate of the operator, which one it is in a part of all gates.
    """

    name: str
    library: str
    operator: _Operator
    run: Callable[[Mapping[str, Any], Any, Sequence[Any] | None], Any]
    kernels: Sequence[str]
    recurrent: Sequence[str]
    biased: Sequence[str]
    late: str = ""
    order: Sequence[int] = ()

    @property
    def params(self) -> list[str]:
        """The paths of the cell's parameters: kernels, recurrent ones, biases."""
        kernels = [f"{name}.kernel" for name in (*self.kernels, *self.recurrent)]
        return kernels + [f"{name}.bias" for name in (*self.biased, self.late) if name]

    def examples(self) -> list[tuple[int, ...]]:
        """Return example shapes of the parameters."""
        gates = _HIDDEN * self.operator.gates
        return [
            *[(_FEATURES, gates // len(self.kernels))] * len(self.kernels),
            *[(_HIDDEN, gates // len(self.recurrent))] * len(self.recurrent),
            *[(gates // len(self.biased),)] * len(self.biased),
            *[(_HIDDEN,)] * bool(self.late),
        ]

    def packed(self, ctx: LoweringContext, arrays: Sequence[ir.Value], avals: Sequence[Any]) -> list[ir.Value]:
        """Return ``W``, ``R`` and ``B`` as the operator wants them."""
        first, second = len(self.kernels), len(self.kernels) + len(self.recurrent)
        values: list[ir.Value] = []
        for what, part in (("W", slice(0, first)), ("R", slice(first, second)), ("B", slice(second, None))):
            value = ctx.op.derived(what, arrays[part], functools.partial(self._pack, np, what))
            if value is None:
                value = ctx.via_jax(functools.partial(self._pack, jnp, what), *arrays[part], avals=avals[part])
            values.append(value)
        return values

    def _pack(self, xp: Any, what: str, *arrays: Any) -> Any:
        """Put the gates side by side, with numpy or with JAX."""
        late = arrays[-1] if what == "B" and self.late else None
        gates = list(arrays if late is None else arrays[:-1])
        if len(gates) < self.operator.gates:
            own = xp.split(gates[0], self.operator.gates, -1)
            gates = [own[gate] for gate in self.order]
        # flax has (features, gates), ONNX (directions, gates, features) with one direction here.
        array = xp.concatenate(gates, -1)
        if what != "B":
            return array.T[None]
        over_states = xp.zeros_like(array)
        if late is not None:
            over_states = xp.concatenate([over_states[: -late.shape[0]], late])
        return xp.concatenate([array, over_states])[None]

    def scanned(self, x: Any, *arrays: Any) -> list[Any]:
        """Return the carried states and the outputs of a sequence as JAX computes them, from packed parameters."""
        *carry, weight, recurrent, bias = arrays
        state = recurrent[0].T
        half = bias.shape[1] // 2
        carry = carry or [jnp.zeros((*x.shape[1:-1], state.shape[0]), x.dtype)] * self.operator.states

        def step(carried: Sequence[Any], sums: Any) -> tuple[Any, Any]:
            product = carried[-1] @ state
            new = self.operator.step(sums, product + bias[0, half:] if self.late else product, *carried)
            return list(new), new[-1]

        carry, ys = jax.lax.scan(step, carry, x @ weight[0].T + bias[0, :half])
        return [*carry, ys]


def _ordinary(ctx: LoweringContext, operator: _Operator, *values: ir.Value) -> ir.Value:
    """Emit whether there are steps and sequences, and only numbers that the operator computes with as JAX does.

    ``values`` are the sequences, the initial states and the packed parameters.
    """
    x, *carry = ctx.avals_in[: len(values) - 3]
    sums: list[ir.Value] = []
    for value in values:
        if value.const_value is None:
            sums.append(ctx.stamp(ctx.op.ReduceL1(value, keepdims=0), ()))
        elif not np.abs(value.const_value.numpy()).sum(dtype=np.float64) <= ORDINARY:
            raise Decline("a parameter is not an ordinary number")
    total = sums[0] if len(sums) == 1 else ctx.stamp(ctx.op.Sum(*sums), ())
    conditions = [ctx.op.LessOrEqual(total, ORDINARY)]
    if operator.largest is not None:
        for value, aval in zip(values[1:], carry, strict=False):
            size = ctx.stamp(ctx.op.Abs(value), aval.shape)
            conditions.append(ctx.op.LessOrEqual(ctx.stamp(ctx.op.ReduceMax(size, keepdims=0), ()), operator.largest))
    if any(map(may_be_zero, x.shape)):
        conditions.append(ctx.op.Greater(ctx.stamp(ctx.op.Size(values[0]), ()), 0))
    result = ctx.stamp(conditions[0], ())
    for condition in conditions[1:]:
        result = ctx.stamp(ctx.op.And(result, ctx.stamp(condition, ())), ())
    return result


def _emit(
    ctx: LoweringContext, operator: _Operator, x: ir.Value, carry: Sequence[ir.Value], weights: Sequence[ir.Value]
) -> list[ir.Value]:
    """Emit the operator, which takes one dim of sequences, and has one of directions."""
    shape, result = ctx.avals_in[0].shape, ctx.avals_out[-1].shape
    steps, *batch, features = shape
    hidden = result[-1]
    count = math.prod(batch)
    state = (1, count, hidden)
    inner = (steps, *state)
    initial = [ctx.reshape(value, (*batch, hidden), state) for value in reversed(carry)]
    outputs = ctx.op.many(
        operator.name,
        ctx.reshape(x, shape, (steps, count, features)),
        *weights,
        *[None, *initial] if initial else [],
        outputs=1 + operator.states,
        hidden_size=hidden,
        **operator.attributes,
    )
    ys, *states = outputs
    finals = [ctx.reshape(ctx.stamp(value, state), state, (*batch, hidden)) for value in reversed(states)]
    return [*finals, ctx.reshape(ctx.stamp(ys, inner), inner, result)]


def fusion(cell: Cell, *, carried: bool) -> Fusion:
    """Return the fusion of a cell over a sequence that comes with its initial states, or starts from zeros."""
    operator = cell.operator
    states = operator.states if carried else 0

    def reference(x: Any, *arrays: Any) -> Any:
        params = dict(zip(cell.params, arrays[states:], strict=True))
        return cell.run(params, x, arrays[:states] if carried else None)

    def look(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
        body = Counter(e.primitive for e in candidate.bodies("scan")[0].eqns)
        found = {name: body[name] for name in operator.primitives}
        return [{}] if found == operator.primitives else []

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value) -> Sequence[ir.Value]:
        avals = ctx.avals_in
        features, hidden = avals[0].shape[-1], ctx.avals_out[-1].shape[-1]
        if any(a.dtype != np.float32 for a in avals) or not ctx.supports(operator.name, np.float32):
            raise Decline(f"{operator.name} is run in float32 only")
        if ctx.target is not None and ctx.small_results_matter():
            raise Decline(f"a small result is divided by, or more, and {operator.name} is not exact there")
        if not is_static(features, hidden) or has_zero(*avals[0].shape, hidden):
            raise Decline("the number of features is not known at conversion, or something is empty")
        carry, params = arrays[:states], arrays[states:]
        weights = cell.packed(ctx, params, avals[1 + states :])
        run = functools.partial(_emit, ctx, operator, x, carry, weights)
        if not ctx.guards:
            return run()
        ordinary = _ordinary(ctx, operator, x, *carry, *weights)
        wide = operator.gates * hidden
        shapes = (1, wide, features), (1, wide, hidden), (1, 2 * wide)
        packed = [jax.ShapeDtypeStruct(s, np.dtype(np.float32)) for s in shapes]
        scan_avals = [*avals[: 1 + states], *packed]
        scanned = functools.partial(ctx.via_jax, cell.scanned, x, *carry, *weights, avals=scan_avals)
        return choose(ctx, ordinary, run, scanned)

    return Fusion(
        name=f"{cell.library}.RNN({cell.name}{', initial_carry' if carried else ''})",
        reference=reference,
        examples=[[(5, 2, _FEATURES), *[(2, _HIDDEN)] * states, *cell.examples()]],
        kwargs=look,
        emit={MIN_OPSET: emit},
        dtypes=frozenset({"float32"}),
        primitives=frozenset({"scan"}),
        library=cell.library,
    )


# -- the cells of flax.nnx -------------------------------------------------------------------------------------------


def _cell(layer: Callable[..., Any], **options: Any) -> Cell:
    def run(params: Mapping[str, Any], x: Any, carry: Sequence[Any] | None) -> Any:
        kernel = params[f"{options['kernels'][0]}.kernel"]
        recurrent = params[f"{options['recurrent'][0]}.kernel"]
        cell = layer(
            kernel.shape[0],
            recurrent.shape[0],
            kernel_init=given(kernel),
            recurrent_kernel_init=given(recurrent),
            bias_init=given(params[f"{options['biased'][0]}.bias"]),
            rngs=NO_RANDOM,
        )
        for path, array in params.items():
            part, name = path.split(".")
            setattr(getattr(cell, part), name, nnx.Param(array))
        return nnx.RNN(cell, time_major=True, return_carry=True)(x, initial_carry=initial_carry(carry))

    return Cell(name=layer.__name__, library="flax.nnx", run=run, **options)


def initial_carry(carry: Sequence[Any] | None) -> Any:
    """Return carried states as flax's layers take them: one alone, or several."""
    return carry if carry is None or len(carry) > 1 else carry[0]


_DENSE: dict[str, Any] = {"kernels": ("dense_i",), "recurrent": ("dense_h",)}

CELLS: tuple[Cell, ...] = (
    _cell(
        nnx.LSTMCell,
        operator=LSTM,
        kernels=("ii", "io", "if_", "ig"),
        recurrent=("hi", "ho", "hf", "hg"),
        biased=("hi", "ho", "hf", "hg"),
    ),
    _cell(nnx.OptimizedLSTMCell, operator=LSTM, **_DENSE, biased=("dense_h",), order=(0, 3, 1, 2)),
    _cell(nnx.GRUCell, operator=GRU, **_DENSE, biased=("dense_i",), order=(1, 0, 2)),
    _cell(nnx.SimpleCell, operator=RNN, **_DENSE, biased=("dense_i",)),
)

FUSIONS: tuple[Fusion, ...] = tuple(fusion(cell, carried=carried) for cell in CELLS for carried in (False, True))
