"""What the programs of libraries are written with.

A program is a function without arguments that returns a :class:`Case`. It imports its library when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

__all__ = ["PROGRAMS", "Case", "Program", "keys", "normal", "program"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A callable, and what it is exported and compared with.

    Attributes:
        fn: what is exported.
        inputs: its specs.
        values: the batches to compare on, where the callable is not defined for all numbers.
        sizes: sizes of the symbolic dims, where ``check`` would choose others.
        export: further options of the export.
    """

    fn: Callable[..., Any]
    inputs: Sequence[Any]
    values: Sequence[Sequence[Any]] | None = None
    sizes: Sequence[Any] | None = None
    export: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program as the table lists it.

    Attributes:
        package: the distribution on PyPI that it uses.
        name: what the program does.
        build: returns its case.
        note: what a reader should know of it.
    """

    package: str
    name: str
    build: Callable[[], Case]
    note: str


PROGRAMS: list[Program] = []
"""Every program, in the order of the modules."""


def program(package: str, note: str = "") -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a program of a package; the first line of its docstring is its name."""

    def register(build: Callable[[], Case]) -> Callable[[], Case]:
        name = (build.__doc__ or "").partition("\n")[0].rstrip(".")
        PROGRAMS.append(Program(package=package, name=name, build=build, note=note))
        return build

    return register


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    """Return normally distributed numbers of float32."""
    return np.asarray(rng.standard_normal(shape), np.float32)


def keys(count: int) -> list[jax.Array]:
    """Return different random keys."""
    return [jax.random.key(index) for index in range(count)]
