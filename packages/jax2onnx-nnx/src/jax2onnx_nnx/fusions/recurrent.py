"""Emit recurrent layers as ONNX's operators: pack the parameters of the cells of flax as these want them."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_lax.recurrent.operators import GRU, LSTM, RNN, Operator, Run, emit_operator, is_ordinary, reason_against
from jax2onnx_lax.scans import scan_packed
from jax2onnx_nnx.fusions._layers import NO_RANDOM, given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_FEATURES, _HIDDEN = 3, 4


_PRIMITIVES: Mapping[str, Mapping[str, int]] = {
    "LSTM": {"logistic": 3, "tanh": 2},
    "GRU": {"logistic": 2, "tanh": 1},
    "RNN": {"logistic": 0, "tanh": 1},
}
"""How often some primitives occur in one step of an operator."""


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
    operator: Operator
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


def fusion(cell: Cell, *, carried: bool) -> Fusion:
    """Return the fusion of a cell over a sequence that comes with its initial states, or starts from zeros."""
    operator = cell.operator
    states = operator.states if carried else 0

    def reference(x: Any, *arrays: Any) -> Any:
        params = dict(zip(cell.params, arrays[states:], strict=True))
        return cell.run(params, x, arrays[:states] if carried else None)

    def look(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
        body = Counter(e.primitive for e in candidate.bodies("scan")[0].eqns)
        expected = _PRIMITIVES[operator.name]
        return [{}] if {name: body[name] for name in expected} == expected else []

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value) -> Sequence[ir.Value]:
        avals = ctx.avals_in
        if any(a.dtype != np.float32 for a in avals):
            raise Decline(f"{operator.name} is run in float32 only")
        shapes = avals[0].shape, ctx.avals_out[-1].shape
        reason = reason_against(ctx, operator, shapes)
        if reason:
            raise Decline(reason)
        carry, params = arrays[:states], arrays[states:]
        weights = cell.packed(ctx, params, avals[1 + states :])
        run = Run(operator=operator, x=x, carry=carry, weights=weights, shapes=shapes, late=bool(cell.late))
        if not is_ordinary(run):
            raise Decline("a parameter is not an ordinary number")
        return emit_operator(ctx, run, functools.partial(scan_packed, ctx, run))

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
