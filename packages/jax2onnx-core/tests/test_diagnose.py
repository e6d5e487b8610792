"""``diagnose`` names the node, the line and the culprit of a fault in a model; nox -s diagnose tries many more."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from jax2onnx import diagnose, onnx_function, to_onnx
from jax2onnx.checking import search
from jax2onnx.checking.diagnose import whole
from jax2onnx.checking.walk import Walk
from jax2onnx.errors import CheckError, InputSpecError


def straight(x: jax.Array) -> jax.Array:
    y = jnp.sin(x) + 1.5
    return jnp.cos(y) * 2.0


def loop(x: jax.Array) -> jax.Array:
    def step(carry: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        carry = jnp.tanh(carry + row)
        return carry, carry * 3.0

    return jax.lax.scan(step, x[0], x)[1]


def counted(x: jax.Array) -> jax.Array:
    def body(i: jax.Array, y: jax.Array) -> jax.Array:
        return y.at[:, i].set(jnp.cos(y[:, i]) + i)

    return jax.lax.fori_loop(0, 4, body, x)


@onnx_function
def inside(x: jax.Array) -> jax.Array:
    return jnp.exp(x) + x


def function(x: jax.Array) -> jax.Array:
    return inside(x) * 2.0 - 1.0


def nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    found = [*model.graph.node, *[node for function in model.functions for node in function.node]]
    for node in found:
        found += [inner for attribute in node.attribute for inner in attribute.g.node]
    return found


def swapped(old: str, new: str) -> Callable[[onnx.ModelProto], str]:
    def plant(model: onnx.ModelProto) -> str:
        node = next(node for node in nodes(model) if node.op_type == old)
        node.op_type = new
        return str(node.output[0])

    return plant


def other_constant(model: onnx.ModelProto) -> str:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
            return str(next(node for node in model.graph.node if tensor.name in node.input).output[0])
    raise AssertionError(model)


FAULTS = [
    (straight, swapped("Sin", "Cos"), "jnp.sin(x)"),
    (straight, other_constant, "+ 1.5"),
    (loop, swapped("Tanh", "Sin"), "jnp.tanh("),
    (counted, swapped("Cos", "Sin"), "jnp.cos("),
    (function, swapped("Exp", "Sin"), "jnp.exp(x)"),
]


@pytest.mark.parametrize(("fn", "plant", "source"), FAULTS, ids=["operator", "constant", "scan", "loop", "function"])
def test_changed_model(fn: Callable[..., jax.Array], plant: Callable[[onnx.ModelProto], str], source: str) -> None:
    model = to_onnx(fn, [("B", 4)])
    node = plant(model)
    found = diagnose(model, fn, [("B", 4)], sizes=[3], kinds=["ordinary"])
    assert (found.culprit, found.node) == ("model", node)
    assert source in str(found)
    assert found.proven
    assert not found.agrees


def test_wrong_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: Any = {"lowerings": {"sin": lambda ctx, x: ctx.op.Cos(x)}}
    model = to_onnx(straight, [(3,)], **options)
    found = diagnose(model, straight, [(3,)], reproducer=tmp_path, kinds=["ordinary"], **options)
    assert (found.culprit, found.equation) == ("rule", "sin")
    assert "jnp.sin(x)" in str(found)
    runpy.run_path(str(tmp_path / "reproduce.py"))
    assert "reference evaluator" in capsys.readouterr().out


def test_names_that_a_tool_changed() -> None:
    model = to_onnx(straight, [(3,)])
    for number, node in enumerate(model.graph.node[:-1]):
        for reader in model.graph.node:
            reader.input[:] = [f"tool_{number}" if name == node.output[0] else name for name in reader.input]
        node.output[0] = f"tool_{number}"
    del model.graph.value_info[:]
    assert diagnose(model, straight, [(3,)], kinds=["ordinary"], inner=True).culprit == "none"
    swapped("Sin", "Cos")(model)
    found = diagnose(model, straight, [(3,)], kinds=["ordinary"])
    assert (found.culprit, found.node) == ("model", "tool_0")


def test_ill_conditioned() -> None:
    def cancel(x: jax.Array) -> jax.Array:
        return jnp.exp(x) - jnp.exp(x * 1.00001)

    found = diagnose(to_onnx(cancel, [(64,)]), cancel, [(64,)], kinds=["ordinary"])
    assert (found.culprit, found.equation) == ("ill-conditioned", "sub")
    assert found.agrees


def test_right_model() -> None:
    for fn in (straight, loop, function):
        found = diagnose(to_onnx(fn, [("B", 4)]), fn, [("B", 4)], sizes=[3], kinds=["ordinary"], inner=True)
        assert (found.culprit, found.agrees) == ("none", True)


def test_wrong_calls() -> None:
    model = to_onnx(straight, [(3,)])
    with pytest.raises(InputSpecError, match="there is no option 'opsets'"):
        diagnose(model, straight, [(3,)], opsets=23)  # type: ignore[call-arg]
    with pytest.raises(InputSpecError, match="looks for faults in onnxruntime"):
        diagnose(model, straight, [(3,)], runtime=print)
    with pytest.raises(CheckError, match="the model has the inputs"):
        diagnose(model, straight, [(3,), (3,)])


def test_a_model_that_is_too_large() -> None:
    model = to_onnx(straight, [(3,)])
    model.graph.initializer[0].dims[:] = [2**30]
    with pytest.raises(InputSpecError, match="smaller configuration"):
        whole(model, model)


def test_onnxruntime_refuses_what_its_optimiser_makes() -> None:
    def clipped(x: jax.Array) -> jax.Array:
        return jax.lax.clamp(-3, jax.lax.max(x, 0), 2)

    options: Any = {
        "target": "onnx",
        "lowerings": {
            "max": lambda ctx, x, *_, **__: ctx.op.Relu(x),
            "clamp": lambda ctx, low, x, high, **_: ctx.op.Clip(x, low, high),
        },
    }
    model = to_onnx(clipped, ["int32[5]"], **options)
    found = diagnose(model, clipped, ["int32[5]"], kinds=["ordinary"], **options)
    assert found.culprit in {"none", "optimiser"}  # older ones load it


def test_values_are_computed_anew_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(x: jax.Array) -> jax.Array:
        y = jnp.exp(x)
        z = jnp.sin(y) + jnp.cos(x)
        return jnp.tanh(z) * y + z

    monkeypatch.setattr(search, "Walk", partial(Walk, memory=0))
    model = to_onnx(late, [(3,)])
    assert diagnose(model, late, [(3,)], kinds=["ordinary"], inner=True).culprit == "none"
    node = swapped("Tanh", "Sin")(model)
    found = diagnose(model, late, [(3,)], kinds=["ordinary"])
    assert (found.culprit, found.node) == ("model", node)
