"""Examples of :mod:`jax2onnx_lax.defined`, of the total order of floats and of a device alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.registry import Example

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
        return lax.psum(x, "i") + lax.pmin(x, "i") + lax.ppermute(x, "i", [(0, 0)]) + exchanged + scattered

    def function(x: Any) -> Any:
        mesh = jax.make_mesh((1,), ("i",), axis_types=axis)
        return jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(x)

    return function


def _order(name: str, dtype: Any) -> Example:
    primitive = getattr(lax, f"{name}_p")
    return _example(f"{name}_{np.dtype(dtype).name}", f"jax.lax.{name}_p", lambda: primitive.bind, _edges(dtype))


EXAMPLES = [
    *(
        _example(form.lower(), f"jax.experimental.sparse.{form}", _sparse(form))
        for form in ("BCOO", "BCSR", "COO", "CSR")
    ),
    *(_order(name, dtype) for name in ("eq_to", "lt_to", "le_to") for dtype in (np.float32, jnp.bfloat16)),
    _example("shard_map_one_device", "jax.shard_map", _on_one_device),
]
