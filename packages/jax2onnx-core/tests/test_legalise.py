"""Legalising: casts around the nodes without kernel, in subgraphs and functions too, and no more than needed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import defs
from onnx_ir import DataType
from small_models import BF16, BOOL, F32, TARGET, constant, model_of, node, operators, run, same, typed, value_model

from jax2onnx.errors import NoKernelError
from jax2onnx.legalise import targets
from jax2onnx.legalise.legalise import legalise
from jax2onnx.plugin import Kernel, Target


def test_nothing_changes_where_kernels_exist() -> None:
    model = value_model(F32, ("Neg",), ("Abs",))
    legalise(model, TARGET)
    assert operators(model) == ["Neg", "Abs"]


def test_the_specification_is_left_alone() -> None:
    model = value_model(BF16, ("Neg",))
    legalise(model, targets.SPECIFICATION)
    assert operators(model) == ["Neg"]


@pytest.mark.parametrize(
    ("dtype", "steps", "kept"),
    [
        # bfloat16 arithmetic rounds after every node …
        (BF16, [("Sqrt",), ("Exp",)], ["Cast", "Sqrt", "Cast", "Cast", "Exp", "Cast"]),
        # … but what is exact needs no rounding
        (BF16, [("Neg",), ("Abs",), ("Relu",)], ["Cast", "Neg", "Abs", "Relu", "Cast"]),
        (BF16, [("Tile", constant([1, 2])), ("Pad", constant([0, 0, 1, 1]))], ["Cast", "Tile", "Pad", "Cast"]),
        # integers wrap once, at the end of a chain of ring operators
        (np.uint32, [("CumSum", constant(0)), ("Einsum", {"equation": "ab->ba"})],
         ["Cast", "CumSum", "Einsum", "Cast"]),
        # … and before an operator that needs the number
        (np.uint32, [("CumSum", constant(0)), ("ReduceMax",)], ["Cast", "CumSum", "Cast", "Cast", "ReduceMax", "Cast"]),
    ],
)  # fmt: skip
def test_casts_between_nodes(dtype: Any, steps: list[Any], kept: list[str]) -> None:
    model = value_model(dtype, *steps)
    legalise(model, TARGET)
    assert operators(model) == kept


def test_a_chain_rounds_like_the_dtype() -> None:
    """Each bfloat16 sum is rounded before the next one."""
    x = typed(BF16, (4,))
    first = node("Add", x, x)
    second = node("Mul", first.outputs[0], x)
    third = node("Sub", second.outputs[0], first.outputs[0])
    values = np.array([1.01, 3.1415, 1e18, 257], np.float32).astype(BF16)
    got = run(model_of([x], [first, second, third], [third.outputs[0]]), values)[0]
    same(got, (values + values) * values - (values + values))


def test_a_value_is_widened_once_and_keeps_its_name() -> None:
    x = typed(BF16, (4,))
    nodes = [node("Exp", x), node("Sqrt", x)]
    model = model_of([x], nodes, [n.outputs[0] for n in nodes])
    legalise(model, TARGET)
    assert operators(model).count("Cast") == 3
    assert [o.name for o in model.graph.outputs] == ["y0", "y1"]
    assert [o.dtype for o in model.graph.outputs] == [ir.DataType.BFLOAT16] * 2


def test_in_a_subgraph() -> None:
    """The body of an If is legalised; a captured value is widened outside, once."""
    x, flag = typed(BF16, (3,)), typed(BOOL, ())
    branches = []
    for op in ("Exp", "Neg"):
        inner = node(op, x)
        inner.outputs[0].name = f"{op}_result"
        branches.append(ir.Graph([], [inner.outputs[0]], nodes=[inner], name=op))
    choice = node("If", flag, out=BF16, then_branch=branches[0], else_branch=branches[1])
    model = model_of([x, flag], [choice], [choice.outputs[0]])
    values = np.array([0.5, 1, 2]).astype(BF16)
    assert [o.dtype for b in branches for o in b.outputs] == [ir.DataType.BFLOAT16] * 2
    same(run(model, values, np.zeros((), bool))[0], -values)
    assert operators(model) == ["Cast", "If"]


def test_in_a_function() -> None:
    x = typed(BF16, (3,))
    x.name = "a"
    inner = node("Exp", x)
    inner.outputs[0].name = "b"
    function = ir.Function(
        "own", "Twice", graph=ir.Graph([x], [inner.outputs[0]], nodes=[inner], opset_imports={"": 23}), attributes=[]
    )
    y = typed(BF16, (3,))
    call = ir.Node("own", "Twice", [y], outputs=[typed(BF16, (3,))])
    model = model_of([y], [call], [call.outputs[0]])
    model.functions[function.identifier()] = function
    model.graph.opset_imports["own"] = 1
    values = np.array([0, 1, 2]).astype(BF16)
    same(run(model, values)[0], np.exp(values.astype(F32)).astype(BF16))
    assert [n.op_type for n in function] == ["Cast", "Exp", "Cast"]


def test_a_body_without_kernel_is_widened() -> None:
    """Gelu in bfloat16: no kernel, and a function body whose nodes have none either."""
    x = typed(BF16, (3, 4))
    made = node("Gelu", x, approximate="tanh")
    model = model_of([x], [made], [made.outputs[0]])
    legalise(model, TARGET)
    assert operators(model) == ["Cast", "Gelu", "Cast"]


@pytest.mark.parametrize(
    ("op", "dtype", "says"),
    [
        ("Erf", np.float64, "float64 is never narrowed"),
        ("Gelu", np.float64, "float64 is never narrowed"),
        ("ReduceProd", np.uint64, "target='onnx'"),
        ("ReduceMax", np.uint64, "target='onnx'"),
        ("ReduceMax", np.int16, "target='onnx'"),
        ("Sqrt", np.int32, "another dtype"),
    ],
)
def test_no_kernel(op: str, dtype: Any, says: str) -> None:
    model = value_model(dtype, (op,))
    model.graph[0].metadata_props["jax2onnx.source"] = "model.py:7 (f)"
    with pytest.raises(NoKernelError, match=op) as caught:
        legalise(model, TARGET)
    assert says in str(caught.value)
    assert "model.py:7 (f)" in str(caught.value)


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (None, ["none in any other dtype", "write it with operators"]),
        ((7, None), ["none of version 22 of the operator, only of 7", "pass opset=21", "say until=22"]),
        ((7, 13), ["only of 7 to 13", "pass opset=21", "say until=22"]),
        ((22, None), ["no other dtype keeps", "use another dtype"]),
    ],
)
def test_a_table_of_other_operators_versions_or_dtypes_is_told_apart(kernel: Any, says: list[str]) -> None:
    table = {("", "Cos"): [Kernel(7, 22, {})]}
    if kernel is not None:
        types = {"T": frozenset({ir.DataType.FLOAT16})} if kernel[0] == 22 else {}
        table["", "Sin"] = [Kernel(*kernel, types)]
    target = Target("box", "box 1.0", 23, table, plugin="a-plugin")
    with pytest.raises(NoKernelError) as caught:
        legalise(value_model(np.float32, ("Sin",)), target)
    assert [text for text in ("box 1.0 has no kernel for Sin", *says) if text not in str(caught.value)] == []


@pytest.mark.parametrize(("newest", "says"), [(21, "use another dtype"), (22, "pass opset=22"), (23, "pass opset=22")])
def test_a_newer_opset_at_which_there_is_a_kernel_is_named(
    newest: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defs, "onnx_opset_version", lambda: newest)
    kernels = [
        Kernel(since, None, {"T": frozenset({dtype})}) for since, dtype in ((7, DataType.DOUBLE), (22, DataType.FLOAT))
    ]
    target = Target("box", "box 1.0", None, {("", "Sin"): kernels}, plugin="a-plugin")
    with pytest.raises(NoKernelError, match=says) as caught:
        legalise(value_model(np.float32, ("Sin",), opset=21), target)
    assert ("opset=22" in str(caught.value)) is (newest >= 22)


def test_an_older_opset_at_which_there_is_a_kernel_is_no_newer_one() -> None:
    types = {6: DataType.FLOAT, 13: DataType.DOUBLE, 14: DataType.FLOAT}
    kernels = [Kernel(since, None, {"T": frozenset({dtype})}) for since, dtype in types.items()]
    target = Target("box", "box 1.0", None, {("", "Relu"): kernels}, plugin="a-plugin")
    with pytest.raises(NoKernelError, match="pass opset=14 or a newer one"):
        legalise(value_model(np.float32, ("Relu",), opset=13), target)


def test_double_is_refused_in_a_body_that_needs_another_operator() -> None:
    with pytest.raises(NoKernelError, match="HardSwish"):
        legalise(value_model(np.float64, ("HardSwish",)), TARGET)


def test_all_nodes_without_a_kernel_are_told_at_once() -> None:
    model = value_model(np.int32, ("Sqrt",), ("Neg",), ("Sqrt",), ("HardSwish",))
    with pytest.raises(NoKernelError, match="2 places of the program") as caught:
        legalise(model, TARGET)
    assert ["Sqrt" in caught.value.what, "HardSwish" in caught.value.others[0].what] == [True, True]


@pytest.mark.parametrize(("dtype", "op", "each"), [(F32, "Neg", 30), (BF16, "Sqrt", 300)])
def test_cost_is_linear_and_small(dtype: Any, op: str, each: int) -> None:
    """Count the function calls, which cannot flake as times do."""

    def calls(count: int) -> int:
        model = value_model(dtype, *[(op,)] * count)
        events: list[str] = []
        sys.setprofile(lambda frame, event, arg: events.append(event))
        try:
            legalise(model, TARGET)
        finally:
            sys.setprofile(None)
        return sum("call" in event for event in events)

    calls(10)
    small, large = calls(200), calls(2000)
    assert large < 10.1 * small
    assert large < each * 2000
