"""Measure what nodes cost in onnxruntime where arrays are small: in the form that one would write, and in ours.

python benchmarks/forms.py [--write]        writes its part of docs/benchmarks.md (half a minute)

Each form is the body of a scan of 200 steps. Both forms take the same array, place and condition, and their results are
compared.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from parts import write_part
from steps import best, session

_STEPS = 200
_ROUNDS = 4
_CONSTANTS = {
    "one": np.float32(1),
    "nan": np.float32(np.nan),
    "half": np.float32(0.5),
    "pair": np.float32([1, 0.5]),
    "unit": np.ones((1, 1), np.float32),
    "at0": np.int64([0]),
    "at1": np.int64([1]),
    "at2": np.int64([2]),
    "at3": np.int64([3]),
    "at5": np.int64([5]),
    "middle": np.int64([1, 2]),
    "thirds": np.int64([1, 1, 1]),
    "column": np.int64([8, 1, 3]),
    "line": np.int64([8, 3, 1]),
    "least": np.int64(0),
    "most": np.int64(4),
    "five": np.int64(5),
    "places": np.int64([[0], [1], [2], [3], [4]]),
}
_NAN_PLAIN = "n = IsNaN(x) h = Cast<to = 6>(n) a = ReduceMax<keepdims = 1>(h, at0) t = Cast<to = 9>(a)"
_WRITE_PLAIN = """
    under = GreaterOrEqual(i, least) over = Less(i, five) fits = And(under, over) j = Clip(i, least, most)
    r = Reshape(j, at1) old = Gather(x, r) f = Reshape(fits, at1) s = Where(f, one, old)
    y = ScatterElements<axis = 0>(x, r, s)"""


@dataclass(frozen=True, slots=True)
class Form:
    """What is computed in two forms.

    Attributes:
        what: what it is, as one would say it in JAX.
        dims: those of the float32 array ``x`` that a step takes, and returns as ``y``.
        plain: the nodes that one would write; they may read a place ``i``, a condition ``c`` and an array ``w``.
        ours: those that the export has.
        beside: the dims of ``w``, which no step changes.
    """

    what: str
    dims: tuple[int, ...]
    plain: str
    ours: str
    beside: tuple[int, ...] = (1,)


FORMS = (
    Form("a step that does nothing", (4,), "y = Identity(x)", "y = Identity(x)"),
    Form(
        "`where(c, 0.5, 1.0)`",
        (),
        "y = Where(c, half, one)",
        "k = Cast<to = 7>(c) y = Gather(pair, k)",
    ),
    Form(
        "`w[i]`, a row of 4",
        (4,),
        "r = Reshape(i, at1) g = Gather(w, r) s = Squeeze(g, at0) y = Add(x, s)",
        "g = Gather(w, i) y = Add(x, g)",
        (7, 4),
    ),
    Form("`x[1:3]` of 3 rows", (2, 4), "j = Concat<axis = 0>(x, w) y = Slice(j, at1, at3, at0)",
         "j = Concat<axis = 0>(x, w) y = Gather(j, middle)", (1, 4)),
    Form(
        "`x[0]`, `x[1]` and `x[2]`",
        (3,),
        "a = Slice(x, at0, at1, at0) s = Slice(x, at1, at2, at0) t = Slice(x, at2, at3, at0)"
        " y = Concat<axis = 0>(t, a, s)",
        "a, s, t = Split<axis = 0>(x, thirds) y = Concat<axis = 0>(t, a, s)",
    ),
    Form(
        "the sines of 3 numbers",
        (3,),
        "a, s, t = Split<axis = 0>(x, thirds) a1 = Sin(a) s1 = Sin(s) t1 = Sin(t) y = Concat<axis = 0>(a1, s1, t1)",
        "y = Sin(x)",
    ),
    Form(
        "`max(x)` of 6 numbers that may be NaN",
        (6,),
        f"{_NAN_PLAIN} m = ReduceMax<keepdims = 1>(x, at0) e = Where(t, nan, m) y = Sub(x, e)",
        "m = ReduceMax<keepdims = 1>(x, at0) l = ReduceL1<keepdims = 1>(x, at0) e = Min(m, l) y = Sub(x, e)",
    ),
    Form(
        "`x.at[i].set(1)` of 5 numbers, out of bounds too",
        (5,),
        _WRITE_PLAIN,
        "k = Reshape(places, at5) e = Equal(i, k) y = Where(e, one, x)",
    ),
    Form(
        "`w @ x`, 64 rows",
        (64,),
        "p = MatMul(w, x) y = Tanh(p)",
        "v = Unsqueeze(x, at1) m = MatMul(w, v) p = Squeeze(m, at1) y = Tanh(p)",
        (64, 64),
    ),
    Form(
        "8 dots of 3 numbers",
        (8, 3),
        "a = Reshape(x, column) o = Reshape(w, line) d = MatMul(a, o) s = Squeeze(d, at1) y = Mul(x, s)",
        "p = Mul(x, w) s = ReduceSum<keepdims = 1>(p, at1) y = Mul(x, s)",
        (8, 3),
    ),
    Form("a column of 384 and a number", (384, 1), "y = Mul(x, one)", "y = Mul(x, unit)"),
    Form(
        "three choices between rows by one condition",
        (3, 4),
        "a, s, t = Split<axis = 0>(x, thirds) a1 = Where(c, a, s) s1 = Where(c, s, t) t1 = Where(c, t, a)"
        " y = Concat<axis = 0>(a1, s1, t1)",
        "a, s, t = Split<axis = 0>(x, thirds) a1, s1, t1 = If(c) <then_branch = yes () => (float[1, 4] a2,"
        " float[1, 4] s2, float[1, 4] t2) { a2 = Identity(a) s2 = Identity(s) t2 = Identity(t) }, else_branch = no ()"
        " => (float[1, 4] a3, float[1, 4] s3, float[1, 4] t3) { a3 = Identity(s) s3 = Identity(t) t3 = Identity(a) }>"
        " y = Concat<axis = 0>(a1, s1, t1)",
    ),
)  # fmt: skip


def model_of(nodes: str, form: Form) -> bytes:
    """Return the model whose scan has these nodes in its body."""
    dims, beside = (", ".join(map(str, sizes)) for sizes in (form.dims, form.beside))
    array = f"float[{dims}]" if form.dims else "float"
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
        form ({array} start, float[{beside}] w, int64[{_STEPS}] numbers, bool[{_STEPS}] truths) => ({array} end) {{
            end = Scan <num_scan_inputs = 2, body = body ({array} x, int64 i, bool c) => ({array} y) {{ {nodes} }}>
                (start, numbers, truths)
        }}"""
    model = onnx.parser.parse_model(text)
    for name, number in _CONSTANTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(number), name))
    return model.SerializeToString()


def compared(form: Form) -> tuple[list[Any], dict[str, Any]]:
    """Return sessions of both forms, and what they are given, after their results are compared.

    Raises:
        AssertionError: their results differ.
    """
    generator = np.random.default_rng(0)
    feeds: dict[str, Any] = {
        "start": generator.normal(size=form.dims).astype(np.float32),
        # Small, so that errors of rounding do not grow from step to step.
        "w": (generator.normal(size=form.beside) / 16).astype(np.float32),
        "numbers": np.arange(_STEPS) % 7,
        "truths": np.arange(_STEPS) % 3 == 0,
    }
    sessions = [session(model_of(nodes, form)) for nodes in (form.plain, form.ours)]
    plain, ours = (one.run(None, feeds)[0] for one in sessions)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6, err_msg=form.what)
    return sessions, feeds


def measured(form: Form) -> tuple[float, float]:
    """Return what a step takes in both forms, in microseconds; they take turns."""
    sessions, feeds = compared(form)
    least = [np.inf] * len(sessions)
    for _ in range(_ROUNDS):
        for number, one in enumerate(sessions):
            least[number] = min(least[number], best(lambda one=one: one.run(None, feeds)))  # type: ignore[misc]
    return least[0] / _STEPS, least[1] / _STEPS


def main() -> None:
    """Measure all forms, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    lines = [
        "## Forms of small nodes",
        "",
        "Written by `benchmarks/forms.py`. What a step of a loop takes in onnxruntime, on one core: as one would write",
        "it, and as the export has it. Both have the same results, and the nodes around that these need.",
        "",
        "| What | as one would write it, µs | as exported, µs |",
        "|---|---:|---:|",
    ]
    for form in FORMS:
        plain, ours = measured(form)
        lines.append(f"| {form.what} | {plain:.2f} | {ours:.2f} |")
        print(lines[-1], flush=True)
    if arguments.write:
        write_part("forms", "\n".join(lines))


if __name__ == "__main__":
    main()
