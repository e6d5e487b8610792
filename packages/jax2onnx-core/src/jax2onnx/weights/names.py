"""Names: which array of a source each parameter is; what is missing, left over or of another shape, in one message."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx._accepted import shown
from jax2onnx.errors import InputSpecError, described_error
from jax2onnx.weights.stored import StoredArray, kind_of

if TYPE_CHECKING:
    from jax2onnx.weights.sources import Source

__all__ = ["Rename", "Wanted", "find_arrays"]

Rename: TypeAlias = Mapping[str, str] | Callable[[str], str | None]
"""Parameter -> name in the source; None, or no entry, for the default."""

_LISTED = 8
_STEP = re.compile(r"[^\[\]./'\"]+")
_WRAPPERS = frozenset({"value", "raw_value", "_value"})
"""Last steps that only say that a variable has a value."""
_COLLECTIONS = frozenset({"params", "batch_stats", "cache", "state", "model", "module", "constants"})
"""First steps that only say what kind of array it is."""

_Steps: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a parameter is.

    Attributes:
        shape: its sizes.
        dtype: its dtype.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return _spec(self.shape, self.dtype)


def find_arrays(wanted: Mapping[str, Wanted], source: Source, rename: Rename | None = None) -> dict[str, StoredArray]:
    """Return the array of each parameter; none of them is read.

    A name is the same if its steps are, whatever is between them: ``blocks.3.kernel``, ``blocks/3/kernel``,
    ``['blocks']['3']['kernel']``. First steps that all names of the source have, or that name a collection, and last
    ones such as ``value`` may be more.

    Raises:
        InputSpecError: for some parameter there is no array, or one of another shape or kind; all such are listed.
    """
    names = {name: _renamed(name, rename) for name in wanted}
    if source.arrays is None:
        return {name: source.of(key, wanted[name].shape, wanted[name].dtype) for name, key in names.items()}
    finder = _Finder(source.arrays, list(names.values()))
    found = {}
    missing = []
    misfits = []
    for name, key in names.items():
        there = finder.find(key)
        if there is None:
            missing.append(f"{name!r} {wanted[name]}{_instead(key, source.arrays)}")
            continue
        source.used.add(there)
        array = _fitting(source.arrays[there], wanted[name], there)
        if array is None:
            stored = _spec(*_facts(source.arrays[there]))
            misfits.append(f"{name!r} is {wanted[name]} in the program, {there!r} {stored} in the source")
        else:
            found[name] = array
    if missing or misfits:
        raise InputSpecError(_problems(len(wanted), missing, misfits, source))
    return found


def _problems(count: int, missing: Sequence[str], misfits: Sequence[str], source: Source) -> str:
    lines = []
    if missing:
        are = "is" if len(missing) == 1 else "are"
        lines.append(f"{len(missing)} of {count} parameters {are} not in it: {_listed(missing)}")
    if misfits:
        have = "has" if len(misfits) == 1 else "have"
        lines.append(f"{len(misfits)} of {count} {have} another shape or dtype: {_listed(misfits)}")
    assert source.arrays is not None
    left = [name for name in source.arrays if name not in source.used]
    if left:
        lines.append(
            f"{len(left)} {'array is' if len(left) == 1 else 'arrays are'} left over: {_listed(list(map(repr, left)))}"
        )
    told = "\n  ".join(lines)
    return (
        f"weights: {source.what} does not have the parameters\n  {told}\n"
        "remedy: pass weight_names={parameter: name in the source}, or a callable, or export the module that was saved"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _renamed(name: str, rename: Rename | None) -> str:
    """Return what the source calls a parameter."""
    if rename is None:
        return name
    if isinstance(rename, Mapping):
        return rename.get(name, name)
    try:
        given = rename(name)
    except (Exception, SystemExit) as error:  # the border to the user's callable
        raise InputSpecError(
            f"weight_names: the callable raises {described_error(error)} for {name!r}; it has to return a name or None"
        ) from error
    if given is not None and not isinstance(given, str):
        raise InputSpecError(f"weight_names: the callable returns {shown(given)} for {name!r}; it has to return a name")
    return name if given is None else given


def _steps(name: str) -> _Steps:
    return tuple(_STEP.findall(name))


class _Finder:
    """Finds names among those of a source."""

    def __init__(self, arrays: Mapping[str, StoredArray], names: Sequence[str]) -> None:
        self._arrays = arrays
        self._exact: dict[_Steps, list[str]] = {}
        for key in arrays:
            steps = _steps(key)
            if len(steps) > 1 and steps[-1] in _WRAPPERS:
                steps = steps[:-1]
            self._exact.setdefault(steps, []).append(key)
        self._prefix = self._common_prefix(names)

    def _common_prefix(self, names: Sequence[str]) -> _Steps:
        """Return the first steps that the source has before all of the names."""
        asked = [_steps(name) for name in names if name not in self._arrays]
        if not asked:
            return ()
        prefixes: set[_Steps] | None = None
        for steps in asked:
            ends = {
                known[: len(known) - len(steps)] for known in self._exact if known[len(known) - len(steps) :] == steps
            }
            prefixes = ends if prefixes is None else prefixes & ends
            if not prefixes:
                return ()
        # Several: nothing says which of them is meant.
        return prefixes.pop() if prefixes is not None and len(prefixes) == 1 else ()

    def find(self, name: str) -> str | None:
        """Return the name in the source; None if there is none, or several."""
        if name in self._arrays:
            return name
        steps = _steps(name)
        for prefix in ((), self._prefix):
            keys = self._exact.get((*prefix, *steps), [])
            if len(keys) == 1:
                return keys[0]
        inside = [
            key
            for known, keys in self._exact.items()
            for key in keys
            if known[len(known) - len(steps) :] == steps and _COLLECTIONS.issuperset(known[: len(known) - len(steps)])
        ]
        return inside[0] if len(inside) == 1 else None


def _instead(name: str, arrays: Mapping[str, object]) -> str:
    """Return which names of the source are like one, in words."""
    near = difflib.get_close_matches(name, arrays, 2, 0.6) if len(arrays) < 5000 else []
    return f" (nearest: {', '.join(map(repr, near))})" if near else ""


def _facts(array: StoredArray) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return array.shape, array.dtype


def _spec(shape: Sequence[int], dtype: np.dtype[Any]) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"


def _fitting(array: StoredArray, wanted: Wanted, name: str) -> StoredArray | None:
    """Return an array as one of a parameter's dtype, which a cast makes it where it is another; None if it is not."""
    if array.shape != wanted.shape:
        return None
    if array.dtype == wanted.dtype:
        return array
    if array.dtype.kind == "V" and array.dtype.itemsize == 2 and wanted.dtype.name == "bfloat16":
        # numpy has no name for bfloat16 and writes its bytes.
        return StoredArray(shape=array.shape, dtype=wanted.dtype, read=lambda: array.read().view(wanted.dtype))
    if kind_of(array.dtype) == kind_of(wanted.dtype) == "float":
        return array  # the tensor of the model is cast while it is written
    if kind_of(array.dtype) == kind_of(wanted.dtype) == "int":
        return StoredArray(shape=array.shape, dtype=wanted.dtype, read=lambda: _integers(array, wanted.dtype, name))
    return None


def _integers(array: StoredArray, dtype: np.dtype[Any], name: str) -> np.ndarray[Any, Any]:
    """Return integers in another dtype.

    Raises:
        InputSpecError: some of them are none of it.
    """
    given = array.read()
    cast: np.ndarray[Any, Any] = given.astype(dtype)
    if not np.array_equal(cast.astype(given.dtype), given):
        raise InputSpecError(
            f"weights: {name!r} has numbers that {dtype} does not hold; make the parameter {given.dtype}"
        )
    return cast
