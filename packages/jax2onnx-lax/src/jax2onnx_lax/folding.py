"""Compute primitives of constants at conversion, with numpy, rounded as JAX rounds.

Each rule is the ``fold`` of a primitive's facts: ``rule(params, *arrays)``, None where numpy's result may not be JAX's.
What has no rule, as functions that no two libraries round alike, JAX computes; ``work`` of the facts says how long that
takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Fold", "bits", "clamp", "converted", "counted", "cut", "extremum", "integer_power", "iota",
           "is_float", "padded", "plain", "quotient", "reduction", "remainder", "reshaped", "select", "shifted", "sign",
           "sliced", "spread", "taken_apart", "work_of_matrices"]  # fmt: skip

Fold: TypeAlias = Callable[..., Any]
Params: TypeAlias = Mapping[str, Any]

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


def is_float(x: Any) -> bool:
    """Return whether an array is of a floating dtype, bfloat16 included."""
    return str(x.dtype) in _FLOATS


def plain(function: Callable[..., Any]) -> Fold:
    """Return the rule of a function that is rounded correctly, in float32 for smaller dtypes."""

    def rule(_params: Params, *operands: Any) -> Any:
        return function(*(o.astype(np.float32) if o.dtype.itemsize == 2 and is_float(o) else o for o in operands))

    return rule


def reduction(function: Callable[..., Any]) -> Fold:
    """Return the rule of a reduction over the axes of ``axes``, which rounds nothing."""

    def rule(params: Params, x: Any) -> Any:
        return function(x, axis=tuple(params["axes"])) if x.size else None

    return rule


def extremum(function: Callable[..., Any], of_zeros: Callable[..., Any]) -> Fold:
    """Return the rule of a maximum or minimum, which orders -0 before 0."""

    def rule(_params: Params, x: Any, y: Any) -> Any:
        result = function(x, y)
        return np.where((x == 0) & (y == 0), of_zeros(x, y), result) if is_float(x) else result

    return rule


def clamp(_params: Params, low: Any, x: Any, high: Any) -> Any:
    """Compute ``clamp`` of integers."""
    return None if is_float(x) else np.minimum(np.maximum(x, low), high)


def quotient(params: Params, x: Any, y: Any) -> Any:
    """Compute ``div`` of floats."""
    return plain(np.true_divide)(params, x, y) if is_float(x) else None


def remainder(_params: Params, x: Any, y: Any) -> Any:
    """Compute ``rem`` where nothing is divided by 0."""
    return np.fmod(x, y) if np.all(y != 0) else None


def integer_power(params: Params, x: Any) -> Any:
    """Compute squares; JAX rounds each product of a higher power."""
    return plain(np.square)(params, x) if params["y"] == 2 else None


def sign(_params: Params, x: Any) -> Any:
    """Compute ``sign``, which keeps the sign of a zero."""
    return np.where(x == 0, x, np.sign(x))


def converted(params: Params, x: Any) -> Any:
    """Convert; floats to integers only where they fit, since numpy does not define the others."""
    dtype: np.dtype[Any] = np.dtype(params["new_dtype"])
    if is_float(x) and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not np.all((x > float(limits.min)) & (x < float(limits.max))):
            return None
    return x.astype(dtype)


def select(_params: Params, which: Any, *cases: Any) -> Any:
    """Compute ``select_n``."""
    chosen = np.clip(np.broadcast_to(which, cases[0].shape).astype(np.int64), 0, len(cases) - 1)
    return np.take_along_axis(np.stack(cases), chosen[None], 0)


def spread(params: Params, x: Any) -> Any:
    """Compute ``broadcast_in_dim``."""
    shape = [1] * len(params["shape"])
    for size, place in zip(x.shape, params["broadcast_dimensions"], strict=True):
        shape[place] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def iota(params: Params) -> Any:
    """Compute ``iota``."""
    line: Any = np.indices(params["shape"], sparse=True)[params["dimension"]]
    return np.broadcast_to(line, params["shape"]).astype(params["dtype"])


def reshaped(params: Params, x: Any) -> Any:
    """Compute ``reshape``."""
    return x.reshape(params["new_sizes"]) if params["dimensions"] is None else None


def shifted(shift: Callable[..., Any], *, logical: bool) -> Fold:
    """Return the rule of a shift by fewer bits than there are; a ``logical`` one moves in zeros."""

    def rule(_params: Params, x: Any, by: Any) -> Any:
        if not np.all((by >= 0) & (by < 8 * x.dtype.itemsize)):
            return None
        unsigned = x.view(f"u{x.dtype.itemsize}") if logical else x
        return shift(unsigned, by.astype(unsigned.dtype)).astype(x.dtype)

    return rule


def bits(params: Params, x: Any) -> Any:
    """Compute ``bitcast_convert_type`` between dtypes of one size."""
    dtype: np.dtype[Any] = np.dtype(params["new_dtype"])
    return x.view(dtype) if dtype.itemsize == x.dtype.itemsize else None


def padded(params: Params, x: Any, value: Any) -> Any:
    """Compute ``pad`` that cuts nothing."""
    config = params["padding_config"]
    if any(low < 0 or high < 0 for low, high, _ in config):
        return None
    cells = [(low, low + size + max(size - 1, 0) * inner, inner + 1, high)
             for size, (low, high, inner) in zip(x.shape, config, strict=True)]  # fmt: skip
    result = np.full([end + high for _, end, _, high in cells], value, x.dtype)
    result[tuple(slice(low, end, step) for low, end, step, _ in cells)] = x
    return result


def cut(params: Params, x: Any) -> Any:
    """Compute ``split``."""
    ends = np.cumsum(params["sizes"])[:-1]
    pieces = np.split(x, ends, params["axis"])
    return pieces[0] if len(pieces) == 1 else pieces


def taken_apart(params: Params, x: Any) -> Any:
    """Compute ``unstack``."""
    pieces = list(np.moveaxis(x, params["axis"], 0))
    return pieces[0] if len(pieces) == 1 else pieces


def counted(params: Params) -> Any:
    """Compute ``iota_2x32_shape``: the numbers of the elements, in 64 bits as two uint32 arrays, high and low."""
    numbers = np.arange(np.prod(params["shape"], dtype=np.int64), dtype=np.uint64).reshape(params["shape"])
    return numbers >> np.uint64(32), numbers & np.uint64(0xFFFFFFFF)


def sliced(params: Params, x: Any) -> Any:
    """Compute ``slice``."""
    strides = params["strides"] or [1] * x.ndim
    cells = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return x[tuple(slice(*cell) for cell in cells)]


def work_of_matrices(eqn: Any, _bodies: Sequence[float]) -> float:
    """Return about how many steps a decomposition of matrices takes, its iterations included."""
    sizes = [operand.aval.size * max(operand.aval.shape, default=1) for operand in eqn.inputs]
    work: float = 16.0 * sum(sizes)
    return work
