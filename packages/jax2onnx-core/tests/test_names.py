"""Names: what the user or the program calls a value is never also ours for another one."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from jax2onnx import to_onnx
from jax2onnx._unique import free_name
from jax2onnx.checking.runtime import Runner
from jax2onnx.output.names import prefixed_if_taken, unique_names

ROW = np.arange(1, 4, dtype=np.float32)
DEEP = {f"val_{i}" for i in range(9)} | {f"const_{i}" for i in range(4)}


def of_input(const_0: Any) -> Any:
    return const_0 * ROW


def of_results(x: Any) -> Any:
    y = jnp.cos(jnp.cos(jnp.sin(x)) * 2)
    return {"val_3": y + ROW, "val_0": x * ROW - y, "const_0": jnp.sin(x) * 3}


def of_body(x: Any) -> Any:
    looped = jax.lax.fori_loop(0, 3, lambda i, c: jnp.sin(c + i) * ROW, x)
    chosen = jax.lax.cond(x.sum() > 0, lambda v: jnp.sin(v) * ROW, jnp.cos, x)
    return {"looped": looped, "chosen": chosen, **{name: x * i for i, name in enumerate(sorted(DEEP))}}


def of_parameters(params: Any, x: Any) -> Any:
    total = x @ params["const_0"] + params["const_1"] * ROW
    return total + params["a"].reshape(3) + params["a_rearranged"].sum() + params["const_2"]


PARAMS = {
    "const_0": jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), np.float32),
    "const_1": jnp.asarray([0.5, -2, 7]),
    "const_2": jnp.asarray([1, 10, 100.0]),
    "a": jnp.asarray([[3], [4], [5.0]]),
    "a_rearranged": jnp.asarray([[6], [7], [8.0]]),
}


FUNCTIONS = {
    "input": of_input,
    "results": of_results,
    "body": of_body,
    "parameters": functools.partial(of_parameters, PARAMS),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("options", [{}, {"target": "onnx"}, {"fusions": False}], ids=str)
def test_names_that_are_ours_too_stay_the_users(name: str, options: dict[str, Any]) -> None:
    function = FUNCTIONS[name]
    model = to_onnx(function, [(2, 3)], **options)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    expected = function(x)
    runner = Runner(model)
    assert set(runner.output_names) == (set(expected) if isinstance(expected, dict) else {"output"})
    for got, want in zip(runner.run([x]), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_what_gives_way_takes_no_other_name_of_the_users() -> None:
    def function(params: Any, const_0: Any) -> Any:
        return const_0 * ROW + params["const_0_1"] * jnp.arange(3.0)[::-1] + params["const_0_2"]

    params = {"const_0_1": jnp.asarray([5, 7, 11.0]), "const_0_2": jnp.asarray([0.5, 0.25, 4])}
    bound = functools.partial(function, params)
    model = to_onnx(bound, [(2, 3)])
    onnx.checker.check_model(model, full_check=True)
    assert {*params} <= {i.name for i in model.graph.initializer}
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    np.testing.assert_allclose(Runner(model).run([x])[0], bound(x), rtol=1e-6)


def test_a_parameter_keeps_its_name() -> None:
    model = to_onnx(functools.partial(of_parameters, PARAMS), [(2, 3)])
    held = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for name, array in PARAMS.items():
        np.testing.assert_array_equal(held[name].reshape(array.shape), array)


def test_an_output_may_be_called_as_a_value_inside() -> None:
    model = to_onnx(lambda x: (jnp.sin(x) + 1, jnp.cos(x) * 2), [(3,)], output_names=["val_1", "val_0"])
    onnx.checker.check_model(model, full_check=True)
    x = np.linspace(-2, 2, 3, dtype=np.float32)
    for got, want in zip(Runner(model).run([x]), (np.sin(x) + 1, np.cos(x) * 2), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "taken", "expected"),
    [
        (["a", "b"], ["c"], ["a", "b"]),
        (["a", "b"], ["b"], ["a", "output_b"]),
        (["b", "output_b"], ["b"], ["output_output_b", "output_b"]),
    ],
)
def test_a_prefix_sets_names_apart(names: list[str], taken: list[str], expected: list[str]) -> None:
    assert prefixed_if_taken(names, taken, "output_") == expected


def test_values_inside_get_numbers() -> None:
    x = ir.Value(name="x", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.FLOAT))
    nodes = [ir.Node("", "Neg", [x])]
    for name in ("x", "a", "a", "x_1", None, None, "y"):
        nodes.append(ir.Node("", "Neg", nodes[-1].outputs))
        nodes[-2].outputs[0].name = name
    nodes[-1].outputs[0].name = "y"
    model = ir.Model(ir.Graph([x], nodes[-1].outputs, nodes=nodes, opset_imports={"": 23}), ir_version=10)
    unique_names(model)
    assert [n.outputs[0].name for n in nodes] == ["x_2", "a", "a_1", "x_1", "val_0", "val_1", "y_1", "y"]


def test_a_number_for_the_last_of_many_equal_names() -> None:
    class Counted(set[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            self.asked += 1
            return super().__contains__(name)

    for first, taken in ((1, range(1, 5001)), (2, range(2, 5001)), (1, [1, 2, 3, 5])):
        names = Counted({"x", *(f"x_{number}" for number in taken)})
        found = free_name("x", names, first=first)
        assert not names.issuperset({found})
        assert names.issuperset({f"x_{int(found[2:]) - 1}"})
        assert names.asked < 40
    assert free_name("x", {"x"}, first=2) == "x_2"
    assert free_name("x", {"y"}) == "x"
