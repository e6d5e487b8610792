"""Suites: classes whose subclasses say what there is to test; pytest runs one test for each trial that follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Call", "Suite", "Trial", "described"]

Call: TypeAlias = Sequence[Any]
"""A callable, and one spec for each of its arguments."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to try.

    Attributes:
        name: what is tried; the id of the test.
        run: tries it, and raises an exception if it fails.
        group: the same for trials that share what JAX compiles, so that one process may run them; empty for none.
    """

    name: str
    run: Callable[[], object]
    group: str = ""

    def __str__(self) -> str:
        return self.name


class Suite:
    """Base of the suites. A suite without any trial fails."""

    def trials(self) -> Iterable[Trial]:
        """Return what there is to try."""
        return ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test of each trial."""
        if "trial" in metafunc.fixturenames:
            found = list(self.trials()) or [Trial("no-case", self._fail)]
            metafunc.parametrize("trial", found, ids=str)

    def test_trial(self, trial: Trial) -> None:
        """Try it."""
        trial.run()

    def _fail(self) -> None:
        raise AssertionError(f"{type(self).__name__} finds no case: {self.lacking()}")

    def lacking(self) -> str:
        """Return what a suite without trials lacks."""
        return "its attributes describe nothing to test"


def described(call: Call) -> str:
    """Return a callable and its specs as a part of a test's id."""
    fn, *specs = call
    name = getattr(fn, "__name__", type(fn).__name__).replace("<lambda>", "lambda")
    return "-".join([name, *(str(spec).replace(" ", "") for spec in specs)])
