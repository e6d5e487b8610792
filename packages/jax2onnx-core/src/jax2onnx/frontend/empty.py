"""Empty: functions of JAX that look whether an array is empty, where only the run of a model tells.

JAX traces with the assumption that a symbolic size is at least 1. A function that treats an empty array in a way of
its own (``jnp.unique`` fills, ``jnp.histogram`` takes another range) is traced for size 0 too, with arrays of that
size, and the model chooses between both by the size that it gets.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic, where_zero
from jax2onnx.program.dims import may_be_zero

__all__ = ["EMPTY"]

_Function: TypeAlias = Callable[..., Any]
_Call: TypeAlias = Callable[[Sequence[Any]], Any]
"""Calls a function with these arrays; its other arguments are known."""


class _Here(threading.local):
    """What holds in this thread.

    Attributes:
        choosing: whether a function that is called by another one is traced, which has chosen for it.
    """

    choosing = False


_here = _Here()


@contextlib.contextmanager
def _choosing() -> Iterator[None]:
    _here.choosing = True
    try:
        yield
    finally:
        _here.choosing = False


def _replacement(original: _Function, *, with_: str = "", without: str = "") -> _Function:
    """Return a function that chooses between ``original`` for empty arrays and for others.

    Args:
        original: the function.
        with_: an argument without which there is nothing to choose.
        without: an argument with which there is nothing to choose.
    """
    signature = inspect.signature(original)

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
        places = [place for place, leaf in enumerate(leaves) if _unknown_dims([leaf])]
        if _here.choosing or not places:
            return original(*args, **kwargs)
        given = {name for name, value in signature.bind(*args, **kwargs).arguments.items() if value is not None}
        if (with_ and with_ not in given) or without in given:
            return original(*args, **kwargs)

        def call(arrays: Sequence[Any]) -> Any:
            whole = [*leaves]
            for place, array in zip(places, arrays, strict=True):
                whole[place] = array
            args, kwargs = jax.tree_util.tree_unflatten(tree, whole)
            return original(*args, **kwargs)

        arrays = [leaves[place] for place in places]
        with _choosing():
            return _chosen(call, arrays, _unknown_dims(arrays))

    return function


def _unknown_dims(values: Sequence[Any]) -> list[Any]:
    """Return the distinct symbolic sizes of arrays that may be 0."""
    dims = [dim for value in values if isinstance(value, jax.Array) for dim in value.shape]
    return list(dict.fromkeys(dim for dim in dims if is_symbolic(dim) and may_be_zero(dim)))


def _chosen(call: _Call, arrays: Sequence[Any], dims: Sequence[Any]) -> Any:
    """Return the results of a call, chosen by whether each of the dims is 0."""
    if not dims:
        return call(arrays)
    dim, *rest = dims
    without = functools.partial(_with_none, call, dim)
    expected = jax.eval_shape(lambda *arrays: call(arrays), *arrays)
    try:
        found = jax.eval_shape(lambda *arrays: without(arrays), *arrays)
    except (ValueError, TypeError, IndexError, ZeroDivisionError):
        # JAX has no result for an empty array.
        return _chosen(call, arrays, rest)
    if not _fits(found, expected, dim):
        return _chosen(call, arrays, rest)

    def if_empty(*arrays: Any) -> Any:
        result = _chosen(without, arrays, rest)
        return jax.tree_util.tree_map(_as_expected, result, expected)

    def otherwise(*arrays: Any) -> Any:
        return _chosen(call, arrays, rest)

    return lax.cond(jnp.asarray(dim) == 0, if_empty, otherwise, *arrays)


def _with_none(call: _Call, dim: Any, arrays: Sequence[Any]) -> Any:
    """Call with the arrays that have no elements if a dim is 0."""
    return call([_emptied(array, dim) for array in arrays])


def _emptied(array: Any, dim: Any) -> Any:
    shape = _shape_where_zero(array.shape, dim)
    return jnp.zeros(shape, array.dtype) if shape != array.shape and 0 in shape else array


def _shape_where_zero(shape: Sequence[Any], dim: Any) -> tuple[Any, ...]:
    sizes = [where_zero(size, dim) for size in shape]
    return tuple(sizes)


def _fits(found: Any, expected: Any, dim: Any) -> bool:
    """Return whether results for size 0 have the shapes that the others have if the dim is 0.

    Of those that are empty, as the counts of ``jnp.unique`` are whatever ``size`` says, zeros are made.
    """
    ours, theirs = jax.tree_util.tree_leaves(found), jax.tree_util.tree_leaves(expected)
    if len(ours) != len(theirs) or all(0 in aval.shape for aval in ours):
        return [aval.shape for aval in ours] == [_shape_where_zero(aval.shape, dim) for aval in theirs]
    pairs = zip(ours, theirs, strict=True)
    return all(our.shape == _shape_where_zero(their.shape, dim) or _is_left_empty(our, their) for our, their in pairs)


def _is_left_empty(found: Any, expected: Any) -> bool:
    """Return whether a result for size 0 has no elements where the others have a known number."""
    return len(found.shape) == len(expected.shape) and 0 in found.shape and not any(map(is_symbolic, expected.shape))


def _as_expected(array: Any, expected: Any) -> Any:
    """Return a result for size 0 with the shape and dtype of the others."""
    if 0 in array.shape and array.shape != expected.shape:
        return jnp.zeros(expected.shape, expected.dtype)
    for axis, (size, wanted) in enumerate(zip(array.shape, expected.shape, strict=True)):
        if size != wanted:  # such as 2 for N + 2
            array = jnp.take(array, jnp.arange(wanted), axis, mode="clip")
    return array.astype(expected.dtype)


def _array_equal(original: _Function) -> _Function:
    """Compare arrays of which only the run of a model tells if their shapes are equal; JAX says that they differ."""

    @functools.wraps(original)
    def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:  # noqa: FBT001, FBT002 - JAX's own signature
        a1, a2 = jnp.asarray(a1), jnp.asarray(a2)
        pairs = list(enumerate(zip(a1.shape, a2.shape, strict=False)))
        unknown = [(axis, size, other) for axis, (size, other) in pairs if _may_be_equal(size, other)]
        if a1.ndim != a2.ndim or not unknown or any(_differ(size, other) for _, (size, other) in pairs):
            return original(a1, a2, equal_nan)

        def are_equal(a1: Any, a2: Any) -> Any:
            for axis, size, _ in unknown:
                a2 = jnp.take(a2, jnp.arange(size), axis, mode="clip")
            return original(a1, a2, equal_nan)

        have_one_shape = jnp.all(jnp.stack([jnp.asarray(size) == jnp.asarray(other) for _, size, other in unknown]))
        return lax.cond(have_one_shape, are_equal, lambda *_: jnp.zeros((), bool), a1, a2)

    return array_equal


def _may_be_equal(size: Any, other: Any) -> bool:
    """Return whether it is not known if two sizes are equal."""
    return size != other and not _differ(size, other)


def _differ(size: Any, other: Any) -> bool:
    """Return whether two sizes are known to differ."""
    try:
        return bool(size > other or size < other)
    except InconclusiveDimensionOperation:
        return False


_FILLED = functools.partial(_replacement, with_="fill_value")
_WITHOUT_RANGE = functools.partial(_replacement, without="range")
_FUNCTIONS: Mapping[str, Mapping[str, Callable[[_Function], _Function]]] = {
    "lax_numpy": {
        **dict.fromkeys(("argwhere", "flatnonzero", "nonzero"), _FILLED),
        **dict.fromkeys(("histogram", "histogram2d", "histogram_bin_edges", "histogramdd"), _WITHOUT_RANGE),
        **dict.fromkeys(("corrcoef", "cov", "digitize"), _replacement),
        "array_equal": _array_equal,
        "_pad_stats": _replacement,
    },
    "indexing": dict.fromkeys(("place", "put"), _replacement),
    "setops": dict.fromkeys(
        (
            "intersect1d", "setdiff1d", "setxor1d", "union1d", "unique", "unique_all", "unique_counts",
            "unique_inverse", "unique_values",
        ),
        _replacement,
    ),
    "reductions": dict.fromkeys(("nanmedian", "nanpercentile", "nanquantile"), _replacement),
}  # fmt: skip
"""Module of ``jax._src.numpy`` -> function -> what makes its replacement."""

_SCIPY = (("jax._src.scipy", "._core"), ("jax.scipy", ""))

EMPTY: Mapping[tuple[str, str], Callable[[_Function], _Function]] = {
    **{(f"jax._src.numpy.{module}", name): make for module, all_ in _FUNCTIONS.items() for name, make in all_.items()},
    **{("jax.numpy", name): make for all_ in _FUNCTIONS.values() for name, make in all_.items()},
    **{(f"{package}.stats{core}", name): _replacement for package, core in _SCIPY for name in ("mode", "rankdata")},
    **{(f"{package}.linalg", name): _replacement for package, _ in _SCIPY for name in ("hankel", "toeplitz")},
}
"""(module, name) -> what makes the replacement of the original."""
