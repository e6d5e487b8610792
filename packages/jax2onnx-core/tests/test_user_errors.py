"""The errors when a program cannot be converted: what is wrong, where in the user's code, and the remedy."""

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from jax2onnx import errors, to_onnx
from jax2onnx.legalise.targets import DEFAULT, load

unknown_p = jax.extend.core.Primitive("test_unknown")
unknown_p.def_abstract_eval(lambda x: x)


def python_if(x):
    if x.sum() > 0:  # the line to be named
        return x
    return -x


def data_dependent(x):
    return x[x > 0]  # the line to be named


def nonzero(x):
    return jnp.nonzero(x)[0]  # the line to be named


def to_numpy(x):
    return np.sin(np.asarray(x))  # the line to be named


def python_int(x):
    return jnp.zeros(int(x.sum()))  # the line to be named


def compares_dims(x):
    return x[:3] if x.shape[0] > 3 else x  # the line to be named


def unknown(x):
    return unknown_p.bind(x)  # the line to be named


CASES = [
    (python_if, errors.TraceError, "jax.lax.cond"),
    (data_dependent, errors.TraceError, "depends on data"),
    (nonzero, errors.TraceError, "depends on data"),
    (to_numpy, errors.TraceError, "jax.numpy"),
    (python_int, errors.TraceError, "static"),
    (unknown, errors.UnsupportedPrimitiveError, "lowerings={'test_unknown': rule}"),
]


@pytest.mark.parametrize(("fn", "error", "remedy"), CASES, ids=lambda p: getattr(p, "__name__", ""))
def test_the_error_names_the_users_line_and_a_remedy(fn, error, remedy):
    with pytest.raises(error) as raised:
        to_onnx(fn, [(4,)])
    line = fn.__code__.co_firstlineno + 1
    assert f"{__file__}:{line} ({fn.__name__})" in str(raised.value)
    assert remedy in str(raised.value)


def test_an_undecided_comparison_names_the_constraint_that_decides_it():
    with pytest.raises(errors.DimensionError) as raised:
        to_onnx(compares_dims, [("B",)])
    assert "constraints=['B >= 4']" in str(raised.value)
    assert f"{__file__}:{compares_dims.__code__.co_firstlineno + 1}" in str(raised.value)
    to_onnx(compares_dims, [("B",)], constraints=["B >= 4"])


def shuffles_a_symbolic_dim(x):
    return jax.random.permutation(jax.random.key(0), x)  # the line to be named


def test_what_jax_does_not_implement():
    with pytest.raises(errors.TraceError, match="give that as an int") as raised:
        to_onnx(shuffles_a_symbolic_dim, [("T",)])
    assert f"{__file__}:{shuffles_a_symbolic_dim.__code__.co_firstlineno + 1}" in str(raised.value)


UNDECIDED = {
    "split": (lambda x: jnp.split(x, 2), [("B",)], "mod(B, 2) == 0"),
    "reshape": (lambda x: x.reshape(-1, 4), [("B", 3)], "mod(3*B, 4) == 0"),
    "compared_with_an_int": (lambda x: x if x.shape[0] <= 8 else -x, [("B",)], "B >= 9"),
    "compared_with_a_dim": (lambda x, y: x if x.shape[0] <= y.shape[0] else y, [("B",), ("T",)], "B <= T"),
    "slice": (lambda x: jax.lax.slice(x, (2,), (7,)), [("B",)], "B >= 7"),
    "top_k": (lambda x: jax.lax.top_k(x, 3), [("B",)], "B >= 3"),
    "add": (lambda x, y: x + y, [("B", 2), ("T", 2)], "B == T"),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_the_constraint_that_an_error_names_decides(name):
    function, inputs, constraint = UNDECIDED[name]
    with pytest.raises(errors.DimensionError) as raised:
        to_onnx(function, inputs)
    assert f"constraints=['{constraint}']" in str(raised.value)
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(raised.value)
    to_onnx(function, inputs, constraints=[constraint])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * int(x.shape[0]),
        lambda x: [x + i for i in range(x.shape[0])],
        lambda x: jax.lax.scan(lambda c, _: (c, c), x, None, length=x.shape[0]),
        lambda x: jnp.array_split(x, 2)[0],
        lambda x: sum(list(x)),
    ],
)
def test_a_dim_where_jax_needs_an_int(function):
    with pytest.raises(errors.DimensionError, match=r"give (it|the dimension) as an int") as raised:
        to_onnx(function, [("B",)])
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(raised.value)


def test_shapes_that_differ_without_symbols_name_the_inputs_and_shapes_that_fit():
    with pytest.raises(errors.TraceError, match=r"input_1=float32\[4\].*incompatible shapes") as raised:
        to_onnx(jnp.add, [(3,), (4,)])
    assert isinstance(raised.value.__cause__, TypeError)
    assert raised.value.remedy == "give input_0 as 'float32[4]'"
    assert f"at: {__file__}" in str(raised.value)
    to_onnx(jnp.add, ["float32[4]", (4,)])


@pytest.mark.parametrize("opset", [12, 1000])
def test_an_opset_out_of_range(opset):
    with pytest.raises(errors.OpsetError, match="pass an int from 13"):
        to_onnx(jnp.tanh, [(3,)], opset=opset)


def test_an_opset_that_no_known_version_of_the_runtime_loads(monkeypatch):
    newest = load(DEFAULT).at(1000)
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: newest.max_opset + 1)
    with pytest.raises(errors.OpsetError, match=f"pass opset={newest.max_opset}, or target='onnx'"):
        to_onnx(jnp.tanh, [(3,)], opset=newest.max_opset + 1)


def test_an_unknown_target():
    with pytest.raises(errors.InputSpecError, match="known are onnx, onnxruntime"):
        to_onnx(jnp.tanh, [(3,)], target="toaster")


def test_what_is_not_callable():
    with pytest.raises(errors.InputSpecError, match="neither callable"):
        to_onnx(3, [(3,)])


def test_output_names_must_fit():
    with pytest.raises(errors.InputSpecError, match="2 names for 1"):
        to_onnx(jnp.tanh, [(3,)], output_names=["a", "b"])
    with pytest.raises(errors.InputSpecError, match="also the name"):
        to_onnx(jnp.tanh, [(3,)], input_names=["a"], output_names=["a"])
