"""Settings of JAX: those of the user do not change what our rules, references and checks do."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS: dict[str, tuple[str, Any]] = {
    "ranks": ("jax_numpy_rank_promotion", "raise"),
    "dtypes": ("jax_numpy_dtype_promotion", "strict"),
    "nans": ("jax_debug_nans", True),
    "infs": ("jax_debug_infs", True),
    "keys": ("jax_debug_key_reuse", True),
    "leaks": ("jax_check_tracer_leaks", True),
    "checks": ("jax_enable_checks", True),
    "no jit": ("jax_disable_jit", True),
    "no tracing": ("jax_no_tracing", True),
    "no execution": ("jax_no_execution", True),
    "no old keys": ("jax_legacy_prng_key", "error"),
    "new keys": ("jax_enable_custom_prng", True),
    "other keys": ("jax_default_prng_impl", "rbg"),
    "precise": ("jax_default_matmul_precision", "highest"),
    "no constants": ("jax_use_simplified_jaxpr_constants", True),
    "eager constants": ("eager_constant_folding", True),
    "static indices": ("jax_check_static_indices", True),
    "no half sums": ("jax_allow_f16_reductions", False),
    "no NaN": ("jax_error_checking_behavior_nan", "raise"),
    "no division by 0": ("jax_error_checking_behavior_divide", "raise"),
    "no index out of bounds": ("jax_error_checking_behavior_oob", "raise"),
    "linearize": ("jax_use_direct_linearize", False),
    "new jvp": ("jax_custom_jvp3", True),
    "new vjp": ("jax_custom_vjp3", True),
    "new scan": ("jax_scan3", True),
    "new remat": ("jax_remat3", True),
    "softmax": ("jax_softmax_custom_jvp", True),
    "no 64 bits": ("jax_explicit_x64_dtypes", "error"),
}


@contextlib.contextmanager
def _setting(name: str, value: Any) -> Iterator[None]:
    if name not in jax.config.values:
        pytest.skip(f"jax {jax.__version__} has no {name}")
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _program(x: jax.Array) -> jax.Array:
    """Use a rule said in JAX, complex numbers, a loop, a branch, whole functions, a product, halves and gradients."""
    rows = jax.lax.linalg.householder_product(x, x[0, :2])
    wave = jnp.fft.fft(rows[:, 0]).real
    steps, _ = jax.lax.scan(lambda carry, row: (jnp.tanh(carry) + row, None), wave, rows.T)
    branch = jax.lax.cond(x[0, 0] > jnp.float32(0), jnp.sin, jnp.cos, steps)
    soft = jax.nn.softmax(x @ x.T) @ x
    halves = jnp.cumsum(x.astype(jnp.float16), axis=0).astype(jnp.float32)
    slopes = jax.grad(lambda y: jax.checkpoint(jnp.sin)(jax.nn.relu(y)).sum())(x)
    return soft + halves + slopes + branch[:, None]


def _rule(ctx: Any, x: Any, **_params: Any) -> Any:
    """Express a primitive in JAX, with all that a setting can refuse or change."""

    def function(x: jax.Array) -> jax.Array:
        ranks = x + jnp.arange(3)
        dtypes = ranks * jnp.arange(3, dtype=jnp.int32)
        steps = jax.lax.fori_loop(0, 2, lambda i, y: y + i, dtypes)
        again, _ = jax.lax.scan(lambda y, _: (jnp.where(y > 1, y, jnp.nan), None), steps, None, length=2)
        return jax.nn.relu(again) @ jnp.ones((3, 3)) + jax.random.uniform(jax.random.PRNGKey(0), (3,))

    return ctx.via_jax(function, x)


def _bytes(function: Callable[..., Any], **options: Any) -> bytes:
    return to_onnx(function, [(3, 3)], **options).SerializeToString(deterministic=True)


PLAIN = _bytes(jnp.sin, lowerings={"sin": _rule})


@pytest.mark.parametrize("name", SETTINGS)
def test_a_rule_said_in_jax_is_the_same_under_every_setting(name: str) -> None:
    with _setting(*SETTINGS[name]):
        assert _bytes(jnp.sin, lowerings={"sin": _rule}) == PLAIN


@pytest.mark.parametrize("name", ["no jit", "nans", "no NaN", "eager constants", "new scan", "new jvp", "new remat"])
def test_a_program_is_the_same_under_settings_that_do_not_change_its_numbers(name: str) -> None:
    plain = _bytes(_program)
    with _setting(*SETTINGS[name]):
        assert _bytes(_program) == plain


@pytest.mark.parametrize("name", ["precise", "linearize", "softmax", "ranks", "dtypes"])
def test_whole_functions_are_found_as_the_setting_traces_them(name: str) -> None:
    def attention(q: jax.Array) -> jax.Array:
        heads = q[None, :, None, :]
        return jax.nn.dot_product_attention(heads, heads, heads)[0, :, 0]

    plain = to_onnx(attention, [(3, 4)])
    with _setting(*SETTINGS[name]):
        model = to_onnx(attention, [(3, 4)])
        assert [n.op_type for n in model.graph.node] == [n.op_type for n in plain.graph.node]
        assert "Attention" in [n.op_type for n in model.graph.node] or plain.opset_import[0].version < 23
    assert to_onnx(attention, [(3, 4)]) == plain


@pytest.mark.parametrize("name", ["nans", "infs", "leaks"])
def test_a_check_draws_its_special_inputs_under_every_setting(name: str) -> None:
    with _setting(*SETTINGS[name]):
        model = to_onnx(jax.nn.softmax, [("B", 3)])
        check(model, jax.nn.softmax, [("B", 3)])


def test_what_decides_on_numbers_stays_the_users() -> None:
    def draw() -> jax.Array:
        return jax.random.uniform(jax.random.key(7), (3,))

    settings = [("jax_threefry_partitionable", False), ("jax_random_seed_offset", 5), ("jax_default_prng_impl", "rbg")]
    for name, value in settings:
        with _setting(name, value):
            check(to_onnx(draw, [], fusions=False), draw, [])


def test_numpys_own_settings_are_not_ours() -> None:
    def overflowing(x: jax.Array) -> jax.Array:
        return x + jnp.exp(jax.lax.full((3,), 100.0)) - jnp.log(jax.lax.full((3,), 0.0))

    plain = _bytes(overflowing)
    with np.errstate(all="raise"):
        assert _bytes(overflowing) == plain
        check(to_onnx(overflowing, [(3,)]), overflowing, [(3,)])


def test_a_part_of_a_program_may_be_in_64_bits() -> None:
    def precise(x: jax.Array) -> jax.Array:
        with jax.enable_x64(new_val=True):
            wide = jnp.cumsum(x.astype(jnp.float64) ** 3) + jnp.float64(1e-12)
            return jnp.linalg.norm(wide[:, None], axis=1).astype(jnp.float32)

    check(to_onnx(precise, [(3,)]), precise, [(3,)])


def test_a_mesh_in_use_changes_nothing() -> None:
    plain = to_onnx(_program, [(3, 3)], fusions=False)
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        model = to_onnx(_program, [(3, 3)], fusions=False)
    for node in (*plain.graph.node, *model.graph.node):
        del node.metadata_props[:]  # the lines of equations that JAX adds for the mesh
    assert model.graph.node == plain.graph.node
