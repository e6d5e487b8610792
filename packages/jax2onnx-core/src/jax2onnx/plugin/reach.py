"""Reach: what the code of a function can see beyond its arguments: global variables, attributes of modules, imports.

The names stand in the code, so they are read there. Code of libraries that keep no state of their own is not looked
through: what it computes depends on its arguments alone.
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any, TypeAlias

__all__ = ["is_stateless", "is_written_in_c", "reached"]

_Chain: TypeAlias = tuple[str, ...]
"""A global variable and the attributes that are read from it: ``("config", "model", "scale")``."""
_STATELESS = frozenset({
    "__future__", "abc", "builtins", "chex", "cmath", "collections", "contextlib", "copy", "copyreg", "dataclasses",
    "einops", "enum", "equinox", "flax", "fractions", "functools", "inspect", "itertools", "jax", "jax2onnx", "jaxlib",
    "jaxtyping", "math", "ml_dtypes", "numbers", "numpy", "operator", "optax", "re", "string", "types", "typing",
    "typing_extensions", "warnings",
})  # fmt: skip
"""Packages whose functions do not depend on what was called before."""
_WITH_STATE = ("numpy.random",)
"""Modules of such packages whose functions do."""
_UNKNOWN = frozenset({"__import__", "eval", "exec", "globals", "input", "locals", "open"})
"""Built-in functions that see what no name in the code tells."""


def is_stateless(module: object) -> bool:
    """Return whether the functions of a module, given by its name, are known to keep no state."""
    if not isinstance(module, str) or module.startswith(_WITH_STATE):
        return False
    package = module.partition(".")[0]
    return package in _STATELESS or package.startswith("jax2onnx_")


def is_written_in_c(cls: type[Any]) -> bool:
    """Return whether a class is a C extension's, so that its objects may hold what no attribute shows."""
    module = sys.modules.get(cls.__module__)
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)  # of any library's module
    return file is None or not file.endswith((".py", ".pyc"))


def reached(fn: types.FunctionType) -> Iterator[Any] | None:
    """Return the values that a function's code reads from outside; None if these cannot be known."""
    outside = fn.__globals__
    if is_stateless(outside.get("__name__")):
        return iter(())
    chains, is_known = _chains(fn.__code__)
    found = []
    for chain in chains:
        if chain[0] in outside:
            found.append(_follow(outside[chain[0]], chain[1:]))
        elif chain[0] in _UNKNOWN and hasattr(builtins, chain[0]):
            is_known = False
    return iter(found) if is_known else None


def _follow(value: Any, attributes: _Chain) -> Any:
    """Return what attributes of modules lead to; the attributes of other objects belong to these."""
    for attribute in attributes:
        if not isinstance(value, types.ModuleType) or attribute not in vars(value):
            break
        value = vars(value)[attribute]
    return value


@functools.lru_cache(maxsize=4096)
def _chains(code: types.CodeType) -> tuple[tuple[_Chain, ...], bool]:
    """Return the global names that code reads, with the attributes behind them, and whether these are all it sees."""
    found: dict[_Chain, None] = {}
    is_known = True
    current: _Chain = ()
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_ATTR", "LOAD_METHOD"} and current:
            current = (*current, step.argval)
            continue
        if current:
            found[current] = None
        current = (step.argval,) if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"} else ()
        if step.opname == "IMPORT_NAME":
            is_known = is_known and is_stateless(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner, is_inner_known = _chains(constant)
            found |= dict.fromkeys(inner)
            is_known = is_known and is_inner_known
    return tuple(found), is_known
