"""Draw inputs on which an exported model and JAX are compared.

Three kinds of batches: ``ordinary`` numbers, ``large`` ones (wide magnitudes, the bounds of the integers) and
``special`` ones (NaN, infinities, both zeros). Subnormal numbers are not drawn: JAX flushes them to zero on the CPU,
onnxruntime does not. Rank-0 integers stay small, as they bound loops.
"""

from __future__ import annotations

import ast
import itertools
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np

from jax2onnx._compat import is_symbolic, key_implementation
from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Array = np.ndarray[Any, Any]

KINDS = ("ordinary", "large", "special")
"""Kinds of batches that can be drawn."""

SIZES = (1, 3, 7)
"""Sizes that symbolic dims take."""

_EXACT = 1024

_HIGHEST_SIZE = 64
"""Up to here sizes are tried until the constraints hold."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Concrete inputs.

    Attributes:
        kind: ``given``, ``ordinary``, ``large`` or ``special``.
        sizes: the size of each symbol.
        arrays: one array per flattened input.
    """

    kind: str
    sizes: Mapping[str, int]
    arrays: tuple[Any, ...]

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return f"{self.kind} inputs at {sizes}" if sizes else f"{self.kind} inputs"


def draw(
    avals: Sequence[Any],
    sizes: Sequence[int] | Sequence[Mapping[str, int]] | None = None,
    *,
    constraints: Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> list[Batch]:
    """Return batches of inputs: the first kind (ordinary ones) at each size, the others at the last size.

    Args:
        avals: shape (ints or symbolic dims) and dtype of each input.
        sizes: sizes that every symbol takes in turn, or mappings from symbol to size; default :data:`SIZES`.
        constraints: what must hold between symbols, as ``to_onnx`` takes it.
        kinds: which of :data:`KINDS` to draw.
        seed: the same seed draws the same inputs.
    """
    unknown = [k for k in kinds if k not in KINDS]
    if unknown or not kinds:
        msg = f"kinds: expected some of {', '.join(KINDS)}, got {list(kinds)!r}"
        raise InputSpecError(msg)
    rng = np.random.default_rng(seed)
    environments = assignments(avals, sizes, constraints)
    batches = [_batch(kinds[0], avals, env, rng) for env in environments]
    return batches + [_batch(kind, avals, environments[-1], rng) for kind in kinds[1:]]


def _batch(kind: str, avals: Sequence[Any], env: Mapping[str, int], rng: np.random.Generator) -> Batch:
    return Batch(kind, env, tuple(_array(kind, a.dtype, concrete(a.shape, env), rng) for a in avals))


# -- sizes -----------------------------------------------------------------------------------------------------------


def assignments(
    avals: Sequence[Any], sizes: Sequence[int] | Sequence[Mapping[str, int]] | None, constraints: Sequence[str] = ()
) -> list[dict[str, int]]:
    """Return the sizes of the symbols to try: different symbols take different sizes where they may."""
    dims = list(dict.fromkeys(str(d) for a in avals for d in a.shape if is_symbolic(d)))
    symbols = list(dict.fromkeys(s for d in dims for s in re.findall(r"[A-Za-z_]\w*(?!\w*\s*\()", d)))
    if not symbols:
        return [{}]
    tried: Sequence[int | Mapping[str, int]] = sizes or SIZES
    cycle = [size for size in tried if isinstance(size, int)]
    wanted: list[dict[str, int]] = []
    for index, size in enumerate(tried):
        if isinstance(size, int):
            wanted.append({s: cycle[(index + k) % len(cycle)] for k, s in enumerate(symbols)})
            continue
        missing = [s for s in symbols if s not in size]
        if missing:
            msg = f"sizes: {dict(size)} gives no size for {missing[0]!r}"
            raise InputSpecError(msg)
        wanted.append({s: size[s] for s in symbols})
    found = [_near(env, dims, constraints) for env in wanted]
    return [env for k, env in enumerate(found) if env not in found[:k]]


def _near(wanted: dict[str, int], dims: Sequence[str], constraints: Sequence[str]) -> dict[str, int]:
    """Return the sizes that satisfy the constraints and are nearest to the wanted ones, not below them if possible."""

    def fits(env: dict[str, int]) -> bool:
        return all(_evaluate(d, env) >= 0 for d in dims) and all(_evaluate(c, env) for c in constraints)

    for reach in (0, 8, _HIGHEST_SIZE):
        options = [[*range(s, s + reach + 1), *range(s - 1, max(0, s - reach - 1), -1)] for s in wanted.values()]
        for combination in itertools.islice(itertools.product(*options), 100_000):
            env = dict(zip(wanted, combination, strict=True))
            if fits(env):
                return env
    msg = f"sizes: none near {wanted} satisfies constraints={list(constraints)}; pass sizes=[{{'B': 4, ...}}] that do"
    raise InputSpecError(msg)


def concrete(shape: Sequence[Any], env: Mapping[str, int]) -> tuple[int, ...]:
    """Return a shape, of ints and of expressions (as dims or as text), with the symbols replaced by their sizes."""
    return tuple(_evaluate(str(d), env) if isinstance(d, str) or is_symbolic(d) else int(d) for d in shape)


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "max": max,
    "min": min,
    "non_negative": lambda x: max(x, 0),
}


def _evaluate(text: str, env: Mapping[str, int]) -> int:
    """Evaluate a dimension or a constraint, both written in JAX's grammar."""

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return env[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name](*map(value, args))
        msg = f"sizes: cannot evaluate {text!r}"
        raise InputSpecError(msg)

    return int(value(ast.parse(text.replace("^", "**"), mode="eval").body))


# -- numbers ---------------------------------------------------------------------------------------------------------


def _array(kind: str, dtype: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        key = jax.random.key(int(rng.integers(2**31)), impl=key_implementation(dtype).name)
        return jax.random.split(key, shape) if shape else key
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if jax.numpy.issubdtype(dtype, np.integer):
        return _integers(kind, dtype, shape, rng)
    if jax.numpy.issubdtype(dtype, np.complexfloating):
        part = np.empty(0, dtype).real.dtype
        return (_floats(kind, part, shape, rng) + 1j * _floats("ordinary", part, shape, rng)).astype(dtype)
    return _floats(kind, dtype, shape, rng)


def finfo(dtype: Any) -> Any:
    """Return the limits of a float dtype, ml_dtypes' included."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def _integers(kind: str, dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    low, high = int(info.min), int(info.max)
    small = rng.integers(0, min(10, high + 1), shape)
    edges: Iterable[int] = ()
    if kind == "large":
        edges = (low, high, low + 1, high - 1, -1, 0, 1) if shape else (-1, 0, 100)
    elif kind == "special":
        edges = (-1, -2, 0, 1, 2)
    return _mixed(small.astype(dtype), [e for e in edges if low <= e <= high], rng)


def _floats(kind: str, dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    info = finfo(dtype)
    values = rng.standard_normal(shape)
    if kind == "large":
        widest = min(6.0, float(np.log10(float(info.max))) / 2)
        values = values * 10.0 ** rng.uniform(-widest, widest, shape)
    array = np.where(np.abs(values) < float(info.tiny), 0, values).astype(dtype)
    return _mixed(array, (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0), rng) if kind == "special" else array


def _mixed(array: Array, edges: Sequence[Any], rng: np.random.Generator) -> Array:
    """Put each of the edge values somewhere: into at most half of the elements, if there are more than a few."""
    if not edges or not array.size:
        return array
    flat = array.reshape(-1).copy()
    count = min(len(edges), max(1, flat.size // 2))
    where = rng.permutation(flat.size)[:count]
    flat[where] = np.asarray(rng.permutation(np.asarray(edges, object))[:count].tolist(), array.dtype)
    return flat.reshape(array.shape)


def nudged(arrays: Sequence[Any], index: int) -> Iterator[Any]:
    """Yield the arrays with every float moved by two units of its last place.

    Multiples of one half (up to 1024) stay, as they may be meant exactly: poles, ties and bounds lie there.

    Args:
        arrays: inputs or parameters.
        index: 0 moves all numbers away from zero, 1 towards it, any other each at random.
    """
    rng = np.random.default_rng(index)
    for array in arrays:
        dtype = array.dtype
        if jax.numpy.issubdtype(dtype, jax.dtypes.extended) or not jax.numpy.issubdtype(dtype, np.inexact):
            yield array
            continue
        if np.issubdtype(dtype, np.complexfloating):
            parts = np.asarray(array)
            nearby = np.empty_like(parts)
            nearby.real, nearby.imag = (_moved(p, index, rng) for p in (parts.real, parts.imag))
            yield nearby
        else:
            yield _moved(np.asarray(array), index, rng)


def _moved(array: np.ndarray[Any, Any], index: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Move every number by two units of its last place, but those that may be meant exactly."""
    x = array.astype(np.float64)
    signs = 1.0 - 2 * index if index in {0, 1} else np.sign(rng.standard_normal(x.shape))
    with np.errstate(invalid="ignore", over="ignore"):
        exact = (np.floor(2 * x) == 2 * x) & (np.abs(x) <= _EXACT)
        moved: np.ndarray[Any, Any] = np.where(exact, x, x * (1 + 2 * float(finfo(array.dtype).eps) * signs))
        return moved.astype(array.dtype)
