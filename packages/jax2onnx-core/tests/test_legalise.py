"""Legalising: every operator in every dtype loads in onnxruntime and gives the dtype's own numbers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from jax2onnx.checking.runtime import Runner
from jax2onnx.errors import NoKernelError
from jax2onnx.legalise import targets
from jax2onnx.legalise.legalise import legalise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TARGET = targets.load(targets.DEFAULT)


def dtypes(names: str) -> list[np.dtype[Any]]:
    return [np.dtype(getattr(ml_dtypes, n, n)) for n in names.split()]


BOOL, I64, F32, BF16 = dtypes("bool int64 float32 bfloat16")
SIGNED = dtypes("int8 int16 int32 int64")
UNSIGNED = dtypes("uint8 uint16 uint32 uint64")
INTS = [*SIGNED, *UNSIGNED]
HALVES = dtypes("float16 bfloat16")
FLOATS = dtypes("float16 bfloat16 float32 float64")
NUMBERS = [*INTS, *FLOATS]
EVERY = [BOOL, *NUMBERS]
WITH_FLOAT8 = [*EVERY, *dtypes("float8_e4m3fn float8_e5m2")]


def edges(dtype: np.dtype[Any], seed: int = 0) -> np.ndarray:
    """Twelve numbers of a dtype, extremes first."""
    rng = np.random.default_rng(seed)
    if dtype == BOOL:
        return rng.integers(0, 2, 12).astype(bool)
    if dtype in INTS:
        info = np.iinfo(dtype)
        some = [info.min, info.max, info.min + 1, info.max // 2, info.max // 2 + 1, 0, 1, 2, 3]
        values = np.array([*some, *rng.integers(0, 100, 3)], dtype)
    else:
        special = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-3, -2.5, 3.14159]
        values = np.array([*special, *rng.standard_normal(4)]).astype(dtype)
    return np.roll(values, seed * 5)


def plain(dtype: np.dtype[Any], seed: int = 0) -> np.ndarray:
    """Twelve distinct numbers of a dtype, neither zero nor special, some of them large."""
    if dtype == BOOL:
        return edges(dtype, seed)
    values = np.random.default_rng(seed).permutation(np.arange(1, 13)).astype(dtype)
    if dtype in INTS:
        values[:2] = np.iinfo(dtype).max, np.iinfo(dtype).min + (dtype in UNSIGNED) * 100
    else:
        values[::3] = -values[::3] / dtype.type(3)
    return values


def constant(value: Any, dtype: Any = np.int64) -> ir.Value:
    tensor = ir.tensor(np.asarray(value, dtype))
    return ir.Value(type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)


def typed(dtype: Any, shape: Sequence[int] | None = None) -> ir.Value:
    type_ = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    return ir.Value(type=type_, shape=None if shape is None else ir.Shape(shape))


def node(op: str, *inputs: ir.Value | None, out: Any = None, **attributes: Any) -> ir.Node:
    """A node whose results have the dtype of its first input, or ``out`` (a list: several results)."""
    outs = out if isinstance(out, list) else [out]
    results = [typed(o) if o is not None else ir.Value(type=inputs[0].type) for o in outs]
    given = [ir.convenience.convert_attribute(k, v) for k, v in attributes.items()]
    return ir.Node("", op, inputs, given, outputs=results)


def model_of(inputs: list[ir.Value], nodes: list[ir.Node], outputs: list[ir.Value], opset: int = 23) -> ir.Model:
    used = list(dict.fromkeys(v for n in nodes for v in n.inputs if v is not None and v.const_value is not None))
    for prefix, values in (("c", used), ("x", inputs), ("y", outputs)):
        for i, value in enumerate(values):
            value.name = f"{prefix}{i}"
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=used, opset_imports={"": opset}, name="g")
    return ir.Model(graph, ir_version=10)


def run(model: ir.Model, *arrays: np.ndarray) -> list[np.ndarray]:
    legalise(model, TARGET)
    return Runner(ir.to_proto(model)).run(list(arrays))


def same(got: np.ndarray, want: np.ndarray) -> None:
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(*(a if a.dtype.kind in "biu" else a.astype(np.float64) for a in (got, want)))


def operators(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


@dataclass(frozen=True)
class Case:
    """One operator: its reference on arrays of the dtype itself, and the dtypes to try."""

    op: str
    dtypes: Sequence[np.dtype[Any]]
    reference: Callable[..., Any]
    constants: Sequence[Any] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    operands: int = 1
    values: Callable[..., np.ndarray] = edges
    shape: tuple[int, ...] = (3, 4)
    out: Any = None

    def check(self, dtype: np.dtype[Any], opset: int) -> None:
        arrays = [self.values(dtype, k)[: np.prod(self.shape)].reshape(self.shape) for k in range(self.operands)]
        inputs = [typed(dtype, a.shape) for a in arrays]
        fixed = [c(dtype) if callable(c) else constant(c) for c in self.constants]
        made = node(self.op, *inputs, *fixed, out=self.out, **self.attributes)
        got = run(model_of(inputs, [made], [made.outputs[0]], opset), *arrays)[0]
        with np.errstate(all="ignore"):
            want = np.asarray(self.reference(*arrays))
            same(got, want.astype((self.out[0] or dtype) if isinstance(self.out, list) else self.out or dtype))


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float32 what is to be rounded once; leave other dtypes alone."""
    return lambda *a: function(*(x.astype(F32) if x.dtype in HALVES else x for x in a))


def exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute with Python's integers, then wrap."""

    def wrapped(*arrays: np.ndarray) -> np.ndarray:
        bits = 8 * arrays[0].dtype.itemsize
        exact = function(*(a.astype(object) for a in arrays))
        return np.array([int(v) % 2**bits for v in exact.flat], np.uint64).astype(arrays[0].dtype).reshape(exact.shape)

    return wrapped


def truncated(x: Any, y: Any) -> Any:
    return np.sign(x) * np.sign(y) * (abs(x) // abs(y))


def same_type(*values: int) -> list[Callable[[Any], ir.Value]]:
    return [lambda d, v=v: constant(v, d) for v in values]


REDUCED = [d for d in [BOOL, *NUMBERS] if d.name not in {"int16", "uint64"}]
MOVES = [
    Case("Transpose", WITH_FLOAT8, lambda x: x.T, attributes={"perm": [1, 0]}),
    Case("Reshape", WITH_FLOAT8, lambda x: x.reshape(2, 6), [[2, 6]]),
    Case("Identity", WITH_FLOAT8, lambda x: x),
    Case("Flatten", WITH_FLOAT8, lambda x: x, attributes={"axis": 1}),
    Case("Unsqueeze", WITH_FLOAT8, lambda x: x[None], [[0]]),
    Case("Squeeze", WITH_FLOAT8, lambda x: x[0], [[0]], shape=(1, 12)),
    Case("Shape", WITH_FLOAT8, lambda x: x.shape, out=I64),
    Case("Size", EVERY, lambda x: x.size, out=I64),
    Case("Slice", WITH_FLOAT8, lambda x: x[:, 3:0:-1], [[3], [0], [1], [-1]]),
    Case("Gather", WITH_FLOAT8, lambda x: x[[2, 0]], [[2, 0]], {"axis": 0}),
    Case("GatherElements", WITH_FLOAT8, lambda x: x[:1, [3]], [[[3]]], {"axis": 1}, shape=(1, 12)),
    Case("GatherND", WITH_FLOAT8, lambda x: x[[2], [1]], [[[2, 1]]]),
    Case("ScatterND", EVERY, lambda x: x[[0, 1, 2, 1]], [[[3]], lambda d: constant(edges(d)[3:6][None], d)],
         shape=(4, 3)),
    Case("ScatterElements", EVERY, lambda x: x[[0, 1, 2, 1]], [[[3] * 3], lambda d: constant(edges(d)[3:6][None], d)],
         {"axis": 0}, shape=(4, 3)),
    Case("Concat", WITH_FLOAT8, lambda x, y: np.concatenate([x, y], 1), operands=2, attributes={"axis": 1}),
    Case("Split", WITH_FLOAT8, lambda x: x[:2], [[2, 1]], {"axis": 0}, out=[None, None]),
    Case("Expand", WITH_FLOAT8, lambda x: np.broadcast_to(x, (2, 3, 4)), [[2, 3, 4]]),
    Case("Tile", WITH_FLOAT8, lambda x: np.tile(x, (2, 1)), [[2, 1]]),
    Case("Pad", EVERY, lambda x: np.pad(x, ((1, 0), (0, 2))), [[1, 0, 0, 2]]),
    Case("Trilu", EVERY, np.triu, attributes={"upper": 1}),
    Case("DepthToSpace", [d for d in EVERY if d.name not in {"int64", "uint64"}],
         lambda x: x.reshape(1, 2, 2, 1, 3, 1).transpose(0, 3, 4, 1, 5, 2).reshape(1, 1, 6, 2),
         attributes={"blocksize": 2}, shape=(1, 4, 3, 1)),
    Case("Compress", WITH_FLOAT8, lambda x: x[[0, 2]], [lambda _: constant([1, 0, 1], bool)], {"axis": 0}),
    Case("ReverseSequence", WITH_FLOAT8, lambda x: x[[1, 0, 2]], [[2, 2, 2, 2]], {"time_axis": 0, "batch_axis": 1}),
    Case("EyeLike", [BOOL, *NUMBERS], lambda x: np.eye(*x.shape)),
]  # fmt: skip
INTEGERS = [
    Case("Add", INTS, np.add, operands=2),
    Case("Sub", INTS, np.subtract, operands=2),
    Case("Mul", INTS, np.multiply, operands=2),
    Case("Neg", SIGNED, np.negative),
    Case("Abs", INTS, np.abs),
    Case("Sign", INTS, np.sign),
    Case("Relu", SIGNED[:-1], lambda x: np.maximum(x, 0)),
    Case("Div", INTS, exactly(truncated), operands=2, values=plain),
    Case("Mod", INTS, np.mod, operands=2, values=plain),
    Case("Mod", INTS, np.fmod, operands=2, values=plain, attributes={"fmod": 1}),
    Case("BitwiseAnd", INTS, np.bitwise_and, operands=2),
    Case("BitwiseXor", INTS, np.bitwise_xor, operands=2),
    Case("BitwiseNot", INTS, np.bitwise_not),
    Case("BitShift", UNSIGNED, lambda x: x << 3, same_type(3), {"direction": "LEFT"}),
    Case("BitShift", UNSIGNED, lambda x: x >> 3, same_type(3), {"direction": "RIGHT"}),
    Case("CumSum", INTS, lambda x: np.cumsum(x, 0, dtype=x.dtype), [0]),
    Case("ReduceSum", dtypes("int8 uint8 int16 uint16 uint32"), lambda x: x.sum(1, dtype=x.dtype), [[1]],
         {"keepdims": 0}),
    Case("MatMul", INTS, np.matmul, operands=2, shape=(3, 3)),
    Case("Einsum", INTS, np.matmul, operands=2, shape=(3, 3), attributes={"equation": "ab,bc->ac"}),
    Case("Max", INTS, np.maximum, operands=2),
    Case("Min", INTS, np.minimum, operands=2),
    Case("Clip", INTS, lambda x: np.clip(x, 1, 50), same_type(1, 50)),
    Case("ScatterND", INTS, lambda x: np.concatenate([x[:3], x[3:] + 7]),
         [[[3]], lambda d: constant([[7, 7, 7]], d)], {"reduction": "add"}, shape=(4, 3)),
    Case("ScatterND", INTS, lambda x: np.concatenate([x[:3], np.maximum(x[3:], 7)]),
         [[[3]], lambda d: constant([[7, 7, 7]], d)], {"reduction": "max"}, shape=(4, 3)),
]  # fmt: skip
ORDERED = [
    Case("ReduceMax", REDUCED, lambda x: x.max(1), [[1]], {"keepdims": 0},
         values=plain),
    Case("ReduceMin", REDUCED, lambda x: x.min(1), [[1]], {"keepdims": 0},
         values=plain),
    Case("ArgMax", NUMBERS, lambda x: x.argmax(1), attributes={"axis": 1, "keepdims": 0}, values=plain, out=I64),
    Case("ArgMin", NUMBERS, lambda x: x.argmin(1), attributes={"axis": 1, "keepdims": 0}, values=plain, out=I64),
    Case("TopK", NUMBERS, lambda x: np.sort(x, 1)[:, :1:-1], [[2]], {"axis": 1}, values=plain, out=[None, I64]),
    Case("Max", FLOATS, np.maximum, operands=2, values=plain),
    Case("MaxPool", dtypes("int8 uint8 float16 bfloat16 float32 float64"), lambda x: x.max(-1, keepdims=True),
         attributes={"kernel_shape": [4]}, values=plain, shape=(1, 3, 4)),
    Case("Equal", EVERY, np.equal, operands=2, out=BOOL, values=lambda d, k: edges(d)[:: 1 - 2 * k]),
    Case("Less", NUMBERS, np.less, operands=2, out=BOOL, values=lambda d, k: edges(d)[:: 1 - 2 * k]),
    Case("Greater", NUMBERS, np.greater, operands=2, out=BOOL),
    Case("LessOrEqual", NUMBERS, np.less_equal, operands=2, out=BOOL),
    Case("GreaterOrEqual", NUMBERS, np.greater_equal, operands=2, out=BOOL),
    Case("NonZero", [BOOL, *INTS, *HALVES], np.nonzero, out=I64),
]  # fmt: skip
FLOATING = [
    Case("Add", FLOATS, in_float32(np.add), operands=2),
    Case("Sub", FLOATS, in_float32(np.subtract), operands=2),
    Case("Mul", FLOATS, in_float32(np.multiply), operands=2),
    Case("Div", FLOATS, in_float32(np.divide), operands=2),
    Case("Neg", FLOATS, np.negative),
    Case("Abs", FLOATS, np.abs),
    Case("Sqrt", FLOATS, in_float32(np.sqrt)),
    Case("Floor", FLOATS, in_float32(np.floor)),
    Case("Ceil", FLOATS, in_float32(np.ceil)),
    Case("Round", FLOATS, in_float32(np.rint)),
    Case("Reciprocal", FLOATS, in_float32(np.reciprocal)),
    Case("MatMul", HALVES, in_float32(np.matmul), operands=2, shape=(3, 3), values=plain),
    Case("ReduceSum", HALVES, in_float32(lambda x: x.sum(1)), [[1]], {"keepdims": 0}),
    Case("IsNaN", FLOATS, np.isnan, out=BOOL),
    Case("IsInf", FLOATS, np.isinf, out=BOOL),
    # operators without a kernel of their own
    Case("HardSwish", FLOATS[:-1], in_float32(lambda x: x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1)),
         values=lambda d, _: np.array([-4, -3, 0, 3, 4, 6] * 2).astype(d)),
]  # fmt: skip
GRID = [
    pytest.param(case, dtype, opset, id=f"{case.op}{i}-{dtype}-{opset}")
    for i, case in enumerate([*MOVES, *INTEGERS, *ORDERED, *FLOATING])
    for dtype in case.dtypes
    for opset in ((18, 23) if dtype.name in {"bool", "int8", "uint32", "bfloat16", "float32"} else (23,))
]


@pytest.mark.parametrize(("case", "dtype", "opset"), GRID)
def test_operator(case: Case, dtype: np.dtype[Any], opset: int) -> None:
    case.check(dtype, opset)


def value_model(dtype: Any, *steps: tuple[Any, ...], opset: int = 23) -> ir.Model:
    """A chain of one-input nodes; a step is an operator, its constants, and attributes."""
    x = typed(dtype, (3, 4))
    nodes: list[ir.Node] = []
    for op, *rest in steps:
        attributes = rest.pop() if rest and isinstance(rest[-1], dict) else {}
        nodes.append(node(op, nodes[-1].outputs[0] if nodes else x, *rest, **attributes))
    return model_of([x], nodes, [nodes[-1].outputs[0]], opset)


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


def test_double_is_refused_in_a_body_that_needs_another_operator() -> None:
    with pytest.raises(NoKernelError, match="HardSwish"):
        legalise(value_model(np.float64, ("HardSwish",)), TARGET)


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
