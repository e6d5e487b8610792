"""Targets with a range of versions, their faults, and models without guards, as a user asks for them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from onnx import numpy_helper

from jax2onnx import check, onnx_op, to_onnx
from jax2onnx.checking.portability import portability
from jax2onnx.errors import InputSpecError, NoKernelError, OpsetError
from jax2onnx.plugin import Fault, Span, Target

if TYPE_CHECKING:
    import onnx

    from jax2onnx.testing import TemporaryPlugins

SPECS = ["float32[B,4]"]


def wave(x: jax.Array) -> jax.Array:
    return jnp.max(jnp.sin(x), axis=1)


def tangent(x: jax.Array) -> jax.Array:
    return jnp.tan(x)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.filterwarnings("ignore:target onnxruntime")
@pytest.mark.parametrize(
    ("target", "opset"),
    [
        ("onnxruntime-cpu", 23),
        ("onnxruntime", 23),
        ("onnxruntime>=1.17", 20),
        ("onnxruntime>=1.20", 21),
        ("onnxruntime>=1.21.3", 21),
        ("onnxruntime == 1.22", 22),
        ("onnxruntime-cpu>=1.24,<1.30", 23),
        ("onnxruntime<1.20", 20),
        ("onnx", 23),
    ],
)
def test_a_range_of_versions_decides_the_opset(target: str, opset: int) -> None:
    model: onnx.ModelProto = to_onnx(wave, SPECS, target=target)
    assert model.opset_import[0].version == opset
    check(model, wave, SPECS)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("onnxruntime>=1.20", ["Cast", "Sqrt", "Cast"]), ("onnxruntime>=1.21", ["Sqrt"]), ("onnxruntime-cpu", ["Sqrt"])],
)
def test_roots_are_double_where_those_of_float_lose_infinity(target: str, expected: list[str]) -> None:
    model: onnx.ModelProto = to_onnx(jnp.sqrt, SPECS, target=target)
    assert [node.op_type for node in model.graph.node] == expected
    check(model, jnp.sqrt, SPECS)


@pytest.mark.parametrize(
    ("target", "kept"), [("onnxruntime>=1.19", True), ("onnxruntime>=1.20", False), ("onnxruntime-cpu", False)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_extrema_of_nan_are_nan_before_1_20_which_loses_them(dtype: str, target: str, *, kept: bool) -> None:
    def program(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.clip(jnp.maximum(x, y), jnp.asarray(-2, dtype), y) * jnp.minimum(x, jnp.asarray(3, dtype))

    specs = [f"{dtype}[B,3]", f"{dtype}[3]"]
    with jax.enable_x64(dtype == "float64"):
        model: onnx.ModelProto = to_onnx(program, specs, target=target)
        check(model, program, specs)
    assert (operators(model)["IsNaN"] > 0) is kept


def test_an_export_tells_what_no_model_can_avoid() -> None:
    with pytest.warns(UserWarning, match="in versions <1.19, .* overlaps; set enable_mem_pattern = False"):
        model = to_onnx(wave, SPECS, target="onnxruntime>=1.18")
    (found,) = portability(model, ["onnxruntime>=1.18"])
    assert "enable_mem_pattern" in found.needs[-1]
    (later,) = portability(model, ["onnxruntime>=1.19"])
    assert not later.needs


REDUCTIONS: dict[str, Any] = {
    "ArgMax": lambda x: onnx_op("ArgMax", x, attributes={"axis": -1, "keepdims": 0}, reference=_last),
    "ReduceSum": lambda x: onnx_op("ReduceSum", x, jnp.array([-1, -3]), attributes={"keepdims": 0}, reference=_summed),
    "index vectors": lambda x: x.at[jnp.argsort(x[:, 0, 0]) + 1, 1].get(mode="fill", fill_value=7),
    "scattered": lambda x: x.at[jnp.argsort(x[:, 0, 0]), jnp.argsort(x[:, 0, 1]) % 3].add(2.0, mode="drop"),
    "searched": lambda x: jnp.searchsorted(jnp.arange(3.0), x[:, 0, 0]),
}
"""Reductions along axes that are counted from the end, of the user and of rules."""


def _last(x: jax.Array) -> jax.Array:
    return jnp.argmax(x, axis=-1)


def _summed(x: jax.Array, axes: jax.Array) -> jax.Array:
    return jnp.sum(x, axis=(0, 2))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_axes_are_counted_from_the_first_before_1_32_which_returns_no_elements_as_they_are(name: str) -> None:
    specs = ["float32[B,3,2]"]
    model: onnx.ModelProto = to_onnx(REDUCTIONS[name], specs)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            weights[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type.startswith(("Arg", "Reduce")):
            axes = [a.i for a in node.attribute if a.name == "axis"] or list(weights[node.input[1]])
            assert min(axes) >= 0
    values = [[np.arange(6.0 * size).reshape(size, 3, 2).astype(np.float32)] for size in (0, 1, 4)]
    if name == "ArgMax":
        newer: onnx.ModelProto = to_onnx(REDUCTIONS[name], specs, target="onnxruntime>=1.32")
        assert newer.graph.node[0].attribute[0].i == -1
    check(model, REDUCTIONS[name], specs, values=values)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"target": "onnxruntime>=1.20", "opset": 22}, OpsetError, "1.20.1.* does not load 22"),
        ({"target": "onnxruntime>=1.1"}, InputSpecError, "older than onnxruntime 1.17"),
        ({"target": "onnxrutime>=1.20"}, InputSpecError, "did you mean"),
        ({"target": "onnxruntime>1.20"}, InputSpecError, "no range of versions"),
        ({"target": "onnxruntime>=new"}, InputSpecError, "no version"),
        ({"target": "onnxruntime>=1.24,<1.20"}, InputSpecError, "no version is in"),
        ({"guards": "no"}, InputSpecError, "guards"),
    ],
)
def test_what_no_target_can_be_is_an_error_before_work_starts(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    def never(x: jax.Array) -> jax.Array:
        raise AssertionError("traced")

    with pytest.raises(error, match=words):
        to_onnx(never, SPECS, **options)


def test_without_guards_a_pool_is_its_operator() -> None:
    def pool(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    specs = ["float32[B,8,8,3]"]
    guarded: onnx.ModelProto = to_onnx(pool, specs)
    plain: onnx.ModelProto = to_onnx(pool, specs, guards=False)
    assert operators(guarded)["If"] == 1
    assert operators(plain) == {"Transpose": 2, "MaxPool": 1}
    check(guarded, pool, specs)
    check(plain, pool, specs, kinds=["ordinary"])
    assert operators(to_onnx(wave, SPECS, guards=False)) == {"Sin": 1, "ReduceMax": 1}


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (Span(), Span(), True),
        (Span("1.20"), Span("1.24", "1.26"), True),
        (Span("1.26"), Span("", "1.26"), False),
        (Span("1.20", "1.22"), Span("1.21"), True),
    ],
)
def test_spans(one: Span, other: Span, *, meet: bool) -> None:
    assert one.meets(other) is other.meets(one) is meet


PLUGIN = '''
import onnx_ir as ir
from jax2onnx.plugin import Fault, Span, Target, hookimpl, load_target


def slow_sine(graph, node):
    """Sin(x) -> Cos(x - pi/2)"""
    half = ir.node("Constant", [], {"value_float": 1.5707964})
    shifted = ir.node("Sub", [node.inputs[0], half.outputs[0]])
    shifted.outputs[0].dtype = node.inputs[0].dtype
    graph.insert_before(node, [half, shifted])
    node.op_type = "Cos"
    node.replace_input_with(0, shifted.outputs[0])


def read_axes(graph, node):
    return None if len(node.inputs) == 2 else "it has no axes"


def no_tangent(graph, node):
    return "there is nothing in its place"


@hookimpl
def jax2onnx_register_targets(registry):
    cpu = load_target("onnxruntime-cpu")
    registry.add(
        Target(
            "acme",
            "acme 2.1",
            21,
            cpu.kernels,
            version="2.1",
            faults=(
                Fault("Sin is wrong", ("Sin",), slow_sine, versions=Span("", "3")),
                Fault("ReduceMax of all axes fails", ("ReduceMax",), read_axes),
                Fault("Tan fails", ("Tan",), no_tangent, remedy="write sin(x) / cos(x)"),
            ),
            guards=False,
        ),
        Target("acme-npu", "acme NPU", 21, cpu.kernels, static_shapes=True),
    )
'''


def test_a_plugin_registers_a_target_with_its_faults(temporary_plugin: TemporaryPlugins) -> None:
    temporary_plugin("acme", PLUGIN)
    for target, operator in {"acme": "Cos", "acme>=2.1,<3": "Cos", "acme>=3": "Sin"}.items():
        model: onnx.ModelProto = to_onnx(wave, SPECS, target=target)
        assert operators(model)[operator] == 1
        assert operators(model)["IsNaN"] == 0
        assert model.opset_import[0].version == 21
        check(model, wave, SPECS, kinds=["moderate"], atol=1e-6)
    old: onnx.ModelProto = to_onnx(wave, SPECS, target="acme", opset=13)
    assert operators(old)["Cos"] == 1  # faults are mended in the form of newer opsets
    check(old, wave, SPECS, kinds=["moderate"], atol=1e-6)
    with pytest.raises(NoKernelError, match=r"Tan fails; there is nothing(.|\n)*test_target_ranges(.|\n)*sin\(x\)"):
        to_onnx(tangent, SPECS, target="acme")
    with pytest.raises(InputSpecError, match=r"static shapes only.*float32\[B,4\]"):
        to_onnx(wave, SPECS, target="acme-npu")
    to_onnx(wave, ["float32[3,4]"], target="acme-npu")


def test_a_target_of_one_table_serves_its_version_and_newer_ones() -> None:
    target = Target("t", "t 2", 21, None, version="2", faults=(Fault("a"), Fault("b", versions=Span("", "2"))))
    assert target.within(Span("1")) is None
    found = target.within(Span("2"))
    assert found is not None
    assert found.lacks("a")
    assert not found.lacks("b")
