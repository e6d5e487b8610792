"""Measure the greatest array of models of tall, wide and long inputs, beside the greatest that JAX names.

python scripts/memory_table.py             prints the table
python scripts/memory_table.py --write     writes docs/coverage/memory.md (a minute)

A program is exported at two lengths, one four times the other. The greatest array of a model, found by shape inference
in all of its graphs, must not grow faster than the greatest array of the jaxpr.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import onnx
from jax import lax

from jax2onnx import to_onnx

PAGE = Path(__file__).parent.parent / "docs" / "coverage" / "memory.md"
LENGTHS = 250, 1000

_Program: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


def floats(*shape: int, dtype: Any = np.float32) -> jax.ShapeDtypeStruct:
    """Return a spec."""
    return jax.ShapeDtypeStruct(shape, dtype)


def ints(*shape: int) -> jax.ShapeDtypeStruct:
    """Return a spec of indices."""
    return floats(*shape, dtype=np.int32)


def _window(op: Any, initial: float) -> Callable[..., Any]:
    def reduce(x: Any) -> Any:
        return lax.reduce_window(x, np.asarray(initial, x.dtype), op, (x.shape[0] // 2,), (1,), "SAME")

    return reduce


def linear_algebra(n: int) -> dict[str, _Program]:
    """Return factorisations and solvers of tall and wide matrices."""
    tall, wide = floats(n, 2), floats(2, n)
    thin = lambda a: jnp.linalg.svd(a, full_matrices=False)  # noqa: E731 - a short name
    plain = lambda a: jnp.linalg.svd(a, compute_uv=False)  # noqa: E731 - a short name
    programs: dict[str, _Program] = {}
    for name, function in {
        "pinv": jnp.linalg.pinv, "qr": jnp.linalg.qr, "svd": thin, "singular values": plain, "lu": lax.linalg.lu,
        "rank": jnp.linalg.matrix_rank, "cond": jnp.linalg.cond, "norm": lambda a: jnp.linalg.norm(a, 2),
    }.items():  # fmt: skip
        programs[f"{name}, tall"] = function, (tall,)
        programs[f"{name}, wide"] = function, (wide,)
    programs["lstsq, tall"] = jnp.linalg.lstsq, (tall, floats(n))
    programs["lstsq, wide"] = jnp.linalg.lstsq, (wide, floats(2))
    programs["solve, long right side"] = jnp.linalg.solve, (floats(2, 2), wide)
    programs["triangular solve"] = jsp.linalg.solve_triangular, (floats(2, 2), wide)
    programs["tridiagonal solve"] = lax.linalg.tridiagonal_solve, (floats(n), floats(n), floats(n), floats(n, 1))
    programs["householder product"] = lax.linalg.householder_product, (tall, floats(2))
    programs["polyfit"] = lambda x, y: jnp.polyfit(x, y, 2), (floats(n), floats(n))
    for name in ("cholesky", "eigh", "inv", "det", "eigvals"):
        programs[f"{name}, batch"] = getattr(jnp.linalg, name), (floats(n, 2, 2),)
    return programs


def orders(n: int) -> dict[str, _Program]:
    """Return sorts, searches and sets of long arrays."""
    x, i = floats(n), ints(n)
    return {
        "sort": (jnp.sort, (x,)), "sort, int": (jnp.sort, (i,)), "argsort": (jnp.argsort, (x,)),
        "lexsort": (lambda a, b: jnp.lexsort((a, b)), (x, x)), "top_k": (lambda a: lax.top_k(a, 5), (x,)),
        "median": (jnp.median, (x,)), "unique": (lambda a: jnp.unique(a, size=10), (i,)),
        "nonzero": (lambda a: jnp.nonzero(a, size=10), (i,)), "searchsorted": (jnp.searchsorted, (x, x)),
        "histogram": (lambda a: jnp.histogram(a, bins=10), (x,)), "interp": (jnp.interp, (x, x, x)),
        "bincount": (lambda a: jnp.bincount(a, length=10), (i,)), "argmax": (jnp.argmax, (x,)),
        "permutation": (lambda a: jax.random.permutation(jax.random.key(0), a), (x,)),
    }  # fmt: skip


def places(n: int) -> dict[str, _Program]:
    """Return scatters, gathers, one-hot forms and segments."""
    x, i, u = floats(n), ints(n), floats(n)
    return {
        "scatter add": (lambda x, i, u: x.at[i].add(u), (x, i, u)),
        "scatter mul": (lambda x, i, u: x.at[i].mul(u), (x, i, u)),
        "scatter set": (lambda x, i, u: x.at[i].set(u), (x, i, u)),
        "scatter min": (lambda x, i, u: x.at[i].min(u), (x, i, u)),
        "segment sum": (lambda d, i: jax.ops.segment_sum(d, i, 10), (floats(n, 2), i)),
        "segment max": (lambda d, i: jax.ops.segment_max(d, i, 10), (floats(n, 2), i)),
        "take": (lambda x, i: x[i], (x, i)), "roll": (jnp.roll, (x, ints())),
        "slices": (lambda x, i: jax.vmap(lambda k: lax.dynamic_slice(x, (k,), (4,)))(i), (x, i)),
        "update": (lambda x, u, i: lax.dynamic_update_slice(x, u, (i,)), (x, floats(n // 2), ints())),
        "one hot": (lambda i: jax.nn.one_hot(i, 10), (i,)), "reverse": (lambda x: x[::-1], (x,)),
        "diagonal": (jnp.diagonal, (floats(n, 2),)), "tril": (jnp.tril, (floats(n, 2),)),
    }  # fmt: skip


def sequences(n: int) -> dict[str, _Program]:
    """Return scans, windows, convolutions and transforms of long arrays."""
    x, i = floats(n), ints(n)
    signal, kernel = floats(1, 1, n), floats(1, 1, 9)
    convolve = lambda x, w: lax.conv_general_dilated(x, w, (1,), "SAME")  # noqa: E731 - a short name
    return {
        "cumsum": (jnp.cumsum, (x,)), "cumsum, int": (jnp.cumsum, (i,)), "cumprod": (jnp.cumprod, (x,)),
        "cummax": (lax.cummax, (x,)), "cumlogsumexp": (lax.cumlogsumexp, (x,)),
        "associative scan": (lambda x: lax.associative_scan(jnp.multiply, x), (x,)),
        "window max": (_window(lax.max, -np.inf), (x,)), "window sum": (_window(lax.add, 0), (x,)),
        "window product": (_window(lax.mul, 1), (x,)), "window sum, int": (_window(lax.add, 0), (i,)),
        "window or": (_window(lax.bitwise_or, 0), (i,)), "convolve": (jnp.convolve, (x, x)),
        "convolution": (convolve, (signal, kernel)), "convolution, int": (convolve, (ints(1, 1, n), ints(1, 1, 9))),
        "fft": (jnp.fft.fft, (x,)), "rfft": (jnp.fft.rfft, (x,)), "resize": (_resize, (floats(n, 2),)),
        "softmax": (jax.nn.softmax, (x,)), "repeat": (lambda x: jnp.repeat(x, 3), (x,)),
        "kron": (jnp.kron, (floats(n), floats(3))), "pad": (lambda x: jnp.pad(x, 3, mode="reflect"), (x,)),
    }  # fmt: skip


def _resize(x: Any) -> Any:
    return jax.image.resize(x, (2 * x.shape[0], 2), "linear")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all within."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def greatest(model: onnx.ModelProto) -> int:
    """Return the number of elements of the greatest array of a model."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    sizes = [0]
    for graph in graphs(inferred.graph):
        for value in [*graph.value_info, *graph.output]:
            dims = value.type.tensor_type.shape.dim
            sizes.append(math.prod(dim.dim_value or 1 for dim in dims))
        sizes += [math.prod(tensor.dims) for tensor in graph.initializer]
    return max(sizes)


def greatest_in(jaxpr: Any) -> int:
    """Return the number of elements of the greatest array that a jaxpr names, or takes."""
    sizes = [math.prod(v.aval.shape) for v in [*jaxpr.invars, *jaxpr.constvars]]
    for eqn in jaxpr.eqns:
        sizes += [math.prod(v.aval.shape) for v in eqn.outvars]
        for param in jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "jaxpr") or hasattr(p, "eqns")):
            inner = getattr(param, "jaxpr", param)
            if hasattr(inner, "eqns"):
                sizes.append(greatest_in(inner))
    return max(sizes, default=0)


def main() -> None:
    """Measure all, print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    small, large = LENGTHS
    lines = INTRODUCTION.format(small=small, large=large).splitlines()
    lines += [
        "",
        "| Program | JAX | model | JAX grows by | model grows by | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for family in (linear_algebra, orders, places, sequences):
        shorter = family(small)
        for name, (function, inputs) in family(large).items():
            theirs, ours = [], []
            for one, specs in (shorter[name], (function, inputs)):
                theirs.append(greatest_in(jax.make_jaxpr(one)(*specs).jaxpr))
                ours.append(greatest(to_onnx(one, list(specs))))
            growth = [values[1] / values[0] for values in (theirs, ours)]
            verdict = "faster" if growth[1] > 1.5 * growth[0] else ""
            lines.append(f"| {name} | {theirs[1]} | {ours[1]} | {growth[0]:.1f} | {growth[1]:.1f} | {verdict} |")
    if write:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        print("\n".join(lines))


INTRODUCTION = """# The greatest array of a model

Written by `python scripts/memory_table.py --write`. Programs of linear algebra, sorting, scatter, windows and
transforms are exported for inputs of a length of {small} and of {large}. The columns are the number of elements of the
greatest array that the jaxpr names and that the model has, and by how much each grows."""


if __name__ == "__main__":
    main()
