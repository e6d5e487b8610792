"""Recurrent layers: ONNX's operators, and the scan they stand for where onnxruntime's kernels go astray.

These return numbers where a gate is NaN, leave the final states unset after no steps, and end the process on an empty
batch. So what they are given is measured first.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.dims import may_be_zero
from jax2onnx.flatten import flatten
from jax2onnx.fuse import Decline
from jax2onnx.registry import MIN_OPSET, Fusion
from jax2onnx_lax.control import choose
from jax2onnx_nnx.fusions._layers import NO_RANDOM, given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.fuse import Candidate
    from jax2onnx.lower import LoweringContext

ORDINARY = 1e15
"""Arrays whose magnitudes add up to no more have products and sums that are finite in float32."""

_FEATURES, _HIDDEN = 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """A cell and its operator.

    Attributes:
        layer: the class of the cell.
        kernels: names of the layers whose kernels apply to the input; of one for all gates, or of one per gate.
        recurrent: likewise, of those that apply to the state.
        biased: likewise, of those that have a bias.
        op_type: the operator.
        order: for each gate of the operator, which gate of the cell it is.
        step: from the gates' sums over inputs and over states, side by side in the operator's order, and the carried
            states, to the new states.
        states: how many arrays are carried; the last of them is the output.
        primitives: how often some primitives stand in one step.
        attributes: attributes of the operator.
        largest: the largest magnitude of an initial state with which the operator is accurate.
    """

    layer: Callable[..., Any]
    kernels: Sequence[str]
    recurrent: Sequence[str]
    biased: Sequence[str]
    op_type: str
    order: Sequence[int]
    step: Callable[..., Sequence[Any]]
    states: int
    primitives: Mapping[str, int]
    attributes: Mapping[str, Any]
    largest: float | None = None

    @property
    def params(self) -> list[str]:
        """The paths of the cell's parameters."""
        kernels = [f"{name}.kernel" for name in (*self.kernels, *self.recurrent)]
        return [*kernels, *[f"{name}.bias" for name in self.biased]]

    def examples(self) -> list[tuple[int, ...]]:
        """Return example shapes of the parameters."""
        wide = [_HIDDEN * len(self.order) // len(part) for part in (self.kernels, self.recurrent, self.biased)]
        return [
            *[(_FEATURES, wide[0])] * len(self.kernels),
            *[(_HIDDEN, wide[1])] * len(self.recurrent),
            *[(wide[2],)] * len(self.biased),
        ]

    def with_params(self, arrays: Sequence[Any]) -> Any:
        """Return a cell that has the given parameters."""
        kernel, recurrent = arrays[0], arrays[len(self.kernels)]
        inits = {
            name: given(array)
            for name, array in (("kernel", kernel), ("recurrent_kernel", recurrent), ("bias", arrays[-1]))
        }
        options = {f"{name}_init": init for name, init in inits.items()}
        cell = self.layer(kernel.shape[0], recurrent.shape[0], rngs=NO_RANDOM, **options)
        for path, array in zip(self.params, arrays, strict=True):
            layer, name = path.split(".")
            setattr(getattr(cell, layer), name, nnx.Param(array))
        return cell

    def packed(self, ctx: LoweringContext, arrays: Sequence[ir.Value], avals: Sequence[Any]) -> list[ir.Value]:
        """Return ``W``, ``R`` and ``B`` as the operator wants them."""
        first, second = len(self.kernels), len(self.kernels) + len(self.recurrent)
        parts = {"W": slice(0, first), "R": slice(first, second), "B": slice(second, None)}
        return [self._packed(ctx, what, arrays[part], avals[part]) for what, part in parts.items()]

    def _packed(self, ctx: LoweringContext, what: str, arrays: Sequence[ir.Value], avals: Sequence[Any]) -> ir.Value:
        def pack(xp: Any, *gates: Any) -> Any:
            count = len(self.order)
            own = gates if len(gates) == count else xp.split(gates[0], count, -1)
            array = xp.concatenate([own[gate] for gate in self.order], -1)
            return (xp.concatenate([array, xp.zeros_like(array)]) if what == "B" else array.T)[None]

        value = ctx.op.derived(what, arrays, functools.partial(pack, np))
        if value is None:
            made: ir.Value = ctx.via_jax(functools.partial(pack, jnp), *arrays, avals=avals)
            return made
        return value

    def scanned(self, x: Any, *arrays: Any) -> list[Any]:
        """Return the carried states and the outputs of a sequence as JAX computes them, from packed parameters."""
        *carry, weight, recurrent, bias = arrays
        state = recurrent[0].T
        carry = carry or [jnp.zeros((*x.shape[1:-1], state.shape[0]), x.dtype)] * self.states

        def step(carried: Sequence[Any], sums: Any) -> tuple[Any, Any]:
            new = self.step(sums, carried[-1] @ state, *carried)
            return list(new), new[-1]

        carry, ys = jax.lax.scan(step, carry, x @ weight[0].T + bias[0, : bias.shape[1] // 2])
        return [*carry, ys]


def _lstm(ours: Any, theirs: Any, c: Any, h: Any) -> Sequence[Any]:
    del h
    i, o, f, g = jnp.split(ours + theirs, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return c, jax.nn.sigmoid(o) * jnp.tanh(c)


def _gru(ours: Any, theirs: Any, h: Any) -> Sequence[Any]:
    (z, r, n), (hz, hr, hn) = jnp.split(ours, 3, -1), jnp.split(theirs, 3, -1)
    z, r = jax.nn.sigmoid(z + hz), jax.nn.sigmoid(r + hr)
    return ((1 - z) * jnp.tanh(n + r * hn) + z * h,)


def _simple(ours: Any, theirs: Any, h: Any) -> Sequence[Any]:
    del h
    return (jnp.tanh(ours + theirs),)


_LSTM: dict[str, Any] = {
    "op_type": "LSTM",
    "order": (0, 3, 1, 2),
    "step": _lstm,
    "states": 2,
    "primitives": {"logistic": 3, "tanh": 2},
    "attributes": {},
}
CELLS: tuple[_Cell, ...] = (
    _Cell(
        layer=nnx.LSTMCell,
        kernels=("ii", "if_", "ig", "io"),
        recurrent=("hi", "hf", "hg", "ho"),
        biased=("hi", "hf", "hg", "ho"),
        **_LSTM,
    ),
    _Cell(layer=nnx.OptimizedLSTMCell, kernels=("dense_i",), recurrent=("dense_h",), biased=("dense_h",), **_LSTM),
    _Cell(
        layer=nnx.GRUCell,
        kernels=("dense_i",),
        recurrent=("dense_h",),
        biased=("dense_i",),
        op_type="GRU",
        order=(1, 0, 2),
        step=_gru,
        states=1,
        primitives={"logistic": 2, "tanh": 1},
        attributes={"linear_before_reset": 1},
        # A gate that is off is 2e-7 in onnxruntime's kernel; a state comes in as its multiple.
        largest=4.0,
    ),
    _Cell(
        layer=nnx.SimpleCell,
        kernels=("dense_i",),
        recurrent=("dense_h",),
        biased=("dense_i",),
        op_type="RNN",
        order=(0,),
        step=_simple,
        states=1,
        primitives={"logistic": 0, "tanh": 1},
        attributes={},
    ),
)


def _ordinary(ctx: LoweringContext, cell: _Cell, *values: ir.Value) -> ir.Value:
    """Tell whether there are steps and sequences, and nothing but numbers that the operator computes with as JAX does.

    ``values`` are the sequences, the initial states and the packed parameters.
    """
    x, *carry = ctx.avals_in[: len(values) - 3]
    sums = []
    for value in values:
        if value.const_value is None:
            sums.append(ctx.stamp(ctx.op.ReduceL1(value, keepdims=0), ()))
        elif not np.abs(value.const_value.numpy()).sum(dtype=np.float64) <= ORDINARY:
            msg = "a parameter is not an ordinary number"
            raise Decline(msg)
    total = sums[0] if len(sums) == 1 else ctx.stamp(ctx.op.Sum(*sums), ())
    conditions = [ctx.op.LessOrEqual(total, ORDINARY)]
    if cell.largest is not None:
        for value, aval in zip(values[1:], carry, strict=False):
            size = ctx.stamp(ctx.op.Abs(value), aval.shape)
            conditions.append(ctx.op.LessOrEqual(ctx.stamp(ctx.op.ReduceMax(size, keepdims=0), ()), cell.largest))
    if any(map(may_be_zero, x.shape)):
        conditions.append(ctx.op.Greater(ctx.stamp(ctx.op.Size(values[0]), ()), 0))
    return functools.reduce(lambda a, b: ctx.stamp(ctx.op.And(a, b), ()), [ctx.stamp(c, ()) for c in conditions])


def _operator(
    ctx: LoweringContext, cell: _Cell, x: ir.Value, carry: Sequence[ir.Value], weights: Sequence[ir.Value]
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
        cell.op_type,
        ctx.reshape(x, shape, (steps, count, features)),
        *weights,
        *[None, *initial] if initial else [],
        outputs=1 + cell.states,
        hidden_size=hidden,
        **cell.attributes,
    )
    ys, *states = outputs
    finals = [ctx.reshape(ctx.stamp(value, state), state, (*batch, hidden)) for value in reversed(states)]
    return [*finals, ctx.reshape(ctx.stamp(ys, inner), inner, result)]


def _fusion(cell: _Cell, *, carried: bool) -> Fusion:
    """Return the fusion of a cell over a sequence that comes with its initial states, or starts from zeros."""
    states = cell.states if carried else 0

    def reference(x: Any, *arrays: Any) -> Any:
        carry, params = arrays[:states], arrays[states:]
        rnn = nnx.RNN(cell.with_params(params), time_major=True, return_carry=True)
        return rnn(x, initial_carry=(carry if states > 1 else carry[0]) if carried else None)

    def look(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
        body = Counter(e.primitive for e in flatten(candidate.params("scan")[0]["jaxpr"]).eqns)
        return [{}] if all(body[name] == count for name, count in cell.primitives.items()) else []

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value) -> Sequence[ir.Value]:
        avals = ctx.avals_in
        shape, hidden = avals[0].shape, ctx.avals_out[-1].shape[-1]
        if any(a.dtype != np.float32 for a in avals) or not ctx.supports(cell.op_type, np.float32):
            msg = f"{cell.op_type} is run in float32 only"
            raise Decline(msg)
        if not (isinstance(shape[-1], int) and isinstance(hidden, int)) or 0 in {*map(_static, shape), hidden}:
            msg = "the number of features is not known at conversion, or something is empty"
            raise Decline(msg)
        carry, params = arrays[:states], arrays[states:]
        weights = cell.packed(ctx, params, avals[1 + states :])
        run = functools.partial(_operator, ctx, cell, x, carry, weights)
        if ctx.target is None:
            return run()
        ordinary = _ordinary(ctx, cell, x, *carry, *weights)
        wide = len(cell.order) * hidden
        shapes = (1, wide, shape[-1]), (1, wide, hidden), (1, 2 * wide)
        packed = [jax.ShapeDtypeStruct(s, np.dtype(np.float32)) for s in shapes]
        scanned = functools.partial(
            ctx.via_jax, cell.scanned, x, *carry, *weights, avals=[*avals[: 1 + states], *packed]
        )
        return choose(ctx, ordinary, run, scanned)

    carry = [(2, _HIDDEN)] * states
    return Fusion(
        name=f"flax.nnx.RNN({cell.layer.__name__}{', initial_carry' if carried else ''})",
        reference=reference,
        examples=[[(5, 2, _FEATURES), *carry, *cell.examples()]],
        kwargs=look,
        emit={MIN_OPSET: emit},
        dtypes=frozenset({"float32"}),
        primitives=frozenset({"scan"}),
        library="flax.nnx",
    )


def _static(dim: Any) -> int:
    return dim if isinstance(dim, int) else -1


FUSIONS: tuple[Fusion, ...] = tuple(_fusion(cell, carried=carried) for cell in CELLS for carried in (False, True))
