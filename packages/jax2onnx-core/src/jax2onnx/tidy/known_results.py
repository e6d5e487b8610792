"""Known results: integers, conditions and tests that are computed of small constants alone become constants.

What a rule emits for the first test of a loop, or for the places of an array's rows, may depend on no input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.tidy.match_nodes import sizes_of
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["FEW", "fold_known"]

FEW = 1024
"""Up to how many elements an operand, or a result, has."""

_EXACT: dict[str, np.ufunc] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}
"""Operators of integers and bools, which wrap around in numpy as they do in ONNX."""

_TESTS: dict[str, Callable[..., Any]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "IsNaN": np.isnan,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
"""Operators that test numbers, floats too: nothing is rounded."""

_REDUCING: dict[str, Callable[..., Any]] = {
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceSum": np.sum,
}


@rewrites("Cast", *_EXACT, *_TESTS, *_REDUCING, keeps_nodes=True)
def fold_known(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Less([0, 3], 2)`` to ``[True, False]``. The nodes are left without users."""
    for node in nodes:
        operands = _operands(node, home)
        result = node.outputs[0] if operands else None
        if operands is None or result is None or result.is_graph_output() or result.dtype is None:
            continue
        array = _computed(node, operands)
        if array is None or array.size > FEW:
            continue
        if result.shape is not None and sizes_of(result.shape) != array.shape:
            continue
        if array.dtype == result.dtype.numpy():
            result.replace_all_uses_with(home.constant(np.asarray(array)))


def _operands(node: ir.Node, home: Home) -> list[np.ndarray[Any, Any]] | None:
    """Return the arrays that all inputs of a node hold, None if one of them holds none, or a large one.

    A parameter of the user's, which has a name, is none of them: it can be given other numbers in the model.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    for value in node.inputs:
        tensor = None if value is None else value.const_value
        if value is None or tensor is None or not 0 < tensor.size <= FEW or home.is_parameter(value):
            return None
        arrays.append(tensor.numpy())
    return arrays


def _computed(node: ir.Node, operands: Sequence[np.ndarray[Any, Any]]) -> Any:
    """Return what a node computes of arrays, None if a runtime might compute something else."""
    kind = node.op_type
    if kind in _TESTS:
        return _TESTS[kind](*operands) if all(array.dtype.kind in "biuf" for array in operands) else None
    if any(array.dtype.kind not in "biu" for array in operands):
        return None
    if kind == "Cast":
        to = node.outputs[0].dtype
        return None if to is None or to.numpy().kind not in "biu" else operands[0].astype(to.numpy())
    if kind in _REDUCING:
        return _reduced(node, operands)
    if len(operands) != _EXACT[kind].nin:
        return None
    with np.errstate(over="ignore"):
        return _EXACT[kind](*operands)


def _reduced(node: ir.Node, operands: Sequence[np.ndarray[Any, Any]]) -> Any:
    """Return a reduction over the axes that the second input holds, all of them without it."""
    array = operands[0]
    axes = tuple(map(int, operands[1].ravel())) if len(operands) > 1 else None
    if axes == ():
        return None
    keeps = bool(node.attributes.get_int("keepdims", 1))
    return np.asarray(_REDUCING[node.op_type](array, axis=axes, keepdims=keeps)).astype(array.dtype)
