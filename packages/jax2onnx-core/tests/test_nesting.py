"""What is nested deeply, or contains itself, converts or is refused clearly, and the process stays usable."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.checking.runtime import loads_deep_models
from jax2onnx.errors import CheckError, InputSpecError, TraceError, UnsupportedCaseError

SPECS = [(2, 3)]
Function = Callable[[Any], Any]


def nested(depth: int) -> Any:
    tree: Any = np.ones(3, np.float32)
    for _ in range(depth):
        tree = {"a": tree}
    return tree


def cyclic() -> Any:
    tree: dict[str, Any] = {"x": np.ones(3, np.float32)}
    tree["a"] = [tree]
    return tree


def leaf(tree: Any) -> Any:
    return jax.tree_util.tree_leaves(tree)[0] + 1


@pytest.fixture(autouse=True)
def usable() -> Iterator[None]:
    """Export something right after each test."""
    yield
    check(to_onnx(leaf, SPECS), leaf, SPECS)


@pytest.mark.parametrize("tree", [cyclic(), nested(1200)], ids=["cyclic", "deep"])
@pytest.mark.parametrize(
    ("make", "specs"),
    [
        (lambda tree: (leaf, [tree]), "argument"),
        (lambda tree: (leaf, {"tree": tree}), "keyword"),
        (lambda tree: (jax.tree_util.Partial(lambda tree, x: x, tree), SPECS), "partial"),
        (lambda tree: (lambda _: tree, SPECS), "result"),
        (lambda tree: (lambda x: onnx_function(lambda x, _: x)(x, tree), SPECS), "function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pytree_that_jax_cannot_take_apart_is_refused(tree: Any, make: Any, specs: str) -> None:
    function, given = make(tree)
    with pytest.raises(
        InputSpecError, match="contains itself, or is nested deeper than 500 levels; pass a flatter one"
    ):
        to_onnx(function, given)


def test_a_pytree_of_500_levels_converts() -> None:
    tree = nested(499)
    check(to_onnx(leaf, [tree]), leaf, [tree])
    wrapped = to_onnx(lambda x: nested(1) | {"b": [[x]]}, SPECS)
    assert [output.name for output in wrapped.graph.output] == ["a", "b.0.0"]


def conditions(depth: int, function_at: int | None = None) -> Function:
    def call(x: Any) -> Any:
        if depth == 0:
            return x + 1
        inner = conditions(depth - 1, function_at)
        if depth == function_at:
            inner = onnx_function(inner)
        return lax.cond(x.sum() > depth, inner, lambda v: v * 2, x)

    return call


def loops(depth: int) -> Function:
    def call(x: Any) -> Any:
        if depth == 0:
            return x + 1
        return lax.fori_loop(0, 12, lambda _, v: loops(depth - 1)(v), x)

    return call


def jits(depth: int) -> Function:
    def call(x: Any) -> Any:
        return x + 1 if depth == 0 else jax.jit(jits(depth - 1))(x)

    return call


def test_conditions_as_deep_as_protobuf_reads() -> None:
    model = to_onnx(conditions(31), SPECS)
    if loads_deep_models():
        check(model, conditions(31), SPECS)
    else:
        with pytest.raises(CheckError, match=r"31 levels; install onnxruntime 1\.29 or newer"):
            check(model, conditions(31), SPECS)


@pytest.mark.parametrize("make", [conditions, loops])
def test_deeper_ones_are_refused(make: Callable[[int], Function]) -> None:
    with pytest.raises(UnsupportedCaseError, match="nested more than 31 deep") as caught:
        to_onnx(make(32), SPECS)
    assert "mark an inner part with onnx_function" in str(caught.value)
    assert "test_nesting.py" in str(caught.value)


def test_the_remedy_for_deep_conditions() -> None:
    function = conditions(40, function_at=20)
    model = to_onnx(function, SPECS)
    if loads_deep_models():
        check(model, function, SPECS)


@pytest.mark.parametrize("make", [jits, conditions, loops])
def test_what_is_too_deep_for_the_stack(make: Callable[[int], Function]) -> None:
    with pytest.raises(TraceError, match="calls itself without end, or is nested too deeply") as caught:
        to_onnx(make(400), SPECS)
    assert "raise sys.setrecursionlimit" in str(caught.value)
    assert "test_nesting.py" in str(caught.value)


def test_the_remedy_for_a_stack_that_is_too_small() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        with pytest.raises(TraceError, match="nested too deeply"):
            to_onnx(jits(60), SPECS)
        sys.setrecursionlimit(4000)
        check(to_onnx(jits(60), SPECS), jits(60), SPECS)
    finally:
        sys.setrecursionlimit(before)


def test_recursion_without_end() -> None:
    def forever(x: Any) -> Any:
        return onnx_function(forever)(x)

    with pytest.raises(TraceError, match="calls itself without end"):
        to_onnx(forever, SPECS)


def test_recursion_that_ends() -> None:
    @onnx_function
    def power(x: Any, n: int) -> Any:
        return x if n == 1 else power(x, n - 1) * x

    model = to_onnx(lambda x: power(x, 4), SPECS)
    check(model, lambda x: x**4, SPECS)
    assert len(model.functions) == 4
