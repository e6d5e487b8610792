"""Solves by lineax, alone and inside of optimistix and diffrax, compared with JAX."""

import functools
import warnings

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import PluginSuite, Runner, operators
from jax2onnx_lineax.solve import CANNOT_RAISE

RNG = np.random.default_rng(0)
WARNS = pytest.mark.filterwarnings("ignore:lineax.linear_solve")


@WARNS
class TestPlugin(PluginSuite):
    plugin = "lineax"


def dense(a, b, *, solver=lx.AutoLinearSolver(well_posed=True), throw=True):  # noqa: B008
    return lx.linear_solve(lx.MatrixLinearOperator(a), b, solver, throw=throw)


def value(a, b, **options):
    return dense(a, b, **options).value


def in_runtime(fn, specs, *arrays):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(fn, specs)
    return Runner(model).run(list(arrays))


def systems():
    """Three systems of which the second one is singular."""
    a = RNG.uniform(-1, 1, (3, 4, 4)).astype(np.float32) + 6 * np.eye(4, dtype=np.float32)
    a[1] = 0
    return a, RNG.uniform(-1, 1, (3, 4)).astype(np.float32)


@pytest.mark.parametrize("throw", [True, False])
@pytest.mark.parametrize("solver", [lx.LU(), lx.QR(), lx.BiCGStab(rtol=1e-2, atol=1e-2)], ids=["lu", "qr", "bicgstab"])
def test_a_system_that_fails_spoils_no_other_of_its_batch(solver, throw):
    a, b = systems()
    (got,) = in_runtime(jax.vmap(functools.partial(value, solver=solver, throw=throw)), [("B", 4, 4), ("B", 4)], a, b)
    expected = np.array(jax.vmap(functools.partial(value, solver=solver, throw=False))(a, b))
    assert not np.isfinite(expected[1]).any()
    if throw:
        expected[1] = np.nan
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_maps_of_maps():
    a, b = systems()
    solve = jax.vmap(jax.vmap(value, in_axes=(None, 0)), in_axes=(0, None))
    (got,) = in_runtime(solve, [("B", 4, 4), ("K", 4)], a, b)
    expected = np.asarray(jax.vmap(jax.vmap(functools.partial(value, throw=False), (None, 0)), (0, None))(a, b))
    np.testing.assert_allclose(got[[0, 2]], expected[[0, 2]], rtol=1e-4, atol=1e-5)
    assert np.isnan(got[1]).all()


@pytest.mark.parametrize("throw", [True, False])
def test_the_result_says_why(throw):
    def codes(a, b):
        result = dense(a, b, throw=throw).result
        return jnp.stack([result == one for one in (lx.RESULTS.successful, lx.RESULTS.singular)])

    def nonfinite(a, b):
        return dense(a, b, throw=throw).result == lx.RESULTS.nonfinite_input

    a, b = systems()
    (got,) = in_runtime(jax.vmap(codes), [("B", 4, 4), ("B", 4)], a, b)
    assert got.tolist() == [[True, False], [False, True], [True, False]]
    b[2, 0] = np.inf
    (got,) = in_runtime(jax.vmap(nonfinite), [("B", 4, 4), ("B", 4)], a, b)
    assert got.tolist() == [False, False, True]


def test_zeros_keep_their_signs():
    diagonal = np.array([1, -1, 2, -4], np.float32)
    b = np.array([0.0, 0.0, -0.0, 3.0], np.float32)
    (got,) = in_runtime(lambda d, b: lx.linear_solve(lx.DiagonalLinearOperator(d), b).value, [(4,), (4,)], diagonal, b)
    assert np.signbit(got).tolist() == [False, True, True, True]


def test_solutions_that_are_pytrees_fail_as_a_whole():
    def solve(d, b):
        operator = lx.DiagonalLinearOperator({"x": d[:2], "y": d[2:]})
        return lx.linear_solve(operator, {"x": b[:2], "y": b[2:]}).value

    fine, wrong = np.ones(4, np.float32), np.array([1, np.inf, 1, 1], np.float32)
    assert [part.tolist() for part in in_runtime(solve, [(4,), (4,)], fine, fine)] == [[1, 1], [1, 1]]
    assert all(np.isnan(part).all() for part in in_runtime(solve, [(4,), (4,)], fine, wrong))


def test_the_warning_is_given_once_where_jax_may_raise():
    with pytest.warns(UserWarning, match="NaN") as caught:
        to_onnx(lambda a, b: value(a, value(a, b)), [(3, 3), (3,)])
    assert [str(one.message) for one in caught] == [CANNOT_RAISE]
    to_onnx(functools.partial(value, throw=False), [(3, 3), (3,)])


CASES = {
    "diagonal": (lambda a, b: lx.linear_solve(lx.DiagonalLinearOperator(b), a[0]).value, 7),
    "lu": (value, 160),
    "batch of lu": (jax.vmap(value), 165),
    "slope": (jax.grad(lambda a, b: value(a, b).sum()), 225),
}


@WARNS
@pytest.mark.filterwarnings("ignore:equinox.error_if")
@pytest.mark.parametrize("name", CASES)
def test_models_are_shorter_than_by_the_definition_of_lineax(name, isolated_plugins):
    fn, most = CASES[name]
    lead = ("B",) if "batch" in name else ()
    specs = [(*lead, 4, 4), (*lead, 4)]
    with_plugin = operators(to_onnx(fn, specs)).total()
    isolated_plugins("lax", "jnp", "nn", "equinox")
    assert with_plugin <= most
    assert with_plugin + 8 <= operators(to_onnx(fn, specs)).total()


def newton(a):
    def residual(y, a):
        return jnp.array([y[0] ** 2 + y[1] - a[0], y[1] ** 3 + y[0] - a[1]])

    solver = optx.Newton(rtol=1e-6, atol=1e-6)
    return optx.root_find(residual, solver, jnp.ones(2), a, max_steps=16, throw=False).value


def stiff(y0):
    term = diffrax.ODETerm(lambda t, y, args: jnp.stack([-50 * (y[0] - y[1] ** 2), y[0] - y[1]]))
    steps = diffrax.ConstantStepSize()
    finder = diffrax.VeryChord(rtol=1e-4, atol=1e-4)
    solver = diffrax.ImplicitEuler(root_finder=finder)
    return diffrax.diffeqsolve(term, solver, 0, 0.4, 0.1, y0, stepsize_controller=steps, max_steps=8, throw=False).ys


@WARNS
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("fn", [newton, jax.jacrev(newton), stiff], ids=["newton", "slope of newton", "stiff"])
def test_solvers_that_solve_inside(fn):
    values = [[(2 + RNG.random((n, 2))).astype(np.float32)] for n in (1, 3)]
    fn = jax.vmap(fn)
    check(to_onnx(fn, [("B", 2)]), fn, [("B", 2)], values=values)
