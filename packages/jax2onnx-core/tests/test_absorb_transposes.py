"""Transposes that an equation absorbs: when a product exchanges its operands, and that no number changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import array, flat, primitives

from jax2onnx import allclose, to_onnx
from jax2onnx.program.absorb_transposes import absorb_transposes

if TYPE_CHECKING:
    from collections.abc import Callable


def contract(left: str, right: str, out: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Contract as ``dot_general`` does, then transpose to ``out``."""
    batch = [c for c in left if c in right and c in out]
    sums = [c for c in left if c in right and c not in out]
    free = [[c for c in side if c not in [*batch, *sums]] for side in (left, right)]
    numbers = tuple(tuple([side.index(c) for c in dims] for side in (left, right)) for dims in (sums, batch))
    order = [*batch, *free[0], *free[1]]

    def function(x: jax.Array, y: jax.Array) -> jax.Array:
        product = jax.lax.dot_general(x, y, numbers, precision=("highest", "default"))
        return jnp.transpose(product, [order.index(c) for c in out])

    return function


EXCHANGED = [("ok", "bk", "bo"), ("ok", "btk", "bto"), ("km", "kn", "nm"), ("km", "nk", "nm"), ("zmk", "znk", "znm")]
KEPT = [("mk", "kn", "nm"), ("mk", "bnk", "bmn"), ("zmk", "zkn", "znm"), ("mk", "kbn", "nbm")]
SIZES = {c: 2 + i for i, c in enumerate("zmknbto")}


@pytest.mark.parametrize(("left", "right", "out"), EXCHANGED + KEPT)
def test_products_are_exchanged_where_that_spares_transposes(left: str, right: str, out: str) -> None:
    function, shapes = contract(left, right, out), [tuple(SIZES[c] for c in side) for side in (left, right)]
    before = flat(function, *(array(*shape) for shape in shapes))
    after = absorb_transposes(before)
    gone = (left, right, out) in EXCHANGED
    assert primitives(before) == ["dot_general", "transpose"]
    assert primitives(after) == (["dot_general"] if gone else primitives(before))
    (product,) = (e for e in after.eqns if e.primitive == "dot_general")
    assert [str(p).lower() for p in product.params["precision"]] == (
        ["default", "highest"] if gone else ["highest", "default"]
    )
    model = to_onnx(function, shapes)
    assert allclose(model, function, shapes)


def test_a_product_that_is_read_elsewhere_stays() -> None:
    def twice(w: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        product = w @ x.T
        return product.T, jnp.sin(product)

    def given(w: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        product = w @ x.T
        return product.T, product

    for function in (twice, given):
        program = flat(function, array(6, 4), array(5, 4))
        assert primitives(absorb_transposes(program)) == primitives(program)


def test_a_program_without_such_products_is_the_same() -> None:
    program = flat(lambda x: jnp.sin(x).T, array(3, 4))
    assert absorb_transposes(program) is program


@pytest.mark.parametrize("batch", [("B",), ("B", "T")])
def test_a_mapped_linear_layer_needs_no_transpose(batch: tuple[str, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)

    def layer(x: jax.Array) -> jax.Array:
        return weights @ x

    for _ in batch:
        layer = jax.vmap(layer)
    model = to_onnx(layer, [(*batch, 4)])
    assert [n.op_type for n in model.graph.node] == ["MatMul"]
    assert allclose(model, layer, [(*batch, 4)])
