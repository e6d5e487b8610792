"""What a rule returned, compared with what JAX has there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from jax2onnx._accepted import shown
from jax2onnx.plugin.context import ir_dtype, stamp

if TYPE_CHECKING:
    from jax2onnx.program.program import Eqn


def checked(returned: Any, eqn: Eqn) -> list[ir.Value]:
    """Return what a rule returned as a list of values, with the dtypes and shapes that JAX gives them."""
    values = [returned] if isinstance(returned, ir.Value) else _listed(returned, len(eqn.outputs))
    if len(values) != len(eqn.outputs):
        count = len(eqn.outputs)
        hint = f"; ctx.op.many(name, ..., outputs={count}) returns every result of an operator" if count > 1 else ""
        raise _wrong_result(_values(len(values)), _values(count) + hint)
    for value, var in zip(values, eqn.outputs, strict=True):
        _check_type(value, var.aval)
    return values


def _listed(returned: Any, count: int) -> list[ir.Value]:
    """Return the values that a rule returned instead of one."""
    if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | Mapping):
        raise _wrong_result(shown(returned), _values(count))
    values = list(returned)
    for value in values:
        if not isinstance(value, ir.Value):
            raise _wrong_result(f"{shown(value)}, which is no value of the graph,", _values(count))
    return values


class WrongResultError(Exception):
    """A rule returned something else than JAX has; the message says what."""


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _wrong_result(returned: str, expected: str) -> WrongResultError:
    return WrongResultError(f"returned {returned} where JAX has {expected}")


def _check_type(value: ir.Value, aval: Any) -> None:
    """Check that a result of a rule has the dtype that JAX gives it; record its shape."""
    dtype, own = ir_dtype(aval.dtype), value.dtype
    if own is None:
        value.dtype = dtype
    elif own is not dtype:
        raise _wrong_result(own.name, dtype.name)
    if value.producer() is not None or value.shape is None:
        stamp(value, aval.shape)
    elif len(value.shape) != len(aval.shape) or any(map(_differ, value.shape, aval.shape)):
        raise _wrong_result(f"a value of shape {list(value.shape)}", str(list(aval.shape)))


def _differ(dim: Any, wanted: Any) -> bool:
    """Return whether two dims are known not to be equal."""
    return isinstance(dim, int) and isinstance(wanted, int) and dim != wanted
