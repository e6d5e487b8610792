"""Where JAX cannot trace a program over symbolic sizes, its error names constraints, and they lead to a right model."""

import re

import jax
import jax.numpy as jnp
import pytest

from jax2onnx import check, errors, to_onnx

CONSTRAINTS = re.compile(r"constraints=\[('[^\]]*')\]")


def pad(mode, before, after):
    return lambda x: jnp.pad(x, ((0, 0), (before, after)), mode=mode)


def windows(x):
    size = x.shape[0] - 2
    return jnp.stack([x[i : size + i] for i in range(3)], 1)


def wrap_image(x):
    return jnp.pad(x, ((0, 0), (2, 2), (1, 1)), mode="wrap")


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
    "wrap": (pad("wrap", 2, 1), [("B", "N")], ["N >= 3"]),
    "wrap_multiple": (pad("wrap", 2, 1), [("B", "2*N")], ["2*N >= 3"]),
    "wrap_image": (wrap_image, [("B", "H", "W")], ["H >= 3", "W >= 2"]),
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
