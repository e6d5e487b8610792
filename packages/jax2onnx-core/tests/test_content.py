"""The keys of static values: equal only where Python code can see no difference."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx.plugin.content import content


def fn(x: Any) -> Any:
    return x


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value


class Alike(Plain):
    """Equal to all of its kind, whatever it holds."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    def __hash__(self) -> int:
        return 1


class Slotted:
    __slots__ = ("__value",)

    def __init__(self, value: Any) -> None:
        self.__value = value


class Listed(list[Any]):
    def __init__(self, value: Any) -> None:
        super().__init__([0])
        self.value = value


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any


def closure(value: Any) -> Callable[[], Any]:
    return lambda: value


def with_default(value: Any) -> Callable[[], Any]:
    def inner(given: Any = value) -> Any:
        return given

    return inner


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "alone": lambda v: v,
    "list": lambda v: [v],
    "dict": lambda v: {"a": v},
    "set": lambda v: {v},
    "plain": Plain,
    "alike": Alike,
    "slots": Slotted,
    "list_with_attributes": Listed,
    "frozen": Frozen,
    "closure": closure,
    "default": with_default,
    "partial": lambda v: functools.partial(fn, v),
    "method": lambda v: Plain(v).__init__,
    "tree": lambda v: jax.tree_util.tree_structure(jax.tree_util.Partial(functools.partial(fn, v))),
    "jitted": lambda v: jax.jit(closure(v)),
    "slice": slice,
}
DIFFERENT = [(0.0, -0.0), (1, True), (1, 1.0), (1.0, 1 + 0j), ("a", b"a"), (jnp.float32, jnp.float16)]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_equal_content_has_equal_keys(wrapper: str) -> None:
    wrap = WRAPPERS[wrapper]
    for value in (0.0, -0.0, float("nan"), 1, "a", (1, 2), None, jnp.float32):
        assert content(fn, wrap(value)) == content(fn, wrap(value))
        assert hash(content(fn, wrap(value))) == hash(content(fn, wrap(value)))


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different_content_has_different_keys(wrapper: str, first: Any, second: Any) -> None:
    wrap = WRAPPERS[wrapper]
    assert content(fn, wrap(first)) != content(fn, wrap(second))


@pytest.mark.parametrize("cls", [Plain, Alike, Listed])
def test_a_key_does_not_follow_later_changes(cls: type[Any]) -> None:
    held = cls(1.0)
    before = content(fn, held)
    held.value = 2.0
    assert content(fn, held) != before
    held.value = 1.0
    assert content(fn, held) == before


def test_a_key_does_not_follow_later_changes_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plain, "shared", 1.0, raising=False)
    before = content(fn, Plain(0))
    assert before == content(fn, Plain(0))
    monkeypatch.setattr(Plain, "shared", -1.0)
    assert before != content(fn, Plain(0))


def test_arrays() -> None:
    small, large = np.arange(3.0), np.zeros(1 << 15)
    assert content(fn, small) == content(fn, small.copy())
    assert content(fn, small) != content(fn, small.astype(np.float32))
    assert content(fn, large) != content(fn, large)
    array = jnp.arange(3.0)
    assert content(fn, array) == content(fn, array)
    assert content(fn, array) != content(fn, jnp.arange(3.0))


def test_cycles_and_depths_end() -> None:
    first: list[Any] = [1]
    first.append(first)
    second: list[Any] = [1]
    second.append(second)
    assert content(fn, first) == content(fn, second)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert content(fn, deep) != content(fn, deep)
    long = [[i] for i in range(30_000)]
    assert content(fn, long) != content(fn, long)


def test_what_has_no_content_that_can_be_seen_is_always_new() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    generator = numbers()
    assert content(fn, generator) != content(fn, generator)
    assert content(fn, bytearray(b"a")) != content(fn, bytearray(b"a"))


SCALE = [1.0]


def test_global_variables_of_the_function_count() -> None:
    def scaled(x: Any) -> Any:
        return x * SCALE[0]

    before = content(scaled, None)
    assert content(scaled, None) == before
    SCALE[0] = 2.0
    try:
        assert content(scaled, None) != before
    finally:
        SCALE[0] = 1.0


class Layer:
    """A layer whose call goes through helpers and a property."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @property
    def half(self) -> float:
        return self.scale / 2

    def helper(self, x: Any) -> Any:
        return [fn(jnp.tanh(x)) * SCALE[0] * self.half for _ in range(2)]

    def __call__(self, x: Any) -> Any:
        return functools.partial(self.helper)(x)


def test_functions_and_classes_that_keep_no_state_have_equal_keys() -> None:
    assert content(Layer.__call__, Layer(1.0)) == content(Layer.__call__, Layer(1.0))
    assert content(Layer(1.0), ()) == content(Layer(1.0), ())
    assert content(Layer(1.0), ()) != content(Layer(2.0), ())


class Drawing(random.Random):
    """Holds what no attribute shows."""


def test_what_holds_hidden_state_is_always_new() -> None:
    def imports(x: Any) -> Any:
        import json

        return json, x

    hidden = Drawing(7), np.random.default_rng(7), random.random, time.time, itertools.count(), random, imports
    for value in hidden:
        assert content(fn, value) != content(fn, value)
