"""Measure the digits of onnxruntime's float kernels, in relative terms, over the whole range of each dtype.

python scripts/kernels_table.py             prints the table
python scripts/kernels_table.py --write     writes docs/coverage/kernels.md (half a minute)

A kernel may be right in absolute terms and wrong in all digits of a small result. What is so, and where, is what the
lowerings avoid where ``ctx.small_results_matter()``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from jax.scipy import special
from onnx import TensorProto, helper, numpy_helper

from jax2onnx.testing import RUNTIME_ERRORS

PAGE = Path(__file__).parent.parent / "docs" / "coverage" / "kernels.md"
DTYPES = ("float32", "float64", "float16", "bfloat16")
ACCEPTED = 64
"""Units in the last place: a kernel with a greater error has lost digits."""

_Function: TypeAlias = Callable[[Any], Any]


def _sigmoid(x: Any) -> Any:
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Any) -> Any:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _gelu(x: Any) -> Any:
    return x / 2 * np.asarray(special.erfc(-x / math.sqrt(2)))


def _gelu_tanh(x: Any) -> Any:
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _pairs(function: _Function) -> _Function:
    """Return a function along rows of two numbers, the second of which is 0."""
    return lambda x: function(np.stack([x, np.zeros_like(x)], -1))


def _row_softmax(rows: Any) -> Any:
    shifted = np.exp(rows - rows.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _row_log_softmax(rows: Any) -> Any:
    shifted = rows - rows.max(-1, keepdims=True)
    other = np.minimum(shifted[..., :1], shifted[..., 1:])
    return shifted - np.log1p(np.exp(other))


@dataclass(frozen=True)
class Kernel:
    """An operator to try, and what it should give of numbers in float64."""

    op_type: str
    function: _Function
    attributes: tuple[tuple[str, Any], ...] = ()
    operand: float | None = None
    rows: bool = False

    @property
    def shown(self) -> str:
        """Return the operator with what it is given."""
        further = [f"{name}={value}" for name, value in self.attributes if name not in {"alpha", "beta", "axis"}]
        further += [] if self.operand is None else [f"{self.operand:g}"]
        return f"{self.op_type}({', '.join(['x', *further])})"


KERNELS = (
    Kernel("Exp", np.exp), Kernel("Log", np.log), Kernel("Sqrt", np.sqrt), Kernel("Tanh", np.tanh),
    Kernel("Sin", np.sin), Kernel("Cos", np.cos), Kernel("Tan", np.tan),
    Kernel("Asin", np.arcsin), Kernel("Acos", np.arccos),
    Kernel("Atan", np.arctan), Kernel("Sinh", np.sinh), Kernel("Cosh", np.cosh), Kernel("Asinh", np.arcsinh),
    Kernel("Acosh", np.arccosh), Kernel("Atanh", np.arctanh), Kernel("Erf", lambda x: np.asarray(special.erf(x))),
    Kernel("Reciprocal", lambda x: 1 / x), Kernel("Sigmoid", _sigmoid), Kernel("Softplus", _softplus),
    Kernel("Gelu", _gelu), Kernel("Gelu", _gelu_tanh, (("approximate", "tanh"),)),
    Kernel("Mish", lambda x: x * np.tanh(_softplus(x))), Kernel("Swish", lambda x: x * _sigmoid(x)),
    Kernel("HardSwish", lambda x: x * np.clip((x + 3) / 6, 0, 1)),
    Kernel("HardSigmoid", lambda x: np.clip((x + 3) / 6, 0, 1), (("alpha", 1 / 6), ("beta", 0.5))),
    Kernel("Elu", _elu), Kernel("Celu", _elu), Kernel("Softsign", lambda x: x / (1 + np.abs(x))),
    Kernel("Selu", lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * _elu(x))),
    Kernel("Relu", lambda x: np.maximum(x, 0)), Kernel("LeakyRelu", lambda x: np.where(x < 0, 0.01 * x, x)),
    Kernel("Pow", lambda x: x**3, operand=3.0), Kernel("Pow", lambda x: x**0.3, operand=0.3),
    Kernel("Pow", lambda x: x**-2.0, operand=-2.0), Kernel("Pow", lambda x: x**0.5, operand=0.5),
    Kernel("Softmax", _pairs(_row_softmax), (("axis", -1),), rows=True),
    Kernel("LogSoftmax", _pairs(_row_log_softmax), (("axis", -1),), rows=True),
    Kernel("ReduceLogSumExp", lambda x: np.logaddexp(x, 0), rows=True),
    Kernel("ReduceL2", np.abs, rows=True),
    Kernel("ReduceSum", lambda x: x, rows=True),
)  # fmt: skip


def numbers(dtype: Any) -> Any:
    """Return numbers of a dtype: over all its powers, and densely where functions change."""
    kind = ml_dtypes.finfo(dtype)
    powers = np.linspace(math.log(float(kind.smallest_normal)), math.log(float(kind.max)), 4001)[:-1]
    most = 760 if np.dtype(dtype).itemsize == 8 else 110
    sizes = np.concatenate([np.exp(powers), np.linspace(0.01, most, 6000)])
    return np.unique(np.concatenate([sizes, -sizes]).astype(dtype))


def run(kernel: Kernel, x: Any) -> Any:
    """Run an operator without the optimiser; None where there is no kernel."""
    dtype = helper.np_dtype_to_tensor_dtype(x.dtype)
    given = np.stack([x, np.zeros_like(x)], -1) if kernel.rows else x
    constants = [] if kernel.operand is None else [numpy_helper.from_array(np.asarray(kernel.operand, x.dtype), "p")]
    attributes = dict(kernel.attributes)
    names = ["x", *(c.name for c in constants)]
    if kernel.op_type.startswith("Reduce"):
        constants, attributes = [numpy_helper.from_array(np.array([-1]), "axes")], {"keepdims": 0}
        names = ["x", "axes"]
    wide = [TensorProto.FLOAT, TensorProto.BFLOAT16][x.dtype == ml_dtypes.bfloat16]
    nodes = [helper.make_node(kernel.op_type, names, ["y"], **attributes)]
    result = "y"
    if wide == TensorProto.BFLOAT16:
        before = helper.make_node("Cast", ["w"], ["x"], to=dtype)
        nodes = [before, *nodes, helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT)]
        given, result = given.astype(np.float32), "z"
    start = "w" if wide == TensorProto.BFLOAT16 else "x"
    inputs = [helper.make_tensor_value_info(start, helper.np_dtype_to_tensor_dtype(given.dtype), given.shape)]
    outputs = [helper.make_tensor_value_info(result, helper.np_dtype_to_tensor_dtype(given.dtype), None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opset = 24 if kernel.op_type == "Swish" else 22
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {start: given})[0]
    except (*RUNTIME_ERRORS, onnx.checker.ValidationError):
        return None


def measure(kernel: Kernel, dtype: Any) -> str | None:
    """Return the row of an operator in a dtype; None if the runtime has no kernel for it."""
    x = numbers(dtype)
    got = run(kernel, x)
    if got is None:
        return None
    kind = ml_dtypes.finfo(dtype)
    eps, tiny, largest = float(kind.eps), float(kind.smallest_normal), float(kind.max)
    with np.errstate(all="ignore"):
        want = np.asarray(kernel.function(x.astype(np.float64)))
        normal = np.isfinite(want) & (np.abs(want) >= tiny) & (np.abs(want) < largest)
        error = np.where(normal, np.abs(got.astype(np.float64) - want) / np.where(normal, np.abs(want), 1), 0) / eps
    error = np.where(np.isnan(error), np.inf, error)
    if error.ndim > 1:
        error, want, got = error[:, 0], want[:, 0], got[:, 0]
    worst = int(np.argmax(error))
    lost = x[error > ACCEPTED].astype(np.float64)
    where = "" if not lost.size else f"{lost.min():.4g} … {lost.max():.4g}"
    shown = f"{float(x[worst]):.5g} gives {float(got[worst]):.5g}, not {float(want[worst]):.5g}"
    return f"| `{kernel.shown}` | {np.dtype(dtype).name} | {error[worst]:.3g} | {shown} | {where} |"


INTRODUCTION = """# The kernels of onnxruntime, in relative terms

Written by `python scripts/kernels_table.py --write`, with onnxruntime {version}. Each float kernel of the default
target is compared with float64 (float64 with the same formulas of numpy) over the whole range of its dtype, where
results are normal numbers. The error is in units of the dtype's epsilon. *Digits are lost* from {accepted} on: there
the result is right in absolute terms at most.

What is done about it: `Sigmoid`, `Swish`, `Gelu`, `Mish`, `HardSigmoid`, `HardSwish`, `Elu`, `Selu`, `Celu` and the
gates of `LSTM` and `GRU` are not used where a small result becomes a large one, in a logarithm, a denominator, a power
or an order (docs/numerics.md). `Sigmoid` of float64 is never used. The others that lose digits do what JAX does: `gelu`
by `tanh` and `log_softmax` add to 1 what is small, a norm squares numbers that overflow, and a sine of float64 near a
multiple of pi is off by 150 epsilons.
"""


def main() -> None:
    """Measure all, print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    jax.config.update("jax_enable_x64", val=True)
    assert jnp.zeros(()).dtype == np.float64
    lines = INTRODUCTION.format(version=onnxruntime.__version__, accepted=ACCEPTED).splitlines()
    lines += ["", "| Operator | dtype | worst error | where | digits are lost |", "| --- | --- | --- | --- | --- |"]
    for dtype in DTYPES:
        for kernel in KERNELS:
            row = measure(kernel, getattr(ml_dtypes, dtype, None) or np.dtype(dtype).type)
            lines += [] if row is None else [row]
    if write:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
