"""Try every rewrite of onnxruntime's optimiser on small graphs: does it change a number, and is it kept away from that?

python scripts/optimiser_table.py             prints what the optimiser changes
python scripts/optimiser_table.py --write     writes docs/coverage/optimiser.md (a minute)

Each rewrite is tried in every dtype for which there are kernels, with constants 0, -0, 1, -1 and 2, as a scalar and
with one element, in both orders of the operands. A graph is run without the optimiser, with it, and with it once the
graph has been legalised. The first run says what is right.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from jax2onnx.legalise import targets
from jax2onnx.legalise.legalise import legalise
from jax2onnx.testing import RUNTIME_ERRORS

PAGE = Path(__file__).parent.parent / "docs" / "coverage" / "optimiser.md"
FLOATS = ("float32", "float64", "float16")
INTS = ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0)
FORMS: tuple[tuple[int, ...], ...] = ((), (1,), (1, 1, 1))
RTOL = {"float32": 1e-5, "float64": 1e-13, "float16": 4e-3}

Step = tuple[Any, ...]
"""Operator, names of its inputs, name of its output, and perhaps a dict of attributes."""


class Graph:
    """A graph to try: its nodes, constants and inputs."""

    def __init__(self, rewrite: str, what: str, dtype: str, steps: Sequence[Step], **arrays: Any) -> None:
        self.rewrite, self.what, self.dtype = rewrite, what, dtype
        self.steps = steps
        self.given = {name: a for name, a in arrays.items() if name[0] in "xyz"}
        self.constants = {name: a for name, a in arrays.items() if name[0] not in "xyz"}

    def model(self) -> onnx.ModelProto:
        """Return the model; its outputs are the results that no node takes."""
        taken = {name for _, inputs, *_ in self.steps for name in inputs}
        nodes: list[onnx.NodeProto] = []
        outputs: list[str] = []
        for op_type, inputs, output, *attributes in self.steps:
            nodes.append(helper.make_node(op_type, inputs, [output], **(attributes[0] if attributes else {})))
            if output not in taken:
                outputs.append(output)
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in self.given.items()
        ]
        unknown = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
        constants = [numpy_helper.from_array(np.asarray(a), name) for name, a in self.constants.items()]
        graph = helper.make_graph(nodes, "g", inputs, unknown, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def numbers(dtype: str, shape: Sequence[int], seed: int = 0) -> np.ndarray[Any, Any]:
    """Return numbers that hurt: signs, zeros, ones, and in floats infinities and NaN."""
    if dtype in FLOATS:
        some = [0.0, -0.0, 1.0, -1.0, 3.0, -2.5, 1e-3, np.inf, -np.inf, np.nan, 7.0, -0.125]
    else:
        some = [1, 2, 3, 5, 100, 7, 4, 127, 6, 9, 11, 13]
        some = some if dtype.startswith("u") else [n * (-1) ** i for i, n in enumerate(some)]
    values = np.random.default_rng(seed).permutation(np.array(some))
    return np.resize(values, shape).astype(dtype)


def plain(dtype: str, shape: Sequence[int], seed: int = 0) -> np.ndarray[Any, Any]:
    """Return small whole numbers."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def constants(dtype: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield the constants to try, with a word for each."""
    for number, form in itertools.product(NUMBERS, FORMS):
        if dtype in FLOATS or (number >= 0 and not np.signbit(number)) or (number < 0 and not dtype.startswith("u")):
            yield f"{number:g} {list(form)}", np.full(form, number).astype(dtype)


def arithmetic(dtype: str) -> Iterator[Graph]:
    """NoopElimination, ConstantFolding, and what may be done to an operation with a constant."""
    x = numbers(dtype, (4, 3))
    for op_type in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod"):
        for (word, c), swapped in itertools.product(constants(dtype), (False, True)):
            if op_type in {"Div", "Mod"} and dtype not in FLOATS and not swapped and not np.any(c):
                continue
            attributes = {"fmod": 1} if op_type == "Mod" and dtype in FLOATS else {}
            operands = ["c", "x"] if swapped else ["x", "c"]
            shown = f"{op_type}({', '.join(operands)}), c = {word}"
            yield Graph("NoopElimination", shown, dtype, [(op_type, operands, "r", attributes)], x=x, c=c)


def quotients(dtype: str) -> Iterator[Graph]:
    """DivMulFusion."""
    x, y = numbers(dtype, (3,)), numbers(dtype, (3,), 1)
    x = np.where(x == 0, 1, x).astype(dtype) if dtype not in FLOATS else x
    for (word, c), swapped in itertools.product(constants(dtype), (False, True)):
        steps: list[Step] = [("Div", ["c", "x"], "q"), ("Mul", ["y", "q"] if swapped else ["q", "y"], "r")]
        yield Graph("DivMulFusion", f"Mul(Div(c, x), y), c = {word}", dtype, steps, x=x, y=y, c=c)
        folded: list[Step] = [("Mul", ["c", "c"], "s"), ("Div", ["s", "x"], "q"), ("Mul", ["q", "x"], "p"),
                              ("Sub", ["s", "p"], "r")]  # fmt: skip
        yield Graph("DivMulFusion", f"d - (d div x) x, d = c c, c = {word}", dtype, folded, x=x, c=c)


def scaled_products(dtype: str) -> Iterator[Graph]:
    """MatMulScaleFusion, MatMulAddFusion, MatmulTransposeFusion, GemmSumFusion, GemmTransposeFusion."""
    x, y = plain(dtype, (3, 3)), plain(dtype, (3, 3), 1)
    for word, c in constants(dtype):
        for op_type in ("Mul", "Div", "Add"):
            if op_type == "Div" and (dtype not in FLOATS or not np.any(c)):
                continue
            product = ("MatMul", ["x", "y"], "p")
            name = "MatMulAddFusion" if op_type == "Add" else "MatMulScaleFusion"
            yield Graph(name, f"{op_type}(MatMul(x, y), c), c = {word}", dtype, [product, (op_type, ["p", "c"], "r")],
                        x=x, y=y, c=c)  # fmt: skip
            yield Graph(name, f"MatMul({op_type}(x, c), y), c = {word}", dtype,
                        [(op_type, ["x", "c"], "s"), ("MatMul", ["s", "y"], "r")], x=x, y=y, c=c)  # fmt: skip
    for shape in ((3,), (1, 3), (3, 1), (3, 3), (2, 3, 3)):
        bias = plain(dtype, shape, 2)
        for order in (["p", "b"], ["b", "p"]):
            steps: list[Step] = [("MatMul", ["x", "y"], "p"), ("Add", order, "r")]
            yield Graph("MatMulAddFusion", f"Add(MatMul(x, y), b{list(shape)})", dtype, steps, x=x, y=y, b=bias)
    for perm in ([1, 0], [0, 1]):
        turned = ("Transpose", ["x"], "t", {"perm": perm})
        yield Graph("GemmTransposeFusion", f"Gemm(Transpose(x, {perm}), y)", dtype,
                    [turned, ("Gemm", ["t", "y"], "r", {"alpha": 2.0})], x=x, y=y)  # fmt: skip
    for shape in ((3,), (1, 3), (3, 3)):
        bias = plain(dtype, shape, 2)
        yield Graph("GemmSumFusion", f"Sum(Gemm(x, y), b{list(shape)})", dtype,
                    [("Gemm", ["x", "y"], "p"), ("Sum", ["p", "b"], "r")], x=x, y=y, b=bias)  # fmt: skip
    for name in ("Relu", "LeakyRelu", "Sigmoid", "Tanh"):
        yield Graph("GemmActivationFusion", f"{name}(Gemm(x, y))", dtype,
                    [("Gemm", ["x", "y"], "p"), (name, ["p"], "r")], x=x, y=y)  # fmt: skip


def products_of_transposes(dtype: str) -> Iterator[Graph]:
    """MatmulTransposeFusion: operands of one to four dims, either of them or both transposed."""
    steps_between: dict[str, list[Step]] = {
        "": [],
        "Identity": [("Identity", ["t"], "b")],
        "+ 0": [("Add", ["t", "c"], "b")],
        "2 *": [("Mul", ["t", "d"], "b")],
        "Relu": [("Relu", ["t"], "b")],
        "Cast": [("Cast", ["t"], "b", {"to": helper.np_dtype_to_tensor_dtype(np.dtype(dtype))})],
    }
    if dtype not in FLOATS:
        return
    zero, two = np.zeros((), dtype), np.full((), 2, dtype)
    lefts = ((3,), (4, 3), (2, 4, 3), (1, 4, 3), (2, 2, 4, 3))
    rights = ((3,), (3, 5), (2, 3, 5), (1, 3, 5), (2, 2, 3, 5))
    for left, right in itertools.product(lefts, rights):
        for is_left, (name, between) in itertools.product((True, False), steps_between.items()):
            shape, other = (left, right) if is_left else (right, left)
            for perm in list(itertools.permutations(range(len(shape))))[1 :: 5 if len(shape) > 3 else 1]:
                given = np.empty(len(shape), int)
                given[list(perm)] = shape
                last = "b" if between else "t"
                steps: list[Step] = [("Transpose", ["x"], "t", {"perm": perm}), *between]
                steps.append(("MatMul", [last, "y"] if is_left else ["y", last], "r"))
                shown = f"{name} Transpose(x{given.tolist()}, {list(perm)})"
                operands = f"{shown}, y{list(other)}" if is_left else f"y{list(other)}, {shown}"
                yield Graph("MatmulTransposeFusion", f"MatMul({operands})", dtype, steps,
                            x=plain(dtype, given), y=plain(dtype, other, 1), c=zero, d=two)  # fmt: skip


def moved_transposes(dtype: str) -> Iterator[Graph]:
    """TransposeOptimizer: a transpose before an operator, and one behind it that may cancel it."""
    if dtype not in {"float32", "float16", "int64"}:
        return
    x = numbers(dtype, (2, 3, 4))
    for perm in itertools.permutations(range(3)):
        turned: Step = ("Transpose", ["x"], "t", {"perm": perm})
        shape = [(2, 3, 4)[axis] for axis in perm]
        for shown, steps, arrays in _on_turned(dtype, shape):
            rank = len(np.empty(shape).shape)
            for back in (None, np.argsort(perm).tolist()):
                ends: list[Step] = [] if back is None else [("Transpose", ["r"], "e", {"perm": back})]
                graph = Graph(
                    "TransposeOptimizer",
                    f"{shown} of Transpose(x, {list(perm)})" + ("" if back is None else ", transposed back"),
                    dtype,
                    [turned, *steps, *ends],
                    x=x,
                    **arrays,
                )
                if back is None or _has_rank(graph, rank):
                    yield graph


def _has_rank(graph: Graph, rank: int) -> bool:
    """Return whether the value ``r`` of a graph has this many dims, so that it can be transposed."""
    inner = Graph(graph.rewrite, graph.what, graph.dtype, graph.steps[:-1], **graph.given, **graph.constants)
    try:
        output = run(inner.model(), inner.given, optimised=False)[-1]
    except (*RUNTIME_ERRORS, onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return False
    return bool(output.ndim == rank)


def _on_turned(dtype: str, shape: Sequence[int]) -> Iterator[tuple[str, list[Step], dict[str, Any]]]:
    """Yield what may be done to ``t``, of this shape: a word, the steps to ``r``, and their constants."""
    for op_type in ("Relu", "Exp", "Neg", "Abs", "Sign", "Identity", "IsNaN", "Not"):
        yield op_type, [(op_type, ["t"], "r")], {}
    for op_type, other, order in itertools.product(
        ("Add", "Mul", "Max", "Less", "Pow"), ((), (1,), shape[-1:], (shape[1], 1), shape, (1, 1, 1, 1)), (0, 1)
    ):
        operands = ["c", "t"] if order else ["t", "c"]
        shown = f"{op_type}({operands[0]}, {operands[1]}), c{list(other)}"
        yield shown, [(op_type, operands, "r")], {"c": plain(dtype, other, 3)}
    for axis in (-3, -2, -1, 0, 1, 2):
        for op_type in ("Softmax", "LogSoftmax", "Hardmax", "ArgMax", "LayerNormalization"):
            operands = ["t", "c"] if op_type == "LayerNormalization" else ["t"]
            scale = {"c": plain(dtype, shape[axis:], 3)} if op_type == "LayerNormalization" else {}
            yield f"{op_type}, axis {axis}", [(op_type, operands, "r", {"axis": axis})], scale
        axes = np.array([axis])
        for op_type, keepdims in itertools.product(("ReduceSum", "ReduceMax", "ReduceMean", "ReduceProd"), (0, 1)):
            steps: list[Step] = [(op_type, ["t", "k"], "r", {"keepdims": keepdims})]
            yield f"{op_type}, axis {axis}, keepdims {keepdims}", steps, {"k": axes}
        yield f"CumSum, axis {axis}", [("CumSum", ["t", "k"], "r", {"reverse": 1})], {"k": np.array(axis)}
        yield f"Concat, axis {axis}", [("Concat", ["t", "t"], "r", {"axis": axis})], {}
        cut = {"a": np.array([-1]), "b": np.array([-99]), "k": axes, "s": np.array([-1])}
        yield f"Slice, axis {axis}, reversed", [("Slice", ["t", "a", "b", "k", "s"], "r")], cut
        few = {"a": np.array([1]), "b": np.array([99]), "k": axes}
        yield f"Slice, axis {axis}", [("Slice", ["t", "a", "b", "k"], "r")], few
        yield f"Gather, axis {axis}", [("Gather", ["t", "i"], "r", {"axis": axis})], {"i": np.array([1, -1])}
        yield f"Gather of one, axis {axis}", [("Gather", ["t", "i"], "r", {"axis": axis})], {"i": np.array(1)}
        yield f"Unsqueeze, axis {axis}", [("Unsqueeze", ["t", "k"], "r")], {"k": axes}
        one = [("ReduceMax", ["t", "k"], "m"), ("Squeeze", ["m", "k"], "r")]
        yield f"Squeeze of a maximum, axis {axis}", one, {"k": axes}
    # A Pad of some axes, whose transposes the optimiser gets wrong, is made one of all by `tidy`.
    for mode in ("constant", "reflect", "edge", "wrap"):
        yield f"Pad, {mode}", [("Pad", ["t", "p"], "r", {"mode": mode})], {"p": np.array([1, 0, 0, 0, 1, 1])}
    yield "Tile", [("Tile", ["t", "n"], "r")], {"n": np.array([1, 2, 3])}
    yield "Expand", [("Expand", ["t", "n"], "r")], {"n": np.array([2, 1, 1, 1])}
    yield "Reshape", [("Reshape", ["t", "n"], "r")], {"n": np.array([0, -1, 1])}
    yield "Reshape with ones", [("Reshape", ["t", "n"], "r")], {"n": np.array([1, *shape])}
    yield "Where", [("Greater", ["t", "c"], "g"), ("Where", ["g", "t", "c"], "r")], {"c": plain(dtype, shape[-1:], 3)}
    yield "Clip", [("Clip", ["t", "c", "d"], "r")], {"c": np.full((), -1, dtype), "d": np.full((), 2, dtype)}
    yield "itself", [("Add", ["t", "x"], "r")], {}


def choices(dtype: str) -> Iterator[Graph]:
    """NotWhereFusion, FuseReluClip, ConstantSharing and CommonSubexpressionElimination of both zeros."""
    x, y = numbers(dtype, (4, 3)), numbers(dtype, (4, 3), 1)
    which = np.arange(12).reshape(4, 3) % 2 == 0
    yield Graph("NotWhereFusion", "Where(Not(z), x, y)", dtype,
                [("Not", ["z"], "n"), ("Where", ["n", "x", "y"], "r")], x=x, y=y, z=which)  # fmt: skip
    for (word, c), (other, d) in itertools.product(constants(dtype), constants(dtype)):
        if c.ndim or d.ndim:
            continue
        yield Graph("FuseReluClip", f"Clip(Relu(x), c, d), c = {word}, d = {other}", dtype,
                    [("Relu", ["x"], "s"), ("Clip", ["s", "c", "d"], "r")], x=x, c=c, d=d)  # fmt: skip
        yield Graph("ConstantSharing", f"x c, x d, c = {word}, d = {other}", dtype,
                    [("Mul", ["x", "c"], "r"), ("Mul", ["x", "d"], "s")], x=x, c=c, d=d)  # fmt: skip
        if dtype in FLOATS:
            yield Graph("ConstantSharing", f"max(x, c) / c, max(x, c) / d, c = {word}, d = {other}", dtype,
                        [("Max", ["x", "c"], "m"), ("Div", ["m", "c"], "r"), ("Max", ["x", "c"], "n"),
                         ("Div", ["n", "d"], "s")], x=x, c=c, d=d)  # fmt: skip


def casts(dtype: str) -> Iterator[Graph]:
    """CastElimination, CastChainElimination, PreShapeNodeElimination."""
    x = numbers(dtype, (4, 3)) if dtype not in FLOATS else plain(dtype, (4, 3)) * np.asarray(1.1, dtype)
    for middle in (*FLOATS, *INTS, "bool"):
        to = int(helper.np_dtype_to_tensor_dtype(np.dtype(middle)))
        back = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        if dtype in FLOATS and middle.startswith("u"):
            continue
        yield Graph("CastElimination", f"{dtype}({middle}(x))", dtype,
                    [("Cast", ["x"], "s", {"to": to}), ("Cast", ["s"], "r", {"to": back})], x=x)  # fmt: skip
        yield Graph("PreShapeNodeElimination", f"Shape({middle}(x))", dtype,
                    [("Cast", ["x"], "s", {"to": to}), ("Shape", ["s"], "r")], x=x)  # fmt: skip


def views(dtype: str) -> Iterator[Graph]:
    """EliminateIdentity, EliminateSlice, ExpandElimination, UnsqueezeElimination, gathers, reshapes, transposes."""
    x = numbers(dtype, (4, 3))
    ints = lambda *values: np.array(values, np.int64)  # noqa: E731 - a short name
    yield Graph("EliminateIdentity", "Identity(x)", dtype, [("Identity", ["x"], "r")], x=x)
    for start, end, step in ((0, 4, 1), (0, 2**63 - 1, 1), (0, -1, 1), (-4, 4, 1), (3, -5, -1), (0, 4, 2)):
        yield Graph("EliminateSlice", f"x[{start}:{end}:{step}]", dtype, [("Slice", ["x", "a", "b", "c", "d"], "r")],
                    x=x, a=ints(start), b=ints(end), c=ints(0), d=ints(step))  # fmt: skip
    for shape in ((4, 3), (1, 1), (1,), (1, 4, 3), (2, 4, 3), (4, 1)):
        yield Graph("ExpandElimination", f"Expand(x, {shape})", dtype, [("Expand", ["x", "s"], "r")],
                    x=x, s=ints(*shape))  # fmt: skip
    for word, c in constants(dtype):
        yield Graph("UnsqueezeElimination", f"x + Unsqueeze(c), c = {word}", dtype,
                    [("Unsqueeze", ["c", "a"], "s"), ("Add", ["x", "s"], "r")], x=x, c=c, a=ints(0))  # fmt: skip
    for indices in ([0], [1, 2], [-1], [0, 1, 2, 3], [2, 1], [3, 4 - 8], 0, -1):
        i = np.array(indices, np.int64)
        yield Graph("GatherToSliceFusion", f"Gather(x, {indices})", dtype, [("Gather", ["x", "i"], "r")], x=x, i=i)
    steps: list[Step] = [("Gather", ["x", f"i{k}"], f"r{k}", {"axis": 1}) for k in range(3)]
    for order in ((0, 1, 2), (2, 1, 0), (-1, -2, -3), (0, 0, 1)):
        indices = {f"i{k}": np.array(o, np.int64) for k, o in enumerate(order)}
        yield Graph("GatherSliceToSplitFusion", f"x[:, {order}]", dtype, steps, x=x, **indices)
    for op_type, axis in itertools.product(("ReduceSum", "ReduceMax", "ArgMax", "Softmax", "CumSum"), (0, 1)):
        turned = ("Transpose", ["x"], "t", {"perm": [1, 0]})
        reduced: Step = (op_type, ["t"], "s", {"axis": axis})
        if op_type in {"ReduceSum", "ReduceMax", "CumSum"}:
            reduced = (op_type, ["t", "a"], "s")
        again = [("Transpose", ["s"], "r", {"perm": [1, 0]})]
        a = np.array(axis, np.int64) if op_type == "CumSum" else ints(axis)
        yield Graph(
            "TransposeOptimizer", f"{op_type}(Transpose(x), {axis})", dtype, [turned, reduced, *again], x=x, a=a
        )
    for word, c in constants(dtype):
        around = [("Transpose", ["x"], "t", {"perm": [1, 0]}), ("Mul", ["t", "c"], "s"),
                  ("Transpose", ["s"], "r", {"perm": [1, 0]})]  # fmt: skip
        if c.ndim < 3:
            yield Graph("TransposeOptimizer", f"Transpose(Transpose(x) c), c = {word}", dtype, around, x=x, c=c)
    yield Graph("ReshapeFusion", "Reshape(x, Concat(Shape(x)[0], 3))", dtype,
                [("Shape", ["x"], "s"), ("Gather", ["s", "i"], "g"), ("Unsqueeze", ["g", "o"], "u"),
                 ("Concat", ["u", "k"], "n", {"axis": 0}), ("Reshape", ["x", "n"], "r")],
                x=x, i=np.array(0), o=ints(0), k=ints(3))  # fmt: skip


def images(dtype: str) -> Iterator[Graph]:
    """ConvAddFusion, ConvMulFusion, ConvBNFusion, ConvActivationFusion, PadFusion, MatmulBNFusion, layouts."""
    x, w = plain(dtype, (1, 2, 5, 5)), plain(dtype, (3, 2, 3, 3), 1)
    conv: Step = ("Conv", ["x", "w"], "p")
    for (word, c), op_type in itertools.product(constants(dtype), ("Add", "Mul", "Sub", "Div")):
        if op_type == "Div" and not np.any(c):
            continue
        for order in (["p", "c"], ["c", "p"]):
            yield Graph(f"Conv{op_type}Fusion", f"{op_type}({', '.join(order)}), p = Conv(x), c = {word}", dtype,
                        [conv, (op_type, order, "r")], x=x, w=w, c=c)  # fmt: skip
    for shape in ((3, 1, 1), (1, 3, 1, 1), (1,), (3,), (1, 3, 3, 3)):
        c = plain(dtype, shape, 2)
        for op_type in ("Add", "Mul"):
            yield Graph(f"Conv{op_type}Fusion", f"{op_type}(Conv(x), c{list(shape)})", dtype,
                        [conv, (op_type, ["p", "c"], "r")], x=x, w=w, c=c)  # fmt: skip
    norm = {"s": plain(dtype, (3,), 3), "b": plain(dtype, (3,), 4), "m": plain(dtype, (3,), 5),
            "v": np.abs(plain(dtype, (3,), 6))}  # fmt: skip
    yield Graph("ConvBNFusion", "BatchNormalization(Conv(x))", dtype,
                [conv, ("BatchNormalization", ["p", *norm], "r")], x=x, w=w, **norm)  # fmt: skip
    for name, attributes in (("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"alpha": 0.3}),
                             ("HardSigmoid", {}), ("Clip", {})):  # fmt: skip
        inputs = ["p", "lo", "hi"] if name == "Clip" else ["p"]
        for low, high in ((0, 2), (-1, 1), (2, 0)) if name == "Clip" else ((0, 0),):
            yield Graph("ConvActivationFusion", f"{name}(Conv(x)) {low} {high}", dtype,
                        [conv, (name, inputs, "r", attributes)], x=x, w=w, lo=np.asarray(low).astype(dtype),
                        hi=np.asarray(high).astype(dtype))  # fmt: skip
    for number, op_type in itertools.product(NUMBERS, ("Conv", "MaxPool", "AveragePool")):
        inputs = ["q", "w"] if op_type == "Conv" else ["q"]
        attributes = {} if op_type == "Conv" else {"kernel_shape": [3, 3]}
        pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
        yield Graph("PadFusion", f"{op_type}(Pad(x, {number:g}))", dtype,
                    [("Pad", ["x", "k", "c"], "q"), (op_type, inputs, "r", attributes)],
                    x=(x - 5).astype(dtype), w=w, k=pads, c=np.asarray(number).astype(dtype))  # fmt: skip


def activations(dtype: str) -> Iterator[Graph]:
    """GeluFusion, FastGeluFusion, QuickGeluFusion, BiasGeluFusion, BiasSoftmaxFusion, LayerNormFusion."""
    x = numbers(dtype, (4, 3))
    of = lambda value, shape=(): np.full(shape, value).astype(dtype)  # noqa: E731 - a short name
    for one, half, form in itertools.product((1.0, 2.0, 0.0), (0.5, 1.0), FORMS):
        gelu: list[Step] = [("Div", ["x", "a"], "s"), ("Erf", ["s"], "e"), ("Add", ["e", "b"], "f"),
                            ("Mul", ["x", "f"], "g"), ("Mul", ["g", "c"], "r")]  # fmt: skip
        yield Graph("GeluFusion", f"x ({one:g} + erf(x / 1.41421)) {half:g}, constants {list(form)}", dtype, gelu,
                    x=x, a=of(1.4142135381698608, form), b=of(one, form), c=of(half, form))  # fmt: skip
    for word, c in constants(dtype):
        yield Graph(
            "QuickGeluFusion",
            f"x Sigmoid(c x), c = {word}",
            dtype,
            [("Mul", ["x", "c"], "s"), ("Sigmoid", ["s"], "t"), ("Mul", ["x", "t"], "r")],
            x=x,
            c=c,
        )
        yield Graph("BiasSoftmaxFusion", f"Softmax(x + c), c = {word}", dtype,
                    [("Add", ["x", "c"], "s"), ("Softmax", ["s"], "r", {"axis": -1})], x=x, c=c)  # fmt: skip
        yield Graph("LayerNormFusion", f"(x - mean) / sqrt(mean((x - mean) ** 2) + c), c = {word}", dtype,
                    [("ReduceMean", ["x", "k"], "m"), ("Sub", ["x", "m"], "d"), ("Pow", ["d", "two"], "q"),
                     ("ReduceMean", ["q", "k"], "v"), ("Add", ["v", "c"], "e"), ("Sqrt", ["e"], "s"),
                     ("Div", ["d", "s"], "n"), ("Mul", ["n", "scale"], "o"), ("Add", ["o", "shift"], "r")],
                    x=plain(dtype, (4, 3)), k=np.array([-1]), two=of(2), c=c, scale=plain(dtype, (3,), 1),
                    shift=plain(dtype, (3,), 2))  # fmt: skip
    for shape in ((3,), (4, 3), (4, 1), (1, 3)):
        yield Graph("BiasSoftmaxFusion", f"Softmax(x + b{list(shape)})", dtype,
                    [("Add", ["x", "b"], "s"), ("Softmax", ["s"], "r", {"axis": -1})], x=plain(dtype, (4, 3)),
                    b=plain(dtype, shape, 1))  # fmt: skip


FAMILIES: tuple[Callable[[str], Iterator[Graph]], ...] = (
    arithmetic, quotients, scaled_products, products_of_transposes, moved_transposes,
    choices, casts, views, images, activations,
)  # fmt: skip


def run(model: onnx.ModelProto, given: dict[str, Any], *, optimised: bool) -> list[Any]:
    """Run a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, given)  # type: ignore[no-any-return]


class Apart:
    """Runs models in another process, which some of them end."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None

    def run(self, model: onnx.ModelProto, given: dict[str, Any]) -> list[Any] | None:
        """Return the results of an optimised model; None if it does not load, or ends the process."""
        if self._process is None:
            self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._process.submit(run, model, given, optimised=True).result()
        except BrokenProcessPool:
            self._process = None
            return None
        except RUNTIME_ERRORS:
            return None


def same(got: Sequence[Any], want: Sequence[Any], dtype: str) -> bool:
    """Return whether results are equal, floats within rounding; zeros of either sign are."""
    for one, other in zip(got, want, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.dtype.kind == "f":
            if not np.allclose(one, other, rtol=RTOL[dtype], atol=RTOL[dtype], equal_nan=True):
                return False
        elif not np.array_equal(one, other):
            return False
    return True


def outcome(graph: Graph, apart: Apart) -> str:
    """Return what the optimiser does to a graph."""
    try:
        model = graph.model()
        want = run(model, graph.given, optimised=False)
    except (*RUNTIME_ERRORS, onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return "no kernel"
    legal = ir.from_proto(model)
    legalise(legal, targets.load(targets.DEFAULT))
    results: list[bool] = []
    for one in (model, ir.to_proto(legal)):
        got = apart.run(one, graph.given)
        results.append(got is not None and same(got, want, graph.dtype))
    if results[1]:
        return "right" if results[0] else "kept away"
    return "WRONG"


def main() -> None:
    """Try all, print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    apart = Apart()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    found: list[tuple[str, str, str, str]] = []
    for family, dtype in itertools.product(FAMILIES, (*FLOATS, *INTS)):
        for graph in family(dtype):
            result = outcome(graph, apart)
            counts[graph.rewrite][result] += 1
            if result in {"kept away", "WRONG"}:
                found.append((graph.rewrite, dtype, graph.what, result))
                if not write:
                    print(*found[-1], sep=" | ", flush=True)
    lines = [*INTRODUCTION.format(version=onnxruntime.__version__).splitlines(), ""]
    lines += ["| Rewrite | graphs | equal | kept away | wrong |", "| --- | --- | --- | --- | --- |"]
    for name, count in sorted(counts.items()):
        tried = count.total() - count["no kernel"]
        lines.append(f"| {name} | {tried} | {count['right']} | {count['kept away']} | {count['WRONG']} |")
    lines += [
        "",
        "## What the optimiser changes",
        "",
        "| Rewrite | dtype | graph | in a model |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {rewrite} | {dtype} | `{what}` | {result.lower()} |" for rewrite, dtype, what, result in found]
    if write:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        print("\n".join(lines[: lines.index("## What the optimiser changes")]))


INTRODUCTION = """# The optimiser of onnxruntime

Written by `python scripts/optimiser_table.py --write`, with onnxruntime {version}. Each rewrite of the optimiser is
tried on small graphs: every dtype with kernels, constants 0, -0, 1, -1 and 2, scalar and with one element, both orders
of the operands. *Equal*: optimised and not, a graph gives the same numbers. *Kept away*: the optimiser changes the
numbers or the shape, refuses the graph or ends the process, and does not once the graph is legalised, as every model is
(`legalise/ort_workarounds.py`)."""


if __name__ == "__main__":
    main()
