"""What the rules of numbers refuse, and what they emit for a runtime other than the default one."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import OpsetError
from jax2onnx.testing import Runner, operators, x64


def test_float8_needs_opset_19():
    def function(x):
        return x.astype(jnp.float8_e5m2)

    with pytest.raises(OpsetError, match="since opset 19"):
        to_onnx(function, [(3,)], opset=18)
    assert to_onnx(function, [(3,)], opset=19)


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 26, reason="the installed onnx does not know opset 26")
def test_bitcast_is_one_operator_where_the_opset_has_it():
    def function(x):
        return lax.bitcast_convert_type(x, jnp.float32)

    newest = to_onnx(function, ["uint32[3]"], opset=26, target="onnx")
    assert operators(newest) == {"BitCast": 1}
    older = operators(to_onnx(function, ["uint32[3]"], opset=23, target="onnx"))
    assert "BitCast" not in older


@pytest.mark.parametrize(
    ("function", "spec", "expected"),
    [
        (lambda x: jnp.sum(x, 0), "int32[3,4]", {"ReduceSum": 1}),
        (lambda x: jnp.prod(x, 0), "int32[3,4]", {"ReduceProd": 1}),
        (lax.erf, "float32[3]", {"Erf": 1}),
        (lax.logistic, "float32[3]", {"Sigmoid": 1}),
    ],
)
def test_plain_onnx_keeps_the_operator(function, spec, expected):
    assert operators(to_onnx(function, [spec], target="onnx")) == expected


def test_a_reduction_over_nothing_yields_its_identity():
    model = to_onnx(lambda x: (lax.reduce_max(x, (0,)), lax.reduce_and(x > 0, (0,))), [(0, 2)])
    session = pytest.importorskip("onnxruntime").InferenceSession(model.SerializeToString())
    largest, every = session.run(None, {model.graph.input[0].name: np.zeros((0, 2), np.float32)})
    assert largest.tolist() == [-np.inf, -np.inf]
    assert every.tolist() == [True, True]


def test_generic_reduction_accepts_any_length():
    model = to_onnx(lambda x: lax.reduce(x, np.float32(0), lambda a, b: a + b - a * b, (1,)), [("B", "T")])
    onnx.checker.check_model(model, full_check=True)
    session = pytest.importorskip("onnxruntime").InferenceSession(model.SerializeToString())
    for length in (1, 2, 7, 8):
        x = np.linspace(0, 0.9, 2 * length, dtype=np.float32).reshape(2, length)
        (result,) = session.run(None, {model.graph.input[0].name: x})
        np.testing.assert_allclose(result, 1 - jax.numpy.prod(1 - x, 1), rtol=1e-5)


def test_log1p_keeps_the_sign_of_zero():
    def function(x):
        return -1.0 / lax.log1p(x)

    x = np.array([-0.0, 0.0], np.float32)
    (result,) = Runner(to_onnx(function, [(2,)])).run([x])
    np.testing.assert_array_equal(result, function(x))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("towards", [np.inf, -np.inf])
def test_neighbours_of_small_and_large_numbers(dtype, towards):
    kind = jnp.finfo(dtype)
    small = [0.0, kind.smallest_subnormal, kind.tiny, 2 * kind.tiny, 4 * kind.tiny, 3 * kind.smallest_subnormal]
    sizes = np.array([*small, 1, 1 - kind.eps / 2, 1.5, kind.max, np.inf]).astype(kind.dtype)
    with x64(enabled=dtype == "float64"):
        for x in (sizes, -sizes):
            y = np.full_like(x, towards)
            (actual,) = Runner(to_onnx(lax.nextafter, [x, y])).run([x, y])
            np.testing.assert_array_equal(actual.astype(np.float64), np.asarray(lax.nextafter(x, y), np.float64))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jnp.sum, {"Cast": 1, "ReduceSum": 1}),
        (lambda mask: mask.sum(1), {"Cast": 1, "ReduceSum": 1}),
        (lambda mask: jnp.cumsum(mask, 0), {"Cast": 1, "CumSum": 1}),
    ],
)
def test_counting_is_a_sum(function, expected):
    model = to_onnx(function, ["bool[B,300]"])
    assert operators(model) == expected
    check(model, function, ["bool[B,300]"])


def test_a_count_in_a_narrow_integer_wraps():
    def function(mask):
        return jnp.sum(mask, axis=0, dtype=jnp.uint8), jnp.sum(mask, axis=0, dtype=jnp.int8)

    check(to_onnx(function, ["bool[300,2]"]), function, ["bool[300,2]"], values=[[np.ones((300, 2), bool)]])


@pytest.mark.parametrize("number", [1e-300, -1e-46, 1 + 1e-9, 1 - 1e-12])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_numbers_that_are_0_or_1_in_float32_only(name, number):
    operation = getattr(lax, name)
    x = np.array([0, 1e-300, 1, 3.3, -1e300, np.inf, np.nan])
    with x64(enabled=True):
        for function in (lambda x: operation(x, number), lambda x: operation(number, x)):
            (actual,) = Runner(to_onnx(function, ["float64[N]"])).run([x])
            np.testing.assert_allclose(actual, function(x), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_gamma_function_of_the_largest_numbers(dtype):
    largest = float(jnp.finfo(dtype).max)
    x = np.array([largest * part for part in (1, 0.5, 1e-2, 1e-3, -1e-3, -1e-2, -0.5, -1)]).astype(jnp.dtype(dtype))
    with x64(enabled=dtype == "float64"):
        for function in (lax.lgamma, lax.digamma):
            (actual,) = Runner(to_onnx(function, [x])).run([x])
            expected = np.asarray(function(x), np.float64)
            np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=float(jnp.finfo(dtype).eps) * 4)


TRANSPOSED = {
    "left": (lambda x, y: x.T @ y, [(4, 3), (4, 5)]),
    "right": (lambda x, y: x @ y.T, [(4, 3), (5, 3)]),
    "both": (lambda x, y: x.T @ y.T, [(4, 3), (5, 4)]),
    "batch": (lambda x, y: x.transpose(0, 2, 1) @ y, [(2, 4, 3), (2, 4, 5)]),
    "batch_last": (lambda x, y: x.transpose(1, 0, 2) @ y, [(4, 2, 3), (2, 3, 5)]),
    "rotated": (lambda x, y: x.transpose(1, 2, 0) @ y, [(4, 2, 3), (2, 4, 5)]),
    "symbolic": (lambda x, y: jnp.swapaxes(x, 1, 2) @ y, [("B", 4, 3), ("B", 4, 5)]),
    "float32": (lambda x, y: x.astype(np.float32).T.astype(np.float64) @ y, [(4, 3), (4, 5)]),
    "pushed": (
        lambda x, y: (jnp.where(x.transpose(0, 2, 1) > 0, 1, x.transpose(0, 2, 1)) + 1) @ y,
        [(2, 4, 3), (2, 4, 5)],
    ),
    "function": (lambda x, y: onnx_function(jnp.matmul)(x.T, y), [(4, 3), (4, 5)]),
    "heads": (lambda x, y: x.transpose(0, 2, 1, 3) @ y, [(2, 4, 3, 5), (2, 3, 5, 6)]),
}


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_products_of_transposed_float64_load_in_the_oldest_runtime(name, opset):
    """That one has ``FusedMatMul``, which its optimiser makes of them, for float32 only."""
    function, shapes = TRANSPOSED[name]
    with x64(enabled=True):
        specs = [f"float64[{','.join(map(str, shape))}]" for shape in shapes]
        model = to_onnx(function, specs, opset=opset)
        kept = [n for graph in (model.graph, *model.functions) for n in graph.node if n.op_type == "Sum"]
        assert len(kept) == 1 + (name in {"both", "function"})
        check(model, function, specs)
        assert "Sum" not in operators(to_onnx(function, specs, opset=opset, target="onnx"))
