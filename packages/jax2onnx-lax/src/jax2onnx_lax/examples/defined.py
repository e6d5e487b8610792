"""Examples of :mod:`jax2onnx_lax.defined`, of the total order of floats and of a device alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_LAST = (((1,), (1,)), ((), ()))
_DENSE = np.array([[1, 0, 2], [0, 3, 0]], np.float32)


def _example(name: str, component: str, make: Callable[[], Callable[..., Any]], values: Any = None) -> Example:
    rng = np.random.default_rng(0)
    given = values or [[rng.standard_normal((3, 2)).astype(np.float32)]]
    inputs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given[0]]
    return Example(
        name=name, context="lax", component=component, make=make, inputs=inputs, values=lambda: given, draw=False
    )


def _sparse(form: str) -> Callable[[], Callable[[Any], Any]]:
    """Build a function of a dense matrix that multiplies a sparse one with it, and converts between the two."""

    def make() -> Callable[[Any], Any]:
        from jax.experimental import sparse  # noqa: PLC0415 - heavy

        kind = getattr(sparse, form)
        matrix = kind.fromdense(_DENSE)

        def function(x: Any) -> tuple[Any, ...]:
            results = (matrix @ x, matrix @ x[:, 0], matrix.todense(), kind.fromdense(x, nse=6).todense())
            if form != "BCOO":
                return results
            return *results, (matrix.T * 2).sum_duplicates(nse=3).todense(), sparse.sparsify(jnp.sum)(matrix)

        return function

    return make


def _sparse_function(name: str) -> Callable[[], Callable[[Any], Any]]:
    """Build a function of the values of a sparse matrix, or of a dense one, by a function of the sparse package."""

    def make() -> Callable[[Any], Any]:
        from jax.experimental import sparse  # noqa: PLC0415 - heavy

        fixed = sparse.BCOO.fromdense(jnp.asarray(_DENSE))
        rows = sparse.BCSR.from_bcoo(fixed)
        product = (((1,), (0,)), ((), ()))

        def matrix(x: Any, indices: Any = fixed.indices) -> Any:
            return sparse.BCOO((x, indices), shape=_DENSE.shape)

        functions: dict[str, Callable[[Any], Any]] = {
            "bcoo_dot_general_sampled": lambda x: sparse.bcoo_dot_general_sampled(
                x, x.T, fixed.indices, dimension_numbers=product
            ),
            "bcoo_extract": lambda x: sparse.bcoo_extract(fixed, x).data,
            "bcoo_sort_indices": lambda x: matrix(x, fixed.indices[::-1]).sort_indices().data,
            "bcoo_spdot_general": lambda x: (matrix(x) @ matrix(x).T).todense(),
            "bcsr_extract": lambda x: sparse.bcsr_extract(rows.indices, rows.indptr, x),
            "todense": lambda x: sparse.todense(matrix(x)),
        }
        return functions[name]

    return make


_SPARSE_FUNCTIONS = {
    "bcoo_dot_general_sampled": (2, 3),
    "bcoo_extract": (2, 3),
    "bcoo_sort_indices": (3,),
    "bcoo_spdot_general": (3,),
    "bcsr_extract": (2, 3),
    "todense": (3,),
}


def _edges(dtype: Any) -> list[list[Any]]:
    edges = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 1, -1, 1e-4], dtype)
    return [[a.ravel() for a in np.meshgrid(edges, edges)]]


def _on_one_device() -> Callable[[Any], Any]:
    axis = (jax.sharding.AxisType.Auto,)
    spec = jax.sharding.PartitionSpec("i")

    def local(x: Any) -> Any:
        gathered = lax.all_gather(x, "i")
        exchanged = lax.all_to_all(gathered, "i", 0, 1)[:, 0]
        scattered = lax.psum_scatter(gathered, "i")
        place = lax.axis_index("i").astype(x.dtype)
        return place + lax.psum(x, "i") + lax.pmin(x, "i") + lax.ppermute(x, "i", [(0, 0)]) + exchanged + scattered

    def function(x: Any) -> Any:
        mesh = jax.make_mesh((1,), ("i",), axis_types=axis)
        return jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(x)

    return function


def _order(name: str, dtype: Any) -> Example:
    primitive = getattr(lax, f"{name}_p")
    return _example(f"{name}_{np.dtype(dtype).name}", f"jax.lax.{name}_p", lambda: primitive.bind, _edges(dtype))


def _kernel() -> Callable[[Any], Any]:
    """Build a function that JAX interprets as a kernel: one step for each row of a matrix."""
    from jax.experimental import pallas  # noqa: PLC0415 - heavy

    def add_rows(x_ref: Any, total_ref: Any) -> None:
        @pallas.when(pallas.program_id(0) == 0)
        def _() -> None:
            total_ref[...] = jnp.zeros_like(total_ref)

        total_ref[...] += jnp.sin(x_ref[...])

    return pallas.pallas_call(
        add_rows,
        out_shape=jax.ShapeDtypeStruct((1, 2), np.float32),
        grid=(3,),
        in_specs=[pallas.BlockSpec((1, 2), lambda i: (i, 0))],
        out_specs=pallas.BlockSpec((1, 2), lambda _: (0, 0)),
        interpret=True,
    )


EXAMPLES = [
    *(
        _example(form.lower(), f"jax.experimental.sparse.{form}", _sparse(form))
        for form in ("BCOO", "BCSR", "COO", "CSR")
    ),
    *(
        _example(
            name,
            f"jax.experimental.sparse.{name}",
            _sparse_function(name),
            [[np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)]],
        )
        for name, shape in _SPARSE_FUNCTIONS.items()
    ),
    *(_order(name, dtype) for name in ("eq_to", "lt_to", "le_to") for dtype in (np.float32, jnp.bfloat16)),
    Example(
        name="scaled_dot",
        context="lax",
        component="jax.lax.scaled_dot",
        make=lambda: lambda x, y, s, t: lax.scaled_dot(x, y, lhs_scale=s, rhs_scale=t, dimension_numbers=_LAST),
        inputs=["bfloat16[2,64]", "bfloat16[3,64]", "bfloat16[2,2]", "bfloat16[3,2]"],
        requires_jax=">=0.10.2",
    ),
    _example("shard_map_one_device", "jax.shard_map", _on_one_device),
    _example("pallas_call", "jax.experimental.pallas.pallas_call", _kernel),
]
