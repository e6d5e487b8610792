"""Given: the batches of a comparison that the user gives instead of drawn ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx._accepted import nearest, refuse_mask, shown
from jax2onnx._compat import is_symbolic
from jax2onnx._printable import counted
from jax2onnx.checking.compare import type_of
from jax2onnx.checking.inputs import Batch
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin.naming import dotted, path_name
from jax2onnx.plugin.trees import refuse_deep
from jax2onnx.program.lost import reason_without_value

if TYPE_CHECKING:
    from jax2onnx.frontend.specs import InputSpec

__all__ = ["concrete_batch", "given_batch"]


def concrete_batch(drawn: Batch, specs: Sequence[InputSpec]) -> list[Batch]:
    """Return a batch with the arrays among the specs in place of drawn ones, or nothing if there are none."""
    arrays = list(drawn.arrays)
    for index, spec in enumerate(specs):
        if spec.value is not None:
            arrays[index] = spec.value
    if all(spec.value is None for spec in specs):
        return []
    return [Batch("given", drawn.sizes, tuple(arrays))]


def given_batch(batch: Any, specs: Sequence[InputSpec]) -> Batch:
    """Return a batch that the user gives."""
    if isinstance(batch, str) or not isinstance(batch, Sequence | Mapping):
        raise InputSpecError(
            f"values: expected a list of batches, got {shown(batch)} among them; "
            "a batch is a sequence with one entry per argument, or a mapping"
        )
    if isinstance(batch, Mapping):
        return _named_batch(batch, specs)
    refuse_deep("values", batch)
    leaves = jax.tree_util.tree_leaves(list(batch))
    if len(leaves) != len(specs):
        leaves = [leaf for leaf in leaves if not isinstance(leaf, bool)]  # static values
    count = len(leaves)
    if count != len(specs):
        raise InputSpecError(
            f"values: a batch has {counted(count, 'array')}, and the specs have {counted(len(specs), 'input')}; "
            "give one for each"
        )
    arrays = map(_given_array, leaves, specs)
    return Batch("given", {}, tuple(arrays))


def _named_batch(batch: Mapping[str, Any], specs: Sequence[InputSpec]) -> Batch:
    """Return a batch that the user gives as keyword arguments."""
    refuse_deep("values", batch)
    names = [spec.name for spec in specs]
    given = {}
    for parameter, argument in batch.items():
        for path, leaf in jax.tree_util.tree_flatten_with_path(argument)[0]:
            name = dotted(str(parameter), path_name(path))
            if name in names or not isinstance(leaf, bool):  # other bools are static values
                given[name] = leaf
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputSpecError(f"values: a batch has {unknown[0]!r}, which is no input; {nearest(unknown[0], names)}")
    missing = [name for name in names if name not in given]
    if missing:
        raise InputSpecError(f"values: a batch lacks {', '.join(missing)}; give an array for each input")
    arrays = [_given_array(given[spec.name], spec) for spec in specs]
    return Batch("given", {}, tuple(arrays))


def _given_array(leaf: Any, spec: InputSpec) -> Any:
    aval = spec.aval
    lost = reason_without_value(leaf)
    if lost:
        raise InputSpecError(f"values: {spec.name} {lost}; give an array that has a value")
    refuse_mask(f"values: {spec.name}", leaf)
    if isinstance(leaf, np.ndarray | np.generic) and _loses_numbers(leaf.dtype, aval.dtype):
        raise InputSpecError(f"values: {spec.name} is {type_of(leaf)}, not {type_of(aval)}; convert it")
    try:
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf, aval.dtype)
    except (Exception, SystemExit) as error:  # an object of the user's, which numpy asks for its numbers
        raise InputSpecError(f"values: {spec.name} is {shown(leaf)}, no array of {aval.dtype}; give numbers") from error
    fits = len(array.shape) == len(aval.shape) and all(map(_may_be, array.shape, aval.shape))
    if not fits or array.dtype != aval.dtype:
        raise InputSpecError(f"values: {spec.name} is {type_of(array)}, not {type_of(aval)}; convert it")
    return array


def _loses_numbers(given: Any, wanted: Any) -> bool:
    """Return whether numbers of a dtype become others in another one: complex ones in any other, fractions in ints."""
    if not isinstance(wanted, np.dtype):
        return False
    if given.kind in "OSUVMm":
        return bool(given.isbuiltin == 1)
    if np.issubdtype(given, np.complexfloating):
        return not bool(np.issubdtype(wanted, np.complexfloating))
    return bool(np.issubdtype(given, np.floating)) and wanted.kind in "iub"


def _may_be(size: int, dim: Any) -> bool:
    """Return whether a dim, if it is no symbol, has a size."""
    return is_symbolic(dim) or size == dim
