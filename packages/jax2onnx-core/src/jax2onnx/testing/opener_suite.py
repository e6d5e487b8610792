"""The suite for the opening of a framework's objects: the names of their arrays, their modes, their state."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jax2onnx.api import to_onnx
from jax2onnx.checking.check import check
from jax2onnx.frontend.open import open_callable
from jax2onnx.plugin import loader
from jax2onnx.plugin.opening import Opening
from jax2onnx.testing.exports import assert_exports, of_check, of_export
from jax2onnx.testing.suite import Suite, Trial

__all__ = ["OpenerSuite"]


class OpenerSuite(Suite):
    """The opening of a framework's objects: the names of their arrays, their modes, their state.

    Attributes:
        make: makes an object.
        inputs: the specs of its call.
        names: the names of its parameters.
        modes: whether it is exported in inference form (False), in training form (True), or in both.
        state: the names of the arrays that a call in training form changes.
        options: further options of :func:`assert_exports`.
    """

    make: Callable[[], Any]
    inputs: Sequence[Any] = ()
    names: Collection[str] = ()
    modes: Sequence[bool] = (False, True)
    state: Collection[str] = ()
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return "set names to the names of the object's parameters"

    def trials(self) -> Iterator[Trial]:
        """Return a trial for the names, for each mode, and for the state."""
        if not self.names:
            return
        yield Trial("names", self._names)
        yield Trial("names-in-a-closure", self._names_in_a_closure)
        for training in self.modes:
            name = "training" if training else "inference"
            yield Trial(name, functools.partial(self._mode, training=training))
        yield Trial("state", self._state)

    def _names(self) -> None:
        self._require_names(self.make())

    def _names_in_a_closure(self) -> None:
        made = self.make()

        def call(*args: Any) -> Any:
            return made(*args)

        self._require_names(call, "made.")

    def _require_names(self, fn: Any, prefix: str = "") -> None:
        """Require the names, which may start with that of the variable that holds the object."""
        opened = open_callable(fn, loader.load().hook, Opening(training=True))
        bare = {name.removeprefix(prefix) for name in (*opened.params, *opened.state)}
        found = sorted(bare - set(self.state))
        wanted = sorted(set(self.names) - set(self.state))
        assert wanted == found, f"the parameters are {found}, and should be {wanted}"

    def _mode(self, *, training: bool) -> None:
        made = self.make()
        before = _arrays(made)
        with _without_warnings():
            assert_exports(made, *self.inputs, training=training, **self.options)
        after = _arrays(made)
        changed = [name for name, array in before.items() if not np.array_equal(array, after[name], equal_nan=True)]
        assert not changed, f"the export changed arrays of the object: {changed}"

    def _state(self) -> None:
        made = self.make()
        with _without_warnings():
            model = to_onnx(made, list(self.inputs), training=True, state="io", **of_export(self.options))
            check(model, made, list(self.inputs), training=True, state="io", **of_check(self.options))
        found = {name for name in (value.name for value in model.graph.output) if name.endswith(".next")}
        updated = {name.removesuffix(".next") for name in found}
        assert updated == set(self.state), f"a call updates {sorted(updated)}, and should {sorted(self.state)}"


def _arrays(made: Any) -> dict[str, Any]:
    """Return copies of the arrays of an object."""
    opened = open_callable(made, loader.load().hook, Opening(training=True, state="io"))
    return {name: np.array(array) for name, array in {**opened.params, **opened.state}.items()}


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out warnings of the mode in which the object is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
