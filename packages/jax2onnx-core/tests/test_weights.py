"""Abstract parameters, and the places where their arrays are."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest
from checkpoints import write_safetensors

from jax2onnx import check, save_onnx, show, to_onnx
from jax2onnx.errors import InputSpecError, TraceError
from jax2onnx.output.external_data import locations
from jax2onnx.plugin import StoredArray
from jax2onnx.weights import blocks as parts
from jax2onnx.weights.sources import stored

random = np.random.default_rng(0)


def draw(*shape: int, dtype: Any = np.float32) -> Any:
    return random.normal(size=shape).astype(dtype)


PARAMS = {
    "blocks": [
        {"kernel": draw(32, 32), "bias": draw(32)},
        {"kernel": draw(32, 32), "bias": draw(32)},
    ],
    "head": {"weight": draw(16, 32, dtype=ml_dtypes.bfloat16), "scale": np.float32(0.5)},
    "twist": (draw(3) + 1j * draw(3)).astype(np.complex64),
    "table": np.arange(32, dtype=np.int8),
}


def network(params, x):
    for block in params["blocks"]:
        x = jnp.tanh(x @ block["kernel"] + block["bias"])
    x = x + params["table"].astype(x.dtype) * jnp.abs(params["twist"]).sum()
    head = params["head"]
    return x @ (head["weight"].astype(x.dtype).T * head["scale"])


X = [("B", 32)]
DEVICE = jax.tree.map(jnp.asarray, PARAMS)
ABSTRACT = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), DEVICE)
REFERENCE = functools.partial(network, DEVICE)
FN = functools.partial(network, ABSTRACT)
FLAT = {
    ".".join(str(k.idx if hasattr(k, "idx") else k.key) for k in path): a
    for path, a in jax.tree_util.tree_flatten_with_path(PARAMS)[0]
}


def agrees(path: Path, fn: Any = REFERENCE, **options: Any) -> None:
    check(path, fn, X, sizes=[2], kinds=["ordinary"], **options)


def renamed(change: Any) -> dict[str, Any]:
    return {change(name): array for name, array in FLAT.items()}


def wide(array: Any) -> Any:
    """Return numbers in a wider dtype, as some checkpoints have them."""
    return array.astype(
        {"float32": np.float64, "bfloat16": np.float32, "int8": np.int64}.get(array.dtype.name, array.dtype)
    )


NAMES = {
    "dots": lambda name: name,
    "slashes": lambda name: name.replace(".", "/"),
    "keys of a pytree": lambda name: "".join(f"['{step}']" for step in name.split(".")),
    "a prefix": lambda name: f"model.net.{name}",
    "values of variables": lambda name: f"{name}.value",
    "collections": lambda name: f"params/{name}" if "table" not in name else f"state/{name}",
}


@pytest.mark.parametrize("change", NAMES.values(), ids=NAMES.keys())
def test_names_of_a_file(tmp_path: Path, change: Any) -> None:
    write_safetensors(tmp_path / "w.safetensors", renamed(change))
    save_onnx(FN, X, tmp_path / "m.onnx", weights=tmp_path / "w.safetensors")
    assert locations(tmp_path / "m.onnx") == {"w.safetensors"}
    agrees(tmp_path / "m.onnx")


def write_halves(path: Path, kind: str) -> Any:
    path.mkdir()
    places = {}
    for number, names in enumerate((list(FLAT)[:4], list(FLAT)[4:])):
        write_safetensors(path / f"{number}.safetensors", {name: FLAT[name] for name in names})
        places.update(dict.fromkeys(names, f"{number}.safetensors"))
    if kind == "list":
        return [path / "0.safetensors", path / "1.safetensors"]
    if kind == "index":
        (path / "w.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        return path / "w.safetensors.index.json"
    return path


def write_all(folder: Path, kind: str) -> Any:
    """Write the parameters in a way; return what to pass as ``weights=``."""
    path = folder / "w"
    match kind:
        case "safetensors":
            write_safetensors(path.with_suffix(".safetensors"), FLAT)
            return str(path.with_suffix(".safetensors"))
        case "unaligned":
            write_safetensors(path.with_suffix(".safetensors"), FLAT, shift=1)
            return path.with_suffix(".safetensors")
        case "wider":
            write_safetensors(path.with_suffix(".safetensors"), {name: wide(array) for name, array in FLAT.items()})
            return path.with_suffix(".safetensors")
        case "folder" | "index" | "list":
            return write_halves(path, kind)
        case "npz":
            np.savez(path, **FLAT)
            return path.with_suffix(".npz")
        case "compressed":
            np.savez_compressed(path, **FLAT)
            return path.with_suffix(".npz")
        case "tree":
            return PARAMS
        case "of jax":
            return DEVICE
        case "memmaps":
            mapped = {}
            for name, array in FLAT.items():
                held = np.ascontiguousarray(array)
                mapped[name] = np.memmap(folder / name, held.dtype, "w+", shape=held.shape)
                mapped[name][...] = held
                mapped[name] = mapped[name].reshape(array.shape)
            return mapped
        case "callable":
            return lambda name: FLAT[name]
        case "stored":
            return lambda name: stored(FLAT[name])
    raise AssertionError


KINDS = (
    *("safetensors", "unaligned", "wider", "folder", "index", "list", "npz", "compressed"),
    *("tree", "of jax", "memmaps", "callable", "stored"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_weights(tmp_path: Path, kind: str) -> None:
    weights = write_all(tmp_path, kind)
    save_onnx(FN, X, tmp_path / "m.onnx", weights=weights)
    agrees(tmp_path / "m.onnx")
    in_place = kind in {"safetensors", "folder", "index", "list", "memmaps"}
    assert bool(locations(tmp_path / "m.onnx")) is (in_place or kind == "npz"), locations(tmp_path / "m.onnx")
    (tmp_path / "elsewhere").mkdir()
    save_onnx(FN, X, tmp_path / "elsewhere" / "m.onnx", weights=weights)
    assert not locations(tmp_path / "elsewhere" / "m.onnx")
    agrees(tmp_path / "elsewhere" / "m.onnx", FN, weights=weights)


def test_a_model_in_memory_has_its_weights() -> None:
    model = to_onnx(FN, X, weights=FLAT)
    assert {tensor.name for tensor in model.graph.initializer} >= {"blocks.0.kernel", "head.scale"}
    check(model, REFERENCE, X, sizes=[2], kinds=["ordinary"])


def test_weights_of_arrays_replace_them(tmp_path: Path) -> None:
    other = jax.tree.map(lambda array: array * 0, DEVICE)
    save_onnx(functools.partial(network, other), X, tmp_path / "m.onnx", weights=FLAT)
    agrees(tmp_path / "m.onnx")


def test_a_file_that_a_runtime_may_not_use_there_is_copied(tmp_path: Path) -> None:
    """Runtimes refuse data with a second name, and data outside of the folder, where links may lead."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    file = tmp_path / "a" / "w.safetensors"
    write_safetensors(file, FLAT)
    (tmp_path / "b" / "w.safetensors").symlink_to(file)
    save_onnx(FN, X, tmp_path / "b" / "m.onnx", weights=tmp_path / "b" / "w.safetensors")
    assert not locations(tmp_path / "b" / "m.onnx")
    agrees(tmp_path / "b" / "m.onnx")
    os.link(file, tmp_path / "a" / "second")
    save_onnx(FN, X, tmp_path / "a" / "m.onnx", weights=file)
    assert not locations(tmp_path / "a" / "m.onnx")


def test_names_that_the_user_gives(tmp_path: Path) -> None:
    names = {name: name.upper() for name in FLAT}
    save_onnx(FN, X, tmp_path / "m.onnx", weights=renamed(str.upper), weight_names=names)
    agrees(tmp_path / "m.onnx")
    weights = renamed(lambda name: name if name == "table" else name.upper())
    given = {**names, "table": None}
    save_onnx(FN, X, tmp_path / "m.onnx", weights=weights, weight_names=given.get)
    agrees(tmp_path / "m.onnx")


def test_entries_share_what_they_have_in_common(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "w.safetensors", FLAT)
    entries = {"one": (FN, X), "two": (FN, [(3, 32)])}
    save_onnx(entries, tmp_path / "in place", weights=tmp_path / "w.safetensors")
    large = sum(array.nbytes for array in FLAT.values() if array.nbytes > 1024)
    data = tmp_path / "in place" / "weights.data"
    assert large <= data.stat().st_size < large + 3000
    agrees(tmp_path / "in place" / "one.onnx")
    save_onnx(entries, tmp_path, weights=tmp_path / "w.safetensors")
    assert locations(tmp_path / "one.onnx") == locations(tmp_path / "two.onnx")
    agrees(tmp_path / "one.onnx")


def test_half_precision_of_weights_that_are_elsewhere(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "w.safetensors", FLAT)
    for path, fn, options in (("a", FN, {"weights": tmp_path / "w.safetensors"}), ("b", REFERENCE, {})):
        save_onnx(fn, X, tmp_path / f"{path}.onnx", precision="float16", **options)
    one, other = (onnx.load(tmp_path / f"{path}.onnx").graph for path in "ab")
    assert list(one.initializer) == list(other.initializer)


def test_code_that_needs_a_value_gets_it(tmp_path: Path) -> None:
    def scaled(params, x):
        return x * 2 if params["count"] > 1 else x

    fn = functools.partial(scaled, {"count": jax.ShapeDtypeStruct((), np.int32)})
    told = []
    save_onnx(fn, X, tmp_path / "m.onnx", weights={"count": 3}, explain=told.append)
    assert "count" in str(told[0])
    assert [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node] == ["Mul"]


def test_abstract_parameters_that_are_no_arguments(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"reaches an array that has no value.*functools\.partial"):
        save_onnx(lambda x: network(ABSTRACT, x), X, tmp_path / "m.onnx", weights=FLAT)
    save_onnx(functools.partial(network, ABSTRACT), X, tmp_path / "m.onnx", weights=FLAT)
    agrees(tmp_path / "m.onnx")


def test_without_weights_there_is_a_graph_to_look_at() -> None:
    assert "blocks.0.kernel" in show(FN, X, "final")
    with pytest.raises(InputSpecError, match=r"8 abstract parameters \(blocks.0.bias, .* and 2 more\).*pass weights="):
        to_onnx(FN, X)
    with pytest.raises(InputSpecError, match="8 abstract parameters"):
        check(to_onnx(REFERENCE, X), FN, X)


def test_arrays_that_are_left_over_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 array of the mapping is no parameter of the callable: 'mine'"):
        save_onnx(FN, X, tmp_path / "m.onnx", weights={**FLAT, "mine": draw(2)})


def without(name: str, **more: Any) -> dict[str, Any]:
    return {key: array for key, array in FLAT.items() if key != name} | more


def fails(name: str) -> Any:
    raise KeyError(name)


def deleted() -> jax.Array:
    array = jax.numpy.zeros(32, "int8")
    array.delete()
    return array


PROBLEMS = [
    (without("table"), "1 of 8 parameters is not in it: 'table' int8[32]"),
    (
        without("head.weight", **{"head.weigth": draw(16, 32)}),
        "'head.weight' bfloat16[16,32] (nearest: 'head.weigth')\n  1 array is left over: 'head.weigth'",
    ),
    (
        {**FLAT, "table": draw(31)},
        "1 of 8 has another shape or dtype: 'table' is int8[32] in the program, 'table' float32[31] in the source",
    ),
    ({**FLAT, "table": draw(32)}, "'table' is int8[32] in the program, 'table' float32[32] in the source"),
    ({**FLAT, "table": np.arange(32) * 9}, "'table' has numbers that int8 does not hold; make the parameter int64"),
    ({**FLAT, "table": "words"}, "'table' is 'words', which is no array"),
    ({**FLAT, "table": jax.ShapeDtypeStruct((32,), "int8")}, "dtype=int8), which is no array"),
    ({**FLAT, "table": deleted()}, "cannot be read: RuntimeError: Array has been deleted"),
    (lambda _: deleted(), "cannot be read: RuntimeError: Array has been deleted"),
    ([FLAT, FLAT], "'blocks.0.bias' is in two of the 2 sources"),
    ([FLAT, fails], "a callable stands alone"),
    (fails, "the callable raises KeyError"),
    (lambda _: draw(2), "an array of shape (2,) for '"),
    (lambda name: FLAT[name].astype(np.int32), "an array of int32 for '"),
    (lambda _: None, "returns None for '"),
    ("none.safetensors", "there is no file or folder"),
    (__file__, "is of no known format"),
    (str(Path(__file__).parent), "is of no known format"),
    (3, "weights: got 3; give the path of"),
]


@pytest.mark.parametrize(("weights", "says"), PROBLEMS, ids=[says[:30] for _, says in PROBLEMS])
def test_weights_that_are_not_those(tmp_path: Path, weights: Any, says: str) -> None:
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(InputSpecError, match=re.escape(says)):
        save_onnx(FN, X, tmp_path / "m.onnx", weights=weights)
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_names_that_could_be_several_arrays_are_none(tmp_path: Path) -> None:
    fn = functools.partial(lambda p, x: x @ p["kernel"], {"kernel": jax.ShapeDtypeStruct((32, 4), np.float32)})
    layers = {f"layers.{number}.kernel": draw(32, 4) for number in range(2)}
    with pytest.raises(InputSpecError, match="1 of 1 parameters is not in it"):
        save_onnx(fn, X, tmp_path / "m.onnx", weights=layers)


def length(number: int) -> bytes:
    return number.to_bytes(8, "little")


def entry(**told: Any) -> bytes:
    text = json.dumps({"table": {"dtype": "I8", "shape": [32], "data_offsets": [0, 32], **told}}).encode()
    return length(len(text)) + text + bytes(32)


BROKEN = [
    (b"", "longer than the file"),
    (length(2**60), "longer than the file"),
    (length(2) + b"[]", "no mapping"),
    (length(2) + b"{,", "no JSON"),
    (length(200000) + b"[" * 200000, "no JSON"),
    (entry(shape=[33]), "bytes of 'table' are not those of I8[33]"),
    (entry(shape=[-1, -32]), "the shape of 'table' is"),
    (entry(data_offsets=[1, 33]), "bytes of 'table' are not those"),
    (entry(data_offsets=[-32, 0]), "bytes of 'table' are not those"),
    (entry(data_offsets="all"), "what it says of 'table' is"),
    (entry(dtype="F4"), "of dtype F4, which is not read"),
]


@pytest.mark.parametrize(("content", "says"), BROKEN, ids=[says[:30] for _, says in BROKEN])
def test_broken_safetensors(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputSpecError, match=re.escape(says)):
        save_onnx(FN, X, tmp_path / "m.onnx", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("{", "no JSON"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"table": "../w.safetensors"}}', "no file of its folder"),
        ('{"weight_map": {"table": "w.safetensors"}}', "'table' is not in 'w.safetensors'"),
        ('{"weight_map": {"table": "x.safetensors"}}', "cannot be read: No such file"),
    ],
)
def test_broken_indices(tmp_path: Path, index: str, says: str) -> None:
    write_safetensors(tmp_path / "w.safetensors", {"mine": draw(2)})
    (tmp_path / "w.safetensors.index.json").write_text(index)
    with pytest.raises(InputSpecError, match=re.escape(says)):
        save_onnx(FN, X, tmp_path / "m.onnx", weights=tmp_path)


def test_a_file_that_is_cut_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(bytes(5000))
    array = StoredArray.in_file(tmp_path / "w", 8, (32, 40), np.dtype(np.float32))
    fn = functools.partial(lambda p, x: x @ p["w"], {"w": jax.ShapeDtypeStruct((32, 40), np.float32)})
    with pytest.raises(InputSpecError, match="ends within an array"):
        save_onnx(fn, X, tmp_path / "m.onnx", weights={"w": array})


def test_a_broken_npz(tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_text("mine")
    np.savez(tmp_path / "o.npz", table=np.asarray([object()]))
    for name, says in (("w.npz", "no archive"), ("o.npz", "holds Python objects")):
        with pytest.raises(InputSpecError, match=says):
            save_onnx(FN, X, tmp_path / "m.onnx", weights=tmp_path / name)


ARRAYS = {
    "plain": draw(300, 70),
    "transposed": draw(300, 170).T,
    "axes": draw(5, 140, 3, 150).transpose(3, 0, 2, 1),
    "steps": draw(300, 400)[::-2, ::3],
    "broadcast": np.broadcast_to(draw(1, 200), (130, 200)),
    "one": draw(1, 1).T,
    "none": draw(0, 3).T,
    "scalar": draw(),
    "half": draw(200, 300, dtype=ml_dtypes.bfloat16).T,
    "whole": np.arange(60000, dtype=np.int32).reshape(200, 300).T,
}
SPECIAL = np.asarray([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1e38], np.float32).astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("array", [*ARRAYS.values(), SPECIAL], ids=[*ARRAYS, "special"])
def test_the_bytes_of_an_array(monkeypatch: pytest.MonkeyPatch, array: Any, *, small: bool) -> None:
    if small:
        monkeypatch.setattr(parts, "BLOCK", 64)
        monkeypatch.setattr(parts, "_PANEL", 1000)
        monkeypatch.setattr(parts, "_MAPPED", 5000)
    for dtype in (array.dtype, np.dtype(np.float32), np.dtype(np.float16)):
        with np.errstate(all="ignore"):
            expected = np.ascontiguousarray(array.astype(dtype)).tobytes()
        assert b"".join(block.tobytes() for block in parts.blocks(array, dtype)) == expected


@pytest.mark.parametrize("limit", [1000, 1 << 28])
def test_the_bytes_of_a_transposed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(parts, "_PANEL", 1 << 16)
    monkeypatch.setattr(parts, "_MAPPED", limit)
    array = draw(500, 700)
    array.tofile(tmp_path / "w")
    mapped = np.memmap(tmp_path / "w", np.float32, "r", 0, (500, 700))
    assert b"".join(block.tobytes() for block in parts.blocks(mapped.T)) == array.T.tobytes()


def test_what_a_thread_raises_is_raised_where_the_parts_are_wanted() -> None:
    def made() -> Iterator[Any]:
        yield from range(2)
        raise ValueError("no more")

    found = []
    with pytest.raises(ValueError, match="no more"):
        found.extend(part for part in parts.ahead(made()))
    assert list(itertools.islice(parts.ahead(made()), 2)) == [0, 1]  # and nobody asks for the rest


@pytest.mark.skipif(sys.byteorder != "little", reason="the bytes of a file are little-endian")
def test_a_stored_array_may_be_mapped() -> None:
    array = stored(np.arange(6).reshape(2, 3))
    assert isinstance(array, StoredArray)
    assert array.place is None
    assert array.nbytes == 48


def test_names_for_no_parameter_are_told(tmp_path: Path) -> None:
    names = {"head.weigth": "head.weight"}
    with pytest.warns(UserWarning, match=r"no parameter is called 'head.weigth'; did you mean 'head.weight'\?"):
        save_onnx(FN, X, tmp_path / "m.onnx", weights=FLAT, weight_names=names)
    with pytest.raises(InputSpecError, match="weight_names: no array is looked for without weights"):
        save_onnx(FN, X, tmp_path / "m.onnx", weight_names=names)
