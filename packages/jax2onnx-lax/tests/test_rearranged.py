"""A choice among rearrangements of a value looks up where its elements are; other choices have branches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core.primitives import cond_p

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

INDICES = [np.int32(i) for i in (-7, -1, 0, 1, 2, 3, 4, 2**31 - 1)]


def _turned(i, x):
    return lax.switch(i, [jnp.transpose, lambda v: v[:, ::-1], lambda v: v.T[::-1, ::-1], lambda v: v], x)


def _parts(i, x):
    return lax.switch(i, [lambda v: v[0], lambda v: v[1:3, 1].repeat(2), lambda v: v.reshape(-1)[::4][:4]], x)


def _spread(i, x):
    return lax.switch(
        i, [lambda v: jnp.tile(v[:1, :1], (3, 5)), lambda v: jnp.broadcast_to(v[0, :1, None], (3, 5))] * 2, x
    )


def _of_several(i, x):
    two = [lambda v, w: (v.T, w), lambda v, w: (v, w[::-1]), lambda v, w: (v[::-1], w)]
    return lax.switch(i, two, x, x[0])


def _in_a_call(i, x):
    return lax.switch(i, [jax.jit(jnp.flipud), jax.jit(jnp.rot90), lambda v: v], x)


LOOKED_UP = {"turned": _turned, "parts": _parts, "spread": _spread, "several": _of_several, "a call": _in_a_call}


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_, np.float16])
@pytest.mark.parametrize("name", LOOKED_UP)
def test_looked_up(name, dtype):
    function = LOOKED_UP[name]
    specs = [jax.ShapeDtypeStruct((), np.int32), jax.ShapeDtypeStruct((4, 4), dtype)]
    model = to_onnx(function, specs)
    assert "If" not in operators(model)
    x = (np.arange(16).reshape(4, 4) % 7 - 3).astype(dtype)
    check(model, function, specs, values=[[i, x] for i in INDICES])


def test_signs_of_zeros_and_nan_stay():
    x = np.full((4, 4), -0.0, np.float32)
    x[1] = [np.nan, np.inf, -np.inf, 0.0]

    def function(i, x):
        turned = _turned(i, x)
        return turned, 1 / turned

    specs = ["int32[]", (4, 4)]
    check(to_onnx(function, specs), function, specs, values=[[i, x] for i in INDICES])


def test_an_index_out_of_range_takes_the_last_branch():
    """``lax.switch`` keeps the index in range; the primitive does not."""
    (eqn,) = (e for e in jax.make_jaxpr(_turned)(0, np.zeros((4, 4))).eqns if e.primitive is cond_p)

    def function(i, x):
        return cond_p.bind(i, x, **eqn.params)

    specs = ["int32[]", (4, 4)]
    model = to_onnx(function, specs)
    assert "If" not in operators(model)
    check(model, function, specs, values=[[i, np.arange(16.0, dtype=np.float32).reshape(4, 4)] for i in INDICES])


@pytest.mark.parametrize(
    "branches",
    [
        [jnp.transpose, lambda x: x + 1, lambda x: x],
        [jnp.transpose, jnp.zeros_like, lambda x: x],
        [jnp.transpose, lambda x: x],
    ],
    ids=["one computes", "one is known", "two branches"],
)
def test_other_choices_have_branches(branches):
    def function(i, x):
        return lax.switch(i, branches, x)

    specs = ["int32[]", (3, 3)]
    model = to_onnx(function, specs)
    assert operators(model)["If"] > 0
    check(model, function, specs, values=[[i, np.arange(9.0, dtype=np.float32).reshape(3, 3)] for i in INDICES])


@pytest.mark.parametrize("shape", [(20, 20), (4, "B")])
def test_of_many_elements_branches_move_them(shape):
    def function(i, x):
        return lax.switch(i, [lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v], x)

    specs = ["int32[]", f"float32[{','.join(map(str, shape))}]"]
    assert operators(to_onnx(function, specs))["If"] > 0
