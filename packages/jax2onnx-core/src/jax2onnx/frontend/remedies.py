"""Remedies: what a user can do where JAX cannot trace a program, or cannot compare symbolic dimensions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import jax

from jax2onnx._compat import is_symbolic

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["comparison_remedy", "first_line", "symbolic_dims_remedy", "tracing_remedy"]

_COMPARISON = re.compile(r"'(?P<left>[^']*)' (?P<operator>[<>]=?|==) '(?P<right>[^']*)'")
_REMAINDER = re.compile(r"mod\((?P<dim>[^,]+), (?:- )?(?P<divisor>\d+)\)")
_REMAINDER_OF_HALF = re.compile(r"evenly.*floordiv\((?P<dim>[^(),]+), (?P<divisor>\d+)\)")
_REMAINDER_BY_DIM = re.compile(r"mod\([^,()]+, (?:- )?(?:(?P<factor>\d+)\*)?(?P<divisor>[^,()]+)\)")
_OF_NUMBER_BY_DIM = re.compile(r"(?:mod|floordiv)\((?P<number>\d+), (?P<dim>[^(),]+)\)")
_PADDING = re.compile(r"axis size \(= (?P<dim>[^()]+)\) .* padding length \(= (?P<padding>\d+)\)")
_CLIPPED = re.compile(r"(?:min\(|max\(0, )(?P<dim>[A-Za-z_]\w*(?: - \d+)?)(?:,| -) (?P<number>\d+)\)")
"""The sizes of ``x[:4]`` and ``x[-4:]``: ``min(N, 4)`` and ``N - max(0, N - 4)``."""
_UNEQUAL_SHAPES = re.compile(
    r"(?:ncompatible (?:shapes|types) for \w+: (?:shapes=\[)?|the same shape\W+[Gg]ot |for shapes )(?P<shapes>.*[)\]])"
)
_CONCATENATED = re.compile(r"concatenating along dimension (\d+)")
_CONTRACTED = re.compile(
    r"lhs.shape=\((?P<l>.*)\) lhs_names=(?P<l_names>\w+) rhs.shape=\((?P<r>.*)\) rhs_names=(?P<r_names>\w+)"
)
_MAPPED_SIZE = re.compile(r"had size ([^:\n]+):")
_SHAPE = re.compile(r"\(((?:[^()]|\([^()]*\))*)\)")
_COMMA = re.compile(r",\s*(?![^()]*\))")
_REPEATED_LIST = re.compile(r"unsupported operand type\(s\) for \*: .*'list'")
_AS_LOOP = (
    "Python cannot iterate over an axis of a symbolic size; use jax.vmap, jax.lax.map or jax.lax.scan over it, "
    "or give the dimension as an int"
)
_AS_NUMBER = (
    "compute with the dimension as it is (jnp.arange(x.shape[0]) works), use jax.vmap or jax.lax.map for a Python loop "
    "over it, or give it as an int"
)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n", 1)[0]


def tracing_remedy(error: BaseException) -> str:
    """Return what to do where JAX cannot trace a program."""
    message = str(error)
    is_mask = isinstance(error, jax.errors.NonConcreteBooleanIndexError)
    if is_mask or "nonzero" in message or "`size`" in message:
        return "the result's shape depends on data; use jnp.where(mask, x, fill), or pass size= where it is taken"
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "a traced value met numpy; use the jax.numpy function instead"
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "a Python if/while/and/or needs a concrete value; use jnp.where, jax.lax.cond or jax.lax.while_loop"
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return "a traced value was stored outside the function (a module that changes its state?); return it instead"
    if isinstance(error, NotImplementedError):
        return "JAX itself does not offer this; where it is about a dimension, give that as an int"
    return "make the value static (functools.partial, or a closure over a Python value), or compute it with jax.numpy"


def comparison_remedy(error: BaseException) -> str:
    """Return the constraints that would decide a comparison of dims, in the grammar of ``jax.export`` (>=, <=, ==)."""
    message, _, _ = str(error).partition("Using symbolic scope")  # behind it are the constraints that hold
    small = _OF_NUMBER_BY_DIM.search(message)
    if small is not None and "evenly" not in message:
        return _at_least(small["dim"], int(small["number"]) + 1)
    comparison = _COMPARISON.search(message)
    if comparison is not None:
        return _deciding_constraints(*comparison.groups())
    remainder = _REMAINDER.search(message) or _REMAINDER_OF_HALF.search(message)
    if remainder is not None:
        dim, divisor = remainder.groups()
        return (
            f"pass constraints=['mod({dim}, {divisor}) == 0'] if that always holds, "
            f"or write the dimension as '{divisor}*n' in the spec, or give it as an int"
        )
    by_dim = _REMAINDER_BY_DIM.search(message)
    if by_dim is not None:
        if by_dim["factor"]:
            return f"write the dimension in the spec as a multiple, '{by_dim['factor']}*n', so that {by_dim[0]} is 0"
        return f"give {by_dim['divisor']} as an int, since {by_dim[0]} has to be 0"
    if "requires a constant" in message:
        return _AS_NUMBER
    return "pass constraints=[...] that decide it, or give the dimension as an int"


def symbolic_dims_remedy(error: BaseException) -> str | None:
    """Return what to do where an error of JAX that is no failed comparison is about symbolic dims, else None."""
    message = first_line(error)
    if "_DimExpr" in message or "sequence of integers" in message or _is_key(error):
        return _AS_NUMBER
    if "process_primitive" in message:  # of the trace that is not there when JAX counts the elements
        return _AS_LOOP
    if _REPEATED_LIST.search(message):
        return "a Python list has an int as its length; use jax.numpy, or give the dimension as an int"
    if "rest is mod(" in message:
        return comparison_remedy(error)
    padding = _PADDING.search(message)
    if padding is not None:  # reflection needs one element more than it returns
        return _at_least(padding["dim"], int(padding["padding"]) + 1)
    clipped = _CLIPPED.search(message)
    if clipped is not None:
        dim, _, difference = clipped["dim"].partition(" - ")
        return _at_least(dim, int(clipped["number"]) + int(difference or 0))
    pairs = _unequal_dims(str(error))
    if not pairs:
        return None
    constraints = ", ".join(f"'{left} == {right}'" for left, right in pairs)
    return f"name equal dimensions alike in the specs, or pass constraints=[{constraints}] if that always holds"


def _is_key(error: BaseException) -> bool:
    """Return whether a dim was looked up in a dict."""
    return isinstance(error, KeyError) and bool(error.args) and is_symbolic(error.args[0])


def _at_least(dim: str, number: int) -> str:
    return f"pass constraints=['{dim} >= {max(number, 2)}'] if that always holds, or give the dimension as an int"


def _deciding_constraints(left: str, operator: str, right: str) -> str:
    """Return the constraints by which ``left operator right`` is true, or is false."""
    at_least, at_most = right, _plus(right, -1)
    if operator in {">", "<="}:
        at_least, at_most = _plus(right, 1), right
    equal = f"constraints=['{left} == {right}'], " if operator == "==" else ""
    return (
        f"pass {equal}constraints=['{left} >= {at_least}'] or constraints=['{left} <= {at_most}'], "
        "whichever always holds, or give the dimension as an int"
    )


def _unequal_dims(message: str) -> list[tuple[str, str]]:
    """Return the pairs of dims that a message says should be equal: ``(B, 3), (T, 3)`` gives ``(B, T)``."""
    sizes = _MAPPED_SIZE.findall(message)
    if sizes:
        return _differing(sizes[:1] * len(sizes), sizes)
    contracted = _CONTRACTED.search(message)
    if contracted is not None:
        left, right = (dict(zip(contracted[f"{side}_names"], _dims(contracted[side]), strict=True)) for side in "lr")
        shared = left.keys() & right.keys()
        return _differing([left[name] for name in shared], [right[name] for name in shared])
    unequal = _UNEQUAL_SHAPES.search(message)
    if unequal is None:
        return []
    shapes = list(map(_dims, _SHAPE.findall(unequal["shapes"].replace("[", "(").replace("]", ")"))))
    axis = _CONCATENATED.search(message)
    pairs: list[tuple[str, str]] = []
    for shape in shapes[1:]:
        compared = [dims if axis is None else _without(dims, int(axis[1])) for dims in (shapes[0], shape)]
        # Broadcasting aligns the last dims.
        found = _differing(*(dims[::-1] for dims in compared))
        pairs += [pair for pair in found if pair not in pairs]
    return pairs


def _without(dims: Sequence[str], axis: int) -> list[str]:
    return [*dims[:axis], *dims[axis + 1 :]]


def _dims(shape: str) -> list[str]:
    return _COMMA.split(shape.rstrip(", "))


def _differing(left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of dims that differ, one of them symbolic; a 1 is broadcast."""
    pairs = zip(left, right, strict=False)
    return [(a, b) for a, b in pairs if a != b and not (a + b).isdecimal() and "1" not in {a, b}]


def _plus(expression: str, step: int) -> str:
    if expression.lstrip("-").isdecimal():
        return str(int(expression) + step)
    sign = "+" if step > 0 else "-"
    return f"{expression} {sign} {abs(step)}"
