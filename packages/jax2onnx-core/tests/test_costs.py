"""Costs and differences of models: figures that are known from the shapes, and changes that are made on purpose."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from jax2onnx import onnx_function, to_onnx
from jax2onnx.cli.main import cli
from jax2onnx.errors import InputSpecError
from jax2onnx.inspect.costs import costs
from jax2onnx.inspect.differences import differences
from jax2onnx.output.save import save


class Mlp(eqx.Module):
    first: Any
    second: Any

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(jax.nn.relu(self.first(x)))


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    keys = jax.random.split(jax.random.key(0))
    mlp = Mlp(eqx.nn.Linear(30, 20, key=keys[0]), eqx.nn.Linear(20, 10, key=keys[1]))
    return to_onnx(jax.vmap(mlp), [("B", 30)])


def test_costs_of_layers(model: onnx.ModelProto) -> None:
    found = costs(model, "module", {"B": 4})
    assert found.sizes == {"B": 4}
    assert not found.uncounted
    first = found.rows["fun/first/eqx.nn.Linear"]
    assert (first.parameters, first.parameter_bytes) == (30 * 20 + 20, 4 * (30 * 20 + 20))
    assert first.flops == 4 * (2 * 30 * 20 + 20)
    assert found.total.parameters == 30 * 20 + 20 + 20 * 10 + 10
    assert found.total.flops == 4 * (2 * 30 * 20 + 20 + 20 + 2 * 20 * 10 + 10)
    assert costs(model, "operator").total.flops * 4 == found.total.flops
    assert all("test_costs.py:" in line for line in costs(model, "line").rows)


def product(x: jax.Array) -> jax.Array:
    return x @ x


def dequantised(dtype: str, x: jax.Array) -> jax.Array:
    weights = jnp.asarray(np.arange(64 * 48).reshape(64, 48) % 15 - 7, dtype)
    return x @ (weights.astype(jnp.float32) * jnp.linspace(1, 2, 48))


def integers(x: jax.Array) -> jax.Array:
    return jax.lax.dot(x, jnp.full((64, 48), 3, jnp.uint8), preferred_element_type=jnp.int32)


PROGRAMS: list[tuple[Any, list[Any], int]] = [
    (functools.partial(dequantised, "int8"), ["float32[7,64]"], 2 * 64 * 48 + 2 * 7 * 64 * 48),
    (functools.partial(dequantised, "int4"), ["float32[7,64]"], 2 * 7 * 64 * 48),
    (integers, ["uint8[7,64]"], 2 * 7 * 64 * 48),
    (product, ["float32[8,8]"], 2 * 8**3),
    (lambda x: jnp.sin(x) + x[::-1].T.reshape(8, 8), ["float32[8,8]"], 2 * 64),
    (lambda x: jax.lax.scan(lambda c, a: (c @ a, None), jnp.eye(8), x)[0], ["float32[5,8,8]"], 5 * 2 * 8**3),
    (onnx_function(product), ["float32[8,8]"], 2 * 8**3),
    (lambda x: x.sum(0), ["float32[8,T]"], 8 * 3),
    (lambda x, w: jax.lax.conv(x, w, (1, 1), "SAME"), ["float32[1,2,6,6]", "float32[3,2,3,3]"], 2 * 108 * 18),
]


@pytest.mark.parametrize(("program", "inputs", "flops"), PROGRAMS)
def test_flops(program: Any, inputs: list[Any], flops: int) -> None:
    sizes = {"T": 3} if "T" in inputs[0] else {}
    found = costs(to_onnx(program, inputs), "operator", sizes)
    assert (found.total.flops, found.uncounted) == (flops, {})


def test_what_cannot_be_counted_is_said(model: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.node[0].op_type = "Det"
    del other.graph.value_info[:]
    assert "Det" in costs(other, "operator").uncounted
    with pytest.raises(InputSpecError, match="did you mean 'module'"):
        costs(model, "modul")  # type: ignore[arg-type]
    with pytest.raises(InputSpecError, match="no symbol 'C'"):
        costs(model, "module", {"C": 1})


def changed(model: onnx.ModelProto, change: str) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    weight = other.graph.initializer[0]
    match change:
        case "values":
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.5), weight.name))
        case "dtype":
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
        case "removed":
            del other.graph.initializer[0]
        case "operator":
            next(node for node in other.graph.node if node.op_type == "Relu").op_type = "Tanh"
        case "output":
            other.graph.output[0].name = "other"
        case "opset":
            other.opset_import[0].version = 22
        case "metadata":
            other.metadata_props.add(key="license", value="MIT")
        case "wiring":
            node = other.graph.node[0]
            node.input[0], node.input[1] = node.input[1], node.input[0]
        case "inner names":
            for node in other.graph.node:
                node.name = f"other_{node.name}"
                del node.metadata_props[:]
    return other


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("nothing", set()),
        ("inner names", set()),
        ("values", {"weight"}),
        ("dtype", {"weight"}),
        ("removed", {"weight", "wiring"}),
        ("operator", {"operator"}),
        ("output", {"output"}),
        ("opset", {"opset"}),
        ("metadata", {"metadata"}),
        ("wiring", {"wiring"}),
    ],
)
def test_differences(model: onnx.ModelProto, change: str, kinds: set[str]) -> None:
    found = differences(model, changed(model, change))
    assert {item.kind for item in found} == kinds
    assert ("largest difference 0.5" in str(found[0])) if change == "values" else True


def test_the_command_line(model: onnx.ModelProto, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.onnx" for name in "abc"]
    save(model, paths[0], external_data_threshold=0)
    save(model, paths[1])
    save(changed(model, "values"), paths[2])

    def run(*words: Any) -> tuple[int | None, str]:
        done = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
        return done.return_value, done.output

    assert run("diff", paths[0], paths[1]) == (0, "")
    code, told = run("diff", paths[0], paths[2], "--json")
    assert code == 1
    assert [change["kind"] for change in json.loads(told)["changes"]] == ["weight"]
    _, told = run("inspect", paths[1], "--by", "operator", "--size", "B=4", "--json")
    assert json.loads(told)["sizes"] == {"B": 4}
    _, told = run("inspect", paths[1], "--by", "module")
    assert "at B=1" in told
    assert "fun/first/eqx.nn.Linear" in told
