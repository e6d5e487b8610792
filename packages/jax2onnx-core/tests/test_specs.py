"""Input specs: what is accepted, how it is named, and what is said of the rest."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jax2onnx import to_onnx
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.specs import parse_inputs


class Point(NamedTuple):
    row: Any
    column: Any


def f(x, y=None, *, scale=1.0):
    return x


def shapes(inputs):
    return [tuple(map(str, s.aval.shape)) for s in inputs.specs]


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        (("B", 30), ("B", "30"), "float32"),
        ((), (), "float32"),
        ("int32[B, T]", ("B", "T"), "int32"),
        ("bool[]", (), "bool"),
        ("bfloat16[2*T]", ("2*T",), "bfloat16"),
        (jax.ShapeDtypeStruct((2, 3), jnp.int8), ("2", "3"), "int8"),
        (jax.ShapeDtypeStruct(("B", 3), jnp.float16), ("B", "3"), "float16"),
        (np.zeros((2, 0), np.uint8), ("2", "0"), "uint8"),
        (jnp.zeros(4), ("4",), "float32"),
        (3.5, (), "float32"),
    ],
)
def test_one_spec(spec, shape, dtype):
    (read,) = parse_inputs(f, [spec]).specs
    assert tuple(map(str, read.aval.shape)) == shape
    assert read.aval.dtype == dtype
    assert read.name == "x"


def test_names_follow_the_signature_and_the_pytree():
    parsed = parse_inputs(f, [{"tokens": (2,), "mask": [("B",), (3,)]}, Point((1,), None)], input_params={"scale": ()})
    assert [s.name for s in parsed.specs] == ["x.mask.0", "x.mask.1", "x.tokens", "y.row", "scale"]


def test_none_is_no_input_but_an_anonymous_dimension_is_one():
    assert [s.name for s in parse_inputs(f, [(2,), [None, (3,)]]).specs] == ["x", "y.1"]
    (read,) = parse_inputs(f, [(None, ..., 3)]).specs
    assert len({str(d) for d in read.aval.shape}) == 3


def test_a_mapping_gives_keyword_arguments():
    parsed = parse_inputs(f, {"x": ("B",), "scale": ()})
    assert [s.name for s in parsed.specs] == ["scale", "x"]
    assert parsed.call(lambda x, scale: (x, scale), ["s", "v"]) == ("v", "s")


def test_symbols_share_one_scope():
    a, b = parse_inputs(f, [("B", "T"), ("B", "2*T")]).specs
    assert a.aval.shape[0] == b.aval.shape[0]
    assert 2 * a.aval.shape[1] == b.aval.shape[1]


def test_constraints_decide_comparisons():
    (read,) = parse_inputs(f, [("T",)], constraints=["T >= 4"]).specs
    assert read.aval.shape[0] >= 3


def test_dims_of_jax_export_are_kept():
    dims = export.symbolic_shape("a, b")
    (read,) = parse_inputs(f, [jax.ShapeDtypeStruct(dims, jnp.float32)]).specs
    assert read.aval.shape == dims


def test_input_names_replace_the_derived_ones():
    assert [s.name for s in parse_inputs(f, [(1,), (2,)], input_names=["a", "b"]).specs] == ["a", "b"]


def test_float64_arrays_follow_jax_with_a_warning():
    with pytest.warns(UserWarning, match="float64 array becomes float32") as told:
        (read,) = parse_inputs(f, [np.zeros(3)]).specs
    assert read.aval.dtype == np.float32
    assert told[0].filename == __file__


def test_a_warning_names_the_users_line():
    with pytest.warns(UserWarning, match="float64 array becomes float32") as told:
        to_onnx(lambda x: x, [np.zeros(3)])
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"inputs": ("B", 30)}, r"one shape.*write \[\('B', 30\)\]"),
        ({"inputs": ["B"]}, r"one shape.*write \[\('B',\)\]"),
        ({"inputs": "float32[3]"}, "one spec per argument"),
        ({"inputs": 3}, "one spec per argument"),
        ({"inputs": [object()]}, "accepted is"),
        ({"inputs": [("B-", 3)]}, "'B-'"),
        ({"inputs": [(-1,)]}, "non-negative"),
        ({"inputs": ["float33[3]"]}, "not a dtype"),
        ({"inputs": ["float64[3]"]}, "jax_enable_x64"),
        ({"inputs": [jax.ShapeDtypeStruct((3,), np.int64)]}, "jax_enable_x64"),
        ({"inputs": [(1,)], "input_names": ["a", "b"]}, "2 names for 1"),
        ({"inputs": [(1,), (1,)], "input_names": ["a", "a"]}, "'a'"),
        ({"inputs": [("T",)], "constraints": ["T >"]}, "constraints"),
        ({"inputs": [("T",)], "constraints": "T > 1"}, "constraints"),
    ],
)
def test_bad_specs_are_refused_with_what_is_accepted(kwargs, said):
    with pytest.raises(InputSpecError, match=said):
        parse_inputs(f, **kwargs)


def test_two_scopes_are_refused():
    (a,), (b,) = export.symbolic_shape("a"), export.symbolic_shape("a")
    with pytest.raises(InputSpecError, match="scopes"):
        parse_inputs(f, [jax.ShapeDtypeStruct((a,), np.float32), jax.ShapeDtypeStruct((b,), np.float32)])
