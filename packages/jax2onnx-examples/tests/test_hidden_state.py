"""Calls of one ONNX function between which state changes that is no argument: each has the state of its own time."""

from __future__ import annotations

import functools
import itertools
import os
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest

from jax2onnx import onnx_function, to_onnx

STATE = types.SimpleNamespace(scale=1.0)
NUMBERS: list[Iterator[int]] = []
module = types.ModuleType("settings_of_the_user")
vars(module)["scale"] = 1.0


class Settings:
    scale = 1.0


class Layer:
    """Reads state in several ways, none of which is an attribute of its own."""

    def helper(self, x: Any) -> Any:
        return x * STATE.scale

    @property
    def scale(self) -> float:
        return STATE.scale

    @classmethod
    def of_class(cls, x: Any) -> Any:
        return x * STATE.scale

    def by_method(self, x: Any) -> Any:
        return self.helper(x)

    def by_property(self, x: Any) -> Any:
        return x * self.scale

    def by_class_method(self, x: Any) -> Any:
        return self.of_class(x)


def scaled(x: Any) -> Any:
    return x * STATE.scale


@functools.wraps(scaled)
def wrapped(x: Any) -> Any:
    return scaled(x)


@jax.custom_jvp
def custom(x: Any) -> Any:
    return x * STATE.scale


custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0] * STATE.scale))

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "a_helper": lambda x: scaled(x) + 1,
    "a_wrapped_helper": lambda x: wrapped(x) + 1,
    "a_custom_derivative": lambda x: custom(x) + 1,
    "an_inner_function": lambda x: jax.tree.map(lambda y: y * STATE.scale, x),
    "a_method": Layer().helper,
    "a_method_that_calls_another": Layer().by_method,
    "a_property": Layer().by_property,
    "a_class_method": Layer().by_class_method,
    "a_partial": functools.partial(scaled),
    "an_attribute_of_a_class": lambda x: x * Settings.scale,
    "an_attribute_of_a_module": lambda x: x * module.scale,
    "an_attribute_by_name": lambda x: x * getattr(module, "scale"),  # noqa: B009
    "all_global_variables": lambda x: x * globals()["STATE"].scale,
    "the_environment": lambda x: x * float(os.environ["SCALE_OF_A_TEST"]),
    "the_environment_by_a_function": lambda x: x * float(os.getenv("SCALE_OF_A_TEST", "0")),
    "an_iterator": lambda x: x * next(NUMBERS[0]),
    "python's_random_numbers": lambda x: x * random.random(),
    "numpy's_random_numbers": lambda x: x * np.random.uniform(),  # noqa: NPY002
    "numpy's_generator": functools.partial(lambda rng, x: x * rng.uniform(), np.random.RandomState(7)),
}


def set_state(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for holder in (STATE, Settings, module):
        monkeypatch.setattr(holder, "scale", scale)
    monkeypatch.setenv("SCALE_OF_A_TEST", str(scale))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_call_has_the_state_of_its_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = onnx_function(FUNCTIONS[name])

    def program(x: Any) -> tuple[Any, Any]:
        set_state(2.0, monkeypatch)
        first = marked(x)
        set_state(3.0, monkeypatch)
        return first, marked(x)

    def seeded(run: Callable[[], Any]) -> Any:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the state that is meant
        NUMBERS[:] = [itertools.count(5)]
        if isinstance(FUNCTIONS[name], functools.partial) and FUNCTIONS[name].args:
            FUNCTIONS[name].args[0].seed(0)
        return run()

    x = np.ones(2, np.float32)
    expected = seeded(lambda: program(x))
    model = seeded(lambda: to_onnx(program, ["float32[2]"]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(None, {"x": x})
    assert not np.array_equal(expected[0], expected[1])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
