"""Inputs and results that are pytrees, keyword arguments, and values that are no inputs."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.errors import ConversionError, InputSpecError
from jax2onnx.testing import operators


class Pair(NamedTuple):
    left: Any
    right: Any


@functools.partial(jax.tree_util.register_dataclass, data_fields=["left", "right"], meta_fields=["axis"])
@dataclasses.dataclass
class Struct:
    left: Any
    right: Any
    axis: int = 0


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass
class Custom:
    left: Any
    right: Any

    def tree_flatten_with_keys(self):
        keys = map(jax.tree_util.GetAttrKey, ("left", "right"))
        return list(zip(keys, (self.left, self.right), strict=True)), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


CONTAINERS = {
    "named tuple": Pair,
    "dataclass": Struct,
    "custom node": Custom,
    "dict": lambda left, right: {"left": left, "right": right},
}


def names(values):
    return [v.name for v in values]


def swapped(pair):
    if isinstance(pair, dict):
        return {"left": pair["right"] * 2, "right": pair["left"]}
    if isinstance(pair, tuple):
        return Pair(pair.right * 2, pair.left)
    return dataclasses.replace(pair, left=pair.right * 2, right=pair.left)


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_in_and_out(container):
    spec = CONTAINERS[container](("B", 3), "int32[]")
    model = to_onnx(swapped, [spec])
    assert names(model.graph.input) == ["pair.left", "pair.right"]
    assert names(model.graph.output) == ["left", "right"]
    check(model, swapped, [spec])


def test_containers_in_containers():
    def fn(tree, scale):
        return {"out": [Pair(leaf * scale, None) for leaf in jax.tree.leaves(tree)], "none": None}

    spec = {"a": [Struct((2,), Pair((3,), None)), ()], "b": None}
    model = to_onnx(fn, [spec, ()])
    assert names(model.graph.input) == ["tree.a.0.left", "tree.a.0.right.left", "tree.a.1", "scale"]
    assert names(model.graph.output) == ["out.0.left", "out.1.left", "out.2.left"]
    check(model, fn, [spec, ()])


def test_no_input_and_no_leaves():
    model = to_onnx(lambda nothing, x: (x, nothing), [None, (3,)])
    assert names(model.graph.input) == ["x"]
    assert names(model.graph.output) == ["output_0"]
    model = to_onnx(lambda: jnp.arange(3), [])
    assert names(model.graph.input) == []
    check(model, lambda: jnp.arange(3), [])


def test_a_static_field_of_a_container_is_no_input():
    def total(pair):
        return pair.left.sum(pair.axis) + pair.right

    found = []
    for axis in (0, 1):
        spec = [Struct((4, 4), (4,), axis)]
        model = to_onnx(total, spec)
        assert names(model.graph.input) == ["pair.left", "pair.right"]
        check(model, total, spec)
        found.append(model.SerializeToString())
    assert found[0] != found[1]


def test_keyword_inputs():
    def fn(x, *, table, weight=None):
        return x @ table if weight is None else x @ table * weight

    for specs, extra, expected in (
        ({"x": ("B", 3), "table": (3, 4)}, None, ["table", "x"]),
        ([("B", 3)], {"table": (3, 4)}, ["x", "table"]),
        ([("B", 3)], {"weight": (), "table": (3, 4)}, ["x", "table", "weight"]),
    ):
        model = to_onnx(fn, specs, input_params=extra)
        assert names(model.graph.input) == expected
        check(model, fn, specs, input_params=extra)


@pytest.mark.parametrize(
    "bind",
    [
        lambda fn: functools.partial(fn, axis=1, mode="max"),
        lambda fn: lambda x: fn(x, axis=1, mode="max"),
        lambda fn: functools.partial(jax.jit(fn, static_argnames=("axis", "mode")), axis=1, mode="max"),
    ],
    ids=["partial", "lambda", "static_argnames"],
)
def test_static_arguments_are_bound(bind):
    def reduce(x, *, axis, mode):
        return {"max": jnp.max, "sum": jnp.sum}[mode](x, axis)

    fn = bind(reduce)
    model = to_onnx(fn, [("B", 3)])
    assert names(model.graph.input) == ["x"]
    assert operators(model).get("ReduceSum", 0) == 0
    check(model, fn, [("B", 3)])


def test_a_positional_static_argument_before_an_input():
    fn = functools.partial(lambda shape, x: x.reshape(shape), (-1, 2))
    model = to_onnx(fn, [(2, 3)])
    assert names(model.graph.input) == ["x"]
    check(model, fn, [(2, 3)])


def test_outputs_that_are_inputs_constants_or_repeated():
    table = np.arange(3, dtype=np.float32)

    def fn(x, unused):
        y = x + 1
        return {"x": x, "table": table, "y": y, "again": y, "number": 2.5}

    model = to_onnx(fn, [("B", 3), (4,)])
    assert names(model.graph.input) == ["x", "unused"]
    assert names(model.graph.output) == ["again", "number", "table", "output_x", "y"]
    check(model, fn, [("B", 3), (4,)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_names": ["a"]}, "1 name for 2 inputs"),
        ({"input_names": ["a", "a"]}, "two inputs are named 'a'"),
        ({"output_names": ["x"]}, "1 name for 2 outputs"),
        ({"output_names": ["x", "z"]}, "'x' is also the name of an input"),
        ({"output_names": ["z", "z"]}, "'z' is also the name"),
    ],
)
def test_names_that_do_not_do(options, said):
    with pytest.raises(InputSpecError, match=said):
        to_onnx(lambda x, y: (x, y), [(2,), (2,)], **options)


@jax.tree_util.register_pytree_node_class
class Endless:
    """A pytree that contains itself, which no plugin may ask JAX to take apart: each later call of JAX would fail."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def tree_flatten(self):
        return (self,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return children[0]

    def __call__(self, x):
        return x * self.factor

    def call(self, x):
        return self(x)


class FailingTree(Endless):
    def tree_flatten(self):
        raise ValueError("cannot be taken apart")


jax.tree_util.register_pytree_node_class(FailingTree)


def test_an_object_that_contains_itself():
    held = Endless()
    model = to_onnx(lambda x: x * held.factor, [(3,)])
    check(model, lambda x: x * 2.0, [(3,)])
    for fn in (held, held.call):
        with pytest.raises(InputSpecError, match="contains itself"):
            to_onnx(fn, [(3,)])
    with pytest.raises(InputSpecError, match="contains itself"):
        check(model, lambda x, y: x * 2.0, [(3,), held])
    check(model, lambda x: x * 2.0, [(3,)])


def test_an_object_that_fails_where_it_is_taken_apart_is_not_the_fault_of_a_plugin():
    held = FailingTree()
    model = to_onnx(lambda x: x * 2.0, [(3,)])
    calls = [
        lambda: to_onnx(lambda x: x * held.factor, [(3,)]),
        lambda: to_onnx(lambda x: x, [held]),
        lambda: check(model, lambda x: x, [held]),
    ]
    for call in calls:
        with pytest.raises(ConversionError, match="an object of yours fails where it is looked at: ValueError") as info:
            call()
        assert info.value.plugin is None
