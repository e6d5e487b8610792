"""Random programs: drawn as text, line by line, from what jax.numpy, jax.lax and libraries offer, in several worlds.

A world says which dtypes, shapes and expressions its programs have, and how JAX is configured while they are drawn,
exported and compared.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from jax import lax
from jax.experimental import sparse

from jax2onnx.testing import nudge

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]

SHAPES_OF_INPUTS = ((), (3,), (4,), (3, 4), (4, 3), (4, 4), (2, 3, 4), (1, 4), (3, 1), (1,), (0, 3), (2, 0), (1, 3, 1))
EMPTY_SHAPES = ((0,), (0, 3), (2, 0), (0, 0), (1, 0, 3), (3,), (2, 3), ())

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
jax.vmap(lambda n: lax.while_loop(lambda s: jnp.abs(s) < 9, lambda s: s + 3, n))(a)
lax.associative_scan(jnp.maximum, a, axis=i)
jax.grad(lambda v: (v * jnp.sin(v)).sum())(a) | jax.jvp(jnp.sin, (a,), (a,))[1] | jax.checkpoint(jnp.sin)(a)
jax.jit(lambda v: v * 2 + b)(a) | jax.vmap(lambda x, y: x @ y, in_axes=(0, None))(a, b) | jax.vmap(jnp.dot)(a, b)
"""

COMPLEX = """
jnp.real(a) | jnp.imag(a) | jnp.conj(a) | jnp.angle(a) | lax.complex(jnp.real(a), jnp.real(b)) | a * 1j | a + 2j
a.astype('complex64') | jnp.fft.fft(a) | jnp.fft.ifft(a, axis=i) | jnp.fft.rfft(jnp.real(a)) | jnp.fft.irfft(a)
jnp.fft.fft2(a) | jnp.abs(a) ** 2 | jnp.where(jnp.isfinite(a), a, 0) | a @ jnp.conj(b).T | jnp.vdot(a, a)
jnp.sum(a * jnp.conj(a)) | jnp.exp(1j * jnp.real(a)) | lax.scan(lambda v, x: (v * x, v + x), a[0], a)[1]
jnp.concatenate([a, jnp.conj(a)], i) | jnp.reciprocal(a) | jnp.sinh(a) | jnp.arctan(a) | jnp.sqrt(a) | jnp.log(a)
jax.grad(lambda v: jnp.abs(v).sum())(a) | jnp.fft.fftshift(a) | a.at[j].set(1j) | a.at[b].add(2) | jnp.polyval(a, b)
"""
# Small results of an activation reach a logarithm, a denominator, a power or a comparison. F stands for an activation.
CHAINS = """
jnp.log(F(a)) | 1 / F(a) | b / F(a) | F(a) / F(b) | jnp.sqrt(F(a)) | lax.rsqrt(F(a)) | F(a) ** -0.5 | F(a) > 1e-12
jnp.log1p(-F(a)) | jnp.log(F(a) * b) | jnp.log(F(a) + 1e-20) | jnp.where(F(a) > 1e-9, b, a) | jnp.log(F(a)).sum(i)
jnp.log(jnp.maximum(F(a), 1e-30)) | -(F(a) * jnp.log(F(a))).sum(i) | jnp.log(1 - F(a)) | jnp.reciprocal(F(a)[..., :1])
a / (1 - F(a)) | jnp.sign(F(a)) | jnp.log2(jnp.abs(F(a))) | F(a) / F(a).sum() | F(F(a))
jax.grad(lambda v: F(v).sum())(a) | 1 / jax.grad(lambda v: F(v).sum())(a) | jnp.power(F(a), b)
lax.cond(F(a).sum() > 1e-8, jnp.log, jnp.exp, F(b))
"""
ACTIVATIONS = """
jax.nn.sigmoid | jnp.tanh | lax.erf | jax.nn.softmax | jax.nn.gelu | jax.nn.silu | jax.nn.softplus | jax.nn.relu
jax.nn.hard_sigmoid | jax.nn.hard_swish | jax.nn.elu | jax.nn.selu | jax.nn.celu | jax.nn.log_sigmoid | jnp.exp
jax.nn.mish | jnp.expm1 | lax.erfc | jax.nn.soft_sign | jax.nn.relu6 | jax.nn.squareplus | jnp.sinc | jax.nn.leaky_relu
jax.nn.log_softmax | jax.nn.standardize
"""
# Transposes before, between and behind products and what onnxruntime moves them through.
LAYOUTS = """
a @ b | a.mT @ b | a @ b.mT | jnp.swapaxes(a, 0, 1) @ b | b @ jnp.swapaxes(a, 0, 1) | jnp.moveaxis(a, 0, -1) @ b
jnp.matvec(a.mT, b) | jnp.vecmat(a, b.mT) | (a.T + 1) @ b | jax.nn.relu(a.mT) @ b | a @ jnp.exp(b.T) | (a.mT + b) @ c
jnp.einsum('...ij,jk->...ik', a, b) | jnp.einsum('ijk,kl->jil', a, b) | jnp.einsum('bij,bkj->bik', a, b)
jnp.einsum('...ij,...kj->...ik', a, b) | jnp.tensordot(a, b, i) | jnp.einsum('ij,bjk->kbi', a, b) | jnp.dot(a.T, b)
jnp.swapaxes(a, 0, 1) | jnp.moveaxis(a, -1, 0) | a.mT | a.T | jnp.transpose(a[None], (0, *range(a.ndim, 0, -1)))
jax.nn.softmax(a.mT, i).mT | jnp.concatenate([a.mT, b.mT], i).mT | a.mT.sum(i) | a.mT[..., ::-1].mT | a.T.reshape(-1, 4)
jax.nn.standardize(a.mT, i).mT | jnp.pad(a.mT, 1, mode='edge').mT | jnp.where(a.mT > 0, b.mT, 0).mT | a.mT.astype(D)
jnp.argmax(a.mT, i) | jnp.cumsum(a.T, i).T | jnp.repeat(a.mT, 2, i).mT | jnp.split(a.mT, [1], i)[1] | (a.mT + b.mT).mT
lax.fori_loop(0, 2, lambda n, v: v + a.mT @ b, (a.mT @ b) * 0) | lax.map(lambda v: v.mT @ b, a)
lax.conv_general_dilated(a, b, (1,), 'SAME', dimension_numbers=('NCW', 'OIW', 'NWC'))
lax.conv_general_dilated(jnp.swapaxes(a, 0, 1), b, (1,), 'VALID', dimension_numbers=('NWC', 'WIO', 'NCW'))
jax.nn.dot_product_attention(a[None], a[None], a[None]) | jax.vmap(lambda v: v.mT @ b)(a) | jnp.kron(a.mT, b)
"""
LIBRARIES = """
eqx.internal.noinline(jnp.sin)(a) | eqx.internal.unvmap_any(a > 0) | eqx.internal.unvmap_all(a > 0)
eqx.internal.while_loop(lambda s: s[0] < j, lambda s: (s[0] + 1, s[1] * 2), (0, a), max_steps=4, kind='bounded')[1]
eqx.internal.while_loop(lambda s: s[0] < j, lambda s: (s[0] + 1, s[1] + 1), (0, a), kind='lax')[1]
eqx.internal.scan(lambda v, x: (v + x, v * 2), a[0], a, kind='lax')[1] | eqx.internal.nonbatchable(a)
eqx.internal.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] - 1), (0, a), max_steps=9, kind='checkpointed')[1]
eqx.filter_jit(lambda v: v * 2)(a) | eqx.filter_vmap(lambda v: v + 1)(a) | eqx.internal.nondifferentiable(a)
jax.vmap(lambda v: eqx.internal.unvmap_max(v.astype('int32')))(a) | eqx.filter_checkpoint(jnp.sin)(a)
sparse.BCOO.fromdense(a, nse=5) @ (b + 0) | sparse.BCOO.fromdense(a, nse=5).todense()
sparse.BCOO.fromdense(a, nse=4).T.todense()
(sparse.BCOO.fromdense(a, nse=5) * 2).sum().todense() | (b + 0) @ sparse.BCOO.fromdense(a, nse=6)
jax.random.normal(jax.random.key(3), a.shape) * a
jax.random.bits(jax.random.key(j), (3,))
"""


def lines(family: str) -> tuple[str, ...]:
    """Return the expressions of a family; a `` | `` within one stands between ``a`` and ``b``."""
    protected = family.replace("a | b", "a ⏐ b").replace("\n", " | ")
    return tuple(expression for expression in protected.split(" | ") if expression.strip())


# XLA turns a product of a bool and a float into a selection, where it does not multiply matrices: NaN may disappear.
NUMBERS = re.sub(r"\b([ab])\b", r"(\1 + 0)", PRODUCTS)
FAMILIES = tuple(map(lines, (UNARY, UNARY, BINARY, BINARY, REDUCTIONS, SHAPES, INDEXING, NUMBERS, CONTROL)))
FUNCTIONS = lines(ACTIVATIONS)
# What is rounded even where its result is a round number: tanh(8) is 1 for JAX, 0.9999998 for others.
INEXACT = re.compile("sin|cos|tan|exp|log|erf|nn|sqrt|cbrt|hypot|power|std|var|mean|fft|grad|jvp|angle")
MATRICES = (
    (3, 4),
    (4, 3),
    (3, 3),
    (2, 3, 4),
    (2, 4, 3),
    (3, 2, 4),
    (3, 4, 3),
    (4,),
    (3,),
    (2, 2, 3, 4),
    (1, 4, 3),
    (1, 1),
)
NAMES = {"jnp": jnp, "lax": lax, "jax": jax, "eqx": eqx, "sparse": sparse}
REFUSED = (
    TypeError, ValueError, LookupError, ArithmeticError, AssertionError, NotImplementedError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """What programs are drawn from, and the configuration of JAX in which they are drawn, exported and compared."""

    dtypes: tuple[str, ...]
    families: tuple[tuple[str, ...], ...] = FAMILIES
    shapes: tuple[Shape, ...] = SHAPES_OF_INPUTS
    settings: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("ordinary", "large", "special")
    share: int = 1

    @contextlib.contextmanager
    def configured(self) -> Iterator[None]:
        """Configure JAX as programs of this world find it."""
        with contextlib.ExitStack() as stack:
            for name, value in self.settings.items():
                stack.enter_context(getattr(jax, name)(value))
            yield


PLAIN = ("float32", "float32", "float32", "float16", "int32", "int32", "int8", "uint8", "uint32", "bool")
WIDE = ("float64", "float64", "float32", "int64", "int64", "uint64", "int32", "bool", "int16")
HALF = ("bfloat16", "bfloat16", "float16", "float32", "int8", "bool")
MIXED = ("complex64", "complex64", "float32", "int32")
STRICT = {"numpy_dtype_promotion": "strict", "numpy_rank_promotion": "raise"}

WORLDS = {
    "plain": World(PLAIN, share=4),
    "wide": World(WIDE, settings={"enable_x64": True}),
    "half": World(HALF),
    # Of infinite complex numbers, XLA and the model may have NaN at different places: docs/numerics.md.
    "complex": World(MIXED, (*FAMILIES, *[lines(COMPLEX)] * 4), kinds=("ordinary",)),
    "empty": World(PLAIN, shapes=EMPTY_SHAPES),
    "strict": World(("float32", "float32", "int32"), settings=STRICT),
    "debug": World(PLAIN, settings={"debug_nans": True, "debug_infs": True}),
    "precise": World(("float32",), settings={"default_matmul_precision": "float32", "threefry_partitionable": False}),
    "chains": World(("float32", "float32", "float16"), (*FAMILIES, *[lines(CHAINS)] * 9), share=2),
    "layouts": World(("float32", "float16", "bfloat16"), (*FAMILIES, *[lines(LAYOUTS)] * 20), MATRICES, share=2),
    "libraries": World(PLAIN, (*FAMILIES, *[lines(LIBRARIES)] * 5)),
}


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

    @classmethod
    def read(cls, text: str) -> Program:
        """Return the program that is printed so."""
        _, *body, results, inputs = text.splitlines()
        shapes = (re.fullmatch(r"(\w+)\[(.*)\]", spec) for spec in ast.literal_eval(inputs.removeprefix("# ")))
        specs = [jax.ShapeDtypeStruct(ast.literal_eval(f"({m[2]},)" if m[2] else "()"), m[1]) for m in shapes if m]
        names = results.removeprefix("    return ").rstrip(",").split(", ")
        return cls(specs, [line.strip() for line in body], names)

    def without_unused(self) -> Program:
        """Return the program without the lines on which no result depends."""
        needed = set(self.results)
        kept: list[str] = []
        for line in reversed(self.body):
            name, expression = line.split(" = ", 1)
            if name in needed:
                needed |= set(re.findall(r"\bv\d+\b", expression))
                kept.insert(0, line)
        return replace(self, body=kept)

    def function(self, generator: np.random.Generator | None = None) -> Callable[..., Any]:
        """Return the program as a Python function; with a generator, one that moves the result of each line."""
        scope: dict[str, Any] = dict(NAMES)
        text = str(self)
        if generator is not None:
            scope["moved"] = functools.partial(_moved, generator)
            text = str(replace(self, body=list(map(_moving, self.body))))
        exec(text, scope)
        return scope["program"]


@st.composite
def programs(draw: st.DrawFn, world: World) -> Program:
    """Draw a program of up to sixteen lines."""
    shapes = st.sampled_from(world.shapes)
    dtypes = st.sampled_from(world.dtypes)
    specs = [jax.ShapeDtypeStruct(draw(shapes), draw(dtypes)) for _ in range(draw(st.integers(1, 3)))]
    program = Program(specs)
    avals = {f"v{i}": spec for i, spec in enumerate(specs)}
    for _ in range(draw(st.integers(4, 16))):
        text = draw(st.sampled_from(draw(st.sampled_from(world.families)))).replace("⏐", "|")
        names = {n: draw(st.sampled_from(list(avals)[-5:])) for n in "abc"}
        names |= {"i": str(draw(st.integers(-2, 1))), "j": str(draw(st.integers(0, 3)))}
        names |= {"D": repr(draw(dtypes)), "F": draw(st.sampled_from(FUNCTIONS))}
        expression = _substituted(text, names)
        aval = _evaluated(expression, avals)
        if aval is not None and aval.size <= 2000:
            name = f"v{len(avals)}"
            avals[name] = aval
            program.body.append(f"{name} = {expression}")
    program.results = list(avals)[-2:]
    return program


def _substituted(text: str, names: dict[str, str]) -> str:
    return re.sub(r"(?<![\w.'])([abcijDF])(?![\w'])(?!\s*=(?!=))", lambda m: names[m[1]], text)


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


def _moving(line: str) -> str:
    """Return a line of a program whose result is moved."""
    name, expression = line.split(" = ", 1)
    return f"{name} = moved({expression!r}, {expression})"


def _moved(generator: np.random.Generator, expression: str, value: Any) -> Any:
    """Move floats by units in their last place, at random. Exact operations keep multiples of one half."""
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return value
    if not INEXACT.search(expression):
        index = int(generator.integers(2, 2**31))
        (moved,) = nudge([value], index)
        return jnp.asarray(moved)
    steps = generator.integers(-2, 3, value.shape) * float(jnp.finfo(value.dtype).eps)
    steps = jnp.asarray(steps, value.real.dtype)
    if "fft" in expression and value.size:
        return value + steps * jnp.abs(value).max()  # rounded in proportion to the largest number
    return value * (1 + steps)
