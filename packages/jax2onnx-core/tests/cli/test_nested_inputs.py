"""What Python takes, the command line takes: nested inputs, static values, parameters, rules, constraints."""

import json

import onnx
import pytest

NESTED = """
import jax.numpy as jnp
import numpy as np

def loss(batch, scale):
    return jnp.where(batch["mask"], batch["pair"][0] + batch["pair"][1], 0.0) * scale

def powers(n, x):
    return [x**i for i in range(n)]

def twice(ctx, x):
    return ctx.op.Identity(x)

def scaled(x, *, factor, train: bool):
    return x if train else x * factor

def sine(x):
    return jnp.sin(x)

np.savez("values.npz", **{"batch.mask": np.array([True, False]), "batch.pair.0": np.ones(2, "float32"),
                          "batch.pair.1": np.ones(2, "float32"), "scale": np.float32(3)})
"""


@pytest.fixture
def nested_models(tmp_path, models):
    (tmp_path / "nested.py").write_text(NESTED)


LITERAL = ("-i", "batch={'mask': 'bool[B]', 'pair': ['float32[B]', 'float32[B]']}", "-i", "scale=float32[]")
PARTS = ("-i", "batch.mask=bool[B]", "-i", "batch.pair.0=float32[B]", "-i", "batch.pair.1=float32[B]")


@pytest.mark.parametrize("inputs", [LITERAL, (*PARTS, "-i", "scale=float32[]")], ids=["literal", "parts"])
def test_nested_inputs_values_sizes_and_json(run, nested_models, input_names, inputs):
    code, out, err = run("export", "nested:loss", *inputs, "-o", "m.onnx", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["model"]["inputs"][0]["name"] == "batch.mask"
    assert input_names("m.onnx") == ["batch.mask", "batch.pair.0", "batch.pair.1", "scale"]
    code, out, err = run(
        "check", "m.onnx", "nested:loss", "--size", "B=2", "--size", "5", "--kind", "ordinary", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["batches"] == ["ordinary inputs at B=2", "ordinary inputs at B=5"]
    code, out, err = run("check", "m.onnx", "nested:loss", "--values", "values.npz", "--rtol", "0", "--atol", "0")
    assert (code, err) == (0, "")
    assert "on given inputs" in out


def test_static_values_parameters_rules_functions_and_constraints(run, nested_models, input_names):
    static = ("--static", "n=3", "-i", "x=float32[B]", "--constraint", "B >= 2", "--name", "mine")
    code, _, err = run("export", "nested:powers", *static, "-o", "m.onnx", "--check", "--size", "4")
    assert (code, err) == (0, "")
    assert len(onnx.load("m.onnx").graph.output) == 3
    assert onnx.load("m.onnx").graph.name == "mine"
    given = ("-i", "x=float32[3]", "--input-param", "factor=float32[]", "--static", "train=False")
    code, _, err = run("export", "nested:scaled", *given, "-o", "m.onnx", "--check", "--state", "io")
    assert (code, err) == (0, "")
    assert input_names("m.onnx") == ["x", "factor"]
    rule = ("--lowering", "sin=nested:twice", "--functions", "modules")
    code, _, err = run("export", "nested:sine", "-i", "x=float32[3]", *rule, "-o", "m.onnx")
    assert (code, err) == (0, "")
    assert [node.op_type for node in onnx.load("m.onnx").graph.node] == ["Identity"]
    code, out, err = run("check", "m.onnx", "nested:sine", "--json")
    assert code == 1
    assert json.loads(out)["error"]["class"] == "CheckError"
