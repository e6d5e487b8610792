"""Random small programs, composed from what jax.numpy and jax.lax offer, agree with JAX.

A program is drawn as text, line by line; a line that JAX refuses is left out. ``PROGRAMS`` says how many are drawn
(default 60), ``PROGRAMS_SEED`` from which seed.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError
from jax2onnx.testing import draw as draw_batches

COUNT = int(os.environ.get("PROGRAMS", "60"))
SEED = int(os.environ.get("PROGRAMS_SEED", "0"))
DTYPES = ("float32", "float32", "float32", "float16", "int32", "int32", "int8", "uint8", "uint32", "bool")

SHAPES_OF_INPUTS = ((), (3,), (4,), (3, 4), (4, 3), (4, 4), (2, 3, 4), (1, 4), (3, 1), (1,), (0, 3), (2, 0), (1, 3, 1))

# a, b, c stand for values of the program; i, j, k for small integers; D for a dtype; S for a shape.
UNARY = """
jnp.sin(a) | jnp.cos(a) | jnp.tanh(a) | jnp.exp(a) | jnp.log(a) | jnp.sqrt(a) | lax.rsqrt(a) | jnp.abs(a) | -a
jnp.sign(a) | jnp.floor(a) | jnp.ceil(a) | jnp.round(a) | jnp.log1p(a) | jnp.expm1(a) | lax.erf(a) | jax.nn.sigmoid(a)
jnp.square(a) | jnp.cbrt(a) | ~a | lax.population_count(a) | lax.clz(a) | jnp.isnan(a) | jnp.isfinite(a)
jnp.arctan(a) | jnp.sinh(a) | jnp.arcsinh(a) | jnp.signbit(jnp.nan_to_num(a))
jnp.nan_to_num(a) | jax.nn.gelu(a.astype('float32')) | jax.nn.softplus(a)
a.astype(D) | lax.convert_element_type(a, D) | jnp.clip(a, -2, 3) | a ** 2 | a ** 3
"""
BINARY = """
a + b | a - b | a * b | a / b | a // b | a % b | jnp.maximum(a, b) | jnp.minimum(a, b) | jnp.arctan2(a, b)
jnp.fmod(a, b) | a & b | a | b | a ^ b | a << b | a >> b | lax.shift_right_logical(a, b) | a < b | a <= b | a == b
a != b | jnp.where(a, b, c) | jnp.where(a > 0, b, c) | jnp.logaddexp(a, b) | jnp.hypot(a, b)
jnp.copysign(a, jnp.nan_to_num(b)) | jnp.logical_and(a, b) | jnp.logical_xor(a, b) | jnp.power(a, 2.0)
lax.clamp(a, b, c) | lax.rem(a, b) | lax.div(a, b)
"""
REDUCTIONS = """
a.sum(i) | a.prod(i) | a.max(i) | a.min(i) | a.mean(i) | jnp.any(a, i) | jnp.all(a, i) | jnp.argmax(a, i)
jnp.argmin(a, i) | jnp.cumsum(a, i) | jnp.cumprod(a, i) | lax.cummax(a, i) | lax.cummin(a, i) | jnp.sort(a, i)
jnp.argsort(a, i) | jax.nn.logsumexp(a, i) | jax.nn.softmax(a, i) | jnp.std(a, i) | jnp.var(a, i, keepdims=True)
a.sum() | a.max() | jnp.median(a, i) | jnp.count_nonzero(a, i) | jnp.ptp(a, i)
lax.top_k(jnp.nan_to_num(a), j)[0] | lax.top_k(jnp.nan_to_num(a), j)[1]
jnp.sum(a, i, where=b > 0) | jnp.max(a, i, initial=1, where=b > 0) | jnp.nanmax(a, i) | jnp.diff(a, axis=i)
lax.reduce_window(a, 0, lax.add, (2,) * a.ndim, (1,) * a.ndim, 'SAME')
lax.reduce_window(a, a.dtype.type(0), lax.max, (2,) * a.ndim, (2,) * a.ndim, 'VALID')
"""
SHAPES = """
a.reshape(-1) | a[None] | a[..., None] | a.T | jnp.moveaxis(a, 0, -1) | jnp.squeeze(a) | jnp.flip(a, i) | a[::-1]
jnp.concatenate([a, b], i) | jnp.stack([a, b], i) | jnp.pad(a, 1) | jnp.pad(a, 1, mode='edge') | jnp.tile(a, 2)
jnp.roll(a, j, i) | jnp.broadcast_to(a, (2, *a.shape)) | a[1:] | a[:-1] | a[::2] | a[..., ::-2] | a[0] | a[-1]
jnp.repeat(a, 2, i) | jnp.atleast_2d(a) | jnp.arange(a.size) | jnp.zeros_like(a) | jnp.tril(a) | jnp.diag(a)
lax.pad(a, a.dtype.type(1), [(-1, 2, 1)] * a.ndim) | jnp.split(a, a.shape[0])[0] | jnp.rot90(a) | jnp.swapaxes(a, 0, i)
"""
INDEXING = """
a[b] | jnp.take(a, b, i) | jnp.take(a, b, i, mode='clip') | jnp.take(a, b, i, mode='wrap')
jnp.take(a, b, i, mode='fill') | a.at[b].set(1) | a.at[b].add(2, mode='drop') | a.at[b].max(1) | a.at[b].multiply(3)
a.at[j].set(0) | a.at[0].min(b)
jnp.take_along_axis(a, b, i) | a[b, j] | a[j] | a[..., b] | a.at[::2].set(5) | a.at[b].get(mode='fill', fill_value=7)
lax.dynamic_slice(a, (b,) * a.ndim, (1,) * a.ndim) | lax.dynamic_update_slice(a, a[:1], (b,) + (0,) * (a.ndim - 1))
lax.dynamic_index_in_dim(a, b, i) | jnp.where(b > 0, a, 0) | jax.nn.one_hot(a, 4) | jnp.searchsorted(jnp.sort(a), b)
a.at[b].apply(lambda v: (v * 2).astype(v.dtype)) | jax.ops.segment_sum(a, b, 3)
"""
PRODUCTS = """
a @ b | a @ b.T | jnp.outer(a, b) | jnp.einsum('...i,...i->...', a, b) | jnp.tensordot(a, b, 1) | jnp.inner(a, b)
jnp.einsum('i...,j...->ij', a, b) | jnp.dot(a, b) | jnp.vdot(a, b) | jnp.kron(a, b) | jnp.cross(a, b) | a @ a.T
"""
CONTROL = """
lax.cond(b.sum() > 0, lambda v: v + 1, lambda v: v * 2, a)
lax.switch(b.astype('int32').sum() % 3, [jnp.abs, jnp.negative, lambda v: v], a)
lax.fori_loop(0, j, lambda n, v: v + n.astype(v.dtype), a) | lax.fori_loop(0, b, lambda n, v: v * 2, a)
lax.scan(lambda v, x: (v + x, v * 2), a[0], a)[0] | lax.scan(lambda v, x: (v + x, v * x), a[0], a)[1]
lax.scan(lambda v, x: (v - x, v), a[0], a, reverse=True)[1] | lax.map(lambda x: jnp.sin(x) + b, a)
lax.while_loop(lambda s: s[0] < j, lambda s: (s[0] + 1, s[1] * 2), (0, a))[1] | jax.vmap(lambda x: x.sum() + b)(a)
lax.while_loop(lambda s: (s[0] < 5) & (s[1].sum() < 50), lambda s: (s[0] + 1, s[1] + 1), (0, a))[1]
jax.vmap(lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x))(b > 0, a) | lax.associative_scan(jnp.add, a)
jax.vmap(lambda n: lax.while_loop(lambda s: s < 9, lambda s: s + 3, n))(a)
lax.associative_scan(jnp.maximum, a, axis=i)
jax.grad(lambda v: (v * jnp.sin(v)).sum())(a) | jax.jvp(jnp.sin, (a,), (a,))[1] | jax.checkpoint(jnp.sin)(a)
jax.jit(lambda v: v * 2 + b)(a) | jax.vmap(lambda x, y: x @ y, in_axes=(0, None))(a, b) | jax.vmap(jnp.dot)(a, b)
"""


def lines(family: str) -> tuple[str, ...]:
    """Split a family into expressions; a `` | `` within one would stand between ``a`` and ``b``."""
    return tuple(e for e in family.replace("a | b", "a ⏐ b").replace("\n", " | ").split(" | ") if e.strip())


# XLA turns a product of a bool and a float into a selection, where it does not multiply matrices: NaN may disappear.
NUMBERS = re.sub(r"\b([ab])\b", r"(\1 + 0)", PRODUCTS)
FAMILIES = tuple(map(lines, (UNARY, UNARY, BINARY, BINARY, REDUCTIONS, SHAPES, INDEXING, NUMBERS, CONTROL)))
NAMES = {"jnp": jnp, "lax": lax, "jax": jax}
REFUSED = (TypeError, ValueError, LookupError, ArithmeticError, AssertionError, NotImplementedError)


@dataclass
class Program:
    """Inputs and lines; printed as the function they are."""

    specs: list[jax.ShapeDtypeStruct]
    body: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        arguments = ", ".join(f"v{i}" for i in range(len(self.specs)))
        return "\n    ".join([f"def program({arguments}):", *self.body, f"return {', '.join(self.results)},"])

    def __repr__(self) -> str:
        return f"{self}\n# {[f'{s.dtype}{list(s.shape)}' for s in self.specs]}"

    def function(self, generator: np.random.Generator | None = None) -> Callable[..., Any]:
        """Return the program as a Python function; with a generator, one that moves the result of each line."""
        moving = replace(self, body=[re.sub(r"= (.*)$", r"= moving(\1)", line, count=1) for line in self.body])
        scope = {**NAMES, "moving": lambda value: _moving(value, generator)}
        exec(str(self if generator is None else moving), scope)
        return scope["program"]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a program of up to sixteen lines."""
    shapes = st.sampled_from(SHAPES_OF_INPUTS)
    specs = [jax.ShapeDtypeStruct(draw(shapes), draw(st.sampled_from(DTYPES))) for _ in range(draw(st.integers(1, 3)))]
    program = Program(specs)
    avals = {f"v{i}": s for i, s in enumerate(specs)}
    for _ in range(draw(st.integers(4, 16))):
        text = draw(st.sampled_from(draw(st.sampled_from(FAMILIES)))).replace("⏐", "|")
        names = {n: draw(st.sampled_from(list(avals)[-5:])) for n in "abc"}
        names |= {"i": str(draw(st.integers(-2, 1))), "j": str(draw(st.integers(0, 3)))}
        names |= {"D": repr(draw(st.sampled_from(DTYPES)))}
        expression = _substituted(text, names)
        aval = _evaluated(expression, avals)
        if aval is not None and aval.size <= 2000:
            name = f"v{len(avals)}"
            avals[name] = aval
            program.body.append(f"{name} = {expression}")
    program.results = list(avals)[-2:]
    return program


def _substituted(text: str, names: dict[str, str]) -> str:
    return re.sub(r"(?<![\w.'])([abcijD])(?![\w'])(?!\s*=(?!=))", lambda m: names[m[1]], text)


def _evaluated(expression: str, avals: dict[str, jax.ShapeDtypeStruct]) -> jax.ShapeDtypeStruct | None:
    """Return the abstract value of an expression, or None if JAX refuses it."""
    used = [n for n in avals if n in expression]
    code = compile(f"lambda {', '.join(used)}: {expression}", "<line>", "eval")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            aval = jax.eval_shape(eval(code, dict(NAMES)), *(avals[n] for n in used))
    except (*REFUSED, Warning):
        return None
    return aval if isinstance(aval, jax.ShapeDtypeStruct) else None


def wavers(program: Program, model: onnx.ModelProto) -> bool:
    """Tell whether all differences are such as JAX makes itself, when each line's floats move by their last places.

    ``check`` moves the inputs alone, which tells nothing of programs of integers. Without ``jit`` JAX multiplies by
    booleans; with it, it selects, so that a NaN disappears. Where the model computes a subnormal number, JAX has zero,
    and a program that takes its logarithm tells the two apart.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString())
    telling = onnxruntime.InferenceSession(_telling_all(model).SerializeToString())
    function, names = program.function(), [i.name for i in session.get_inputs()]
    for batch in draw_batches(program.specs):
        arrays = [jnp.asarray(a) for a in batch.arrays]
        moved = [program.function(np.random.default_rng(i))(*arrays) for i in range(24)]
        with jax.disable_jit():
            moved.append(function(*arrays))
        feeds = {n: np.asarray(a) for n, a in zip(names, arrays, strict=True)}
        if any(map(_has_subnormal, telling.run(None, feeds))):
            continue
        results = session.run(None, feeds)
        for result, expected, *others in zip(results, function(*arrays), *moved, strict=True):
            all_of = np.stack([np.asarray(v, np.float64) for v in (expected, *others)])
            got = np.asarray(result, np.float64)
            with np.errstate(invalid="ignore"):
                low, high = all_of.min(0), all_of.max(0)
                room = 4 * (high - low) + 4 * 1e-5 * np.abs(all_of[0])
                close = (got >= low - room) & (got <= high + room) | ~np.isfinite(all_of).all(0)
            if not np.all(close | (got == all_of[0]) | (np.isnan(got) & np.isnan(all_of).any(0))):
                return False
    return True


def _telling_all(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the results of all its nodes as further outputs."""
    told = onnx.ModelProto()
    told.CopyFrom(model)
    known = {output.name for output in told.graph.output}
    made = [name for node in told.graph.node for name in node.output if name and name not in known]
    told.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    return told


def _has_subnormal(value: Any) -> bool:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return False
    return bool(np.any((array != 0) & (np.abs(array) < np.finfo(array.dtype).smallest_normal)))


def _moving(value: Any, generator: np.random.Generator) -> Any:
    """Move floats by up to two units in their last place; multiples of one half stay."""
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return value
    step = np.finfo(array.dtype).eps * generator.integers(-2, 3, array.shape)
    with np.errstate(all="ignore"):
        return jnp.asarray(np.where(array * 2 == np.round(array * 2), array, array * (1 + step)).astype(array.dtype))


@pytest.mark.filterwarnings("ignore:.*overflow.*:RuntimeWarning")
def test_programs_agree_with_jax() -> None:
    """Draw programs, each once, export them and compare."""
    agreed: set[str] = set()

    @seed(SEED)
    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if COUNT <= 60 else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def agree(program: Program) -> None:
        assume(repr(program) not in agreed)
        function = program.function()
        model = to_onnx(function, program.specs)
        onnx.checker.check_model(model, full_check=True)
        try:
            check(model, function, program.specs)
        except CheckError:
            if not wavers(program, model):
                raise
        agreed.add(repr(program))

    agree()
    assert len(agreed) == COUNT
