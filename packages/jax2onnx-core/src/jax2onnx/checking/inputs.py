"""Draw inputs on which an exported model and JAX are compared, and nudge them.

There are four kinds of batches: ``ordinary`` numbers, ``moderate`` ones (as far as exponentials go: -90 to 90),
``large`` ones (wide magnitudes, ties of rounding, the bounds of the integers) and ``special`` ones (NaN, infinities,
both zeros).
Subnormal numbers are not drawn: JAX flushes them to zero on the CPU, onnxruntime does not. Rank-0 integers stay small,
because they are often the bounds of loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from jax2onnx._accepted import nearest
from jax2onnx._compat import key_implementation
from jax2onnx.checking.sizes import Assignment, Sizes, assignments, concrete
from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KINDS", "LARGEST_EXACT", "Batch", "draw", "finfo", "iinfo", "nudge"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]
Shape = tuple[int, ...]

KINDS = ("ordinary", "moderate", "large", "special")
"""Kinds of batches that can be drawn."""

_SPECIAL_FLOATS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0)
_TIES = (0.5, -0.5, 2.5, -1.5)
_SPECIAL_INTEGERS = (-1, -2, 0, 1, 2)
_LARGE_SCALARS = (-1, 0, 100)

_MODERATE = 90.0
"""Moderate numbers go up to here, or as far as the exponential has a value in the dtype."""

LARGEST_EXACT = 1024
"""Multiples of one half up to here may be meant exactly."""

_DIRECTIONS = {0: 1.0, 1: -1.0}
"""Index of a nudge -> the direction that all numbers move in."""

finfo: Any = ml_dtypes.finfo
"""Returns the limits of a dtype of floats, numpy's or ml_dtypes' own."""
iinfo: Any = ml_dtypes.iinfo
"""Returns the limits of a dtype of integers, likewise."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Concrete inputs.

    Attributes:
        kind: ``given``, or one of :data:`KINDS`.
        sizes: the size of each symbol.
        arrays: one array per flattened input.
    """

    kind: str
    sizes: Assignment
    arrays: tuple[Any, ...]

    def __str__(self) -> str:
        text = f"{self.kind} inputs"
        if self.sizes:
            sizes = [f"{name}={size}" for name, size in self.sizes.items()]
            text += " at " + ", ".join(sizes)
        return text


def draw(
    avals: Sequence[Any],
    sizes: Sizes | None = None,
    *,
    constraints: Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> list[Batch]:
    """Return batches of inputs: the first kind (ordinary ones) at each size, the others at the last size.

    Args:
        avals: shape (ints or symbolic dims) and dtype of each input.
        sizes: sizes that every symbol takes in turn, or mappings from symbol to size; default ``(1, 3, 7)``.
        constraints: what must hold between symbols, as ``to_onnx`` takes it.
        kinds: which of :data:`KINDS` to draw.
        seed: the same seed draws the same inputs.
    """
    known = set(KINDS)
    if not kinds or not known.issuperset(kinds):
        listed = ", ".join(KINDS)
        wrong = [kind for kind in kinds if kind not in known]
        hint = nearest(wrong[0], KINDS) if wrong else "name one"
        raise InputSpecError(f"kinds: expected some of {listed}, got {list(kinds)!r}; {hint}")
    rng = np.random.default_rng(seed)
    first, *others = [_Source(kind, rng) for kind in kinds]
    tried = assignments(avals, sizes, constraints)
    last = tried[-1]
    batches = [first.batch(avals, assignment) for assignment in tried]
    batches += [other.batch(avals, last) for other in others]
    return batches


_MOST_ELEMENTS = 2**31
"""How many elements are drawn for an input."""
_MOST_DIMS = 64
"""How many dims an array of numpy has at most."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Draws arrays of one kind."""

    kind: str
    rng: np.random.Generator

    def batch(
        self,
        avals: Sequence[Any],
        sizes: Assignment,
    ) -> Batch:
        arrays = []
        for aval in avals:
            shape = concrete(aval.shape, sizes)
            if math.prod(shape) > _MOST_ELEMENTS:
                raise InputSpecError(
                    f"inputs: the shape {shape} has more than {_MOST_ELEMENTS} elements, too many to draw; "
                    "pass values= with arrays of your own, or sizes= with smaller sizes"
                )
            if len(shape) > _MOST_DIMS:
                raise InputSpecError(
                    f"inputs: a shape has {len(shape)} dims, and arrays of numpy have up to {_MOST_DIMS}: such a model "
                    "cannot be compared; write fewer dims"
                )
            array = self._array(aval.dtype, shape)
            arrays.append(array)
        return Batch(self.kind, sizes, tuple(arrays))

    def _array(self, dtype: Any, shape: Shape) -> Any:
        if jnp.issubdtype(dtype, jax.dtypes.extended):
            return self._keys(dtype, shape)
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            return self.rng.random(shape) < 0.5
        if jnp.issubdtype(dtype, np.integer):
            return self._integers(dtype, shape)
        if jnp.issubdtype(dtype, np.complexfloating):
            return self._complex(dtype, shape)
        return self._floats(dtype, shape)

    def _keys(self, dtype: Any, shape: Shape) -> Any:
        """Return random keys of JAX."""
        implementation = key_implementation(dtype)
        seed = int(self.rng.integers(2**31))
        key = jax.random.key(seed, impl=implementation.name)
        if shape:
            return jax.random.split(key, shape)
        return key

    def _integers(self, dtype: DType, shape: Shape) -> Array:
        """Return digits; the large ones include the bounds of the dtype, the special ones small negative numbers."""
        limits = iinfo(dtype)
        low = int(limits.min)
        high = int(limits.max)
        largest = min(9, high)
        digits = self.rng.integers(0, largest + 1, shape)
        edges: tuple[int, ...]
        if self.kind == "special":
            edges = _SPECIAL_INTEGERS
        elif self.kind in {"ordinary", "moderate"}:
            edges = ()
        elif not shape:
            edges = _LARGE_SCALARS
        else:
            edges = (low, high, low + 1, high - 1, -1, 0, 1)
        possible = [edge for edge in edges if low <= edge <= high]
        return self._mix(digits.astype(dtype), possible)

    def _complex(self, dtype: DType, shape: Shape) -> Array:
        """Return complex numbers whose imaginary parts are ordinary."""
        pattern = np.empty(0, dtype)
        part = pattern.real.dtype
        real = self._floats(part, shape)
        ordinary = _Source("ordinary", self.rng)
        imaginary = ordinary._floats(part, shape)
        array: Array = real + 1j * imaginary
        return array.astype(dtype)

    def _floats(self, dtype: DType, shape: Shape) -> Array:
        """Return normally distributed numbers; the large ones are multiplied by powers of 10, at most by ``10**6``.

        The moderate ones are spread evenly.
        """
        limits = finfo(dtype)
        tiny = float(limits.tiny)
        values = self._moderate(limits, shape) if self.kind == "moderate" else self.rng.standard_normal(shape)
        if self.kind == "large":
            exponent = np.log10(float(limits.max))
            widest = min(6.0, float(exponent) / 2)
            exponents = self.rng.uniform(-widest, widest, shape)
            values = values * 10.0**exponents
        subnormal = np.abs(values) < tiny
        values = np.where(subnormal, 0, values)
        array = values.astype(dtype)
        if self.kind == "special":
            return self._mix(array, _SPECIAL_FLOATS)
        if self.kind == "large" and array.size > len(_TIES):
            return self._mix(array, _TIES)
        return array

    def _moderate(self, limits: Any, shape: Shape) -> Array:
        """Return numbers of each part of the range in which exponentials neither overflow nor vanish; one is negative.

        Sigmoids and tails of distributions are small there, and logarithms and quotients of them are not.
        """
        count = math.prod(shape)
        bound = min(_MODERATE, float(np.log(float(limits.max))))
        places = (self.rng.permutation(count) + self.rng.random(count)) / max(count, 1)
        width = 2 * bound if count > 1 else bound
        return np.asarray(places * width - bound).reshape(shape)

    def _mix(self, array: Array, edges: Sequence[float]) -> Array:
        """Put each of the edge values somewhere: into at most half of the elements, if there are more than a few."""
        if not edges or not array.size:
            return array
        flat = array.reshape(-1).copy()
        most = max(1, flat.size // 2)
        count = min(len(edges), most)
        places = self.rng.permutation(flat.size)
        values = self.rng.permutation(np.asarray(edges, object))
        chosen = np.asarray(values[:count].tolist(), array.dtype)
        flat[places[:count]] = chosen
        return flat.reshape(array.shape)


# -- nudging ---------------------------------------------------------------------------------------------------------


def nudge(arrays: Sequence[Any], index: int) -> list[Any]:
    """Return the arrays with every float changed by two units of its last place.

    Multiples of one half (up to 1024) stay as they are: poles, ties and bounds lie there.

    Args:
        arrays: inputs or parameters.
        index: 0 moves all numbers away from zero, 1 towards it, any other each at random.
    """
    rng = np.random.default_rng(index)
    return [_nudge_array(array, index, rng) for array in arrays]


def _nudge_array(
    array: Any,
    index: int,
    rng: np.random.Generator,
) -> Any:
    """Nudge an array of floats or complex numbers; return any other as it is."""
    if not jnp.issubdtype(array.dtype, np.inexact):
        return array
    numbers = np.asarray(array)
    if not np.iscomplexobj(numbers):
        return _nudge_floats(numbers, index, rng)
    result = np.empty_like(numbers)
    result.real = _nudge_floats(numbers.real, index, rng)
    result.imag = _nudge_floats(numbers.imag, index, rng)
    return result


def _nudge_floats(
    array: Array,
    index: int,
    rng: np.random.Generator,
) -> Array:
    wide = array.astype(np.float64)
    directions: Any = _DIRECTIONS.get(index)
    if directions is None:
        directions = np.sign(rng.standard_normal(wide.shape))
    limits = finfo(array.dtype)
    step = 2 * float(limits.eps)
    with np.errstate(invalid="ignore", over="ignore"):
        half_integer = np.floor(2 * wide) == 2 * wide
        exact = half_integer & (np.abs(wide) <= LARGEST_EXACT)
        factor = 1 + step * directions
        moved = np.where(exact, wide, wide * factor)
        return moved.astype(array.dtype)
