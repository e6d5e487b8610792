"""Represent: arrays of random keys and complex numbers as the real arrays that ONNX can hold.

Inside a program a key array is its words (``jax.random.key_data``: uint32, one trailing axis) and a complex array is
two real ones. At a border (a model's inputs, outputs and parameters, the operands of control flow and of ONNX
functions) a complex array of shape ``s`` is a real one of shape ``(*s, 2)``.
"""

from __future__ import annotations

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
    "concerns",
    "form",
    "is_complex",
    "is_key",
    "lacks_rule",
    "on_pairs",
    "represented",
    "rule",
]


class Complex(NamedTuple):
    """A complex array."""

    re: Any
    im: Any


_PLAIN = frozenset(map(np.dtype, ("bool", "int32", "int64", "float16", "float32", "float64")))
"""The most frequent dtypes of numbers that need no other form."""


def is_key(aval: Any) -> bool:
    """Return whether an abstract value is an array of random keys."""
    return not isinstance(aval.dtype, np.dtype) and bool(jax.numpy.issubdtype(aval.dtype, jax.dtypes.prng_key))


def is_complex(aval: Any) -> bool:
    """Return whether an abstract value is complex."""
    return isinstance(aval.dtype, np.dtype) and aval.dtype.kind == "c"


def concerns(eqn: Any) -> bool:
    """Return whether an equation of a jaxpr takes or returns keys or complex numbers."""
    avals = [a.aval for a in eqn.outvars] + [a.aval for a in eqn.invars]
    for aval in avals:
        if type(aval) is not ShapedArray or aval.dtype not in _PLAIN:
            return any(map(_special, avals))
    return False


def _special(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)  # a token has none
    return dtype is not None and (not isinstance(dtype, np.dtype) or dtype.kind == "c")


def form(aval: Any) -> Any:
    """Return the abstract value that stands for ``aval`` at a border."""
    if not _special(aval):
        return aval
    if is_key(aval):
        return ShapedArray((*aval.shape, *key_implementation(aval.dtype).key_shape), np.dtype(np.uint32))
    if is_complex(aval):
        return ShapedArray((*aval.shape, 2), np.empty(0, aval.dtype).real.dtype)
    return aval


def represented(value: Any) -> np.ndarray[Any, Any]:
    """Return an array in the form that it has at a border."""
    array = value if isinstance(value, jax.Array) else jax.numpy.asarray(value)
    if not _special(array):
        return np.asarray(array)
    if is_key(array):
        return np.asarray(jax.random.key_data(array))
    held: np.ndarray[Any, Any] = np.asarray(array)
    return np.stack([held.real, held.imag], -1) if is_complex(held) else held


def _takes_complex(eqn: Any) -> bool:
    return any(_has_complex_dtype(v.aval) for v in (*eqn.invars, *eqn.outvars))


def _has_complex_dtype(aval: Any) -> bool:
    return _special(aval) and is_complex(aval)


def lacks_rule(eqn: Any, facts: Facts) -> bool:
    """Return whether an equation has complex numbers and only a lowering may know what to do with them."""
    return facts.on_complex is None and _takes_complex(eqn)


def on_pairs(function: Callable[..., Any], avals: Sequence[Any]) -> Callable[..., Any]:
    """Return what a JAX function of operands of ``avals`` does, on their forms at a border."""

    def paired(*operands: Any, **params: Any) -> Any:
        whole = [
            jax.lax.complex(o[..., 0], o[..., 1]) if _has_complex_dtype(a) else o
            for o, a in zip(operands, avals, strict=True)
        ]
        return jax.tree_util.tree_map(_form_of, function(*whole, **params))

    return paired


def _form_of(array: jax.Array) -> jax.Array:
    return jax.numpy.stack([array.real, array.imag], -1) if is_complex(array) else array


def rule(eqn: Any, facts: Facts) -> Callable[..., Any]:
    """Return the JAX function that does an equation's work on representations.

    It takes key arrays as their words and complex arrays as :class:`Complex`, and returns the same.

    Raises:
        UnsupportedCaseError: none is known.
    """
    if facts.on_complex is not None and _takes_complex(eqn):
        return facts.on_complex(eqn)
    if facts.on_keys is not None:
        return facts.on_keys(eqn)
    if any(is_key(v.aval) for v in eqn.outvars):
        return _per_word(eqn)
    what = f"{eqn.primitive.name}: random keys"
    raise UnsupportedCaseError(what, remedy="compute with jax.random.key_data(keys)")


def _per_word(eqn: Any) -> Callable[..., Any]:
    """Return the function that applies a primitive that moves elements to each word of the keys."""
    function: Callable[..., Any] = lambda *operands: eqn.primitive.bind(*operands, **eqn.params)  # noqa: E731
    dtype = eqn.outvars[0].aval.dtype
    axes = tuple(-1 if v.aval.dtype == dtype else None for v in eqn.invars)
    for _ in key_implementation(dtype).key_shape:
        function = jax.vmap(function, in_axes=axes, out_axes=-1)
    return function
