"""Scalar bools that a program uses as Python bools: both branches are in the model."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import InputSpecError, TraceError
from jax2onnx.testing import Runner, operators

SWITCH = {"deterministic": "bool[]"}
X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def drop(x, *, deterministic):
    if deterministic:
        return x
    return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x * 2, 0)


@pytest.mark.parametrize("rows", ["B", 7])
@pytest.mark.parametrize("value", [True, False])
def test_dropout_that_is_switched_at_run_time(rows, value):
    model = to_onnx(drop, [(rows, 3)], input_params=SWITCH)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["x", "deterministic"]
    assert operators(model)["If"] == 1
    (found,) = Runner(model).run([X, np.asarray(value)])
    np.testing.assert_array_equal(found, drop(X, deterministic=value))
    assert np.array_equal(found, X) == value


def test_several_switches_nest_and_only_those_that_are_needed():
    def fn(x, first, second, third):
        y = x * 2 if first else x + 1
        z = jnp.where(second, y, -y)
        return {"z": z if not third else z * 3, "second": second}

    params = dict.fromkeys(("first", "second", "third"), "bool[]")
    model = to_onnx(fn, [(7, 3)], input_params=params)
    assert operators(model)["If"] == 3
    for bits in range(8):
        values = [bool(bits & b) for b in (1, 2, 4)]
        z = fn(jnp.asarray(X), *values)["z"]
        _, found = Runner(model).run([X, *map(np.asarray, values)])
        np.testing.assert_allclose(found, z, rtol=1e-6)


def test_no_branches_without_need_and_an_unused_switch_stays_an_input():
    def fn(x, mask, unused):
        return jnp.where(mask, x, 0)

    params = {"mask": "bool[]", "unused": "bool[]"}
    model = to_onnx(fn, [("B", 3)], input_params=params)
    assert [i.name for i in model.graph.input] == ["x", "mask", "unused"]
    assert "If" not in operators(model)
    check(model, fn, [("B", 3)], input_params=params)


@pytest.mark.parametrize("value", [True, False])
def test_a_check_compares_both(value):
    def fn(x, double):
        return x * 2 if double else x

    params = {"double": "bool[]"}
    model = to_onnx(fn, [("B", 3)], input_params=params)
    check(model, fn, [("B", 3)], input_params=params)
    check(model, fn, [("B", 3)], input_params=params, values=[[X, np.asarray(value)]])


def test_onnx_functions_take_the_value_that_the_branch_is_for():
    @onnx_function
    def block(x, *, double):
        return x * 2 if double else x + 1

    def fn(x, double):
        return block(x, double=double)

    model = to_onnx(fn, [("B", 3)], input_params={"double": "bool[]"})
    assert sorted(f.name for f in model.functions) == ["block", "block_1"]
    check(model, fn, [("B", 3)], input_params={"double": "bool[]"})


def test_results_that_differ_are_refused():
    def fn(x, *, wide):
        return {"y": x, "z": x} if wide else {"y": x.sum(0)}

    with pytest.raises(TraceError, match=r"(?s)where wide is true.*where it is false.*remedy"):
        to_onnx(fn, [(7, 3)], input_params={"wide": "bool[]"})


def test_other_bools_are_still_refused():
    def fn(x, *, flag):
        return x if x.sum() > 0 else jnp.where(flag, x, 1)

    with pytest.raises(TraceError, match=r"jnp\.where"):
        to_onnx(fn, [(7, 3)], input_params={"flag": "bool[]"})


def test_a_parameter_that_the_callable_does_not_take():
    with pytest.raises(InputSpecError, match=r"input_params: .*'training'.*takes x, deterministic"):
        to_onnx(drop, [(7, 3)], input_params={"training": "bool[]"})
    with pytest.raises(InputSpecError, match="'y'"):
        to_onnx(lambda x: x, {"x": (3,), "y": (3,)})
    assert len(to_onnx(lambda x, **rest: x, [(3,)], input_params={"y": (3,)}).graph.input) == 2


def test_jax_is_left_as_it_was():
    to_onnx(lambda x, flag: x if flag else -x, [(3,)], input_params={"flag": "bool[]"})
    assert not jax.jit(lambda x: x)(jnp.zeros(())).any()
