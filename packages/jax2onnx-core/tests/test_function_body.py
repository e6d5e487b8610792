"""Function bodies: the nodes of an operator, with their dtypes."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx_ir import DataType

from jax2onnx.legalise.function_body import body
from jax2onnx.legalise.schema import Call, schema


def call(op: str, *inputs: DataType | None, **attributes: int | str) -> Call:
    found = schema("", op, 23)
    assert found is not None
    return found.call(inputs, (None,), ir.convenience.convert_attributes(attributes))


@pytest.mark.parametrize("dtype", [DataType.FLOAT, DataType.BFLOAT16])
def test_the_dtypes_of_the_nodes_follow_from_those_of_the_call(dtype: DataType) -> None:
    inner = body(call("Relu", dtype))
    assert inner is not None
    assert [c.schema.name for c in inner] == ["Constant", "CastLike", "Max"]
    assert inner[1].inputs == (DataType.FLOAT, dtype)
    assert inner[2].bound == {"T": dtype}


def test_a_body_may_depend_on_attributes() -> None:
    exact = body(call("Gelu", DataType.FLOAT))
    approximate = body(call("Gelu", DataType.FLOAT, approximate="tanh"))
    assert exact is not None
    assert approximate is not None
    assert "Erf" in [c.schema.name for c in exact]
    assert "Tanh" in [c.schema.name for c in approximate]


def test_attributes_have_their_defaults() -> None:
    inner = body(call("Elu", DataType.FLOAT))
    assert inner is not None
    assert inner[0].schema.name == "Constant"
    assert [a.as_float() for a in inner[0].attributes] == [1.0]


@pytest.mark.parametrize("given", [("Exp", DataType.FLOAT), ("Relu", DataType.FLOAT, DataType.FLOAT)])
def test_no_body(given: tuple[str, DataType]) -> None:
    """An operator without body, and one with more inputs than its body takes."""
    assert body(call(*given)) is None
