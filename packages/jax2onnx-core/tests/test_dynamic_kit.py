"""The kit for programs of symbolic sizes: what it accepts, and what it finds."""

import numpy as np
import pytest

from jax2onnx import to_onnx
from jax2onnx.checking.inputs import Batch
from jax2onnx.testing import Sized, check_shapes, run_sized, select


def double(x):
    return x + x


def least(x):
    return x.min(0)


def test_a_program_is_run_at_every_size_and_at_none():
    model = run_sized(Sized("double", double, [("B", 2)]))
    assert [node.op_type for node in model.graph.node] == ["Add"]


def test_a_program_for_which_jax_has_no_answer_at_size_0():
    run_sized(Sized("least", least, [("B", 2)], empty=False))
    with pytest.raises(AssertionError, match="double: JAX has an answer"):
        run_sized(Sized("double", double, [("B", 2)], empty=False))


def test_too_few_sizes():
    with pytest.raises(AssertionError, match="compared at 3 sizes only"):
        run_sized(Sized("double", double, [("B", 2)], sizes=(1, 2)))


def test_a_wrong_shape_is_found():
    model = to_onnx(double, [("B", 2)])
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "2*B"
    batch = Batch("given", {"B": 3}, (np.ones((3, 2), np.float32),))
    with pytest.raises(AssertionError, match=r"output: declared \('2\*B', 2\), is \(3, 2\)"):
        check_shapes(model, [batch])


def test_heavy_programs_are_left_out(monkeypatch):
    programs = [Sized("light", double, []), Sized("heavy", double, [], heavy=True)]
    monkeypatch.delenv("DYNAMIC", raising=False)
    assert list(map(str, select(programs))) == ["light"]
    monkeypatch.setenv("DYNAMIC", "all")
    assert list(map(str, select(programs))) == ["light", "heavy"]
