"""Choices between integers, and corrected quotients, become arithmetic with the same numbers; all others stay."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

LEAST, LARGEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max
NUMBERS = np.array([0, 1, -1, 3, -3, 7, -8, 100, LEAST, LARGEST, LEAST + 1, LARGEST - 1], np.int32)
CONSTANTS = (
    "<int32 const_0 = {0}, int32 const_1 = {1}, int32 const_3 = {3}, int32 const_less = {-3}, float const_one = {1},"
    " float const_nought = {0}, float const_minus = {-0.0}, int32 weight = {1}>"
)
REMAINDER = "r = Mod<fmod = 1>(x, const_3) p = Less(r, const_0) t = Add(r, const_3)"
QUOTIENT = (
    "q = Div(x, const_3) r = Mod<fmod = 1>(x, const_3) g = Sign(x) e = Equal(g, const_1) s = Not(e) d = Sub(q, const_1)"
)
CASES = {
    "a flag": ("c = Less(x, const_3) y = Where(c, const_1, const_0)", "int32", {"Where": 0, "Cast": 1}),
    "a flag of floats": (
        "c = Less(x, const_3) y = Where(c, const_one, const_nought)",
        "float",
        {"Where": 0, "Cast": 1},
    ),
    "a flag with a sign": (
        "c = Less(x, const_3) y = Where(c, const_one, const_minus)",
        "float",
        {"Where": 0, "Gather": 1},
    ),
    "the contrary of a flag": (
        "c = Less(x, const_3) y = Where(c, const_0, const_1)",
        "int32",
        {"Where": 0, "Gather": 1},
    ),
    "two numbers, twice": (
        "c = Less(x, const_3) a = Where(c, const_less, const_3) d = Where(c, const_3, const_1) y = Add(a, d)",
        "int32",
        {"Where": 0, "Gather": 2, "Cast": 1},
    ),
    "a parameter": ("c = Less(x, const_3) y = Where(c, weight, const_0)", "int32", {"Where": 1}),
    "masked": ("c = Less(x, const_3) y = Where(c, x, const_0)", "int32", {"Where": 0, "Mul": 1, "Cast": 1}),
    "masked floats": ("c = Less(x, const_3) f = Cast<to = 1>(x) y = Where(c, f, const_nought)", "float", {"Where": 1}),
    "one more": ("c = Less(x, const_3) a = Add(const_1, x) y = Where(c, a, x)", "int32", {"Where": 0, "Mul": 0}),
    "one less": ("c = Less(x, const_3) a = Sub(x, const_1) y = Where(c, a, x)", "int32", {"Where": 0, "Sub": 1}),
    "three more": ("c = Less(x, const_3) a = Add(x, const_3) y = Where(c, a, x)", "int32", {"Where": 0, "Mul": 1}),
    "from three": ("c = Less(x, const_3) a = Sub(const_3, x) y = Where(c, a, x)", "int32", {"Where": 1}),
    "three more is read": (
        "c = Less(x, const_3) a = Add(x, const_3) w = Where(c, a, x) y = Add(w, a)",
        "int32",
        {"Where": 1, "Mul": 0},
    ),
    "remainder": (
        f"{REMAINDER} n = Cast<to = 9>(r) a = And(p, n) y = Where(a, t, r)",
        "int32",
        {"Where": 0, "Mod": 1, "And": 0, "Less": 0, "Add": 0},
    ),
    "remainder, by a comparison": (
        f"{REMAINDER} e = Equal(r, const_0) n = Not(e) a = And(n, p) y = Where(a, t, r)",
        "int32",
        {"Where": 0, "Mod": 1, "And": 0},
    ),
    "remainder by a negative number": (
        (
            "r = Mod<fmod = 1>(x, const_less) p = Less(r, const_0) t = Add(r, const_less)"
            " n = Cast<to = 9>(r) a = And(p, n)"
            " y = Where(a, t, r)"
        ),
        "int32",
        {"Mod": 1, "And": 1},
    ),
    "remainder of another sum": (
        f"{REMAINDER} s = Add(r, const_1) n = Cast<to = 9>(r) a = And(p, n) y = Where(a, s, r)",
        "int32",
        {"Mod": 1, "And": 1},
    ),
    "quotient": (
        f"{QUOTIENT} n = Cast<to = 9>(r) a = And(s, n) y = Where(a, d, q)",
        "int32",
        {"Where": 0, "Sign": 0, "And": 0, "Less": 1, "Cast": 1, "Sub": 1},
    ),
    "quotient by another number": (
        f"{QUOTIENT} w = Mod<fmod = 1>(x, const_1) n = Cast<to = 9>(w) a = And(s, n) y = Where(a, d, q)",
        "int32",
        {"Sign": 1, "And": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choices(name: str, graphs) -> None:
    body, out, expected = CASES[name]
    before = graphs.parse(f"(int32[12] x) => ({out}[12] y) {CONSTANTS} {{ {body} }}")
    after = graphs.tidied(before)
    graphs.has(after, expected)
    graphs.same_bits(before, after, {"x": NUMBERS})


def test_broadcast(graphs) -> None:
    """A choice is made between smaller arrays than its result is."""
    before = graphs.parse(
        "(int32[3,1] x, int32[4] i) => (int32[3,4] y, int32[3,4] v)"
        f" {CONSTANTS} {{ c = Less(i, const_3) y = Where(c, x, const_0) a = Add(x, const_3) v = Where(c, a, x) }}"
    )
    after = graphs.tidied(before)
    graphs.has(after, {"Where": 0, "Mul": 2})
    feeds = {"x": np.array([[1], [-2], [LARGEST]], np.int32), "i": np.array([0, 3, 2, 9], np.int32)}
    graphs.same_bits(before, after, feeds)


def test_two_results_that_are_equal(graphs) -> None:
    before = graphs.parse(
        f"(int32[4] x) => (int32[4] y, int32[4] v, float[4] w) {CONSTANTS} {{ c = Less(x, const_3)"
        " y = Where(c, const_1, const_0) d = Greater(const_3, x) v = Where(d, const_1, const_0)"
        " w = Where(c, const_minus, const_one) }"
    )
    after = graphs.tidied(before)
    graphs.has(after, {"Where": 0})
    assert [output.name for output in after.graph.output] == ["y", "v", "w"]
    feeds = {"x": np.array([0, 3, 2, 9], np.int32)}
    for want, got in zip(graphs.run(before, feeds), graphs.run(after, feeds), strict=True):
        np.testing.assert_array_equal(got, want)


def test_many_numbers(graphs) -> None:
    """A choice between two numbers stays where it takes no longer than a look-up."""
    before = graphs.parse(
        f"(int32[99] x) => (int32[99] y) {CONSTANTS} {{ c = Less(x, const_3) y = Where(c, const_less, const_1) }}"
    )
    graphs.has(graphs.tidied(before), {"Where": 1})


def _vectors(x):
    """Choose between vectors of one number each, as arrays of ones and zeros are."""
    is_zero = jnp.all(x == 0, axis=1, keepdims=True)
    return jnp.where(x > 0, jnp.ones((2, 3)), jnp.zeros((2, 3))), jnp.where(is_zero, jnp.full((2, 1), 1e-6), 0.0)


def test_choices_between_vectors_of_one_number():
    model = to_onnx(_vectors, [(2, 3)])
    assert "Where" not in operators(model), operators(model)
    values = [[np.zeros((2, 3), np.float32)], [np.asarray([[0, 1, np.nan], [-0.0, 0, 0]], np.float32)]]
    check(model, _vectors, [(2, 3)], values=values)


def _zeros_of_both_signs(x):
    return 1 / jnp.where(x > 0, jnp.ones((2, 3)), jnp.asarray([[0.0, -0.0, 0.0]] * 2))


def _larger_than_the_test(x):
    return jnp.where(x[:1] > 0, jnp.ones((2, 3)), jnp.zeros((2, 3)))


@pytest.mark.parametrize("function", [_zeros_of_both_signs, _larger_than_the_test])
def test_choices_between_other_vectors_stay(function):
    model = to_onnx(function, [(2, 3)])
    assert operators(model)["Where"] == 1
    check(model, function, [(2, 3)], values=[[np.asarray([[0, 1, np.nan], [-0.0, 0, 0]], np.float32)]])
