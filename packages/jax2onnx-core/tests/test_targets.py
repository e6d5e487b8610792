"""Targets: what the tables of kernels say, and which table counts for an opset."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from small_models import TARGET, dtypes

from jax2onnx.legalise import targets


@pytest.mark.parametrize(
    ("op", "opset", "operands", "answer"),
    [
        ("Erf", 23, "float32", True),
        ("Erf", 23, "float64", False),
        ("Where", 23, "bool bfloat16", False),
        ("Where", 23, "bool int32", True),
        ("HardSwish", 23, "float32", True),
        ("Mish", 22, "float64", False),
        ("CastLike", 21, "float32 int8", True),
        ("ReduceMax", 18, "bool", False),
        ("ReduceMax", 20, "bool", True),
        ("Nonsense", 23, "float32", False),
    ],
)
def test_supports(op: str, opset: int, operands: str, *, answer: bool) -> None:
    given = [ir.DataType.from_numpy(d) for d in dtypes(operands)]
    assert TARGET.supports(op, opset, given) is answer
    assert targets.SPECIFICATION.supports(op, opset, given)


def test_the_installed_onnxruntime_has_every_kernel_of_the_table() -> None:
    """The table comes from the oldest supported onnxruntime; newer ones may only add to it."""
    generate = pytest.importorskip("jax2onnx.legalise.targets.generate")
    newer = targets.from_table(
        {"name": "installed", "runtime": "installed", "max_opset": 23, "kernels": generate.kernels()}
    )
    lost = [
        (op, dtype.name, opset)
        for _, op in TARGET.kernels
        for opset in (18, 20, 23)
        for dtype in ir.DataType
        if op not in {"QuantizeLinear", "DequantizeLinear"}  # 1.31 names their type parameters otherwise; never emitted
        and TARGET.supports(op, opset, [dtype])
        and not newer.supports(op, opset, [dtype])
    ]
    assert TARGET.kernels
    assert not lost


def test_an_opset_is_legalised_for_the_oldest_runtime_that_loads_it() -> None:
    assert TARGET.max_opset is not None
    assert TARGET.at(TARGET.max_opset) is TARGET
    newer = TARGET.at(TARGET.max_opset + 1)
    assert newer.name == TARGET.name
    assert newer.loads(TARGET.max_opset + 1)
    assert not TARGET.loads(TARGET.max_opset + 1)


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 28, reason="the installed onnx does not know opset 28")
def test_a_newer_runtime_has_kernels_for_newer_versions_of_operators() -> None:
    assert TARGET.at(28).supports("Celu", 28, [ir.DataType.FLOAT])
    assert not TARGET.supports("Celu", 28, [ir.DataType.FLOAT])
