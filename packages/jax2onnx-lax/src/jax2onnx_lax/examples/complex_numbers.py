"""Examples of complex numbers, Fourier transforms included: pairs of reals at a model's border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example


def _example(
    name: str, component: str, fn: Callable[..., Any], shape: Sequence[Any] = ("B", 5), count: int = 1
) -> Example:
    def values() -> list[list[Any]]:
        rng = np.random.default_rng(0)
        dims = [3 if isinstance(d, str) else d for d in shape]
        numbers = [rng.standard_normal(dims) + 1j * rng.standard_normal(dims) for _ in range(count)]
        return [[x.astype(np.complex64) for x in numbers]]

    spec = f"complex64[{','.join(map(str, shape))}]"
    return Example(
        name=name, context="lax", component=component, make=lambda: fn, inputs=[spec] * count, values=values, draw=False
    )


_UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "conj", "cos", "cosh", "exp", "exp2", "expm1", "imag",
    "integer_pow", "log", "log1p", "logistic", "neg", "real", "rsqrt", "sign", "sin", "sinh", "sqrt",
    "square", "tan", "tanh",
)  # fmt: skip
_ARGUMENTS: dict[str, tuple[Any, ...]] = {"integer_pow": (-3,)}
_BINARY = ("add", "div", "eq", "max", "min", "mul", "ne", "pow", "sub")


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda z: getattr(lax, name)(z, *_ARGUMENTS.get(name, ()))


def _transforms() -> list[Example]:
    forms: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
        "fft": (jnp.fft.fft, ("B", 7)),
        "fft_long": (jnp.fft.fft, ("B", 300)),
        "fft_symbolic": (jnp.fft.fft, (2, "N")),
        "ifft2": (jnp.fft.ifft2, ("B", 4, 6)),
        "rfft": (lambda z: jnp.fft.rfft(z.real), ("B", 9)),
        "irfft": (jnp.fft.irfft, ("B", 6)),
    }
    return [_example(name, "jax.lax.fft", *form) for name, form in forms.items()]


EXAMPLES = [
    *(_example(f"{name}_complex", f"jax.lax.{name}", _unary(name), (3, 5)) for name in _UNARY if hasattr(lax, name)),
    *(_example(f"{name}_complex", f"jax.lax.{name}", getattr(lax, name), (3, 5), count=2) for name in _BINARY),
    *_transforms(),
    _example("complex_parts", "jax.lax.complex", lambda z: lax.complex(z.imag, z.real)),
    _example("cumprod_complex", "jax.lax.cumprod", lambda z: lax.cumprod(z, 1)),
    _example("cumsum_complex", "jax.lax.cumsum", lambda z: lax.cumsum(z, 0)),
    _example("dot_general_complex", "jax.lax.dot_general", lambda z: z @ z.T),
    _example("reduce_prod_complex", "jax.lax.reduce_prod", lambda z: z.prod(0)),
    _example("reduce_max_complex", "jax.lax.reduce_max", lambda z: z.max(1)),
    _example("reduce_sum_complex", "jax.lax.reduce_sum", lambda z: z.sum(1)),
    _example("sort_complex", "jax.lax.sort", lambda z: lax.sort(z)),  # noqa: PLW0108 - a signature
]
