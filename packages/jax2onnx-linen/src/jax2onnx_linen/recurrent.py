"""Emit the recurrent layers of flax.linen, by the rules of flax.nnx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flax import linen as nn
from flax.errors import ScopeParamShapeError

from jax2onnx_lax.recurrent.operators import GRU, LSTM, RNN
from jax2onnx_nnx.fusions.recurrent import Cell, fusion, initial_carry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jax2onnx.plugin import Fusion


def _cell(layer: Callable[..., Any], **options: Any) -> Cell:
    def run(params: Mapping[str, Any], x: Any, carry: Sequence[Any] | None) -> Any:
        held: dict[str, dict[str, Any]] = {}
        for path, array in params.items():
            part, name = path.split(".")
            held.setdefault(part, {})[name] = array
        hidden = params[f"{options['recurrent'][0]}.kernel"].shape[0]
        rnn = nn.RNN(layer(hidden), time_major=True, return_carry=True)
        try:
            return rnn.apply({"params": {"cell": held}}, x, initial_carry=initial_carry(carry))
        except ScopeParamShapeError as error:
            raise ValueError(f"the parameters are not those of {layer.__name__}") from error

    return Cell(name=layer.__name__, library="flax.linen", run=run, **options)


_GATES: dict[str, Any] = {
    "operator": LSTM,
    "kernels": ("ii", "io", "if", "ig"),
    "recurrent": ("hi", "ho", "hf", "hg"),
    "biased": ("hi", "ho", "hf", "hg"),
}

CELLS: tuple[Cell, ...] = (
    _cell(nn.LSTMCell, **_GATES),
    _cell(nn.OptimizedLSTMCell, **_GATES),
    _cell(
        nn.GRUCell,
        operator=GRU,
        kernels=("iz", "ir", "in"),
        recurrent=("hz", "hr", "hn"),
        biased=("iz", "ir", "in"),
        late="hn",
    ),
    _cell(nn.SimpleCell, operator=RNN, kernels=("i",), recurrent=("h",), biased=("i",)),
)

FUSIONS: tuple[Fusion, ...] = tuple(fusion(cell, carried=carried) for cell in CELLS for carried in (False, True))
