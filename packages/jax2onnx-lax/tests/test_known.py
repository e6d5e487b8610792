"""What depends on no input is computed at conversion, by JAX itself, whatever operations it takes."""

from __future__ import annotations

import functools
import tracemalloc
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.plugin import loader
from jax2onnx.program.flatten import flatten
from jax2onnx.program.fold_constants import LARGEST, Left, fold
from jax2onnx.program.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = loader.load().registry().facts

MATRIX = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
SYMMETRIC = MATRIX @ MATRIX.T + np.eye(4, dtype=np.float32)


def newton(target: float) -> Any:
    def step(state: Any) -> Any:
        x, _ = state
        return (x + target / x) / 2, x

    return lax.while_loop(
        lambda state: jnp.abs(state[0] - state[1]) > 1e-6, step, (jnp.float32(target), jnp.float32(0))
    )


def walk(key: jax.Array, _: Any) -> Any:
    key, own = jax.random.split(key)
    return key, jax.random.normal(own, (2,))


def rotations(length: int) -> Any:
    angles = jnp.einsum("i,j->ij", jnp.arange(length), 1e4 ** -(jnp.arange(4) / 4))
    return jnp.cos(angles), jnp.sin(angles)


# Functions without arguments; the second element is whether the numbers are those of JAX to the last bit.
KNOWN: dict[str, Callable[[], Any]] = {
    "product": lambda: jnp.asarray(MATRIX) @ MATRIX.T,
    "rotary_table": lambda: rotations(16),
    "cumulative": lambda: (jnp.cumprod(1 - jnp.linspace(1e-4, 0.02, 8)), lax.cumlogsumexp(jnp.arange(5.0))),
    "sort": lambda: (jnp.sort(MATRIX[0]), jnp.argsort(MATRIX[0]), lax.top_k(jnp.asarray(MATRIX), 2)),
    "search": lambda: jnp.searchsorted(jnp.arange(5.0), jnp.asarray([0.5, 3.0])),
    "inverse": lambda: jnp.linalg.inv(MATRIX),
    "decompositions": lambda: (jnp.linalg.qr(MATRIX), jnp.linalg.svd(MATRIX), jnp.linalg.cholesky(SYMMETRIC)),
    "eigenvalues": lambda: (jnp.linalg.eigh(SYMMETRIC), jnp.linalg.eigvals(MATRIX)),
    "scan": lambda: lax.scan(lambda c, x: (c * 0.9 + x, c), 1.0, jnp.arange(8.0), reverse=True),
    "while": lambda: newton(2.0),
    "while_batched": lambda: jax.vmap(newton)(jnp.asarray([2.0, 9.0])),
    "cond": lambda: lax.cond(jnp.sum(jnp.arange(4)) > 3, jnp.sin, lambda x: x, jnp.ones(3)),
    "convolution": lambda: jnp.convolve(jnp.arange(6.0), jnp.asarray([1.0, 2.0, 1.0])),
    "window": lambda: lax.reduce_window(jnp.arange(8.0), 0.0, lax.add, (3,), (1,), "SAME"),
    "scatter": lambda: jnp.zeros(6).at[jnp.asarray([1, 3])].add(2.0),
    "gather": lambda: jnp.asarray(MATRIX)[jnp.asarray([2, 0]), 1:],
    "transcendental": lambda: (jnp.exp(MATRIX), jnp.tanh(MATRIX), jax.scipy.special.erf(MATRIX), jnp.log2(8.0)),
    "normal": lambda: jax.random.normal(jax.random.key(0), (4,)),
    "old_key": lambda: jax.random.uniform(jax.random.PRNGKey(3), (4,)),
    "split": lambda: jax.vmap(lambda k: jax.random.normal(k, (2,)))(jax.random.split(jax.random.key(1), 3)),
    "permutation": lambda: jax.random.permutation(jax.random.key(2), 7),
    "rbg": lambda: jax.random.bits(jax.random.key(2, impl="rbg"), (4,)),
    "scan_over_keys": lambda: lax.scan(walk, jax.random.key(0), None, length=3)[1],
    "fourier": lambda: jnp.abs(jnp.fft.rfft(jnp.sin(jnp.arange(8.0)))),
    "complex": lambda: jnp.fft.fft(jnp.exp(1j * jnp.arange(6.0))),
    "complex_loop": lambda: lax.fori_loop(0, 4, lambda i, z: z * z + 0.1j, jnp.zeros(3, jnp.complex64)),
    "narrow": lambda: jnp.cumsum(jnp.arange(6, dtype=jnp.bfloat16) * 0.1),
    "float8": lambda: jnp.arange(4.0).astype(jnp.float8_e4m3fn),
}


def folded(function: Callable[..., Any], *avals: Any, note: Any = None) -> Program:
    return fold(flatten(jax.make_jaxpr(function)(*avals), FACTS), note)


def parts(array: Any) -> Any:
    """Return an array as the model has it."""
    held = np.asarray(array)
    return np.stack([held.real, held.imag], -1) if held.dtype.kind == "c" else held


@pytest.mark.parametrize("name", KNOWN)
def test_the_numbers_are_those_of_jax(name: str) -> None:
    function = KNOWN[name]
    program = folded(function)
    assert program.eqns == []
    for atom, want in zip(program.outputs, jax.tree.leaves(function()), strict=True):
        assert isinstance(atom, Const)
        np.testing.assert_array_equal(np.asarray(atom.value), parts(want))


@pytest.mark.parametrize("name", ["inverse", "while", "normal", "scan_over_keys", "complex"])
def test_a_model_holds_the_constant(name: str) -> None:
    function = KNOWN[name]

    def program(x: jax.Array) -> jax.Array:
        return x + sum(jnp.sum(jnp.real(leaf)) for leaf in jax.tree.leaves(function()))

    assert [node.op_type for node in to_onnx(program, [("B",)]).graph.node] == ["Add"]


def product(x: jax.Array) -> jax.Array:
    return x @ jnp.cumsum(jnp.asarray(MATRIX), 0)


# Bodies of control flow that compute something that does not depend on their inputs.
INSIDE: dict[str, Callable[..., Any]] = {
    "scan": lambda x: lax.scan(lambda c, _: (product(c), None), x, None, length=3)[0],
    "while": lambda x: lax.while_loop(lambda c: jnp.sum(c) < jnp.sum(jnp.sort(MATRIX)), product, x),
    "cond": lambda x: lax.cond(x[0] > 0, product, lambda x: x, x),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_body_reads_constants(name: str) -> None:
    program = folded(INSIDE[name], jax.ShapeDtypeStruct((4,), jnp.float32))
    bodies = program.eqns[-1].bodies
    names = {eqn.primitive for body in bodies for eqn in fold(body.program).eqns}
    assert names <= {"dot_general", "reduce_sum", "lt"}
    values = [np.ones(4, np.float32), -np.ones(4, np.float32)]
    check(to_onnx(INSIDE[name], ["float32[4]"]), INSIDE[name], ["float32[4]"], values=[[v] for v in values])


def test_a_parameter_stays_one() -> None:
    fn = functools.partial(lambda weights, x: x @ jnp.cumsum(weights["w"], 0), {"w": jnp.asarray(MATRIX)})
    model = to_onnx(fn, [("B", 4)])
    assert [node.op_type for node in model.graph.node] == ["CumSum", "MatMul"]


# -- bounds ----------------------------------------------------------------------------------------------------------


def forever(x: jax.Array) -> jax.Array:
    return lax.while_loop(lambda n: n >= 0, lambda n: (n + 1) % 7, 0) + x


X = jax.ShapeDtypeStruct((), jnp.float32)
# Programs, and what the note of what is left says (None: nothing is noted).
LEFT: dict[str, tuple[Callable[..., Any], str | None]] = {
    "endless": (forever, "iterations"),
    "long": (lambda x: lax.scan(lambda c, _: (jnp.sin(c), None), 0.5, None, length=10**7)[0] + x, "steps"),
    "loop_in_a_loop": (lambda x: lax.map(newton, jnp.arange(1.0, 9.0).reshape(8, 1)[:, 0])[0][0] + x, "steps"),
    "large_array": (lambda x: jnp.sum(jnp.cumsum(jnp.ones((2**13, 2**12)), 1)) + x, "elements"),
    "large_noise": (lambda x: jax.random.normal(jax.random.key(0), (LARGEST + 1,)) + x, "than what it is made of"),
    "large_mask": (lambda x: jnp.tril(jnp.ones((300, 300))) + x, None),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_the_runtime(name: str) -> None:
    function, said = LEFT[name]
    notes: list[Any] = []
    program = folded(function, X, note=notes.append)
    assert len(program.eqns) > 1
    reasons = [note.reason for note in notes if isinstance(note, Left)]
    assert said is None or any(said in reason for reason in reasons)


def test_arrays_that_are_not_stored_are_not_held() -> None:
    def masked(x: jax.Array) -> jax.Array:
        for k in range(20):
            x = x + jnp.where(jnp.tri(300, k=k, dtype=bool), x.sum(), 0).sum(0)[:3]
        return x

    flat = flatten(jax.make_jaxpr(masked)(jnp.ones(3)), FACTS)
    tracemalloc.start()
    program = fold(flat)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(program.eqns) > 20
    assert peak < 5 * 4 * 300**2


def test_explain_says_what_was_computed_and_what_was_not() -> None:
    def function(x: jax.Array) -> jax.Array:
        return x * jnp.cumprod(jnp.asarray(MATRIX[0])) + forever(x)

    reports: list[Any] = []
    to_onnx(function, [("B", 4)], explain=reports.append)
    (found,) = reports
    assert [(entry.name, entry.type) for entry in found.computed] == [("cumprod", "float32[1,4]")]
    (left,) = found.left
    assert left.name == "while"
    assert "test_known.py" in left.where
    assert "Constant, but computed by the model: 1" in str(found)


def test_effects_stay() -> None:
    def function(x: jax.Array) -> jax.Array:
        jax.debug.print("{}", jnp.arange(3.0))
        return x

    names = [eqn.primitive for eqn in folded(function, X).eqns]
    assert any("debug" in name for name in names)


LARGE = np.random.default_rng(1).normal(size=(300, 300)).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: x @ jnp.cumsum(LARGE, 0), 1),
        (lambda x: x @ LARGE @ jnp.cumsum(LARGE, 0), 3),  # the model would hold both
        (lambda x: x @ jnp.cumsum(LARGE, 0) @ jnp.cumsum(LARGE, 1), 3),
        (lambda x: x * jnp.sum(jnp.broadcast_to(jnp.sin(LARGE[0]), (300, 300))), 1),
    ],
)
def test_a_large_constant_takes_the_place_of_another(function: Callable[..., Any], count: int) -> None:
    program = folded(function, jax.ShapeDtypeStruct((2, 300), jnp.float32))
    assert len(program.eqns) == count


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.debug_nans(True),  # noqa: FBT003 - JAX's own signature
        lambda: jax.disable_jit(True),  # noqa: FBT003
        lambda: jax.numpy_rank_promotion("raise"),
        lambda: jax.numpy_dtype_promotion("strict"),
    ],
)
def test_settings_of_the_user_do_not_matter(setting: Callable[[], Any]) -> None:
    jaxpr = jax.make_jaxpr(lambda: lax.log(jnp.asarray([-1.0, 1.0])) + lax.sin(jnp.ones(2)))()
    with setting():
        program = fold(flatten(jaxpr, FACTS))
    assert program.eqns == []
