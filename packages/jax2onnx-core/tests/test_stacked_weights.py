"""Parts of arrays: what a model reads of an array is an initializer of its own, and in a file it stays where it is."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from checkpoints import write_safetensors
from jax import lax

from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.plugin import StoredArray
from jax2onnx.weights.orbax import read_orbax

random = np.random.default_rng(0)


def draw(*shape: int) -> Any:
    return (random.normal(size=shape) / 12).astype(np.float32)


LAYERS, D = 3, 160
PARAMS = {
    "w": draw(LAYERS, D, D),
    "heads": draw(LAYERS, D, 4, D // 4),
    "b": draw(LAYERS, D),
    "out": draw(D, 4, D // 4),
}
ARRAYS = jax.tree.map(jnp.asarray, PARAMS)
X = [("B", D)]


def layer(x, w, heads, b):
    x = jnp.tanh(x @ w + b)
    return x + jnp.einsum("bd,dhk->bhk", x, heads).reshape(x.shape)


def by_index(params, x):
    for step in range(LAYERS):
        x = layer(x, params["w"][step], params["heads"][step], params["b"][step])
    return jnp.einsum("bd,dhk->bhk", x, params["out"])


def from_the_end(params, x):
    for step in range(LAYERS):
        x = layer(x, params["w"][step - LAYERS], params["heads"][~step], params["b"][jnp.array(step)])
    return x


def by_unstack(params, x):
    for w, heads, b in zip(*(jnp.unstack(params[name]) for name in ("w", "heads", "b")), strict=True):
        x = layer(x, w, heads, b)
    return x


def by_scan(params, x):
    stacked = (params["w"], params["heads"], params["b"])
    return lax.scan(lambda x, one: (layer(x, *one), None), x, stacked)[0]


def first_rows(params, x):
    return x + params["out"][:1].reshape(D) + params["b"][1:, None].sum((0, 1)) + (x @ params["w"][1:2])[0]


def as_one(params, x):
    return (x @ params["w"].reshape(D, -1)) @ params["heads"].reshape(-1, D)


PROGRAMS = (by_index, from_the_end, by_unstack, by_scan, first_rows, as_one)


@pytest.mark.parametrize("program", PROGRAMS)
def test_parts_of_an_array_in_a_file_stay_there(tmp_path: Path, program: Any) -> None:
    write_safetensors(tmp_path / "w.safetensors", PARAMS)
    abstract = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), PARAMS)
    fn = functools.partial(program, abstract)
    save_onnx(fn, X, tmp_path / "m.onnx", weights=tmp_path / "w.safetensors", unroll_layers=True)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "w.safetensors"}
    held = onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer
    assert not [tensor.name for tensor in held if len(tensor.raw_data) > 1024]
    check(tmp_path / "m.onnx", functools.partial(program, PARAMS), X, sizes=[1, 7])


@pytest.mark.parametrize("program", [by_index, from_the_end, by_unstack])
def test_layers_have_weights_of_their_own(program: Any) -> None:
    fn = functools.partial(program, ARRAYS)
    model = to_onnx(fn, X)
    assert {"Gather", "Slice", "Split"}.isdisjoint(node.op_type for node in model.graph.node)
    names = {tensor.name for tensor in model.graph.initializer}
    assert names >= {f"{name}.{step}" for name in ("w", "heads", "b") for step in range(LAYERS)}
    check(model, fn, X, sizes=[1, 7])


def apart(params, x):
    return x @ params["w"][0] + x @ params["w"][2] + params["w"].sum()


def overlapping(params, x):
    return x @ params["w"][:2].sum(0) + x @ params["w"][1:].sum(0)


def by_step(params, x):
    return x @ params["w"][::2].sum(0) + params["w"][1, 0]


@pytest.mark.parametrize("program", [apart, overlapping, by_step])
def test_what_is_read_as_a_whole_too_is_stored_once(program: Any) -> None:
    fn = functools.partial(program, ARRAYS)
    model = to_onnx(fn, X)
    assert sum(len(tensor.raw_data) for tensor in model.graph.initializer) < PARAMS["w"].nbytes + 1000
    check(model, fn, X, sizes=[1, 7])


def test_an_array_is_read_once_for_all_its_parts(tmp_path: Path) -> None:
    """A checkpoint of orbax keeps what is read until another array is read: so the parts must follow each other."""
    read: list[str] = []

    def weights(name: str) -> StoredArray:
        array = PARAMS[name]

        def cut(start: int, stop: int) -> Any:
            if read[-1:] != [name]:
                read.append(name)
            return array[start:stop]

        return StoredArray(shape=array.shape, dtype=array.dtype, read=lambda: cut(0, len(array)), cut=cut)

    abstract = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), PARAMS)
    fn = functools.partial(by_index, abstract)
    save_onnx(fn, X, tmp_path / "alone.onnx", weights=weights)
    assert sorted(read) == sorted(set(read))
    read.clear()
    save_onnx({"beside": (fn, X)}, tmp_path, weights=weights)
    assert sorted(read) == sorted(set(read))
    for name in ("alone", "beside"):
        check(tmp_path / f"{name}.onnx", functools.partial(by_index, PARAMS), X, sizes=[2])


@pytest.mark.parametrize("at_once", [1, 100, 1 << 25])
def test_parts_of_arrays_of_orbax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Arrays in several pieces, and in one, are read piece by piece and row by row."""
    monkeypatch.setattr("jax2onnx.weights.orbax._AT_ONCE", at_once)
    tree = {
        "pieces": np.arange(102, dtype=np.float32).reshape(17, 6),
        "half": np.arange(96, dtype=jnp.bfloat16).reshape(12, 2, 4),
        "whole": np.arange(7, dtype=np.int32),
    }
    sizes = {"pieces": 48, "half": 32, "whole": 1 << 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ocp = pytest.importorskip("orbax.checkpoint")
        args = {name: ocp.SaveArgs(chunk_byte_size=size) for name, size in sizes.items()}
        ocp.PyTreeCheckpointer().save(tmp_path / "state", tree, save_args=args)
        arrays = read_orbax(tmp_path / "state")
        for name, expected in tree.items():
            array = arrays[name]
            assert (array.read() == expected).all()
            assert (array.parts is None) is (name == "whole")
            if array.parts is not None:
                np.testing.assert_array_equal(np.concatenate([part.copy() for part in array.parts()]), expected)
            for row in range(len(expected)):
                np.testing.assert_array_equal(array.rows(row, row + 1).read(), expected[row : row + 1])
                np.testing.assert_array_equal(array.rows(row, len(expected)).rows(0, 1).read(), expected[row : row + 1])
