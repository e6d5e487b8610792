"""Complex numbers: pairs of reals at a model's border, parts inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import x64

if TYPE_CHECKING:
    from collections.abc import Callable

UNARY = (
    "abs", "angle", "conj", "cos", "cosh", "exp", "imag", "log", "negative", "real", "reciprocal", "sign", "sin",
    "sinh", "sqrt", "square", "tan", "tanh", "acos", "acosh", "asin", "asinh", "atan", "atanh", "exp2", "expm1",
    "log1p", "log2", "prod", "max", "min", "cumprod", "sort",
)  # fmt: skip
CUMULATIVE = ("cumprod", "max", "min", "prod", "sort")  # not elementwise
BINARY = ("add", "arctan2", "divide", "equal", "multiply", "not_equal", "subtract")
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "constant": lambda z: z * np.array([1 + 2j, 3, 4, 5j], np.complex64),
    "empty": lambda z: jnp.empty_like(z).at[:].set(z),
    "fft": lambda z: jnp.fft.fft(z, 7, axis=0),
    "ifft2": jnp.fft.ifft2,
    "indexed": lambda z: jnp.where(z[::-1].real > 0, z, 2j),
    "irfftn_even": lambda z: jnp.fft.irfftn(z, s=(3, 6)),
    "irfftn_odd": lambda z: jnp.fft.irfftn(z, s=(3, 7)),
    "matmul": lambda z: z @ z.T,
    "matmul_of_reals": lambda z: jnp.matmul(z.real, z.imag.T, preferred_element_type=np.complex64),
    "power": lambda z: z**3 + z**-2,
    "power_of_integers": lambda z: lax.pow(z, jnp.broadcast_to(jnp.arange(-1, 3), z.shape)),
    "rfft": lambda z: jnp.fft.rfft(z.real),
    "rfftn": lambda z: jnp.fft.rfftn(z.imag),
    "scan": lambda z: lax.scan(lambda c, x: (c * x, c + x), z[0], z),
    "scatter_max": lambda z: z.at[:, jnp.array([0, 3, 9])].max(0.5j),
    "scatter_mul": lambda z: z.at[jnp.array([0, 2, 0, -7])].multiply(2 + 1j),
    "sum": lambda z: z.sum(0),
}


def _run(model: Any, *inputs: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        i.name: np.stack([x.real, x.imag], -1) if x.dtype.kind == "c" else x
        for i, x in zip(session.get_inputs(), inputs, strict=True)
    }
    return session.run(None, feeds)


def _numbers(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))).astype(np.complex64)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    function = getattr(jnp, name)
    edges = np.array([0, 1, -1, 1j, -1j, 1 + 1e-4j, -2, 3e4j], np.complex64)
    values = [[_numbers(0).reshape(-1)]]
    if name not in {"reciprocal", "tan", "sin", "cos", "sinh", "cosh", "tanh", "exp", "log", "cumprod", "prod"}:
        values.append([edges])
    check(to_onnx(function, ["complex64[N]"]), function, ["complex64[N]"], values=values)


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


def _grid(*parts: float) -> Any:
    """Return all complex numbers with these parts."""
    return np.stack(np.meshgrid(*[np.array(parts, np.float32)] * 2), -1).view(np.complex64).reshape(-1)


def _disagreement(function: Callable[..., Any], *inputs: Any) -> list[Any]:
    """Return the inputs for which the model gives another number than JAX.

    Where JAX has NaN for an infinite input, or since a product of finite inputs overflows, any number is accepted.
    """
    model = to_onnx(function, ["complex64[N]"] * len(inputs))
    (result,), expected = _run(model, *inputs), np.asarray(function(*inputs))
    expected = np.stack([expected.real, expected.imag], -1) if result.ndim > 1 else expected
    wrong = ~np.isclose(result, expected, rtol=1e-4, atol=1e-6, equal_nan=True)
    small = np.all([np.abs(x) < 1e9 for x in inputs], axis=0)
    wrong &= ~np.isnan(expected) | small.reshape(-1, *[1] * (expected.ndim - 1))
    return list(zip(*[x[wrong.reshape(len(x), -1).any(1)] for x in inputs], strict=True))


@pytest.mark.parametrize("name", [name for name in UNARY if name not in CUMULATIVE])
def test_unary_of_special_numbers(name: str) -> None:
    numbers = _grid(0, -0.0, 1, -1, 2.5, -0.3, 30, 1e18, -1e18, np.inf, -np.inf)
    if name in {"atan", "atanh"}:  # far out, JAX's take no notice of a zero's sign on the cuts
        numbers = numbers[np.abs(numbers) < 1e18]
    assert not _disagreement(getattr(jnp, name), numbers)


# not arctan2: of axes, it is the logarithm of a number on its cut, but for rounding
@pytest.mark.parametrize("name", [*(name for name in BINARY if name != "arctan2"), "power"])
def test_binary_of_special_numbers(name: str) -> None:
    numbers = _grid(0, -0.0, 1, -1, 2.5, -0.3, *([] if name == "power" else [np.inf, -np.inf]))
    x, y = (pairs.reshape(-1) for pairs in np.meshgrid(numbers, numbers))
    assert not _disagreement(getattr(jnp, name), x, y)


LARGE: dict[str, tuple[Callable[[Any], Any], list[complex]]] = {
    "exp": (jnp.exp, [100 + 1e-30j, -100 + 1j, 89 + 1e-3j, 200 - 1e-30j]),
    "cosh": (jnp.cosh, [100 + 1e-30j, -100 + 1e-30j, 89 + 1e-3j]),
    "sinh": (jnp.sinh, [100 + 1e-30j, -100 + 1e-30j, 89 + 1e-3j]),
    "cos": (jnp.cos, [1e-30 + 100j, 1e-30 - 100j, 1 + 100j, 1 - 88j]),
    "sin": (jnp.sin, [1e-30 + 100j, 1e-30 - 100j, 1 + 100j, 1 - 88j]),
    "arctan": (jnp.arctan, [complex(np.nan, 1), complex(0, np.nan), complex(np.inf, 1), 2j, -0.5j]),
    "arctanh": (jnp.arctanh, [complex(1, np.nan), complex(np.nan, -2), complex(np.nan, 0), 2, -0.5]),
}


@pytest.mark.parametrize("name", LARGE)
def test_parts_beyond_the_range_of_what_they_are_computed_from(name: str) -> None:
    function, numbers = LARGE[name]
    assert not _disagreement(function, np.array(numbers, np.complex64))


BESIDE_NAN = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "exp", "exp2", "expm1", "log", "log1p", "log2",
    "sign", "sinh", "sqrt", "tan", "tanh",
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("function", [*(getattr(jnp, name) for name in BESIDE_NAN), lax.rsqrt])
def test_infinite_parts_and_nan_beside_any(function: Callable[..., Any], dtype: str) -> None:
    if function is jnp.abs and np.isnan(jnp.abs(jnp.asarray(complex(np.inf, np.nan), np.complex64))):
        pytest.skip(f"in jax {jax.__version__}, the magnitude of inf + NaN j is NaN; later it is inf, as in the model")
    numbers = _grid(0, -0.0, 1, -2.5, np.inf, -np.inf, np.nan, 0.3).astype(dtype)
    with x64(enabled=dtype == "complex128"):
        (result,) = _run(to_onnx(function, [f"{dtype}[N]"]), numbers)
        expected = np.asarray(function(numbers))
    expected = np.stack([expected.real, expected.imag], -1) if result.ndim > 1 else expected
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("function", [jnp.arctan, jnp.arctanh])
def test_far_out_a_zero_has_no_side(function: Callable[..., Any], dtype: str) -> None:
    sizes = 2.0 ** (np.array([-2, -0.01, 0, 0.01, 3]) + (48 if dtype == "complex64" else 106))
    numbers = np.array([complex(a, b) for a in [*sizes, *-sizes] for b in (0.0, -0.0, 1e-3, -1e-3)], dtype)
    with x64(enabled=dtype == "complex128"):
        for z in (numbers, numbers.imag + 1j * numbers.real):
            (result,) = _run(to_onnx(function, [f"{dtype}[N]"]), z.astype(dtype))
            expected = np.asarray(function(z.astype(dtype)))
            np.testing.assert_allclose(result, np.stack([expected.real, expected.imag], -1), rtol=1e-5)


SIDES = {
    **{name: getattr(jnp, name) for name in ("exp", "expm1", "sinh", "cosh", "tanh", "sin", "cos", "tan", "square")},
    "reciprocal": jnp.reciprocal,
    "quotient": lambda z: z / (2 - 1j),
    "inverse square": lambda z: jnp.where(jnp.isfinite(z), z, 1) ** -2,
}


@pytest.mark.parametrize("name", SIDES)
def test_zeros_have_the_sign_that_is_a_side_of_a_branch_cut(name: str) -> None:
    numbers = _grid(0, -0.0, 1, -1, 2.5, -2.5, 0.3, 100, -100, np.inf, -np.inf)
    for part in (jnp.real, jnp.imag):
        expected = np.asarray(part(SIDES[name](jnp.asarray(numbers))))
        sign = lambda z, part=part: jnp.copysign(1.0, part(SIDES[name](z)))  # noqa: E731
        (result,) = _run(to_onnx(sign, ["complex64[N]"]), numbers)
        zeros = expected == 0
        np.testing.assert_array_equal(result[zeros], np.copysign(1, expected[zeros]))


@pytest.mark.parametrize(
    "function",
    [
        lambda z: jnp.log(-jnp.expm1(-z)),
        lambda z: jnp.log(1 / z),
        lambda z: jnp.sqrt(jnp.cosh(z) - 2),
        lambda z: jnp.log(jnp.square(z)),
        lambda z: jnp.log(-jnp.exp(z)),
    ],
)
def test_logarithms_and_roots_on_their_cuts(function: Callable[[Any], Any]) -> None:
    numbers = jnp.asarray(_grid(0, -0.0, 1, -1, 2.5, -2.5))
    expected = np.asarray(function(numbers))
    (result,) = _run(to_onnx(function, ["complex64[N]"]), numbers)
    np.testing.assert_allclose(result, np.stack([expected.real, expected.imag], -1), rtol=1e-5, atol=1e-6)


ACTIVATIONS = ("celu", "elu", "log1mexp", "sparse_plus", "squareplus", "selu", "gelu", "mish", "softplus", "silu")


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if hasattr(jax.nn, name)])
def test_activations_beside_infinity_and_nan(name: str, dtype: str) -> None:
    function = getattr(jax.nn, name)
    numbers = _grid(0, -0.0, 1, -2.5, np.inf, -np.inf, np.nan, 0.3).astype(dtype)
    with x64(enabled=dtype == "complex128"):
        (result,) = _run(to_onnx(function, [f"{dtype}[N]"]), numbers)
        expected = np.asarray(function(numbers))
    np.testing.assert_allclose(result, np.stack([expected.real, expected.imag], -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("divisor", [1, 2, 3j, 2 - 1j, 0, -1, np.inf])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_quotient_by_a_literal_is_a_product_where_it_is_compiled(divisor: complex, *, compiled: bool) -> None:
    """XLA multiplies by the reciprocal, which has no case for infinities; an equation by itself divides."""
    plain = lambda z: jax.lax.div(z, np.complex64(divisor))  # noqa: E731
    function: Callable[[Any], Any] = jax.jit(plain) if compiled else plain
    numbers = _grid(0, 1, -2.5, np.inf, -np.inf, np.nan)
    expected = np.asarray(function(numbers))
    (result,) = _run(to_onnx(function, ["complex64[N]"]), numbers)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(np.stack([expected.real, expected.imag], -1)))
    np.testing.assert_allclose(result, np.stack([expected.real, expected.imag], -1), rtol=1e-5)


QUOTIENTS: dict[str, Callable[[Any], Any]] = {
    "mean": jnp.mean,
    "mean_of_rows": lambda z: jnp.mean(jnp.stack([z, z[::-1]]), axis=1),
    "mean_that_keeps_dims": lambda z: jnp.mean(z, keepdims=True),
    "average": jnp.average,
    "variance": jnp.var,
    "by_a_size": lambda z: z / z.shape[0],
    "by_a_size_compiled": jax.jit(lambda z: z / z.shape[0]),
    "sum_by_a_size": lambda z: z.sum() / z.shape[0],
    "sum_by_a_number": lambda z: z.sum() / 3,
    "real_by_a_number": lambda z: z.real / (2 + 0j),
}


@pytest.mark.parametrize("size", ["3", "N"])
@pytest.mark.parametrize("name", QUOTIENTS)
def test_infinities_by_a_size(name: str, size: str) -> None:
    """A size is a literal to XLA in ``jnp.mean``, and an argument of ``jnp.divide``."""
    function = QUOTIENTS[name]
    model = to_onnx(function, [f"complex64[{size}]"])
    inf = np.inf
    for row in ((complex(inf, -inf), 2, 3), (complex(inf, inf), 1, complex(1, inf)), (1, 2, 3j), (-inf, 1, 2)):
        numbers = np.asarray(row, np.complex64)
        (result,) = _run(model, numbers)
        expected = np.asarray(function(jnp.asarray(numbers)))
        parts = np.stack([expected.real, expected.imag], -1) if np.iscomplexobj(expected) else expected
        np.testing.assert_allclose(result, parts, rtol=1e-5)


def test_loops_are_compiled() -> None:
    scaled = lambda z: jax.lax.fori_loop(0, 3, lambda _, c: c / 2 * 1.0, z)  # noqa: E731
    numbers = _grid(0, 1, -2.5, np.inf, -np.inf, np.nan)
    expected = np.asarray(scaled(numbers))
    (result,) = _run(to_onnx(scaled, ["complex64[N]"]), numbers)
    np.testing.assert_allclose(result, np.stack([expected.real, expected.imag], -1), rtol=1e-5)


def test_powers_of_infinity() -> None:
    exponents = _grid(0, -0.0, 1, -2.5, np.inf, -np.inf, np.nan)
    for base in (np.inf, complex(np.inf, -0.0), 0, complex(np.inf, 1)):
        x = np.full_like(exponents, base)
        (result,) = _run(to_onnx(lax.pow, ["complex64[N]", "complex64[N]"]), x, exponents)
        expected = np.asarray(lax.pow(jnp.asarray(x), jnp.asarray(exponents)))
        np.testing.assert_array_equal(result, np.stack([expected.real, expected.imag], -1))


@pytest.mark.parametrize("shape", [(1,), (2, 3, 1)])
def test_the_real_transform_back_from_one_number_is_empty(shape: tuple[int, ...]) -> None:
    spec = f"complex64[{','.join(map(str, shape))}]"
    model = to_onnx(jnp.fft.irfft, [spec])
    check(model, jnp.fft.irfft, [spec])
    assert jnp.fft.irfft(jnp.ones(shape, np.complex64)).shape == (*shape[:-1], 0)


def test_division_by_infinity() -> None:
    function = lambda z: jnp.linalg.pinv(z, rtol=1.0)  # noqa: E731
    check(to_onnx(function, ["complex64[3,4]"]), function, ["complex64[3,4]"], values=[[_numbers(3)]])


def test_border_is_a_pair_of_reals() -> None:
    model = to_onnx(lambda z: z * 1j, ["complex64[B,4]"])
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        assert (dims[0].dim_param, dims[1].dim_value, dims[2].dim_value) == ("B", 4, 2)


@pytest.mark.parametrize("length", [300, 509, 2053, 4096, "N"])
@pytest.mark.parametrize("function", [jnp.fft.fft, jnp.fft.ifft])
def test_transform_of_any_length(length: int | str, function: Callable[[Any], Any]) -> None:
    specs = [f"complex64[2,{length}]"]
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2, 7 if isinstance(length, str) else length, 2)) @ [1, 1j]
    (got,) = _run(to_onnx(function, specs), x.astype(np.complex64))
    want = np.asarray(function(x.astype(np.complex64)))
    scale = np.abs(want).max()
    np.testing.assert_allclose(got @ [1, 1j], want, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("length", [300, 301, 2053])
def test_transform_of_any_real_length(length: int) -> None:
    def function(x: Any) -> Any:
        return jnp.fft.irfft(jnp.fft.rfft(x) ** 2, length)

    x = np.random.default_rng(5).standard_normal(length).astype(np.float32)
    (got,) = _run(to_onnx(function, [f"float32[{length}]"]), x)
    want = np.asarray(function(x))
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize("name", ["gamma", "loggamma"])
def test_functions_that_broadcast_their_coefficients(name: str) -> None:
    function = getattr(jax.scipy.special, name, None)
    values = np.array([0.5 + 1j, -2.5 + 0.3j, 3 + 0j, 0.1 - 4j], np.complex64)
    try:
        jax.eval_shape(function, values)
    except (TypeError, ValueError):
        pytest.skip("this jax has no such function of complex numbers")
    model = to_onnx(function, ["complex64[N]"])
    onnx.checker.check_model(model, full_check=True)
    check(model, function, ["complex64[N]"], values=[[values]])


@pytest.mark.parametrize("dim", [(), (7,)])
def test_clamp_compares_real_parts(dim):
    nan = np.nan
    x = np.asarray([2.5 + 3j, complex(nan, 1), complex(1.5, nan), 1 + 2j, 3 - 1j, 2, 0.5 + 9j], np.complex64)
    specs = [jax.ShapeDtypeStruct(shape, np.complex64) for shape in (dim, x.shape, dim)]
    bounds = [(1 + 1j, 2.5), (complex(nan, 1), 2), (1, complex(nan, 0)), (3 + 1j, 2)]
    values = [[np.full(dim, low, np.complex64), x, np.full(dim, high, np.complex64)] for low, high in bounds]
    check(to_onnx(jax.lax.clamp, specs), jax.lax.clamp, specs, values=values)


@pytest.mark.parametrize("function", [jnp.fft.rfft, jnp.fft.fft, lambda x: jnp.fft.rfft2(x[..., None])])
def test_a_transform_of_one_number_is_this_number(function) -> None:
    """Its imaginary part is 0, and not -0 for a negative number, on which the branch of a logarithm depends."""

    def run(x):
        z = function(x)
        return jnp.log(z), z.real, 1 / z.imag

    values = np.asarray([[1], [-2], [0.0], [-0.0], [np.inf], [-np.inf], [np.nan]], np.float32)
    check(to_onnx(run, [(7, 1)]), run, [(7, 1)], values=[[values]])


@pytest.mark.parametrize(
    "function",
    [jnp.fft.fft, jnp.fft.ifft, lambda z: jnp.fft.irfft(z, n=1) + 0j],
    ids=["fft", "ifft", "irfft"],
)
def test_a_transform_of_one_complex_number(function) -> None:
    def run(z):
        return function(z).real, function(z).imag

    parts = np.asarray([1, -2, 0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    values = (parts + 1j * np.asarray([3, -0.0, 1, 2, 0, 1, 5], np.float32)).astype(np.complex64)[:, None]
    check(to_onnx(run, ["complex64[7,1]"]), run, ["complex64[7,1]"], values=[[values]])
