"""Updates of a dynamic axis at places that follow from its size: slices that are joined again, and JAX's result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, errors, to_onnx
from jax2onnx.testing import Sized, operators, run_sized, select, x64

LONGER = (2, 3, 5, 8)
ROWS = [("N", 3), (3,)]

PROGRAMS = [
    Sized("last_row", lambda x, v: x.at[-1].set(v), ROWS, ["N >= 1"]),
    Sized("last_row_to_a_number", lambda x: x.at[-1].set(7), [("N", 3)], ["N >= 1"]),
    Sized("last_row_plus", lambda x, v: x.at[-1].add(v), ROWS, ["N >= 1"]),
    Sized("last_row_minus", lambda x, v: x.at[-1].subtract(v), ROWS, ["N >= 1"], heavy=True),
    Sized("last_row_times", lambda x: x.at[-1].multiply(2.0), [("N", 3)], ["N >= 1"]),
    Sized("last_row_divided", lambda x, v: x.at[-1].divide(v), ROWS, ["N >= 1"], heavy=True),
    Sized("last_row_at_least", lambda x, v: x.at[-1].max(v), ROWS, ["N >= 1"]),
    Sized("last_row_at_most", lambda x, v: x.at[-1].min(v), ROWS, ["N >= 1"], heavy=True),
    Sized("power_of_last_row", lambda x: x.at[-1].power(2), [("N", 3)], ["N >= 1"], heavy=True),
    Sized("function_of_last_row", lambda x: x.at[-1].apply(jnp.sin), [("N", 3)], ["N >= 1"], heavy=True),
    Sized("last_column", lambda x, v: x.at[..., -1].set(v), [("B", "N"), ("B",)], ["N >= 1"]),
    Sized("last_column_plus", lambda x, v: x.at[..., -1].add(v), [("B", "N"), ("B",)], ["N >= 1"]),
    Sized("last_of_both", lambda x: x.at[-1, -1].set(0.0), [("H", "W")], ["H >= 1", "W >= 1"]),
    Sized("last_of_middle", lambda x, v: x.at[:, -1].set(v), [("B", "N", 3), (3,)], ["N >= 1"], heavy=True),
    Sized("first_row", lambda x, v: x.at[0].set(v), ROWS, ["N >= 1"]),
    Sized("first_row_to_a_number", lambda x: x.at[0].set(1.5), [("N", 3)], ["N >= 1"]),
    Sized("last_two", lambda x, v: x.at[-2:].set(v), [("N", 3), (2, 3)], ["N >= 2"], sizes=LONGER),
    Sized("last_two_to_a_number", lambda x: x.at[-2:].set(1.0), [("N", 3)]),
    Sized("last_two_of_maybe_one", lambda x, v: x.at[-2:].set(v), ROWS),
    Sized("two_before_the_last", lambda x, v: x.at[-3:-1].mul(v), ROWS, ["N >= 1"]),
    Sized("all_but_the_first", lambda x: x.at[1:].add(x[:-1]), [("N", 3)], ["N >= 1"]),
    Sized("all_but_the_last", lambda x: x.at[:-1].set(x[1:]), [("N", 3)], ["N >= 1"]),
    Sized("inside", lambda x: x.at[1:-1, 1:-1].set(0.0), [("H", "W")], ["H >= 2", "W >= 2"], sizes=LONGER),
    Sized("inside_plus", lambda x: x.at[1:-1, 1:-1].add(x[1:-1, 1:-1]), [("H", "W")], ["H >= 2", "W >= 2"]),
    Sized("half", lambda x: x.at[x.shape[0] // 2 :].multiply(-1), [("N",)]),
    Sized("columns_of_last_row", lambda x: x.at[-1, :2].set(9.0), [("N", 3)], ["N >= 1"]),
    Sized("whole", lambda x, v: x.at[:].set(v), ROWS, heavy=True),
    Sized("new_axis", lambda x, v: x.at[None, -1].set(v), ROWS, ["N >= 1"], heavy=True),
    Sized("gradient", jax.grad(lambda x: (jnp.sin(x).at[-1].multiply(x[0]) ** 2).sum()), [("N", 3)], ["N >= 1"]),
    Sized("mapped", jax.vmap(lambda x, v: x.at[-1].set(v)), [("B", "N"), ("B",)], ["N >= 1"]),
    Sized("mapped_numbers", jax.vmap(lambda x, v: x.at[-2:].set(v)), [("B", "N"), ("B",)], heavy=True),
    Sized("carried", lambda x: lax.fori_loop(0, 3, lambda i, c: c.at[-1].add(c[0] * i), x), [("N",)], ["N >= 1"]),
    Sized("integers", lambda x: x.at[-1].add(100), ["int8[N]"], ["N >= 1"]),
    Sized("booleans", lambda x, v: x.at[-1].set(v), ["bool[N]", "bool[]"], ["N >= 1"]),
    Sized("more_booleans", lambda x, v: x.at[-1].max(v), ["bool[N]", "bool[]"], ["N >= 1"], heavy=True),
]


@pytest.mark.parametrize("program", select(PROGRAMS), ids=str)
def test_program(program):
    run_sized(program)


@pytest.mark.parametrize(
    ("program", "specs", "nodes"),
    [
        (lambda x, v: x.at[-1].set(v), [("N", 4), (4,)], 3),
        (lambda x: x.at[-1].set(0.0), [("N", 4)], 2),
        (lambda x, v: x.at[..., -1].add(v), [("N", "M"), ("N",)], 5),
        (lambda x: x.at[:, -1].multiply(2.0), [("N", "M", 3)], 4),
        (lambda x: x.at[-2:].set(0.0), [("N", 4)], 9),
        (lambda x: x.at[1:].add(x[:-1]), [("N", 4)], 5),
    ],
)
def test_few_nodes(program, specs, nodes):
    counted = operators(to_onnx(program, specs))
    assert counted.total() <= nodes
    assert not {"ScatterND", "ScatterElements"} & set(counted)


def test_complex_numbers_and_doubles():
    with x64(enabled=True):
        for spec in ("complex64[N]", "complex128[N]", "float64[N]"):
            program, specs = (lambda x: x.at[-1].multiply(2 * x[0])), [spec]
            check(to_onnx(program, specs), program, specs, kinds=("ordinary",))


def test_numbers_that_do_not_fit_are_left_to_jax():
    def program(x):
        return x.at[-1].set(1.5)

    with pytest.warns(FutureWarning, match="incompatible types"):
        model = to_onnx(program, ["int32[N]"])
    with pytest.warns(FutureWarning, match="incompatible types"):
        check(model, program, ["int32[N]"])


def test_a_weak_type_stays():
    def program(x):
        kept = jnp.full(x.shape, 2).at[-1].set(3)
        return kept + x.astype(np.int8)

    model = to_onnx(program, [("N",)])
    assert check(model, program, [("N",)])


def test_what_cannot_be_broadcast_is_refused_as_jax_does():
    with pytest.raises(errors.ConversionError, match="broadcast"):
        to_onnx(lambda x: x.at[-1].set(jnp.ones(3)), [("N", 4)])
