"""Elsewhere: parameters whose arrays are not in memory, since they are abstract or mapped from a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx._accepted import nearest
from jax2onnx._compat import key_implementation
from jax2onnx._printable import counted
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin.opening import canonical
from jax2onnx.program.represent import form, is_key
from jax2onnx.weights.names import Rename, Wanted, find_arrays
from jax2onnx.weights.sources import Source, open_source, stored
from jax2onnx.weights.stored import StoredArray

if TYPE_CHECKING:
    from jax2onnx.plugin.opening import Opened

__all__ = ["Elsewhere", "in_memory", "opened_weights", "require_weights", "with_arrays", "with_small", "without_key"]

_SMALL = 2**20
"""Bytes of an array that is read if Python code needs its value."""
_LISTED = 6


def opened_weights(weights: Any, hook: Any) -> Source | None:
    """Return what the user gives as ``weights=``, opened; None if they give nothing."""
    return None if weights is None else open_source(weights, lambda path: hook.jax2onnx_open_weights(path=path))


class Elsewhere:
    """Finds the arrays of parameters that are not in memory.

    Args:
        weights: where they are, as the user says it; None if they do not.
        names: what they are called there.
        hook: the plugins' hook relay.
    """

    def __init__(self, weights: Any, names: Rename | None, hook: Any) -> None:
        self._names = names
        self._params: Collection[str] = ()
        self.source = opened_weights(weights, hook)

    def arrays(self, params: Mapping[str, Any]) -> dict[str, StoredArray]:
        """Return the arrays of those parameters that are not in memory; they are not read.

        With a source these are the abstract ones, or if there is none all of them.

        Raises:
            InputSpecError: the source does not have one of them.
        """
        self._params = params.keys()
        found = {name: _mapped(array) for name, array in params.items() if _is_mapped(array)}
        abstract = {name: array for name, array in params.items() if isinstance(array, jax.ShapeDtypeStruct)}
        if self.source is None:
            return found | {name: _unknown(name, array) for name, array in abstract.items()}
        keys = {name: array for name, array in abstract.items() if is_key(array)}
        found |= {name: _unknown(name, array) for name, array in keys.items()}
        chosen = {name: array for name, array in (abstract or params).items() if name not in keys}
        wanted = {name: _wanted(array) for name, array in chosen.items()}
        return found | find_arrays(wanted, self.source, self._names)

    def unused(self) -> str:
        """Return a warning of arrays that no parameter takes, and of names for no parameter; empty if there is none."""
        if self.source is None:
            return ""
        told = []
        left = [name for name in self.source.arrays or () if name not in self.source.used]
        if left:
            listed = ", ".join(map(repr, left[:_LISTED])) + (
                f" and {len(left) - _LISTED} more" if left[_LISTED:] else ""
            )
            arrays = "1 array of {} is" if len(left) == 1 else f"{len(left)} arrays of {{}} are"
            told.append(f"weights: {arrays.format(self.source.what)} no parameter of the callable: {listed}")
        names = self._names if isinstance(self._names, Mapping) else {}
        told += [
            f"weight_names: no parameter is called {name!r}; {nearest(name, self._params)}"
            for name in names
            if name not in self._params
        ]
        return "\n".join(told)


def require_weights(params: Mapping[str, Any]) -> None:
    """Raise InputSpecError if a parameter is abstract, as nobody says where its array is."""
    abstract = [name for name, array in params.items() if isinstance(array, jax.ShapeDtypeStruct) and not is_key(array)]
    if abstract:
        raise _without_weights(abstract)


def without_key(name: str) -> InputSpecError:
    """Return the error for a random key that is abstract, and on which a result depends."""
    return InputSpecError(
        f"weights: the random key {name!r} is abstract, and results depend on it; "
        "give the module a key that has a value, or export its inference behaviour"
    )


def _without_weights(names: list[str]) -> InputSpecError:
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if names[_LISTED:] else "")
    return InputSpecError(
        f"weights: {counted(len(names), 'abstract parameter')} ({listed}), and nothing says where their arrays are; "
        "pass weights='model.safetensors', a checkpoint, a mapping or a callable"
    )


def _unknown(name: str, array: Any) -> StoredArray:
    def read() -> np.ndarray[Any, Any]:
        raise _without_weights([name])

    held = form(jax.typeof(canonical(array)))
    return StoredArray(shape=tuple(held.shape), dtype=held.dtype, read=read, is_there=False)


def _wanted(array: Any) -> Wanted:
    aval = jax.typeof(canonical(array))
    return Wanted(tuple(aval.shape), aval.dtype)


def _is_mapped(array: Any) -> bool:
    """Return whether an array is mapped from a file, so that it takes no memory if nobody copies it."""
    base = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return bool(array.dtype.isnative)
        base = base.base
    return False


def _mapped(array: np.ndarray[Any, Any]) -> StoredArray:
    known = stored(array)
    return known if known.place is None else replace(known, place=replace(known.place, is_given=False))


def with_small(params: Mapping[str, Any], elsewhere: Mapping[str, StoredArray]) -> dict[str, Any]:
    """Return the parameters with the arrays of small abstract ones, for Python code that needs their values."""
    arrays = dict(params)
    for name, array in params.items():
        source = elsewhere.get(name)
        if source is None or not isinstance(array, jax.ShapeDtypeStruct):
            continue
        if source.is_there and source.nbytes <= _SMALL:
            arrays[name] = source.read().astype(canonical(array).dtype)
    return arrays


def in_memory(params: Mapping[str, Any], elsewhere: Mapping[str, StoredArray]) -> dict[str, Any]:
    """Return the parameters with all arrays read that are somewhere else."""
    read: dict[str, Any] = {}
    for name, source in elsewhere.items():
        if is_key(params[name]):  # one on which no result depends, or there is no model
            words = jax.numpy.zeros(source.shape, source.dtype)
            read[name] = jax.random.wrap_key_data(words, impl=key_implementation(params[name].dtype).name)
        else:
            read[name] = source.read().astype(canonical(params[name]).dtype)
    return {name: read.get(name, array) for name, array in params.items()}


def with_arrays(opened: Opened, weights: Any, names: Rename | None, hook: Any) -> Opened:
    """Return what was opened with arrays in the places of abstract parameters, for JAX to compute with."""
    elsewhere = Elsewhere(weights, names, hook)
    every = {**opened.params, **opened.state}
    if weights is None:
        require_weights(every)
        return opened
    arrays = in_memory(every, elsewhere.arrays(every))
    arrays = {name: array if is_key(array) else jax.numpy.asarray(array) for name, array in arrays.items()}
    params = {name: arrays[name] for name in opened.params}
    state = {name: arrays[name] for name in opened.state}
    return replace(opened, params=params, state=state)
