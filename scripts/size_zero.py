"""Write the part of docs/coverage/dynamic.md about size 0: which functions of JAX have another result there.

Each public function of jax.numpy, jax.nn, jax.lax and jax.scipy is called in the ways that CALLS and FORMS name. Where
JAX has a result for arrays of size 0, the function is exported over a symbolic size N, and the model is run at N = 0.

    python scripts/size_zero.py [--only NAME]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "dynamic.md"
MARK = "<!-- written by scripts/size_zero.py -->"
MODULES = (
    "jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.nn", "jax.lax", "jax.ops", "jax.scipy.special",
    "jax.scipy.linalg", "jax.scipy.signal", "jax.scipy.stats", "jax.scipy.fft", "jax.scipy.integrate",
    "jax.scipy.ndimage",
)  # fmt: skip
FORMS = (
    ("float32[N]",),
    ("float32[N]", "float32[N]"),
    ("float32[N,N]",),
    ("float32[N,3]",),
    ("int32[N]",),
    ("int32[N]", "int32[N]"),
    ("bool[N]",),
    ("float32[N]", "float32[N]", "float32[N]"),
)
CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    name: (arguments, tuple(inputs))
    for name, arguments, *inputs in (
        ("jax.numpy.argwhere", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.flatnonzero", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.nonzero", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.unique", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.unique_values", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.unique_counts", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.unique_inverse", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.unique_all", "x, size=3, fill_value=7", "float32[N]"),
        ("jax.numpy.union1d", "x, y, size=3, fill_value=7", "float32[N]", "float32[N]"),
        ("jax.numpy.setdiff1d", "x, y, size=3, fill_value=7", "float32[N]", "float32[N]"),
        ("jax.numpy.setxor1d", "x, y, size=3, fill_value=7", "float32[N]", "float32[N]"),
        ("jax.numpy.intersect1d", "x, y, size=3, fill_value=7", "float32[N]", "float32[N]"),
        ("jax.numpy.quantile", "x, 0.3", "float32[N]"),
        ("jax.numpy.nanquantile", "x, 0.3", "float32[N]"),
        ("jax.numpy.percentile", "x, 30", "float32[N]"),
        ("jax.numpy.nanpercentile", "x, 30", "float32[N]"),
        ("jax.numpy.repeat", "x, x.astype(int), total_repeat_length=4", "float32[N]"),
        ("jax.numpy.bincount", "x, length=4", "int32[N]"),
        ("jax.numpy.histogram_bin_edges", "x", "float32[N]"),
        ("jax.numpy.histogram2d", "x, y", "float32[N]", "float32[N]"),
        ("jax.numpy.histogramdd", "x", "float32[N,2]"),
        ("jax.numpy.max", "x, initial=-1", "float32[N]"),
        ("jax.numpy.min", "x, initial=-1", "float32[N]"),
        ("jax.numpy.pad", "x, 1", "float32[N]"),
        ("jax.numpy.tile", "x, 2", "float32[N]"),
        ("jax.numpy.roll", "x, 1", "float32[N]"),
        ("jax.numpy.split", "x, [1, 2]", "float32[N]"),
        ("jax.numpy.array_split", "x, 2", "float32[N]"),
        ("jax.numpy.insert", "x, 0, 5.0", "float32[N]"),
        ("jax.numpy.interp", "x, y, y", "float32[N]", "float32[3]"),
        ("jax.numpy.searchsorted", "x, y", "float32[N]", "float32[3]"),
        ("jax.numpy.digitize", "x, y", "float32[N]", "float32[3]"),
        ("jax.numpy.take", "x, y, mode='fill'", "float32[N]", "int32[3]"),
        ("jax.numpy.polyval", "x, y", "float32[N]", "float32[3]"),
        ("jax.numpy.convolve", "x, y", "float32[N]", "float32[3]"),
        ("jax.numpy.correlate", "x, y", "float32[N]", "float32[3]"),
        ("jax.numpy.cov", "x", "float32[N]"),
        ("jax.numpy.average", "x, weights=y", "float32[N]", "float32[N]"),
        ("jax.numpy.linspace", "0, 1, x.shape[0]", "float32[N]"),
        ("jax.numpy.partition", "x, 0", "float32[N]"),
        ("jax.numpy.argpartition", "x, 0", "float32[N]"),
        ("jax.numpy.matmul", "x, y", "float32[3,N]", "float32[N,2]"),
        ("jax.numpy.einsum", "'ij,jk->ik', x, y", "float32[3,N]", "float32[N,2]"),
        ("jax.nn.one_hot", "x, 4", "int32[N]"),
        ("jax.lax.sort", "x", "float32[N]"),
        ("jax.lax.scan", "lambda c, v: (c + v, c), 0.0, x", "float32[N]"),
        ("jax.lax.map", "lambda v: v + 1, x", "float32[N]"),
        ("jax.lax.associative_scan", "jax.numpy.add, x", "float32[N]"),
        ("jax.lax.reduce", "x, 0.0, jax.lax.add, (0,)", "float32[N]"),
        ("jax.lax.reduce_max", "x, (0,)", "float32[N]"),
        ("jax.lax.reduce_min", "x, (0,)", "float32[N]"),
        ("jax.lax.reduce_window", "x, 0.0, jax.lax.add, (2,), (1,), 'SAME'", "float32[N]"),
        ("jax.ops.segment_sum", "x, y, num_segments=3", "float32[N]", "int32[N]"),
        ("jax.ops.segment_max", "x, y, num_segments=3", "float32[N]", "int32[N]"),
        ("jax.ops.segment_min", "x, y, num_segments=3", "float32[N]", "int32[N]"),
        ("jax.ops.segment_prod", "x, y, num_segments=3", "float32[N]", "int32[N]"),
        ("jax.scipy.stats.rankdata", "x", "float32[N]"),
        ("jax.scipy.stats.mode", "x", "float32[N]"),
        ("jax.scipy.stats.sem", "x", "float32[N]"),
        ("jax.numpy.apply_along_axis", "jax.numpy.sum, 0, x", "float32[N,3]"),
        ("jax.numpy.arange", "x.shape[0]", "float32[N]"),
        ("jax.numpy.astype", "x, int", "float32[N]"),
        ("jax.numpy.choose", "x, [y, y + 1], mode='clip'", "int32[N]", "float32[N]"),
        ("jax.numpy.delete", "x, 0", "float32[N]"),
        ("jax.numpy.expand_dims", "x, 0", "float32[N]"),
        ("jax.numpy.eye", "x.shape[0], 3", "float32[N]"),
        ("jax.numpy.fill_diagonal", "x, y, inplace=False", "float32[N,N]", "float32[3]"),
        ("jax.numpy.full", "x.shape, 2.0", "float32[N]"),
        ("jax.numpy.matvec", "x, y", "float32[3,N]", "float32[N]"),
        ("jax.numpy.moveaxis", "x, 0, 1", "float32[N,3]"),
        ("jax.numpy.permute_dims", "x, (1, 0)", "float32[N,3]"),
        ("jax.numpy.place", "x, x > 1, y, inplace=False", "float32[N]", "float32[3]"),
        ("jax.numpy.polyfit", "x, y, 1", "float32[N]", "float32[N]"),
        ("jax.numpy.put", "x, y, 5.0, inplace=False", "float32[N]", "int32[3]"),
        ("jax.numpy.put_along_axis", "x, y, 5.0, 0, inplace=False", "float32[N]", "int32[N]"),
        ("jax.numpy.ravel_multi_index", "[x, x], (5, 5), mode='clip'", "int32[N]"),
        ("jax.numpy.reshape", "x, (-1, 1)", "float32[N]"),
        ("jax.numpy.resize", "x, (4,)", "float32[N]"),
        ("jax.numpy.rollaxis", "x, 1", "float32[N,3]"),
        ("jax.numpy.swapaxes", "x, 0, 1", "float32[N,3]"),
        ("jax.numpy.tensordot", "x, y, 1", "float32[3,N]", "float32[N,2]"),
        ("jax.numpy.top_k", "x, 0", "float32[N]"),
        ("jax.numpy.tri", "x.shape[0], 3", "float32[N]"),
        ("jax.numpy.unpackbits", "x.astype('uint8')", "int32[N]"),
        ("jax.numpy.vecmat", "x, y", "float32[N]", "float32[N,3]"),
        ("jax.numpy.linalg.lstsq", "x, y", "float32[N,3]", "float32[N]"),
        ("jax.numpy.linalg.matrix_power", "x, 3", "float32[N,2,2]"),
        ("jax.numpy.linalg.multi_dot", "[x, y, x]", "float32[3,N]", "float32[N,3]"),
        ("jax.numpy.linalg.solve", "x + 9 * jax.numpy.eye(x.shape[0]), y", "float32[N,N]", "float32[N]"),
        ("jax.numpy.linalg.tensordot", "x, y, axes=1", "float32[3,N]", "float32[N,2]"),
        ("jax.nn.glu", "x", "float32[N,4]"),
        ("jax.nn.scaled_dot_general", "x, y, (((1,), (0,)), ((), ()))", "float32[3,N]", "float32[N,2]"),
        ("jax.lax.approx_max_k", "x, 2", "float32[3,N]"),
        ("jax.lax.argmax", "x, 0, 'int32'", "float32[N]"),
        ("jax.lax.argmin", "x, 0, 'int32'", "float32[N]"),
        ("jax.lax.batch_matmul", "x, y", "float32[3,3,N]", "float32[3,N,2]"),
        ("jax.lax.bitcast_convert_type", "x, 'int32'", "float32[N]"),
        ("jax.lax.broadcast", "x, (2,)", "float32[N]"),
        ("jax.lax.broadcast_in_dim", "x, (2, x.shape[0]), (1,)", "float32[N]"),
        ("jax.lax.collapse", "x, 0, 2", "float32[N,3]"),
        ("jax.lax.concatenate", "[x, y], 0", "float32[N]", "float32[3]"),
        ("jax.lax.conv", "x, y, (1,), 'SAME'", "float32[N,3,5]", "float32[2,3,3]"),
        ("jax.lax.conv_transpose", "x, y, (1,), 'SAME'", "float32[N,5,3]", "float32[3,3,2]"),
        ("jax.lax.conv_general_dilated_patches", "x, (3,), (1,), 'SAME'", "float32[N,3,5]"),
        ("jax.lax.convert_element_type", "x, 'int32'", "float32[N]"),
        ("jax.lax.dot_general", "x, y, (((1,), (0,)), ((), ()))", "float32[3,N]", "float32[N,2]"),
        ("jax.lax.dynamic_slice", "x, (y[0], y[0]), (x.shape[0], 2)", "float32[N,3]", "int32[3]"),
        ("jax.lax.dynamic_slice_in_dim", "x, y[0], 2, 1", "float32[N,3]", "int32[3]"),
        ("jax.lax.dynamic_index_in_dim", "x, y[0], 1", "float32[N,3]", "int32[3]"),
        ("jax.lax.dynamic_update_slice", "x, x[:, :1], (0, y[0])", "float32[N,3]", "int32[3]"),
        ("jax.lax.dynamic_update_slice_in_dim", "x, x[:, :1], y[0], 1", "float32[N,3]", "int32[3]"),
        ("jax.lax.dynamic_update_index_in_dim", "x, x[:, :1], y[0], 1", "float32[N,3]", "int32[3]"),
        ("jax.lax.expand_dims", "x, (0,)", "float32[N]"),
        ("jax.lax.fft", "x + 0j, 'fft', (4,)", "float32[N,4]"),
        ("jax.lax.fori_loop", "0, x.shape[0], lambda i, c: c + x[i], 0.0", "float32[N]"),
        ("jax.lax.full", "x.shape, 2.0", "float32[N]"),
        ("jax.lax.full_like", "x, 2.0", "float32[N]"),
        ("jax.lax.imag", "x + 1j", "float32[N]"),
        ("jax.lax.index_in_dim", "x, 1, 1", "float32[N,3]"),
        ("jax.lax.index_take", "x, (y,), (1,)", "float32[N,3]", "int32[3]"),
        ("jax.lax.integer_pow", "x, 3", "float32[N]"),
        ("jax.lax.iota", "int, x.shape[0]", "float32[N]"),
        ("jax.lax.pad", "x, 0.0, [(1, 2, 1)]", "float32[N]"),
        ("jax.lax.real", "x + 1j", "float32[N]"),
        ("jax.lax.reduce_and", "x, (0,)", "bool[N]"),
        ("jax.lax.reduce_or", "x, (0,)", "bool[N]"),
        ("jax.lax.reduce_prod", "x, (0,)", "float32[N]"),
        ("jax.lax.reduce_sum", "x, (0,)", "float32[N]"),
        ("jax.lax.reduce_xor", "x, (0,)", "int32[N]"),
        ("jax.lax.reduce_precision", "x, 5, 5", "float32[N]"),
        ("jax.lax.ragged_dot", "x, y, jax.numpy.array([x.shape[0]])", "float32[N,3]", "float32[1,3,2]"),
        ("jax.lax.reshape", "x, (x.shape[0], 1)", "float32[N]"),
        ("jax.lax.rev", "x, (0,)", "float32[N]"),
        ("jax.lax.select", "x > 1, x, y", "float32[N]", "float32[N]"),
        ("jax.lax.slice_in_dim", "x, 0, None", "float32[N]"),
        ("jax.lax.split", "x, [1, 2], 1", "float32[N,3]"),
        ("jax.lax.squeeze", "x, (1,)", "float32[N,1]"),
        ("jax.lax.switch", "y[0], [jax.numpy.sin, jax.numpy.cos], x", "float32[N]", "int32[3]"),
        ("jax.lax.tile", "x, (2,)", "float32[N]"),
        ("jax.lax.top_k", "x, 2", "float32[N,3]"),
        ("jax.lax.transpose", "x, (1, 0)", "float32[N,3]"),
        (
            "jax.lax.while_loop",
            "lambda c: c[0] < x.shape[0], lambda c: (c[0] + 1, c[1] + x.sum()), (0, 0.0)",
            "float32[N]",
        ),
        ("jax.scipy.special.multigammaln", "x + 4, 2", "float32[N]"),
        ("jax.scipy.special.hyp2f1", "x, y, x, x / 9", "float32[N]", "float32[N]"),
        ("jax.scipy.linalg.cho_factor", "x @ x.T + 9 * jax.numpy.eye(x.shape[0])", "float32[N,N]"),
        ("jax.scipy.linalg.solve", "x + 9 * jax.numpy.eye(x.shape[0]), y", "float32[N,N]", "float32[N]"),
        ("jax.scipy.linalg.solve_triangular", "x + 9 * jax.numpy.eye(x.shape[0]), y", "float32[N,N]", "float32[N]"),
        ("jax.scipy.linalg.cho_solve", "(x + 9 * jax.numpy.eye(x.shape[0]), True), y", "float32[N,N]", "float32[N]"),
        ("jax.scipy.linalg.convolution_matrix", "x, 3", "float32[N]"),
        ("jax.scipy.linalg.leslie", "x, y[1:]", "float32[N]", "float32[N]"),
        ("jax.scipy.signal.convolve2d", "x, y", "float32[N,N]", "float32[3,3]"),
        ("jax.scipy.signal.correlate2d", "x, y", "float32[N,N]", "float32[3,3]"),
        ("jax.numpy.sum", "x, axis=0, where=x > 1", "float32[N,3]"),
        ("jax.numpy.mean", "x, axis=0, where=x > 1", "float32[N,3]"),
        ("jax.numpy.unravel_index", "x, (5, 5)", "int32[N]"),
        ("jax.scipy.special.sph_harm_y", "x.astype(int), x.astype(int), y, y, n_max=4", "float32[N]", "float32[N]"),
        ("jax.scipy.ndimage.map_coordinates", "x, [y], 1", "float32[N]", "float32[3]"),
    )
}
"""Function -> its arguments as text, of which ``x`` and ``y`` are arrays of these inputs."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a function at arrays of size N."""

    name: str
    arguments: str
    inputs: tuple[str, ...]

    def function(self) -> Callable[..., Any]:
        """Return the call as a function of its arrays."""
        import jax

        names = ("x", "y", "z")[: len(self.inputs)]
        return eval(f"lambda {', '.join(names)}: {self.name}({self.arguments})", {"jax": jax})  # type: ignore[no-any-return]  # noqa: S307 - texts of this file

    def arrays(self, size: int) -> list[Any]:
        """Return arrays at a size of N."""
        import numpy as np

        arrays = []
        for seed, text in enumerate(self.inputs):
            dtype, _, dims = text.rstrip("]").partition("[")
            shape = [size if dim == "N" else int(dim) for dim in dims.split(",")]
            numbers = np.random.default_rng(seed).integers(1, 4, shape)
            arrays.append(numbers.astype(dtype))
        return arrays

    def __str__(self) -> str:
        return f"{self.name}({self.arguments})"


def calls(only: str = "") -> Iterator[Call]:
    """Yield the calls that JAX has a result for at size 3."""
    for module in MODULES:
        for name in dir(importlib.import_module(module)):
            full = f"{module}.{name}"
            function = getattr(importlib.import_module(module), name)
            if name.startswith("_") or not callable(function) or inspect.isclass(function) or only not in full:
                continue
            if full in CALLS:
                yield Call(full, *CALLS[full])
                continue
            for form in FORMS:
                call = Call(full, ", ".join(("x", "y", "z")[: len(form)]), form)
                if _results(call, 3) is not None:
                    yield call
                    break


def _results(call: Call, size: int) -> list[Any] | None:
    """Return JAX's results, None if it has none."""
    import jax
    import numpy as np

    try:
        leaves = jax.tree_util.tree_leaves(call.function()(*map(jax.numpy.asarray, call.arrays(size))))
        return [np.asarray(leaf) for leaf in leaves] if all(isinstance(leaf, jax.Array) for leaf in leaves) else None
    except Exception:  # noqa: BLE001 - JAX refuses in many ways
        return None


def outcome(call: Call) -> tuple[str, str]:
    """Return what comes of a call at size 0, in a word and in words."""
    import numpy as np

    from jax2onnx import to_onnx
    from jax2onnx.errors import Jax2OnnxError
    from jax2onnx.testing import Runner

    expected = _results(call, 0)
    if expected is None:
        return "no result of JAX", ""
    try:
        model = to_onnx(call.function(), list(call.inputs))
    except Jax2OnnxError as error:
        return "refused", str(error).partition("\n")[0]
    try:
        actual = Runner(model).run(call.arrays(0))
    except Exception as error:  # noqa: BLE001 - a runtime raises what it likes
        return "fails", _other_shapes(model, expected) or str(error).partition("\n")[0]
    for ours, theirs in zip(actual, expected, strict=True):
        pairs = np.stack([theirs.real, theirs.imag], -1) if np.iscomplexobj(theirs) else theirs
        if ours.shape != pairs.shape:
            return "other result", f"shape {list(ours.shape)}, JAX's is {list(pairs.shape)}"
        if not np.array_equal(ours.astype(np.float64), pairs.astype(np.float64), equal_nan=True):
            return "other result", f"{_shown(ours)}, JAX's is {_shown(pairs)}"
    return "same", ""


def _other_shapes(model: Any, expected: Sequence[Any]) -> str:
    """Return, in words, the results whose dims in JAX are not the ones that a model has for all sizes."""
    texts = []
    for output, array in zip(model.graph.output, expected, strict=True):
        dims = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
        sizes = [eval(dim, {"N": 0}) if isinstance(dim, str) else dim for dim in dims]  # noqa: S307 - such as N + M
        if sizes != [*array.shape]:
            declared = ", ".join(map(str, dims))
            texts.append(f"{output.name}: {list(array.shape)} for [{declared}]")
    return "; ".join(texts)


def _shown(array: Any) -> str:
    import numpy as np

    return np.array2string(array.ravel()[:6], separator=", ", precision=4)


def listed() -> dict[Call, str]:
    """Return the calls of the page, and what it says of each."""
    row = re.compile(
        r"^\| `(?P<name>[\w.]+)\((?P<arguments>.*)\)` \| (?P<inputs>\S.*?) \| (?P<what>.*) \|$", re.MULTILINE
    )
    rows = row.finditer(PAGE.read_text(encoding="utf-8").partition(MARK)[2])
    return {Call(r["name"], r["arguments"], tuple(r["inputs"].split(", "))): r["what"] for r in rows}


def section(found: Sequence[tuple[Call, tuple[str, str]]]) -> str:
    """Return the part of the page."""
    counts = Counter(kind for _, (kind, _) in found)
    exported = counts["same"] + counts["other result"] + counts["fails"]
    lines = [
        MARK,
        "",
        "## Size 0",
        "",
        "Written by `scripts/size_zero.py`: functions of `jax.numpy`, `jax.nn`, `jax.lax`, `jax.ops` and",
        "`jax.scipy` are exported over a symbolic size N, and run at N = 0.",
        "",
        f"Of {exported} functions that JAX has a result for and that are exported, **{counts['same']} have JAX's",
        f"result**. JAX has none for {counts['no result of JAX']}; {counts['refused']} are not exported over a",
        "symbolic size in this form. A result that JAX gives other dims at size 0 than at all other sizes is in no",
        "model: onnxruntime refuses to run it, or it has the dims of the other sizes.",
        "",
        "| call | arrays | what comes of it |",
        "| --- | --- | --- |",
    ]
    for call, (kind, detail) in found:
        if kind == "other result":
            lines.append(f"| `{call}` | {', '.join(call.inputs)} | another result: {detail} |")
        elif kind == "fails":
            lines.append(f"| `{call}` | {', '.join(call.inputs)} | the runtime refuses to run it: {detail} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all calls, write the part of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="functions whose name has this text; write no page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for call in calls(arguments.only):
        found.append((call, outcome(call)))
        if found[-1][1][0] not in {"same", "no result of JAX"}:
            print(call, *found[-1][1], file=sys.stderr, flush=True)
    page = section(found)
    if not arguments.only:
        PAGE.write_text(
            PAGE.read_text(encoding="utf-8").partition(MARK)[0].rstrip("\n") + "\n\n" + page, encoding="utf-8"
        )
    print(page)


if __name__ == "__main__":
    main()
