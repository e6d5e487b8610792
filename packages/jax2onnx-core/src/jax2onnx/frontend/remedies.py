"""Deciding: what a user can pass where JAX, or a rule, cannot decide a comparison of symbolic dimensions."""

from __future__ import annotations

import re


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n", 1)[0]


_COMPARISON = re.compile(r"'(?P<left>[^']*)' (?P<operator>[<>]=?|==) '(?P<right>[^']*)'")
_REMAINDER = re.compile(r"mod\((?P<left>[^,]+), (?:- )?(?P<right>\d+)\)")
_REMAINDER_BY_DIM = re.compile(r"mod\([^,()]+, [^,()]+\)")
_SHAPES = re.compile(r"incompatible shapes for \w+: (?P<shapes>\(.*\))")
_AS_NUMBER = "compute with the dimension as it is (jnp.arange(x.shape[0]) works), or give it as an int"


def decide(error: BaseException) -> str:
    """Name the constraints that would decide the comparison, in the grammar of ``jax.export`` (>=, <=, ==)."""
    message = str(error)
    if match := _COMPARISON.search(message):
        left, right = match["left"], match["right"]
        more, less = (1, 0) if match["operator"] in {">", "<="} else (0, 1)
        greater = f"constraints=['{left} >= {_plus(right, more)}']"
        smaller = f"constraints=['{left} <= {_plus(right, -less)}']"
        equal = f"constraints=['{left} == {right}'], " if match["operator"] == "==" else ""
        return f"pass {equal}{greater} or {smaller}, whichever always holds, or give the dimension as an int"
    if match := _REMAINDER.search(message):
        left, right = match["left"], match["right"]
        multiple = f"or write the dimension as '{right}*n' in the spec, or give it as an int"
        return f"pass constraints=['mod({left}, {right}) == 0'] if that always holds, {multiple}"
    if match := _REMAINDER_BY_DIM.search(message):
        return f"write a dimension as a multiple in the spec ('2*n'), so that {match[0]} is 0, or give it as an int"
    if "requires a constant" in message:
        return _AS_NUMBER
    return "pass constraints=[...] that decide it, or give the dimension as an int"


def decide_otherwise(error: BaseException) -> str | None:
    """Name the remedy where JAX fails on symbolic dims in other words; None if it is not about them."""
    message = first_line(error)
    if "_DimExpr" in message:
        return _AS_NUMBER
    if "rest is mod(" in message:
        return decide(error)
    match = _SHAPES.search(message)
    pairs = _unequal(match["shapes"]) if match else []
    if not pairs:
        return None
    equal = ", ".join(f"'{left} == {right}'" for left, right in pairs)
    return f"name equal dimensions alike in the specs, or pass constraints=[{equal}] if that always holds"


def _unequal(shapes: str) -> list[tuple[str, str]]:
    """Return the dims, one of them symbolic, that differ between two shapes written one after the other."""
    found = [re.split(r",\s*(?![^()]*\))", s.rstrip(", ")) for s in re.findall(r"\(((?:[^()]|\([^()]*\))*)\)", shapes)]
    if len(found) != 2:
        return []
    pairs = zip(*(reversed(s) for s in found), strict=False)
    return [(a, b) for a, b in pairs if a != b and "1" not in {a, b} and not (a + b).isdecimal()]


def _plus(expression: str, step: int) -> str:
    if step == 0:
        return expression
    if expression.lstrip("-").isdecimal():
        return str(int(expression) + step)
    return f"{expression} {'+' if step > 0 else '-'} {abs(step)}"
