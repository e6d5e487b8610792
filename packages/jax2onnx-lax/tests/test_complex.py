"""Complex numbers: pairs of reals at a model's border, parts inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Callable

UNARY = (
    "abs", "angle", "conj", "cos", "cosh", "exp", "imag", "log", "negative", "real", "reciprocal", "sign", "sin",
    "sinh", "sqrt", "square", "tan", "tanh",
)  # fmt: skip
BINARY = ("add", "divide", "equal", "multiply", "not_equal", "subtract")
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "constant": lambda z: z * np.array([1 + 2j, 3, 4, 5j], np.complex64),
    "fft": lambda z: jnp.fft.fft(z, 7, axis=0),
    "ifft2": jnp.fft.ifft2,
    "indexed": lambda z: jnp.where(z[::-1].real > 0, z, 2j),
    "irfftn_even": lambda z: jnp.fft.irfftn(z, s=(3, 6)),
    "irfftn_odd": lambda z: jnp.fft.irfftn(z, s=(3, 7)),
    "matmul": lambda z: z @ z.T,
    "power": lambda z: z**3 + z**-2,
    "rfft": lambda z: jnp.fft.rfft(z.real),
    "rfftn": lambda z: jnp.fft.rfftn(z.imag),
    "scan": lambda z: lax.scan(lambda c, x: (c * x, c + x), z[0], z),
    "sum": lambda z: z.sum(0),
}


def _numbers(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))).astype(np.complex64)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    function = getattr(jnp, name)
    edges = np.array([0, 1, -1, 1j, -1j, 1 + 1e-4j, -2, 3e4j], np.complex64)
    model = to_onnx(function, ["complex64[N]"])
    values = [[_numbers(0).reshape(-1)]]
    if name not in {"reciprocal", "tan", "sin", "cos", "sinh", "cosh", "tanh", "exp", "log"}:
        values.append([edges])
    check(model, function, ["complex64[N]"], values=values)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    function = getattr(jnp, name)
    specs = ["complex64[3,4]", "complex64[3,4]"]
    values = [[_numbers(1), _numbers(2)], [_numbers(1), _numbers(1)]]
    check(to_onnx(function, specs), function, specs, values=values)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    function = FUNCTIONS[name]
    check(to_onnx(function, ["complex64[3,4]"]), function, ["complex64[3,4]"], values=[[_numbers(3)]])


def test_border_is_a_pair_of_reals() -> None:
    model = to_onnx(lambda z: z * 1j, ["complex64[B,4]"])
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        assert (dims[0].dim_param, dims[1].dim_value, dims[2].dim_value) == ("B", 4, 2)


def test_unknown_case_is_refused() -> None:
    with pytest.raises(UnsupportedCaseError, match="sort: complex numbers"):
        to_onnx(jnp.sort, ["complex64[3]"])


def test_long_transform_is_refused() -> None:
    with pytest.raises(UnsupportedCaseError, match="an axis of length 4096"):
        to_onnx(jnp.fft.fft, ["complex64[4096]"])
