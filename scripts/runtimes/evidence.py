"""Minimal models that a runtime computes otherwise than ONNX says: ``python scripts/runtimes/evidence.py [--write]``.

Each is written in ONNX's text form, with inputs. It is run in OpenVINO and in onnx's reference evaluator, and the
answers are printed side by side; OpenVINO's are those of a second run, after one on zeros. Further ones are changed by
a tool first, and what it made of them is run in onnxruntime. ``--write`` puts them into docs/coverage/evidence.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.parser import parse_model
from onnx.reference import ReferenceEvaluator
from tools import optimised

from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner, runtime_name
from jax2onnx_openvino import OpenVINO

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

PAGE = Path(__file__).parents[2] / "docs" / "coverage" / "evidence.md"
HEAD = '<ir_version: 10, opset_import: ["": 21]> '
BIG = np.array([2**31 - 1, -(2**31), 2**24 + 1], np.int32)

MODELS: dict[str, tuple[str, list[Any]]] = {
    "int8 saturates": (
        "add (int8[2] x, int8[2] y) => (int8[2] z) { z = Add(x, y) }",
        [np.array([127, -128], np.int8), np.array([1, -1], np.int8)],
    ),
    "float64 is computed in float32": ("double (double[1] x) => (double[1] y) { y = Add(x, x) }", [np.array([1 / 3])]),
    "int64 is cut to 32 bits": ("same (int64[1] x) => (int64[1] y) { y = Add(x, x) }", [np.array([2**40 + 3])]),
    "int32 is divided in float32": (
        "divide (int32[3] x, int32[3] y) => (int32[3] z) { z = Div(x, y) }",
        [BIG, np.array([1, 1, 1], np.int32)],
    ),
    "int32 is ordered in float32": (
        "less (int32[1] x, int32[1] y) => (bool[1] z) { z = Less(x, y) }",
        [np.array([2**31 - 5], np.int32), np.array([2**31 - 3], np.int32)],
    ),
    "uint32 is ordered as int32": (
        "most (uint32[1] x, uint32[1] y) => (uint32[1] z) { z = Max(x, y) }",
        [np.array([2**31 + 5], np.uint32), np.array([7], np.uint32)],
    ),
    "a choice behind a comparison is executed in float32": (
        (
            "choose (int32[3] x, int64[3] i, int64[1] n) => (int32[3] y) "
            "{ c = Less(i, n) z = Sub(x, x) y = Where(c, x, z) }"
        ),
        [BIG, np.arange(3), np.array([3])],
    ),
    "integers are scaled by a number in float32": (
        "scale (uint32[1] x) => (uint32[1] y) <uint32 c = {3528531795}> { y = Mul(x, c) }",
        [np.array([3], np.uint32)],
    ),
    "Pad reads an integer by way of float32": (
        "ends (int32[1] x) => (int32[2] y) <int64[2] pads = {0, 1}, int32 v = {2147483647}> { y = Pad(x, pads, v) }",
        [np.ones(1, np.int32)],
    ),
    "integer matrices are multiplied in float32": (
        "product (int32[1,2] x, int32[2,1] y) => (int32[1,1] z) { z = MatMul(x, y) }",
        [np.array([[2**24 + 1, 1]], np.int32), np.array([[1], [0]], np.int32)],
    ),
    "integers are added in float32": (
        "total (int32[2] x) => (int32[1] y) <int64[1] axes = {0}> { y = ReduceSum(x, axes) }",
        [np.array([2**24 + 1, 2], np.int32)],
    ),
    "Pad takes a computed value for 0": (
        "padded (float[1] x, float v) => (float[2] y) <int64[2] pads = {0, 1}> { y = Pad(x, pads, v) }",
        [np.ones(1, np.float32), np.float32(7)],
    ),
    "what is computed of constants is overwritten (second run)": (
        (
            "combined (int32[2] x) => (int32[2] y) <int32[2] a = {5, 3}, int32[2] b = {2, 7}> "
            "{ c = BitwiseXor(a, b) y = BitwiseAnd(c, x) }"
        ),
        [np.array([7, 7], np.int32)],
    ),
    "a Scan that reads no row runs once": (
        (
            "count (float x, float[3] xs) => (float y) "
            "{ y = Scan<num_scan_inputs = 1, body = step (float s, float r) => (float t) { t = Add(s, s) }>(x, xs) }"
        ),
        [np.float32(1), np.zeros(3, np.float32)],
    ),
    "a Scan that reads a value from outside is refused": (
        (
            "outside (float x, float v, float[3] xs) => (float y) "
            "{ y = Scan<num_scan_inputs = 1, body = step (float s, float r) => (float t) "
            "{ a = Add(s, v) t = Add(a, r) }>(x, xs) }"
        ),
        [np.float32(1), np.float32(2), np.zeros(3, np.float32)],
    ),
    "a Scan overwrites a row before it reads it": (
        (
            "delay (float[2] x, float[3,2] xs) => (float[3,2] y) "
            "{ s, y = Scan<num_scan_inputs = 1, body = step (float[2] s, float[2] r) => (float[2] t, float[2] u) "
            "{ t = Identity(r) u = Identity(s) }>(x, xs) }"
        ),
        [np.zeros(2, np.float32), np.arange(6, dtype=np.float32).reshape(3, 2)],
    ),
    "constants of uint32 are clamped to int32": (
        "large (uint32[1] x) => (uint32[1] y) <uint32[1] c = {4294967295}> { y = BitwiseXor(x, c) }",
        [np.array([0], np.uint32)],
    ),
    "uint32 is converted as int32": (
        "convert (uint32[1] x) => (float[1] z) { y = Add(x, x) z = Cast<to = 1>(y) }",
        [np.array([2**30 + 3], np.uint32)],
    ),
    "equal numbers are sorted in any order": (
        "sort (float[8] x) => (int64[8] places) <int64[1] k = {8}> { values, places = TopK(x, k) }",
        [np.array([1, 0, 1, 0, 1, 0, 1, 0], np.float32)],
    ),
    "integers are reduced in float32": (
        "least (int32[2] x) => (int32[1] y) <int64[1] axes = {0}> { y = ReduceMin(x, axes) }",
        [np.array([2**31 - 1, 2**31 - 7], np.int32)],
    ),
    "log(1 + exp(x)) becomes Softplus": (
        "logarithm (float[1] x) => (float[1] y) <float c = {1}> { a = Exp(x) b = Add(a, c) y = Log(b) }",
        [np.array([-6], np.float32)],
    ),
    "constant factors are multiplied first": (
        "scaled (float[1] x) => (float[1] y) <float a = {1e30}, float b = {1e10}> { z = Mul(x, a) y = Mul(z, b) }",
        [np.array([1e-3], np.float32)],
    ),
    "Erf loses the digits of small numbers": (
        "small (float[1] x) => (float[1] y) { y = Erf(x) }",
        [np.array([1e-5], np.float32)],
    ),
    "a cast of a slice to bool is refused": (
        (
            "truth (float[2,2] x) => (bool[1,2] y, float[1,2] z) "
            "<int64[1] a = {0}, int64[1] b = {1}, int64[1] c = {2}> "
            "{ s = Slice(x, a, b, a) z = Slice(x, b, c, a) y = Cast<to = 9>(s) }"
        ),
        [np.ones((2, 2), np.float32)],
    ),
    "-2**31 is false": ("truth (int32[1] x) => (bool[1] y) { y = Cast<to = 9>(x) }", [BIG[1:2]]),
}

CHANGED: dict[str, tuple[str, list[Any]]] = {
    "a weight that is read two bodies deep is removed": (
        (
            "choose (bool a, bool b, float x) => (float y) <float w = {3}> "
            "{ y = If (a) <then_branch = both () => (float s) "
            "{ s = If (b) <then_branch = scale () => (float t) { t = Mul(x, w) }, "
            "else_branch = keep () => (float u) { u = Identity(x) }> }, "
            "else_branch = neither () => (float v) { v = Identity(x) }> }"
        ),
        [np.ones((), bool), np.ones((), bool), np.float32(2)],
    ),
    "the Gelu by tanh behind a sum becomes the exact one": (
        (
            "activate (float[1,1] x) => (float[1,1] y) <float[1,1] w = {1}, float[1] b = {1}> "
            '{ m = MatMul(x, w) a = Add(m, b) y = Gelu<approximate = "tanh">(a) }'
        ),
        [np.array([[1.5]], np.float32)],
    ),
}
"""What onnxruntime's optimiser of transformers changes otherwise than ONNX says."""


def changed(model: onnx.ModelProto, values: list[Any]) -> tuple[str, str]:
    """Return what ONNX's evaluator makes of a model, and onnxruntime of what the optimiser made of it."""
    feeds = {value.name: array for value, array in zip(model.graph.input, values, strict=True)}
    expected = ReferenceEvaluator(model).run(None, feeds)[0]
    try:
        actual = Runner(optimised(model)).run(values)[0]
    except RUNTIME_ERRORS:
        return str(np.asarray(expected).tolist()), "an invalid model"
    return str(np.asarray(expected).tolist()), str(actual.tolist())


def answers(model: onnx.ModelProto, values: list[Any]) -> tuple[str, str]:
    """Return what ONNX's evaluator and what OpenVINO make of a model."""
    feeds = {value.name: array for value, array in zip(model.graph.input, values, strict=True)}
    with np.errstate(all="ignore"):
        expected = ReferenceEvaluator(model).run(None, feeds)[0]
    try:
        runner = OpenVINO(model)
        runner.run([np.zeros_like(value) for value in values])
        actual = runner.run(values)[0]
    except (RuntimeError, ValueError):
        return str(np.asarray(expected).tolist()), "refused"
    return str(np.asarray(expected).tolist()), str(actual.tolist())


def rows(models: dict[str, tuple[str, list[Any]]], run: Callable[[Any, list[Any]], tuple[str, str]]) -> list[str]:
    """Return the rows of a table."""
    lines = []
    for what, (text, values) in models.items():
        expected, actual = run(parse_model(HEAD + text), values)
        lines.append(f"| {what} | `{text}` | {expected} | {actual} |")
    return lines


def main() -> None:
    """Print the table, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    lines = [
        "# Minimal models that OpenVINO computes otherwise than ONNX says",
        "",
        f"Written by `python scripts/runtimes/evidence.py --write`, with {OpenVINO.name} on the CPU, in float32.",
        "The models are in ONNX's text form, opset 21; that script has their inputs. OpenVINO ran on zeros before.",
        "",
        "| What | Model | ONNX says | OpenVINO |",
        "| --- | --- | --- | --- |",
        *rows(MODELS, answers),
        "",
        "## What a tool changes",
        "",
        f"What the optimiser of transformers of {runtime_name()} makes of a model is run there.",
        "",
        "| What | Model | ONNX says | The tool's model |",
        "| --- | --- | --- | --- |",
        *rows(CHANGED, changed),
    ]
    page = "\n".join(lines) + "\n"
    if parser.parse_args().write:
        PAGE.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
