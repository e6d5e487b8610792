"""Kept weights: while a plugin changes a finished model, an initializer that keeps its name keeps its numbers.

A plugin may leave weights out and bring others, quantised ones for instance, under names of their own. What has the
name of the user's parameter is that parameter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from onnx_ir import TensorProtocol

__all__ = ["changed_weight", "locked", "weights_of"]


def weights_of(model: ir.Model) -> Mapping[str, TensorProtocol]:
    """Return the initializers of a model that have values, by name."""
    initializers = model.graph.initializers.items()
    return {name: value.const_value for name, value in initializers if value.const_value is not None}


@contextlib.contextmanager
def locked(weights: Mapping[str, TensorProtocol]) -> Iterator[None]:
    """Lock the arrays of these weights against writing meanwhile: some are the user's own, not copies."""
    arrays = [tensor.raw for tensor in weights.values() if isinstance(tensor, ir.Tensor)]
    free = [array for array in arrays if isinstance(array, np.ndarray) and array.flags.writeable]
    for array in free:
        array.flags.writeable = False
    try:
        yield
    finally:
        # numpy unlocks no view of an array that is locked.
        for array in sorted(free, key=_count_bases):
            array.flags.writeable = True


def _count_bases(array: np.ndarray[Any, Any]) -> int:
    """Return of how many arrays an array is a view, one behind the other."""
    return 1 + _count_bases(array.base) if isinstance(array.base, np.ndarray) else 0


def changed_weight(before: Mapping[str, TensorProtocol], model: ir.Model) -> str | None:
    """Return the name of an initializer that has other numbers than before; None if there is none.

    Only tensors that were replaced are compared.
    """
    for name, new in weights_of(model).items():
        old = before.get(name)
        if old is not None and old is not new and not _are_equal(old, new):
            return name
    return None


def _are_equal(old: TensorProtocol, new: TensorProtocol) -> bool:
    if old.dtype != new.dtype or tuple(old.shape) != tuple(new.shape):
        return False
    return old.tobytes() == new.tobytes()
