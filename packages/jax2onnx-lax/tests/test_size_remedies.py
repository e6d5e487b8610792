"""Where JAX cannot trace a program over symbolic sizes, its error names constraints, and they lead to a right model."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from releases import installed

from jax2onnx import check, errors, to_onnx

CONSTRAINTS = re.compile(r"constraints=\[('[^\]]*')\]")


def pad(mode, before, after):
    return lambda x: jnp.pad(x, ((0, 0), (before, after)), mode=mode)


def windows(x):
    size = x.shape[0] - 2
    return jnp.stack([x[i : size + i] for i in range(3)], 1)


def einsum_of_rest(x, y):
    return jnp.einsum("bi,bi->b", x[:, 2:], y)


def einsum_of_first(x, y):
    return jnp.einsum("bi,ij->bj", x[:, :3], y)


# name -> program, inputs, and the constraints that the errors name one after the other
PROGRAMS = {
    "reflect": (pad("reflect", 2, 1), [("B", "N")], ["N >= 3"]),
    "reflect_after": (pad("reflect", 0, 3), [("B", "N")], ["N >= 2", "N >= 4"]),
    "reflect_sum": (pad("reflect", 1, 3), [("B", "N + M")], ["N + M >= 4"]),
    "symmetric": (pad("symmetric", 2, 1), [("B", "N")], ["N >= 3"]),
    "einsum_of_rest": (einsum_of_rest, [("B", "N"), ("B", "N-2")], ["N >= 2"]),
    "einsum_of_first": (einsum_of_first, [("B", "N"), (3, 4)], ["N >= 3"]),
    "dot_of_first": (lambda x: x[:, :4] @ jnp.ones((4, 2)), [("B", "N")], ["N >= 4"]),
    "dot_of_last": (lambda x: x[:, -4:] @ jnp.ones((4, 2)), [("B", "N")], ["N >= 4"]),
    "add_to_first": (lambda x: x[:, :4] + jnp.ones(4), [("B", "N")], ["N >= 4"]),
    "windows": (windows, [("N",)], ["N - 2 >= 0"]),
    "irfft": (jnp.fft.irfft, ["complex64[2,N]"], ["2*N - 2 >= 1"]),
    "second_difference": (lambda x: jnp.diff(x, 2), [("N",)], ["N >= 2"]),
    "gradient": (jnp.gradient, [("N",)], ["N >= 2"]),
    "squeeze": (jnp.squeeze, [("N", 1)], ["N >= 2"]),
    "top_k": (lambda x: jax.lax.top_k(x, 2)[0], [("N",)], ["N >= 2"]),
}


def add(x, y):
    return x + y


def concatenate(x, y):
    return jnp.concatenate([x, y], 1)


# name -> program, inputs, and of each alternative that the remedy names: its words, the inputs and constraints by them
EQUAL, ALIKE = "constraints=['N == M']", "alike in the specs"
ALTERNATIVES = {
    "rest": (
        lambda x: x.reshape(-1, 4),
        [("N",)],
        {
            "['mod(N, 4) == 0']": ([("N",)], ["mod(N, 4) == 0"]),
            "'4*n'": ([("4*n",)], []),
            "as an int": ([(8,)], []),
        },
    ),
    "rest_of_multiple": (
        lambda x: x.reshape(3, -1),
        [("2*N",)],
        {"['mod(2*N, 3) == 0']": ([("2*N",)], ["mod(2*N, 3) == 0"]), "'3*n'": ([("3*n",)], [])},
    ),
    "rest_of_product": (
        lambda x: x.reshape(x.shape[0], -1, 3),
        [("B", "N+1")],
        {"'3*n'": ([("B", "3*n")], [])},
    ),
    "rest_by_dim": (lambda x, y: x.reshape(y.shape[0], -1), [(6,), ("M",)], {"give M as an int": ([(6,), (3,)], [])}),
    "halves": (
        lambda x: x.reshape(2, x.shape[1] // 2, 2, -1),
        [(2, "C", 4)],
        {"['mod(C, 2) == 0']": ([(2, "C", 4)], ["mod(C, 2) == 0"]), "'2*n'": ([(2, "2*n", 4)], [])},
    ),
    "split": (
        lambda x: jnp.split(x, 2)[1],
        [("N",)],
        {"['mod(N, 2) == 0']": ([("N",)], ["mod(N, 2) == 0"]), "'2*n'": ([("2*n",)], [])},
    ),
    "comparison": (
        lambda x: x if x.shape[0] > 3 else x + 1,
        [("N",)],
        {"['N >= 4']": ([("N",)], ["N >= 4"]), "['N <= 3']": ([("N",)], ["N <= 3"]), "as an int": ([(2,)], [])},
    ),
    "comparison_of_dims": (
        lambda x, y: x[: max(x.shape[0], y.shape[0])],
        [("N",), ("M",)],
        {"['M >= N + 1']": ([("N",), ("M",)], ["M >= N + 1"]), "['M <= N']": ([("N",), ("M",)], ["M <= N"])},
    ),
    "add": (add, [("N",), ("M",)], {EQUAL: ([("N",), ("M",)], ["N == M"]), ALIKE: ([("N",), ("N",)], [])}),
    "dot": (jnp.dot, [("B", "N"), ("M", 3)], {EQUAL: ([("B", "N"), ("M", 3)], ["N == M"])}),
    "concatenate": (concatenate, [("N", 3), ("M", 2)], {EQUAL: ([("N", 3), ("M", 2)], ["N == M"])}),
    "stack": (lambda x, y: jnp.stack([x, y]), [("N",), ("M",)], {EQUAL: ([("N",), ("M",)], ["N == M"])}),
    "where": (lambda x, y: jnp.where(x > 0, x, y), [("N", 3), ("M", 3)], {ALIKE: ([("N", 3), ("N", 3)], [])}),
    "vmap": (jax.vmap(jnp.dot), [("N", 3), ("M", 3)], {EQUAL: ([("N", 3), ("M", 3)], ["N == M"])}),
    "einsum": (
        lambda x, y: jnp.einsum("ij,jk->ik", x, y),
        [("I", "J"), ("K", 3)],
        {"constraints=['K == J']": ([("I", "J"), ("K", 3)], ["K == J"]), ALIKE: ([("I", "J"), ("J", 3)], [])},
    ),
    "broadcast": (lambda x: jnp.broadcast_to(x, (4,)), [("N",)], {"['N == 4']": ([("N",)], ["N == 4"])}),
    "number": (lambda x: x * int(x.shape[0]), [("N",)], {"as an int": ([(3,)], [])}),
    "numpy": (lambda x: x + np.zeros(x.shape[0], np.float32), [("N",)], {"as an int": ([(3,)], [])}),
    "key": (lambda x: x * {3: 2.0}[x.shape[0]], [("N",)], {"as an int": ([(3,)], [])}),
    "iteration": (lambda x: sum(row for row in x), [("N", 3)], {"as an int": ([(2, 3)], [])}),
    "list": (lambda x: jnp.stack([x.sum()] * x.shape[0]), [("N",)], {"as an int": ([(3,)], [])}),
}


if installed(jax, "<0.10"):
    # jnp.stack compares the shapes as tuples there: JAX's error is not about dims, and names no remedy for them.
    del ALTERNATIVES["stack"]


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_each_alternative_that_a_remedy_names_leads_to_a_model(name):
    program, inputs, alternatives = ALTERNATIVES[name]
    with pytest.raises(errors.DimensionError) as raised:
        to_onnx(program, inputs)
    remedy = str(raised.value).partition("remedy:")[2]
    for words, (specs, constraints) in alternatives.items():
        assert words in remedy
        to_onnx(program, specs, constraints=constraints)


FOLLOWED = {
    "jnp.arange(x.shape[0])": (lambda x: x * int(x.shape[0]), lambda x: x + jnp.arange(x.shape[0])),
    "jax.vmap": (lambda x: jnp.stack([jnp.exp(a) for a in x]), jax.vmap(jnp.exp)),
    "jax.lax.map": (lambda x: jnp.stack([jnp.exp(a) for a in x]), lambda x: jax.lax.map(jnp.exp, x)),
    "use jax.numpy": (
        lambda x: jnp.stack([x.sum()] * x.shape[0]),
        lambda x: jnp.broadcast_to(x.sum(), x.shape),
    ),
}


@pytest.mark.parametrize("words", FOLLOWED)
def test_what_a_remedy_says_to_write_instead_converts(words):
    refused, written = FOLLOWED[words]
    with pytest.raises(errors.DimensionError) as raised:
        to_onnx(refused, [("N",)])
    assert words in str(raised.value).partition("remedy:")[2]
    check(to_onnx(written, [("N",)]), written, [("N",)], kinds=("ordinary",), sizes=(1, 3))


def test_wrapped_padding_of_any_size():
    def wrapped(x):
        return jnp.pad(x, ((0, 3), (2, 1)), mode="wrap")

    model = to_onnx(wrapped, [("N", "M")])
    check(model, wrapped, [("N", "M")], constraints=["N >= 1", "M >= 1"], kinds=("ordinary",), sizes=(1, 2, 5))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_remedies_lead_to_a_model_that_agrees(name):
    program, inputs, expected = PROGRAMS[name]
    constraints = []
    for _ in expected:
        with pytest.raises(errors.ConversionError) as raised:
            to_onnx(program, inputs, constraints=constraints)
        named = CONSTRAINTS.search(str(raised.value).partition("remedy:")[2])
        assert named, raised.value
        constraints.append(named[1].strip("'"))
    assert constraints == expected
    model = to_onnx(program, inputs, constraints=constraints)
    check(model, program, inputs, constraints=constraints, kinds=("ordinary",), sizes=(1, 4, 7))


REFUSED = {
    "edge": (pad("edge", 2, 1), [("B", "N")], "N >= 1"),
    "median": (lambda x: jnp.median(x, axis=0), [("N", 3)], "N >= 1"),
    "largest": (lambda x: x.max(0), [("N", 3)], "N >= 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_check_names_the_sizes_at_which_jax_has_no_answer(name):
    program, inputs, constraint = REFUSED[name]
    model = to_onnx(program, inputs)
    with pytest.raises(errors.CheckError, match=r"JAX itself raises an error at .*N=0") as raised:
        check(model, program, inputs, sizes=(0, 2))
    assert f"constraints=['{constraint}']" in str(raised.value)
    constraints = [constraint]
    model = to_onnx(program, inputs, constraints=constraints)
    check(model, program, inputs, constraints=constraints, kinds=("ordinary",), sizes=(0, 2))


def only_long_ones(x):
    if isinstance(x.shape[0], int) and x.shape[0] < 4:
        raise ValueError("too short")
    return x + 1


def test_check_names_the_least_size_at_which_jax_has_an_answer():
    model = to_onnx(only_long_ones, [("N",)])
    with pytest.raises(errors.CheckError, match=r"at N=1: ValueError: too short; pass constraints=\['N >= 4'\]"):
        check(model, only_long_ones, [("N",)])
    check(model, only_long_ones, [("N",)], constraints=["N >= 4"], kinds=("ordinary",))


def test_what_jax_refuses_at_every_size_is_not_put_down_to_the_sizes():
    def never(x):
        return x if not isinstance(x.shape[0], int) else x.reshape(-1, 0)

    model = to_onnx(never, [("N",)])
    with pytest.raises(errors.TraceError, match="reshape"):
        check(model, never, [("N",)])
