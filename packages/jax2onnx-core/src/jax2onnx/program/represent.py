"""Represent: arrays of random keys and complex numbers as the real arrays that ONNX can hold.

Inside a program a key array is its words (``jax.random.key_data``: uint32, one trailing axis) and a complex array is
two real ones. At a border (a model's inputs, outputs and parameters, the operands of control flow and of ONNX
functions) a complex array of shape ``s`` is a real one of shape ``(*s, 2)``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jax2onnx._compat import ShapedArray, key_implementation
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.program.facts import Facts

__all__ = [
    "Complex",
    "form",
    "from_form",
    "holds_nothing",
    "is_complex",
    "is_key",
    "is_nothing",
    "is_special",
    "lacks_rule",
    "on_pairs",
    "represented",
    "rule",
]


class Complex(NamedTuple):
    """A complex array."""

    re: Any
    im: Any


def is_key(aval: Any) -> bool:
    """Return whether an abstract value is an array of random keys."""
    dtype = getattr(aval, "dtype", None)  # a token has none
    if dtype is None or isinstance(dtype, np.dtype):
        return False
    return bool(jax.numpy.issubdtype(dtype, jax.dtypes.prng_key))


def is_complex(aval: Any) -> bool:
    """Return whether an abstract value is complex."""
    dtype = getattr(aval, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.kind == "c"


def is_nothing(aval: Any) -> bool:
    """Return whether an abstract value is an array that holds nothing: of dtype float0."""
    return bool(getattr(aval, "dtype", None) == jax.dtypes.float0)


def holds_nothing(eqn: Any) -> bool:
    """Return whether all results of an equation are arrays that hold nothing."""
    return bool(eqn.outvars) and all(is_nothing(v.aval) for v in eqn.outvars)


def is_special(eqn: Any) -> bool:
    """Return whether an equation of a jaxpr takes or returns keys, complex numbers or arrays that hold nothing."""
    dtypes = [getattr(atom.aval, "dtype", None) for atom in (*eqn.outvars, *eqn.invars)]
    return any(map(_is_special, dtypes))


@functools.cache
def _is_special(dtype: Any) -> bool:
    """Return whether arrays of a dtype have another form; this is asked of each value of a program."""
    if dtype is None:  # of a token
        return False
    aval = ShapedArray((), dtype)
    return is_complex(aval) or is_key(aval) or is_nothing(aval)


def form(aval: Any) -> Any:
    """Return the abstract value that stands for ``aval`` at a border."""
    if not _is_special(getattr(aval, "dtype", None)):
        return aval
    if is_nothing(aval):
        return ShapedArray(aval.shape, np.dtype(np.bool_))
    if is_complex(aval):
        part = np.empty(0, aval.dtype).real
        return ShapedArray((*aval.shape, 2), part.dtype)
    words = key_implementation(aval.dtype).key_shape
    return ShapedArray((*aval.shape, *words), np.dtype(np.uint32))


def represented(value: Any) -> np.ndarray[Any, Any]:
    """Return an array in the form that it has at a border."""
    if is_nothing(value):
        return np.zeros(np.shape(value), np.bool_)
    array = value if isinstance(value, jax.Array) else jax.numpy.asarray(value)
    if is_key(array):
        array = jax.random.key_data(array)
    held: np.ndarray[Any, Any] = np.asarray(array)
    if is_complex(held):
        held = np.stack([held.real, held.imag], -1)
    return held


def _takes_complex(eqn: Any) -> bool:
    avals = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    return any(map(is_complex, avals))


def lacks_rule(eqn: Any, facts: Facts) -> bool:
    """Return whether an equation has complex numbers and only a lowering may know what to do with them."""
    return facts.on_complex is None and _takes_complex(eqn)


def on_pairs(function: Callable[..., Any], avals: Sequence[Any]) -> Callable[..., Any]:
    """Return what a JAX function of operands of ``avals`` does, on their forms at a border."""

    def paired(*operands: Any, **params: Any) -> Any:
        whole = map(from_form, operands, avals)
        result = function(*whole, **params)
        return jax.tree_util.tree_map(_to_form, result)

    return paired


def from_form(array: jax.Array, aval: Any) -> jax.Array:
    """Return the array of ``aval`` that has a form at a border."""
    if is_complex(aval):
        return jax.lax.complex(array[..., 0], array[..., 1])
    if is_key(aval):
        return jax.random.wrap_key_data(array, impl=key_implementation(aval.dtype).name)
    return array


def _to_form(array: jax.Array) -> jax.Array:
    if not is_complex(array):
        return array
    return jax.numpy.stack([array.real, array.imag], -1)


def rule(eqn: Any, facts: Facts) -> Callable[..., Any]:
    """Return the JAX function that does an equation's work on representations.

    It takes key arrays as their words, complex arrays as :class:`Complex` and arrays that hold nothing as zeros of
    bool, and returns the same.

    Raises:
        UnsupportedCaseError: none is known.
    """
    if holds_nothing(eqn):
        return _nothing(eqn)
    if facts.on_complex is not None and _takes_complex(eqn):
        return facts.on_complex(eqn)
    if facts.on_keys is not None:
        return facts.on_keys(eqn)
    results = [v.aval for v in eqn.outvars]
    if any(map(is_key, results)):
        return _per_word(eqn)
    what = f"{eqn.primitive.name}: random keys"
    raise UnsupportedCaseError(what, remedy="compute with jax.random.key_data(keys)")


def _nothing(eqn: Any) -> Callable[..., Any]:
    """Return the function that gives what stands for results that hold nothing."""

    def zeros(*_: Any) -> Any:
        results = [jax.numpy.zeros(v.aval.shape, np.bool_) for v in eqn.outvars]
        return results if eqn.primitive.multiple_results else results[0]

    return zeros


def _per_word(eqn: Any) -> Callable[..., Any]:
    """Return the function that applies a primitive that moves elements to each word of the keys."""
    function: Callable[..., Any] = functools.partial(eqn.primitive.bind, **eqn.params)
    keys = eqn.outvars[0].aval.dtype
    axes = tuple([-1 if v.aval.dtype == keys else None for v in eqn.invars])
    for _ in key_implementation(keys).key_shape:
        function = jax.vmap(function, in_axes=axes, out_axes=-1)
    return function
