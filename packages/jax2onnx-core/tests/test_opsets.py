"""Older opsets: what rules emit for opset 18 is said with the operators of 13 to 17, and computes the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from jax2onnx import check, onnx_function, onnx_op, to_onnx
from jax2onnx.errors import NoKernelError, OpsetError
from jax2onnx.legalise.opsets.history import changes, exists, form
from jax2onnx.testing import operators, x64

if TYPE_CHECKING:
    from collections.abc import Callable

F32 = np.float32
NAN, INF = np.nan, np.inf
EDGES = np.array([[NAN, INF, -0.0], [-INF, 1e38, 0.25]], F32)
X = jax.random.normal


def op(op_type: str, out: str, *constants: Any, **attributes: Any) -> Callable[..., Any]:
    """Return a program of one node whose further inputs are constants."""
    return lambda *arrays: onnx_op(op_type, *arrays, *constants, attributes=attributes, out=out)


def ints(*numbers: int) -> Any:
    return np.asarray(numbers, np.int64)


def rows(dtype: str) -> Any:
    info = np.iinfo(dtype)
    return np.array([info.min, info.max, 0, 1, 37, info.max // 3, info.min // 5], dtype)


def bits(dtype: str) -> tuple[Callable[..., Any], list[Any]]:
    return (lambda x, y: ((x & y), (x | y), (x ^ y), ~x)), [rows(dtype), rows(dtype)[::-1].copy()]


def scattered(method: str) -> Callable[..., Any]:
    return lambda x, i, u: getattr(x.at[i], method)(u)


SCATTER = [X(jax.random.key(0), (5, 3)), jnp.array([4, 0, 4, 4]), X(jax.random.key(1), (4, 3)).at[1, 1].set(NAN)]
NO_ROWS = [SCATTER[0], SCATTER[1][:0], SCATTER[2][:0]]

PROGRAMS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "reductions": (lambda x: [f(x, axis=1) for f in (jnp.max, jnp.min, jnp.prod)], [EDGES]),
    "norms": (lambda x: [jnp.linalg.norm(x, ord=o, axis=-1) for o in (1, 2)], [EDGES[:, 1:]]),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (1, 2)), constant_values=7), [EDGES]),
    "pad_modes": (lambda x: [jnp.pad(x, ((0, 0), (1, 2)), mode=m) for m in ("edge", "reflect")], [EDGES]),
    "triu": (lambda x: [jnp.triu(x, k) + jnp.tril(x, 1 - k) for k in (-1, 0, 2)], [jnp.ones((2, 3, 4))]),
    "scatter_add": (scattered("add"), SCATTER),
    "scatter_max": (scattered("max"), SCATTER),
    "scatter_min": (scattered("min"), SCATTER),
    "scatter_none": (scattered("add"), NO_ROWS),
    "scatter_int8": (scattered("add"), [rows("int8"), jnp.array([0, 0, 6]), np.array([-1, -1, 100], np.int8)]),
    "scatter_windows": (lambda x, u: x.at[jnp.array([[0, 1], [1, 1]]), 1].add(u), [jnp.ones((2, 3)), jnp.ones((2, 2))]),
    "bits_int8": bits("int8"),
    "bits_uint16": bits("uint16"),
    "bits_int32": bits("int32"),
    "bits_uint32": bits("uint32"),
    "small_ints": (lambda x, y: (x + y, x - y, x * y, jnp.maximum(x, 3)), [rows("int8"), rows("int8")[::-1].copy()]),
    "integer_products": (
        lambda x, y: jnp.matmul(x, y, preferred_element_type=jnp.int32),
        [rows("int8")[None], rows("int8")[:, None]],
    ),
    "bfloat16": (lambda x: jnp.where(x > 0, x * 2, jnp.exp(x)), [EDGES.astype("bfloat16")]),
    "loops": (lambda x: jax.lax.scan(lambda c, r: (c + r.max(), c), 0.0, x), [EDGES[1:]]),
    "function": (onnx_function(lambda x: jnp.max(x, axis=0)), [EDGES]),
}
"""Programs, and values of their inputs."""


def run(model: onnx.ModelProto, *values: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {i.name: np.asarray(v) for i, v in zip(session.get_inputs(), values, strict=True)})


def specs(values: list[Any]) -> list[Any]:
    return [jax.ShapeDtypeStruct(np.shape(value), value.dtype) for value in values]


@pytest.mark.parametrize(("name", "opset"), [*((name, 13) for name in PROGRAMS), ("norms", 17), ("scatter_max", 16)])
def test_a_program_gives_the_same_at_an_older_opset(name: str, opset: int) -> None:
    program, values = PROGRAMS[name]
    model = to_onnx(program, specs(values), opset=opset)
    onnx.checker.check_model(model, full_check=True)
    for holder in (model, *model.functions):
        assert {entry.domain: entry.version for entry in holder.opset_import}[""] == opset
    assert all(exists(node.op_type, opset) for node in model.graph.node if not node.domain)
    check(model, program, specs(values), values=[values])


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_all_bits_of_wide_integers_count(dtype: str) -> None:
    with x64(enabled=True):
        program, values = bits(dtype)
        check(to_onnx(program, specs(values), opset=13), program, specs(values), values=[values])
        largest = scattered("max")
        given = [rows(dtype)[:3] // 2, jnp.array([0, 1, 2, 2]), np.array([2**32 - 1, 100, 100, 2**32 - 1], dtype)]
        check(to_onnx(largest, specs(given), opset=13), largest, specs(given), values=[given])


SYMBOLIC: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "reshape": (lambda x: x.reshape(x.shape[1], x.shape[0], 3), [("B", "T", 3)]),
    "reduce": (lambda x: (x.max(axis=1) if x.shape[1] else x, x.sum(axis=0)), [("B", 4)]),
    "sizes": (lambda x: jnp.arange(x.shape[0])[:, None] + x, [("B", 4)]),
    "scatter": (lambda x: jnp.zeros((3, 4)).at[jnp.arange(x.shape[0]) % 3].add(x), [("B", 4)]),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_sizes_at_the_oldest_opset(name: str) -> None:
    program, inputs = SYMBOLIC[name]
    check(to_onnx(program, inputs, opset=13), program, inputs, sizes=[1, 7], kinds=["ordinary"])


X4 = np.arange(24, dtype=F32).reshape(1, 2, 3, 4)
NODES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "Pad": (op("Pad", "float32[1,5,3,4]", ints(1, 2), None, ints(-3)), [X4]),
    "Pad_value": (op("Pad", "float32[1,2,6,4]", ints(1, 2), F32(9), ints(2)), [X4]),
    "Resize": (op("Resize", "float32[1,2,6,2]", None, None, ints(6, 2), axes=[2, 3]), [X4]),
    "Resize_scales": (
        op("Resize", "float32[1,2,6,4]", None, np.array([2], F32), axes=[2], mode="linear"),
        [X4],
    ),
    "Shape": (op("Shape", "int32[2]", start=-3, end=-1), [X4]),
    "Shape_beyond": (op("Shape", "int32[3]", start=1, end=9), [X4]),
    "Split": (op("Split", ["float32[1,2,3,2]"] * 2, axis=3, num_outputs=2), [X4]),
    "Split_unequal": (op("Split", ["float32[1,2,2,4]", "float32[1,2,1,4]"], axis=2, num_outputs=2), [X4]),
    "ReduceMax": (op("ReduceMax", "float32[]", keepdims=0), [X4]),
    "ReduceMax_idle": (op("ReduceMax", "float32[1,2,3,4]", noop_with_empty_axes=1), [X4]),
    "Reshape": (op("Reshape", "float32[0,3]", ints(0, 3), allowzero=1), [np.zeros((3, 0), F32)]),
    "ScatterND": (
        op("ScatterND", "float32[3]", ints(0, 2, 0).reshape(3, 1), np.ones(3, F32), reduction="add"),
        [X4[0, 0, 0, :3]],
    ),
    "Trilu": (op("Trilu", "float32[1,2,3,4]", np.asarray(1, np.int64), upper=0), [X4]),
    "HardSwish": (op("HardSwish", "float32[1,2,3,4]"), [X4 - 12]),
    "Mish": (op("Mish", "float32[1,2,3,4]"), [X4 - 12]),
    "LayerNormalization": (op("LayerNormalization", "float32[1,2,3,4]", np.ones(4, F32), np.ones(4, F32)), [X4]),
    "CastLike": (op("CastLike", "int32[1,2,3,4]", np.asarray(1, np.int32)), [X4]),
    "RoiAlign": (
        op(
            "RoiAlign",
            "float32[1,2,1,1]",
            np.array([[0, 0, 2, 2]], F32),
            ints(0),
            coordinate_transformation_mode="output_half_pixel",
        ),
        [X4],
    ),
}
"""Programs of one node in a form that opset 18 has and older ones do not."""


@pytest.mark.parametrize("name", NODES)
def test_a_node_that_the_user_names_is_said_at_the_oldest_opset(name: str) -> None:
    program, values = NODES[name]
    new = to_onnx(program, specs(values), opset=18)
    old = to_onnx(program, specs(values), opset=13)
    onnx.checker.check_model(old, full_check=True)
    for before, after in zip(run(new, *values), run(old, *values), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=1e-6)


REFUSED: dict[str, tuple[Callable[..., Any], int]] = {
    "GridSample": (op("GridSample", "float32[1,2,3,4]", np.zeros((1, 3, 4, 2), F32)), 16),
    "DFT": (op("DFT", "float32[1,2,3,4]", None), 17),
    "RoiAlign": (op("RoiAlign", "float32[1,2,1,1]", np.zeros((1, 4), F32), ints(0)), 16),
    "BatchNormalization": (op("BatchNormalization", "float32[1,2,3,4]", *[np.ones(2, F32)] * 4, training_mode=1), 14),
    "Resize": (op("Resize", "float32[1,2,6,4]", None, None, ints(1, 2, 6, 4), antialias=1, mode="linear"), 18),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_opset_cannot_say_is_refused_by_name(name: str) -> None:
    program, needs = REFUSED[name]
    with pytest.raises(OpsetError, match=f"opset 13 cannot say {name}.*since opset {needs}") as caught:
        to_onnx(program, [X4.shape], opset=13)
    assert caught.value.where is not None
    assert "test_opsets.py" in caught.value.where
    assert f"opset={needs}" in str(caught.value.remedy)


def test_dtypes_that_the_opset_does_not_have_are_refused_or_cast_without_a_target_too() -> None:
    def doubled(x: Any) -> Any:
        return jnp.where(x > 0, x + x, 0)

    model = to_onnx(doubled, ["bfloat16[3]"], opset=13, target="onnx")
    assert "Cast" in operators(model)
    with pytest.raises(OpsetError, match=r"opset 13 cannot say Scan with bfloat16.*opset 16"):
        to_onnx(lambda x: jax.lax.fori_loop(0, 12, lambda _, c: c + x, x), ["bfloat16[3]"], opset=13)


@pytest.mark.parametrize(("dtype", "function"), [("int16", jax.lax.max), ("bool", jax.lax.max), ("int8", jax.lax.add)])
def test_dtypes_that_onnx_does_not_have_are_cast_without_a_target_too(dtype: str, function: Any) -> None:
    least = np.iinfo(dtype).min if dtype == "int16" else 0
    start = np.asarray(least, dtype)

    def windows(x: Any) -> Any:
        return jax.lax.reduce_window(x, start, function, (1, 2), (1, 1), "VALID")

    model = to_onnx(windows, [f"{dtype}[B,6]"], target="onnx")
    onnx.checker.check_model(model, full_check=True)
    check(model, windows, [f"{dtype}[B,6]"])


def test_the_report_says_why_a_function_is_in_primitives() -> None:
    told: list[Any] = []
    to_onnx(jax.nn.gelu, [(3,)], opset=13, explain=told.append)
    assert "this is opset 13" in str(told[0])


def test_a_user_s_version_is_that_of_the_model() -> None:
    absolute = op("Abs", "float32[3]")
    assert to_onnx(absolute, [(3,)], opset=13).opset_import[0].version == 13
    assert to_onnx(lambda x: onnx_op("Abs", x, version=13, out="float32[3]"), [(3,)], opset=13)


def test_the_format_is_the_oldest_that_has_the_opset() -> None:
    assert to_onnx(jnp.sin, [(3,)], opset=13).ir_version == 7
    assert to_onnx(onnx_function(jnp.sin), [(3,)], opset=13).ir_version == 8
    for opset in (12, 0):
        with pytest.raises(OpsetError, match="pass an int from 13"):
            to_onnx(jnp.sin, [(3,)], opset=opset)


def test_every_version_since_the_oldest_opset_is_a_change_that_is_looked_at() -> None:
    assert [entry.version for entry in changes("ReduceMax", 13, 20)] == [20, 18]
    assert form("Trilu", 13) is None
    assert not exists("GroupNormalization", 18)


def test_a_kernel_that_a_newer_opset_has_is_named() -> None:
    with x64(enabled=True), pytest.raises(NoKernelError, match=r"Erf \(opset 13\) in double"):
        to_onnx(lambda x: onnx_op("Erf", x, out="float64[3]"), ["float64[3]"], opset=13)
