"""``jax.nn``: the registered examples, and where ONNX's operators end."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import Case, cases, operators, run, x64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx


@pytest.mark.parametrize("case", cases("nn"), ids=str)
def test_example(case: Case) -> None:
    run(case)


FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "gelu": (jax.nn.gelu, "Gelu"),
    "gelu_exact": (functools.partial(jax.nn.gelu, approximate=False), "Gelu"),
    "relu": (jax.nn.relu, "Relu"),
    "relu6": (jax.nn.relu6, "Clip"),
    "sigmoid": (jax.nn.sigmoid, "Sigmoid"),
    "elu": (jax.nn.elu, "Elu"),
    "celu": (functools.partial(jax.nn.celu, alpha=0.5), "Celu"),
    "selu": (jax.nn.selu, "Selu"),
    "leaky_relu": (jax.nn.leaky_relu, "LeakyRelu"),
    "softplus": (jax.nn.softplus, "Softplus"),
    "mish": (jax.nn.mish, "Mish"),
    "hard_sigmoid": (jax.nn.hard_sigmoid, "HardSigmoid"),
    "hard_swish": (jax.nn.hard_swish, "HardSwish"),
    "soft_sign": (jax.nn.soft_sign, "Softsign"),
    "softmax": (jax.nn.softmax, "Softmax"),
    "log_softmax": (jax.nn.log_softmax, "LogSoftmax"),
}
EDGES = np.array(
    [
        *(np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-8, -1e-8, 1e-4, -1e-4, 1e-30, -1e-30, 3e38, -3e38),
        *(0.3, -0.3, 1, -1, 2.5, -2.5, 3, -3, 5.06, -5.06, 6, -6, 10, -10, 20, -20, 88, -88, 104, -104, 1e4, -1e4),
    ],
    np.float32,
)


def evaluate(model: onnx.ModelProto, *values: np.ndarray[Any, Any]) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], values, strict=True)))[0]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("rows", [1, 7, 0, 4000])
def test_operator_on_edge_values(name: str, rows: int) -> None:
    function, operator = FUNCTIONS[name]
    model = to_onnx(function, [("B", 4)])
    assert operators(model) == {operator: 1}
    x = np.random.default_rng(rows).choice(EDGES, size=(rows, 4))
    np.testing.assert_allclose(evaluate(model, x), function(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64(name: str) -> None:
    """Nothing is narrowed: an operator without a float64 kernel or with float32 attributes gives way to primitives."""
    function, _ = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(50, 4)) * 3, rng.choice(EDGES.astype(np.float64), size=(200, 4))])
    with x64(enabled=True):
        model = to_onnx(function, [jax.ShapeDtypeStruct((250, 4), jnp.float64)])
        expected = np.asarray(function(x))
    got = evaluate(model, x)
    assert got.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("function", "inputs", "options", "expected"),
    [
        (jax.nn.silu, [("B", 3)], {"opset": 24, "target": "onnx"}, {"Swish": 1}),
        (jax.nn.silu, [("B", 3)], {"opset": 23, "target": "onnx"}, {"Sigmoid": 1, "Mul": 1}),
        (jax.nn.gelu, [("B", 3)], {"opset": 20}, {"Gelu": 1}),
        (lambda x: jax.nn.celu(x, -1.0), [("B", 3)], {}, {"Celu": 0}),
        (jax.nn.leaky_relu, [("B", 3), ("B", 3)], {}, {"LeakyRelu": 0}),
        (jax.nn.leaky_relu, [("B", 3), (3,)], {}, {"LeakyRelu": 0}),
        (lambda x: jax.nn.leaky_relu(x, np.float32(0.1)), [("B", 3)], {}, {"LeakyRelu": 1}),
        (lambda x: jax.nn.softmax(x, where=x > 0, axis=-1), [("B", 3)], {}, {"Softmax": 0}),
        (lambda x: jax.nn.relu(x), [jax.ShapeDtypeStruct((3,), jnp.int32)], {}, {"Relu": 0}),  # noqa: PLW0108 - as users write
    ],
)
def test_operators(
    function: Callable[..., Any], inputs: list[Any], options: Mapping[str, Any], expected: Mapping[str, int]
) -> None:
    found = operators(to_onnx(function, inputs, **options))
    assert {op: found.get(op, 0) for op in expected} == expected


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), 0), ((2, 3), 1), ((3, 2), 0), ((3, 2, 4), 1), ((3, 2, 4), (1, 2)), ((2, 3, 2), (0, 2))]
)
def test_logsumexp_of_infinities(shape: tuple[int, ...], axis: Any, *, keepdims: bool) -> None:
    """The first number of a row in particular, from which a kernel may start."""
    values = np.array([-np.inf, -np.inf, -5e30, -200.0, -1.0, -0.0, 3.0, 500.0, 3e38, np.inf, np.nan, -3.4028235e38])
    rng = np.random.default_rng(7)
    batches = [rng.choice(values[:kinds], shape).astype(np.float32) for kinds in (2, 3, 4, 6, 12) for _ in range(40)]

    def function(x: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(x, axis=axis, keepdims=keepdims)

    specs = [jax.ShapeDtypeStruct(shape, np.float32)]
    check(to_onnx(function, specs), function, specs, values=[[batch] for batch in batches])
