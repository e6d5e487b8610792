"""Arrays that are empty at run time: a symbolic size is 0, which JAX does not think of while it traces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import Runner, operators, x64

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
EXTREMA = {
    "max": lambda x: lax.reduce_max(x, (0,)),
    "min": lambda x: lax.reduce_min(x, (0,)),
    "max of all": lambda x: jnp.max(x, initial=0),
    "min of all": lambda x: jnp.min(x, initial=5, where=x > 2),
    "max of rows": lambda x: lax.reduce_max(x, (1,)),
}
PROGRAMS = {
    "set behind the first": lambda x: x.at[1:].set(7),
    "add behind the first": lambda x: x.at[1:].add(2),
    "set before the last": lambda x: x.at[:-1].set(7),
    "padded rest": lambda x: jnp.pad(x[1:], ((1, 0), (0, 0))),
    "row before the others": lambda x: jnp.concatenate([jnp.ones((1, 3)), x[:-1]]),
    "zeros between": lambda x: lax.pad(x, jnp.zeros((), x.dtype), ((1, 2, 2), (0, 0, 1))),
    "zeros between, less at the edges": lambda x: lax.pad(x, jnp.zeros((), x.dtype), ((-1, 3, 1), (0, 0, 1))),
    "wrapped columns": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="wrap"),
    "reflected columns": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="reflect"),
    "repeated columns": lambda x: jnp.pad(x, ((0, 0), (1, 2)), mode="edge"),
    "mean of the first and of the last": lambda x: jnp.pad(x, 1, mode="mean", stat_length=1),
    "ranks of all": lambda x: [jax.scipy.stats.rankdata(x, method=method) for method in ("max", "average")],
    "no columns of one": lambda x: jnp.repeat(x[:, :1], 0, axis=1),
    "none of each": lambda x: jnp.broadcast_to(x[:, 1:2, None], (*x[:, 1:2].shape, 0)),
    # Of no rows, the rest behind the first has -1 rows by its shape.
    "steps of the rest": lambda x: lax.scan(lambda c, row: (c + row, c), jnp.zeros(3), x[1:]),
    "rest mapped": lambda x: lax.map(jnp.sin, x[1:], batch_size=2),
    "rest sorted": lambda x: (jnp.sort(x[1:], axis=0), jnp.argsort(x[:-1], axis=0)),
    "first and rest": lambda x: jnp.split(x, [1]),
    "product of rests": lambda x: (x[1:].T @ x[1:], x[2:].T @ x[2:]),
    "sum of rests of integers": lambda x: jnp.tensordot(x[1:].astype(int), x[1:].astype(int), 2),
}
FIRST = jnp.array([0])
SCATTERED = {
    "set": lambda x: x.at[FIRST].set(5),
    "added": lambda x: x.at[FIRST].add(5),
    "multiplied": lambda x: x.at[FIRST].multiply(5),
    "least": lambda x: x.at[FIRST].min(0.5),
    "set in a column": lambda x: x.at[FIRST, 1].set(5),
    "added in a column": lambda x: x.at[FIRST, FIRST].add(5),
    "set at the end": lambda x: x.at[-1 - FIRST].set(5),
    "clipped": lambda x: x.at[FIRST + 7].add(5, mode="clip"),
    "sums of segments": lambda x: jax.ops.segment_sum(jnp.ones((2, 3)), jnp.array([0, 0]), num_segments=x.shape[0]),
}
"""What is written where no row is, JAX drops."""
DERIVATIVES = {
    "rest": lambda x: jnp.sum(x[1:] ** 2),
    "neighbours": lambda x: jnp.sum(x[:-1] * x[1:]),
    "differences": lambda x: jnp.sum(jnp.diff(x, axis=0) ** 2),
    "differences of all": lambda x: jnp.sum(jnp.ediff1d(x) ** 2),
    "shifted": lambda x: jnp.sum(jnp.pad(x[1:], ((0, 1), (0, 0))) * x),
    "first and rest": lambda x: jnp.sum(jnp.concatenate([x[:1] * 2, x[1:] * 3]) ** 2),
    "set behind the first": lambda x: jnp.sum(x.at[1:].set(x[:-1]) ** 2),
    "add behind the first": lambda x: jnp.sum(x.at[1:].add(x[:-1]) ** 2),
    "product behind the first": lambda x: jnp.sum(x.at[1:].multiply(3.0) ** 2),
    "least before the last": lambda x: jnp.sum(x.at[:-1].min(x[1:]) ** 2),
    "rest of the sums": lambda x: jnp.sum(jnp.cumsum(x, 0)[1:] ** 2),
    "rest of the sorted": lambda x: jnp.sum(jnp.sort(x, 0)[1:] ** 2),
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", EXTREMA)
def test_extremum(name, dtype):
    program, spec = EXTREMA[name], f"{dtype}[N,M]"
    with x64(enabled=True):
        model = to_onnx(program, [spec])
        check(model, program, [spec], sizes=[{"N": 0, "M": 0}, {"N": 0, "M": 3}, {"N": 3, "M": 0}, {"N": 3, "M": 2}])


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    program, spec = PROGRAMS[name], "float32[N,3]"
    check(to_onnx(program, [spec]), program, [spec], sizes=(0, 1, 2, 5))


@pytest.mark.parametrize("name", SCATTERED)
def test_scatter(name):
    program, spec = SCATTERED[name], "float32[N,3]"
    check(to_onnx(program, [spec]), program, [spec], sizes=(0, 1, 2, 5))


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivative(name):
    program, spec = jax.grad(DERIVATIVES[name]), "float32[N,3]"
    # Whether infinity times zero comes about depends on the order of products.
    check(to_onnx(program, [spec]), program, [spec], sizes=(0, 1, 2, 5), kinds=("ordinary", "large"))


@pytest.mark.parametrize("known", [1, 3])
def test_polynomials_that_may_have_no_coefficients(known):
    """One of none is 0 to JAX, so that a product has as many coefficients as the other one."""
    other = jnp.arange(1.0, known + 1)
    for program in (lambda x: jnp.polymul(x, other), lambda x: jnp.polymul(other, x * 2)):
        check(to_onnx(program, ["float32[N]"]), program, ["float32[N]"], sizes=(0, 1, 2, 5))


def test_polynomials_both_of_which_may_have_no_coefficients():
    specs, sizes = ["float32[N]", "float32[M]"], [{"N": n, "M": m} for n in (0, 1, 3) for m in (0, 1, 2)]
    check(to_onnx(jnp.polymul, specs), jnp.polymul, specs, sizes=sizes, kinds=("ordinary", "large"))


def test_counts_of_the_distinct_of_none_are_0():
    """JAX leaves out the counts of none, which a model cannot do; it has zeros there."""

    def program(x):
        return jnp.unique(x, size=4, return_counts=True, fill_value=7)

    model = to_onnx(program, ["float32[N]"])
    values, counts = Runner(model).run([np.zeros(0, np.float32)])
    assert values.tolist() == [7] * 4 == program(jnp.zeros(0))[0].tolist()
    assert counts.tolist() == [0] * 4
    check(model, program, ["float32[N]"], sizes=(1, 2, 5))


def _places(x):
    kept = jnp.nonzero(x > 0, size=3, fill_value=7), jnp.argwhere(x > 0, size=2, fill_value=-1)
    return *kept, jnp.flatnonzero(x, size=2, fill_value=5), jnp.nonzero(x, size=2)


def _distinct(x):
    found = jnp.unique(x, size=3, fill_value=7, return_inverse=True)
    return *found, jnp.unique(x, size=2, fill_value=0), jnp.unique_values(x, size=4, fill_value=-1)


SQUARES = [name for name in ("toeplitz", "hankel") if hasattr(jax.scipy.linalg, name)]
"""Older JAX has the first alone."""
DECIDED = {
    "cov": lambda x: (jnp.cov(x), jnp.cov(x, bias=True)),
    "histogram": lambda x: (jnp.histogram(x), jnp.histogram_bin_edges(x, bins=3)),
    "histogram in a range": lambda x: jnp.histogram(x, range=(0, 1))[0],
    "places": _places,
    "distinct": _distinct,
    "quantiles": lambda x: (jnp.nanmedian(x), jnp.nanquantile(x, 0.3), jnp.nanpercentile(x, 70)),
    # The count of the mode is an integer but for none, which a model cannot have.
    "ranks": lambda x: (jax.scipy.stats.rankdata(x), jax.scipy.stats.mode(x).mode),
    "squares": lambda x: [getattr(jax.scipy.linalg, name)(x) for name in SQUARES],
}
"""JAX asks whether the array is empty."""


def _has_result(program, numbers):
    """Return whether this JAX has a result: of no numbers, older ones have no histogram and no median."""
    try:
        program(jnp.asarray(numbers))
    except (ValueError, IndexError):
        return False
    return True


@pytest.mark.filterwarnings("ignore:Degrees of freedom|invalid value|All-NaN")
@pytest.mark.parametrize("name", DECIDED)
def test_function_that_looks_whether_an_array_is_empty(name):
    program, full = DECIDED[name], np.array([3, -1, 3, 0, 2], np.float32)
    numbers = [[full[:size]] for size in (0, 1, 2, 5) if size or _has_result(program, full[:0])]
    check(to_onnx(program, ["float32[N]"]), program, ["float32[N]"], values=numbers)


@pytest.mark.parametrize("name", ["union1d", "setdiff1d", "intersect1d", "setxor1d"])
def test_sets_of_two_arrays_that_may_be_empty(name):
    def program(x, y):
        return getattr(jnp, name)(x, y, size=4, fill_value=9)

    specs = ["float32[N]", "float32[M]"]
    full = np.array([3, -1, 3, 0, 2], np.float32)
    pairs = [[full[:n], full[2 : 2 + m] + 0] for n in (0, 1, 5) for m in (0, 1, 3)]
    check(to_onnx(program, specs), program, specs, values=pairs)


def test_no_choice_where_a_size_is_at_least_1():
    def program(x):
        return jnp.cov(x)

    model = to_onnx(program, ["float32[N]"], constraints=["N >= 1"])
    assert operators(model)["If"] == 0
    assert operators(to_onnx(program, ["float32[N]"]))["If"] == 1


SORTED = {
    "sort": lambda x: jnp.sort(x, axis=1),
    "argsort": lambda x: jnp.argsort(x, axis=1, descending=True),
    "top_k": lambda x: jax.lax.top_k(jnp.moveaxis(x, 1, 2), 2),
    "two keys": lambda x: jax.lax.sort((jnp.round(x), x), dimension=1, num_keys=2),
}


@pytest.mark.parametrize("name", SORTED)
def test_no_rows_are_sorted_before_onnxruntime_1_31_whose_process_they_end(name):
    """A row is added, where a size may be 0 and the target may be an older release."""
    program, specs = SORTED[name], ["float32[B,3,T]"]
    model = to_onnx(program, specs)
    assert operators(model)["Pad"] == operators(model)["TopK"] > 0
    sizes = [{"B": rows, "T": columns} for rows in (0, 1, 3) for columns in (0, 2)]
    check(model, program, specs, sizes=sizes)
    constraints = ["B >= 1", "T >= 1"]
    assert operators(to_onnx(program, specs, constraints=constraints))["Pad"] == 0
    assert operators(to_onnx(program, specs, target="onnxruntime>=1.31"))["Pad"] == 0


def test_products_of_transposed_empty_batches_are_not_fused_before_onnxruntime_1_32_whose_process_they_end():
    weights = jnp.arange(24.0).reshape(2, 4, 3)

    def program(x):
        moved = jnp.transpose(x, (1, 2, 0))
        return weights @ moved, jnp.swapaxes(moved, 1, 2) @ weights.mT, jnp.swapaxes(x, 1, 2) @ x

    model = to_onnx(program, ["float32[B,2,3]"])
    assert operators(model)["Max"] == 2
    check(model, program, ["float32[B,2,3]"], sizes=(0, 1, 5))
    assert operators(to_onnx(program, ["float32[B,2,3]"], target="onnxruntime>=1.32"))["Max"] == 0
    assert operators(to_onnx(program, ["float32[5,2,3]"]))["Max"] == 0
