"""Checking: what agrees is accepted, what does not is shown, with the inputs that show it."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from jax2onnx import to_onnx
from jax2onnx.checking.check import allclose, check
from jax2onnx.checking.compare import CheckReport
from jax2onnx.errors import CheckError, InputSpecError

BF16 = ml_dtypes.bfloat16


def model_of(
    op: str, dtype: Any, shape: tuple[Any, ...], *, out: Any = None, inputs: int = 1, **attributes: Any
) -> Any:
    """A model of one node, made without the converter."""

    def value(name: str, of: Any) -> ir.Value:
        type_ = ir.TensorType(ir.DataType.from_numpy(np.dtype(of)))
        return ir.Value(name=name, type=type_, shape=ir.Shape(shape))

    xs = [value(f"x{i}", dtype) for i in range(inputs)]
    y = value("y", out or dtype)
    given = [ir.convenience.convert_attribute(k, v) for k, v in attributes.items()]
    node = ir.Node("", op, xs, given, outputs=[y])
    return ir.to_proto(ir.Model(ir.Graph(xs, [y], nodes=[node], opset_imports={"": 23}, name="g"), ir_version=10))


def test_agreement(tmp_path: pathlib.Path) -> None:
    model = model_of("Tanh", np.float32, ("B", 4))
    report = check(model, jnp.tanh, [("B", 4)])
    assert isinstance(report, CheckReport)
    assert [b.split(" ")[0] for b in report.batches] == ["ordinary"] * 3 + ["moderate", "large", "special"]
    assert [b[-1] for b in report.batches] == ["1", "3", "7", "7", "7", "7"]
    assert 0 <= report.outputs[0].max_rel < 1e-5
    assert "y: float32" in str(report)
    onnx.save_model(model, tmp_path / "m.onnx")
    assert allclose(tmp_path / "m.onnx", jnp.tanh, [("B", 4)], sizes=(2,)) == (
        True,
        str(check(model, jnp.tanh, [("B", 4)], sizes=[{"B": 2}])),
    )


@pytest.mark.parametrize(
    ("op", "dtype", "function", "says"),
    [
        ("Neg", np.float32, jnp.abs, "elements differ"),
        ("Tanh", np.float32, lambda x: jnp.tanh(x) * 1.0001, "elements differ"),
        ("Identity", np.float32, lambda x: jnp.where(jnp.isnan(x), 0, x), "JAX:   0.0"),
        ("Identity", np.float32, lambda x: jnp.where(jnp.isinf(x), jnp.nan, x), "model: [-]?inf"),
        ("Identity", np.float32, lambda x: jnp.clip(x, max=1e5), "large inputs"),
        ("Identity", np.float32, lambda x: x[:, :1], r"float32\[\d, 1\], the model returns float32\[\d, 3\]"),
        ("Identity", np.float32, lambda x: x.astype(jnp.float16), "float16.*float32"),
        ("Identity", np.float32, lambda x: (x, x), "JAX returns 2 arrays, the model returns 1"),
        ("Identity", np.int32, lambda x: jnp.maximum(x, -(2**30)), "JAX:   -1073741824"),
        ("Identity", np.bool_, lambda x: ~x, "elements differ"),
        ("Round", np.float32, lambda x: jnp.sign(x) * jnp.floor(jnp.abs(x) + 0.5) + 1, "elements differ"),
    ],
)
def test_disagreement(op: str, dtype: Any, function: Any, says: str) -> None:
    spec = [f"{np.dtype(dtype)}[B,3]"]
    with pytest.raises(CheckError, match=says):
        check(model_of(op, dtype, ("B", 3)), function, spec)
    agrees, message = allclose(model_of(op, dtype, ("B", 3)), function, spec)
    assert not agrees
    assert "seed 0" in message


def test_the_worst_element_is_shown_with_its_input() -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    with pytest.raises(CheckError) as caught:
        check(model_of("Identity", np.float32, (2, 3)), lambda v: v.at[1, 2].add(9), [(2, 3)], values=[[x]])
    text = str(caught.value)
    assert "1 of 6 elements differ; the worst is y[1, 2]" in text
    assert "JAX:   15.0" in text
    assert "model: 6.0" in text
    assert "input x0[1, 2]: 6.0" in text


@pytest.mark.parametrize("dtype", [np.float16, BF16, ml_dtypes.float8_e4m3fn, np.int8, np.uint16, np.int32, np.bool_])
def test_dtypes(dtype: Any) -> None:
    report = check(model_of("Identity", dtype, ("B", 5)), lambda x: x, [jax.ShapeDtypeStruct(("B", 5), dtype)])
    assert report.outputs[0].max_abs == 0
    assert report.outputs[0].dtype == str(np.dtype(dtype))


def test_empty_and_scalar_arrays() -> None:
    assert check(model_of("Neg", np.float32, (0, 3)), jnp.negative, [(0, 3)]).outputs[0].max_abs == 0
    assert check(model_of("Neg", np.float32, ()), jnp.negative, [()]).outputs[0].max_abs == 0


def test_ill_conditioned_elements_are_accepted_and_counted() -> None:
    """sin(1e6 x) is not determined to more than the input's rounding; a wrong sine still is an error."""
    x = np.linspace(1e5, 1e6, 64).astype(np.float32).reshape(1, 64)
    model = model_of("Sin", np.float32, (1, 64))
    report = check(model, lambda v: jnp.sin(v * (1 + 1e-7)), [(1, 64)], values=[[x]])
    assert report.outputs[0].ill_conditioned > 0
    assert "ill-conditioned" in str(report)
    with pytest.raises(CheckError):
        check(model, jnp.cos, [(1, 64)], values=[[x % 6]])


def test_a_coarse_formula_is_not_ill_conditioned() -> None:
    """x for log1p(x): JAX's log1p does not move as the difference would need."""
    x = np.full((1, 8), 0.003, np.float32)
    with pytest.raises(CheckError):
        check(model_of("Identity", np.float32, (1, 8)), jnp.log1p, [(1, 8)], values=[[x]])


def test_a_flipped_comparison_is_ill_conditioned_only_after_rounding() -> None:
    """What JAX rounds before a threshold may fall on either side; what is on the threshold may not."""
    model = model_of("Round", np.float32, (1, 2))
    near = np.array([[0.49999997, 1.2]], np.float32)
    report = check(model, lambda x: jnp.round(x * np.float32(1.0000002)), [(1, 2)], values=[[near]])
    assert report.outputs[0].ill_conditioned == 1
    ties = np.array([[0.5, 2.5]], np.float32)
    check(model, jnp.round, [(1, 2)], values=[[ties]])
    with pytest.raises(CheckError, match="2 of 2"):
        check(model, lambda x: jnp.floor(x + 0.5), [(1, 2)], values=[[ties]])


def test_poles_are_compared_exactly() -> None:
    with pytest.raises(CheckError, match="special"):
        check(model_of("Atanh", np.float32, (64,)), lambda x: jnp.where(x == 1, 100, jnp.arctanh(x)), [(64,)])


def test_pytrees_keywords_and_concrete_inputs() -> None:
    model = model_of("Sub", np.float32, (2,), inputs=2)
    a, b = np.array([1, 2], np.float32), np.array([5, 6], np.float32)
    check(model, lambda d: d["a"] - d["b"], [{"a": (2,), "b": (2,)}], values=[[{"a": a, "b": b}]])
    check(model, lambda a, b: a - b, {"a": (2,), "b": (2,)}, values=[{"b": b, "a": a}])
    check(model, lambda a, *, b: a - b, [(2,)], input_params={"b": (2,)}, values=[{"a": a, "b": b}])
    report = check(model, lambda a, b: a - b, [a, b])
    assert report.batches[0] == "given inputs"
    with pytest.raises(CheckError, match="given inputs"):
        check(model, lambda a, b: jnp.where(a == 2, 7, a - b), [a, b])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"values": [[np.zeros((2, 3), np.float32)]]}, "input_0 is float32.2, 3., not float32.B."),
        ({"values": ["x"]}, "expected a list of batches"),
        ({"values": [[np.zeros(2), np.zeros(2)]]}, "a batch has 2 arrays, and the specs have 1 input"),
        ({"values": []}, "there is no batch"),
        ({"kinds": ["odd"]}, "expected some of ordinary"),
        ({"sizes": [{"T": 3}]}, "no size for 'B'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputSpecError, match=says):
        check(model_of("Neg", np.float32, ("B",)), jnp.negative, [("B",)], **options)


def test_a_model_that_does_not_load_or_fit() -> None:
    with pytest.raises(CheckError, match="cannot load"):
        check(model_of("Erf", np.float64, (2,)), jnp.negative, [(2,)])
    with pytest.raises(InputSpecError, match="there is no file"):
        check("/nowhere/m.onnx", jnp.negative, [(2,)])
    with pytest.raises(CheckError, match="the model has the inputs x0, x1"):
        check(model_of("Add", np.float32, (2,), inputs=2), jnp.negative, [(2,)])
    with pytest.raises(CheckError, match="cannot run"):
        check(model_of("Neg", np.float32, (2,)), jnp.negative, [(3,)])


def test_a_program_that_jax_refuses_equation_by_equation_is_still_compared():
    def attention(q, k, v):
        return jax.nn.dot_product_attention(q, k, v)

    specs = ["float16[1,4,2,8]"] * 3
    model = to_onnx(lambda *qkv: attention(*qkv) * jnp.float16(1.01), specs)
    with pytest.raises(CheckError, match="the model disagrees with JAX"):
        check(model, attention, specs)
