"""The directory of known plugins: which distribution to install for a primitive, or for the objects of a framework."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Listed", "directory"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listed:
    """A plugin of the directory.

    Attributes:
        name: the plugin's name.
        distribution: the distribution that brings it.
        purpose: what it is for, in one sentence.
        url: where it is developed; empty for this project's own.
        frameworks: the packages whose objects it opens.
        primitives: the primitives that it has rules for.
        functions: the functions that it finds as a whole.
        targets: the targets that it registers.
    """

    name: str
    distribution: str
    purpose: str
    url: str = ""
    frameworks: Sequence[str] = ()
    primitives: Sequence[str] = ()
    functions: Sequence[str] = ()
    targets: Sequence[str] = ()

    def opens(self, cls: type[object]) -> str | None:
        """Return the framework that a class is of, or derived from, if the plugin opens its objects."""
        for base in cls.__mro__:
            for framework in self.frameworks:
                if f"{base.__module__}.".startswith(f"{framework}."):
                    return framework
        return None


@functools.cache
def directory() -> tuple[Listed, ...]:
    """Return the plugins of the directory, which is ``directory.toml`` beside this module."""
    text = (files(__package__) / "directory.toml").read_text(encoding="utf-8")
    return tuple(Listed(**entry) for entry in tomllib.loads(text)["plugin"])
