"""Over dims: functions of JAX that take a size for an int, as they are where a size is a symbolic dimension.

JAX traces most of its functions over symbolic sizes, but some of them ask Python for a number: ``len(x)``, the number
of steps of a binary search, ``math.ceil(n / 2)``. They raise an error there, and nothing about the function itself
needs the number. While a program with symbolic dims is traced, these names of JAX's modules stand for functions that
compute with the dimension, in the thread that traces. Wherever all sizes are ints, they do what JAX's own do.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import inspect
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad

from jax2onnx._compat import (
    InconclusiveDimensionOperation,
    ShapedArray,
    is_symbolic,
    max_dim,
    min_dim,
    module_attribute,
    total_order,
)
from jax2onnx.frontend.associative import ASSOCIATIVE
from jax2onnx.frontend.basic_slices import by_axis
from jax2onnx.frontend.basic_updates import by_parts
from jax2onnx.frontend.cycles import CYCLES
from jax2onnx.frontend.empty import EMPTY
from jax2onnx.frontend.multiples import MULTIPLES
from jax2onnx.frontend.replaced import replaced
from jax2onnx.program.dims import may_be_zero

__all__ = ["sizes_may_be_symbolic"]

_Function = Callable[..., Any]


def sizes_may_be_symbolic() -> contextlib.AbstractContextManager[None]:
    """Return a context in which functions of JAX that take sizes for ints accept symbolic dims."""
    return replaced(_REPLACEMENTS)


def _is_symbolic_shape(*arrays: Any) -> bool:
    return any(is_symbolic(dim) for array in arrays for dim in np.shape(array))


def _length(value: Any) -> Any:
    """Return what ``len`` does, or the symbolic size of an array."""
    shape = getattr(value, "shape", ())
    return shape[0] if shape and is_symbolic(shape[0]) else builtins.len(value)


def _range(*bounds: Any) -> Any:
    """Return what ``range`` does, or an array of the numbers where a bound is a symbolic dimension."""
    return jnp.arange(*bounds) if any(map(is_symbolic, bounds)) else builtins.range(*bounds)


def _index(value: Any) -> Any:
    """Return what ``operator.index`` does, or a symbolic dimension as it is."""
    return value if is_symbolic(value) else operator.index(value)


_operator = types.ModuleType("operator")
vars(_operator).update(vars(operator))
vars(_operator)["index"] = _index


def _len(_: _Function | None) -> _Function:
    return _length


def _ranges(_: _Function | None) -> _Function:
    return _range


def _module_operator(_: Any) -> Any:
    return _operator


def _module_core(original: Any) -> Any:
    """Return JAX's module ``core``, of which ``concrete_or_error`` takes a symbolic dimension for a number."""
    changed = types.ModuleType("core")
    vars(changed).update(vars(original))

    def concrete_or_error(force: Any, value: Any, context: str = "") -> Any:
        return value if is_symbolic(value) else original.concrete_or_error(force, value, context)

    vars(changed)["concrete_or_error"] = concrete_or_error
    return changed


def _module_numpy(original: Any) -> Any:
    """Return numpy, of which ``empty`` makes tangents of integers for symbolic shapes too: what is zero in JAX."""
    changed = types.ModuleType("numpy")
    vars(changed).update(vars(original))

    def empty(shape: Any, dtype: Any = float, **how: Any) -> Any:
        if dtype == jax.dtypes.float0 and any(map(is_symbolic, shape)):
            return ad.Zero(ShapedArray(tuple(shape), dtype))
        return original.empty(shape, dtype, **how)

    vars(changed)["empty"] = empty
    return changed


def _squeeze(original: _Function) -> _Function:
    """Remove the axes of size 1 where it is known of each symbolic size whether it is 1."""

    @functools.wraps(original)
    def squeeze(array: Any, axis: Any = None) -> Any:
        if axis is None and _is_symbolic_shape(array):
            axis = tuple(place for place, dim in enumerate(np.shape(array)) if _is_one(dim))
        return original(array, axis)

    return squeeze


def _is_one(dim: Any) -> bool:
    """Return whether a size is 1; JAX's error, which names the constraint, if that is not known."""
    return not (dim > 1 or dim < 1)


def _search(original: _Function) -> _Function:
    """Search in an array of symbolic size by ``_bisect``; the sort and the comparisons need no number of steps."""

    @functools.wraps(original)
    def searchsorted(
        sorted_array: Any,
        query: Any,
        /,
        *,
        side: str = "left",
        dimension: int = 0,
        batch_dims: int = 0,
        method: str = "scan",
        dtype: Any = "int32",
    ) -> Any:
        options = {"side": side, "dimension": dimension, "batch_dims": batch_dims, "method": method}
        if not _is_symbolic_shape(sorted_array):
            return original(sorted_array, query, dtype=dtype, **options)
        implementation = module_attribute("jax._src.numpy.hijax", "_searchsorted_impl")
        return implementation(sorted_array, query, dtype=np.dtype(dtype), **options)

    return searchsorted


def _scan(original: _Function) -> _Function:
    @functools.wraps(original)
    def scan(sorted_array: Any, query: Any, side: str, dtype: Any, **how: Any) -> Any:
        if _is_symbolic_shape(sorted_array):
            return _bisect(sorted_array, query, side, dtype)
        return original(sorted_array, query, side=side, dtype=dtype, **how)

    return scan


def _earlier_scan(original: _Function) -> _Function:
    """Search as jax before 0.11 does."""

    @functools.wraps(original)
    def scan(is_unrolled: Any, *arguments: Any) -> Any:
        if _is_symbolic_shape(arguments[0]):
            return _bisect(*arguments)
        return original(is_unrolled, *arguments)

    return scan


def _sort(original: _Function) -> _Function:
    @functools.wraps(original)
    def sort(sorted_array: Any, query: Any, side: str, dtype: Any) -> Any:
        if not _is_symbolic_shape(sorted_array, query):
            return original(sorted_array, query, side=side, dtype=dtype)
        flat = query.ravel()
        if side == "left":
            places = _rank(jnp.concatenate([flat, sorted_array]))[: query.size]
        else:
            places = _rank(jnp.concatenate([sorted_array, flat]))[sorted_array.size :]
        return (places - _rank(flat)).reshape(query.shape).astype(dtype)

    return sort


def _rank(array: Any) -> Any:
    """Return the place of each element in the sorted vector; equal elements keep their order."""
    return jnp.argsort(jnp.argsort(array, stable=True), stable=True)


def _bisect(sorted_array: Any, query: Any, side: str, dtype: Any) -> Any:
    """Return where elements belong in a sorted array of n elements, by JAX's binary search.

    JAX's number of steps is the number of binary digits of n. The bounds are equal after that many.
    """
    (size,) = sorted_array.shape
    n = jnp.asarray(size, dtype)
    digits = np.iinfo(dtype).bits - 1
    powers = np.left_shift(np.ones((), dtype), np.arange(digits, dtype=dtype))
    steps = jnp.sum(n >= powers, dtype=jnp.int32)
    goes_left = total_order("le" if side == "left" else "lt")

    def halve(_: Any, bounds: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = bounds
        middle = low + lax.div(high - low, jnp.ones((), dtype) * 2)
        is_left = goes_left(query, sorted_array.at[middle].get(mode="clip", wrap_negative_indices=False))
        return jnp.where(is_left, low, middle), jnp.where(is_left, middle, high)

    shape = np.shape(query)
    _, found = lax.fori_loop(0, steps, halve, (jnp.zeros(shape, dtype), jnp.full(shape, n)))
    return found


def _convolve(original: _Function) -> _Function:
    """Convolve two vectors, where it is not known which of them is the longer one."""

    @functools.wraps(original)
    def convolve(x: Any, y: Any, *, mode: str, op: str, **how: Any) -> Any:
        try:
            return original(x, y, mode=mode, op=op, **how)
        except InconclusiveDimensionOperation:
            if mode not in {"full", "same", "valid"}:
                raise
        promotion = "promote_dtypes_inexact" if how.get("preferred_element_type") is None else "promote_dtypes"
        x, y = module_attribute("jax._src.numpy.util", promotion)(x, y)
        return _part_of_full(x, y, mode, op, how)

    return convolve


def _part_of_full(x: Any, y: Any, mode: str, op: str, how: Mapping[str, Any]) -> Any:
    """Return the part of the full convolution that a mode asks for.

    The full convolution of n and m elements has n + m - 1. The same one has the max(n, m) in the middle, the valid one
    those that depend on no padding. If the middle is between two elements, JAX takes the first for a convolution. For a
    correlation that depends on which array is the longer one.
    """
    n, m = x.shape[0], y.shape[0]
    image, kernel = x, jnp.conj(y) if op == "correlate" else jnp.flip(y)
    if is_symbolic(m) and not is_symbolic(n):
        # JAX takes the shorter one for the kernel; what is infinite in the other one then meets no padding.
        image, kernel = jnp.flip(kernel), jnp.flip(x)
    border = kernel.shape[0] - 1
    full = lax.conv_general_dilated(image[None, None], kernel[None, None], (1,), [(border, border)], **how)[0, 0]
    if mode == "full":
        return full
    shorter, longer = min_dim(n, m), max_dim(n, m)
    if mode == "valid":
        start, size = shorter - 1, longer - shorter + 1
    else:
        start, size = shorter - 1 - shorter // 2, longer
        if op == "correlate":
            start = jnp.where(jnp.asarray(n) < m, shorter // 2, start)
    return full.at[start + jnp.arange(size)].get(mode="clip", wrap_negative_indices=False)


def _polymul(original: _Function) -> _Function:
    """Multiply polynomials of which only the run of a model tells if they have a coefficient: one of none is 0."""

    @functools.wraps(original)
    def polymul(a1: Any, a2: Any, **how: Any) -> Any:
        return original(_with_a_coefficient(a1), _with_a_coefficient(a2), **how)

    return polymul


def _with_a_coefficient(polynomial: Any) -> Any:
    shape = np.shape(polynomial)
    if len(shape) != 1 or not is_symbolic(shape[0]) or not may_be_zero(shape[0]) or may_be_zero(shape[0] + 1):
        return polynomial
    # JAX takes a symbol to be at least 1, so ``max(1 - n, 0)`` is 0 to it; this is 1 in a model that gets none.
    missing = 1 // (shape[0] + 1)
    return jnp.concatenate([jnp.asarray(polynomial), jnp.zeros((missing,), polynomial.dtype)])


def _convolve_nd(original: _Function) -> _Function:
    """Convolve two arrays, one of which is known to be the larger one in all axes, or else raise JAX's error."""

    @functools.wraps(original)
    def convolve(in1: Any, in2: Any, mode: str, *, precision: Any) -> Any:
        if not _is_symbolic_shape(in1, in2):
            return original(in1, in2, mode, precision=precision)
        if in1.ndim != in2.ndim or mode not in {"full", "same", "valid"}:
            return original(in1, in2, mode, precision=precision)
        in1, in2 = module_attribute("jax._src.numpy.util", "promote_dtypes_inexact")(in1, in2)
        of_second = in2.shape
        if not _is_at_least(in1.shape, in2.shape):
            in1, in2 = in2, in1
        padding = [_padding(mode, *sizes) for sizes in zip(in2.shape, of_second, strict=True)]
        steps = (1,) * in1.ndim
        kernel = jnp.flip(in2)[None, None]
        return lax.conv_general_dilated(in1[None, None], kernel, steps, padding, precision=precision)[0, 0]

    return convolve


def _is_at_least(shape: Any, other: Any) -> bool:
    """Return whether one of two shapes is at least the other in all axes, not the other way round."""
    pairs = list(zip(shape, other, strict=True))
    try:
        return all(size >= smaller for size, smaller in pairs)
    except InconclusiveDimensionOperation as error:
        with contextlib.suppress(InconclusiveDimensionOperation):
            if all(size <= larger for size, larger in pairs):
                return False
        raise error from None


def _padding(mode: str, size: Any, of_second: Any) -> tuple[Any, Any]:
    """Return the padding of an axis of the larger array.

    Args:
        mode: how much of the full convolution is wanted.
        size: the size of the smaller array.
        of_second: the size of the second array.
    """
    if mode == "valid":
        return 0, 0
    if mode == "full":
        return size - 1, size - 1
    middle = (of_second - 1) // 2
    return size - 1 - middle, size - of_second + middle


def _linspace(original: _Function) -> _Function:
    """Space numbers evenly, where it is not known whether there is more than one."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def linspace(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(InconclusiveDimensionOperation):
            return original(*args, **kwargs)
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        return _any_number(**call.arguments)

    return linspace


def _any_number(start: Any, stop: Any, num: Any, **how: Any) -> Any:
    """Return what ``jnp.linspace`` does, also where ``num`` may be 0 or 1."""
    dtype = jax.dtypes.canonicalize_dtype(how["dtype"] or jnp.result_type(start, stop, float))
    inexact = dtype if jnp.issubdtype(dtype, np.inexact) else jnp.result_type(float)
    start, stop = jnp.broadcast_arrays(jnp.asarray(start, inexact), jnp.asarray(stop, inexact))
    place = jnp.arange(num).reshape(num, *(1,) * start.ndim)
    steps = jnp.asarray(num - 1 if how["endpoint"] else num, inexact)
    at_least_one = jnp.where(steps.real < 1, jnp.ones_like(steps), steps)
    step = place.astype(at_least_one.real.dtype) / at_least_one.real
    result = start * (1 - step).astype(inexact) + stop / at_least_one * place.astype(inexact)
    if how["endpoint"]:
        n = jnp.asarray(num)
        result = jnp.where(place == n - 1, jnp.where(n == 1, start, stop), result)
    if jnp.issubdtype(dtype, np.integer):
        result = jnp.floor(result)
    result = jnp.moveaxis(result, 0, how["axis"]).astype(dtype)
    if not how["retstep"]:
        return result
    return result, jnp.where(steps.real <= 0, np.nan, (stop - start) / steps)


def _interleave(original: _Function) -> _Function:
    """Put the even elements before the odd ones, which are reversed: ``0 2 4 3 1``."""

    @functools.wraps(original)
    def interleave(x: Any, axis: int) -> Any:
        size = x.shape[axis]
        if not is_symbolic(size):
            return original(x, axis)
        place = jnp.arange(size)
        return jnp.take(x, jnp.minimum(2 * place, 2 * (size - place) - 1), axis, mode="clip")

    return interleave


def _deinterleave(original: _Function) -> _Function:
    """Undo ``_interleave``."""

    @functools.wraps(original)
    def deinterleave(x: Any, axis: int) -> Any:
        size = x.shape[axis]
        if not is_symbolic(size):
            return original(x, axis)
        place = jnp.arange(size)
        half = place // 2
        return jnp.take(x, jnp.where(place % 2 == 0, half, size - 1 - half), axis, mode="clip")

    return deinterleave


def _is_known_to_exceed(dim: Any, number: int) -> bool:
    try:
        return bool(dim > number)
    except InconclusiveDimensionOperation:
        return False


def _pad_wrap(original: _Function) -> _Function:
    """``jnp.pad`` with ``mode="wrap"`` counts how often the array fits into the padding; each place is a remainder."""

    @functools.wraps(original)
    def pad(array: Any, pad_width: Any) -> Any:
        for axis, (before, after) in enumerate(pad_width):
            widths = [(0, 0)] * array.ndim
            size = array.shape[axis]
            if not is_symbolic(size) or _is_known_to_exceed(size, max(before, after)):
                widths[axis] = (before, after)
                array = original(array, tuple(widths))
            elif (before, after) != (0, 0):
                places = lax.rem(jnp.arange(before + size + after) + (-before) % size, size)
                array = jnp.take(array, places, axis=axis)
        return array

    return pad


_NUMPY = "jax._src.numpy."
_SCIPY = "jax._src.scipy."
_REPLACEMENTS: Mapping[tuple[str, str], _Function] = {
    **MULTIPLES,
    **ASSOCIATIVE,
    **EMPTY,
    **CYCLES,
    (f"{_NUMPY}indexing", "rewriting_take"): by_axis,
    ("jax._src.ops.scatter", "_scatter_update"): by_parts,
    (f"{_NUMPY}lax_numpy", "_pad_wrap"): _pad_wrap,
    **{(_NUMPY + name, "len"): _len for name in ("lax_numpy", "polynomial", "linalg", "setops", "hijax", "indexing")},
    (_SCIPY + "signal", "len"): _len,
    (_SCIPY + "stats._core", "len"): _len,
    ("jax._src.nn.functions", "range"): _ranges,
    (_NUMPY + "window_functions", "core"): _module_core,
    (_NUMPY + "array_creation", "_linspace"): _linspace,
    (_NUMPY + "array_creation", "operator"): _module_operator,
    (_NUMPY + "fft", "operator"): _module_operator,
    (_NUMPY + "setops", "operator"): _module_operator,
    (_NUMPY + "lax_numpy", "operator"): _module_operator,
    ("jax._src.lax.convolution", "operator"): _module_operator,
    (_NUMPY + "lax_numpy", "_squeeze"): _squeeze,
    (_NUMPY + "lax_numpy", "_conv"): _convolve,
    (_NUMPY + "polynomial", "polymul"): _polymul,
    ("jax.numpy", "polymul"): _polymul,
    (_NUMPY + "lax_numpy", "_searchsorted_via_scan"): _earlier_scan,
    (_NUMPY + "hijax", "np"): _module_numpy,
    (_NUMPY + "hijax", "searchsorted"): _search,
    (_NUMPY + "hijax", "searchsorted_via_expand"): _search,  # jax 0.10
    (_NUMPY + "hijax", "_searchsorted_scan_impl"): _scan,
    (_NUMPY + "hijax", "_searchsorted_sort_impl"): _sort,
    (_SCIPY + "signal", "_convolve_nd"): _convolve_nd,
    (_SCIPY + "fft", "_dct_interleave"): _interleave,
    (_SCIPY + "fft", "_dct_deinterleave"): _deinterleave,
}
"""(module, name) -> what makes the replacement of the original."""
