"""Several entries over one file of weights."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from faulty_saves import model_of

from jax2onnx import check, diagnose, save_onnx, to_onnx
from jax2onnx.checking.runtime import Runner
from jax2onnx.errors import CheckError, ConversionError, InputSpecError, SaveError
from jax2onnx.output import save_entries as saving
from jax2onnx.output import work_folder
from jax2onnx.output.external_data import locations
from jax2onnx.output.save_entries import entry_files, save_entries

if TYPE_CHECKING:
    import onnx_ir as ir

random = np.random.default_rng(0)
PARAMS = {
    "embed": jnp.asarray(random.normal(size=(50, 32)), jnp.float32),
    "key": jnp.asarray(random.normal(size=(32, 32)), jnp.float32),
    "out": jnp.asarray(random.normal(size=(32, 50)), jnp.float32),
}


def prefill(params, tokens):
    hidden = params["embed"][tokens]
    keys = hidden @ params["key"]
    seen = jnp.full(tokens.shape[:1], tokens.shape[1], jnp.int32)
    return (hidden + keys.mean(1, keepdims=True)) @ params["out"], {"k": keys, "n": seen}


def decode(params, token, cache):
    hidden = params["embed"][token]
    keys = jnp.concatenate([cache["k"], hidden @ params["key"]], 1)
    logits = (hidden + keys.mean(1, keepdims=True)) @ params["out"].T.T
    return logits, {"k": keys, "n": cache["n"] + 1}


CACHE = {"k": ("B", "S", 32), "n": "int32[B]"}
ENTRIES = {
    "prefill": (functools.partial(prefill, PARAMS), ["int32[B,T]"]),
    "decode": (functools.partial(decode, PARAMS), ["int32[B,1]", CACHE]),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_entries(tmp_path: Path) -> None:
    told = []
    folder = tmp_path / "gen"
    save_onnx(ENTRIES, folder, progress=lambda done, total: told.append((done, total)))
    assert names(folder) == ["decode.onnx", "prefill.onnx", "weights.data"]
    assert (folder / "weights.data").stat().st_size == 4 * sum(array.size for array in PARAMS.values())
    assert told[-1][0] == told[-1][1] == 2 * (folder / "weights.data").stat().st_size
    first, step = Runner(folder / "prefill.onnx"), Runner(folder / "decode.onnx")
    assert first.output_names == ["output_0", "cache.k.next", "cache.n.next"]
    assert step.input_names == ["token", "cache.k", "cache.n"]
    assert step.output_names == first.output_names
    tokens = random.integers(0, 50, (7, 5)).astype(np.int32)
    logits, *state = first.run([tokens])
    expected, cache = prefill(PARAMS, tokens)
    for _ in range(3):
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
        token = logits[:, -1:].argmax(-1).astype(np.int32)
        logits, *state = step.run([token, *state])
        expected, cache = decode(PARAMS, token, cache)
    np.testing.assert_array_equal(state[1], cache["n"])


def test_saving_again_leaves_one_file_of_weights(tmp_path: Path) -> None:
    for _ in range(3):
        save_onnx(ENTRIES, tmp_path)
        assert len(names(tmp_path)) == 3
        (data,) = locations(tmp_path / "prefill.onnx") | locations(tmp_path / "decode.onnx")
        assert data in names(tmp_path)


def test_weights_that_another_model_of_the_folder_uses_stay(tmp_path: Path) -> None:
    save_onnx(ENTRIES, tmp_path)
    save_onnx({"decode": ENTRIES["decode"]}, tmp_path)
    assert names(tmp_path) == ["decode.onnx", "prefill.onnx", "weights.2.data", "weights.data"]
    Runner(tmp_path / "prefill.onnx")
    (tmp_path / "mine.data").write_text("mine")
    save_onnx(ENTRIES, tmp_path)
    assert names(tmp_path) == ["decode.onnx", "mine.data", "prefill.onnx", "weights.3.data"]


def test_a_file_name_is_a_prefix(tmp_path: Path) -> None:
    save_onnx(ENTRIES, tmp_path / "lm.onnx", opset=21)
    assert names(tmp_path) == ["lm.decode.onnx", "lm.prefill.onnx", "lm.weights.data"]
    assert onnx.load(tmp_path / "lm.decode.onnx").opset_import[0].version == 21


def test_options_of_one_entry(tmp_path: Path) -> None:
    options = {"output_names": ["logits", "k", "n"], "name": "first"}
    save_onnx({**ENTRIES, "prefill": (*ENTRIES["prefill"], options)}, tmp_path)
    assert Runner(tmp_path / "prefill.onnx").output_names == ["logits", "k", "n"]
    assert onnx.load(tmp_path / "prefill.onnx").graph.name == "first"


def encode(image):
    return {"memory": image * 2}


def step(x, memory, h, g):
    return x + memory, h + x, g


X = ("B", 3)


@pytest.mark.parametrize(
    ("carry", "outputs"),
    [
        (None, ["output_0", "output_1", "output_2"]),  # nothing tells one array from another
        ({"h": "1"}, ["output_0", "h.next", "output_2"]),
        ({"h": "1", "g": "2"}, ["output_0", "h.next", "g.next"]),
        ({}, ["output_0", "output_1", "output_2"]),
    ],
)
def test_single_arrays_are_carried_where_the_user_says_so(tmp_path: Path, carry: object, outputs: list[str]) -> None:
    save_onnx({"step": (step, [X, X, X, X])}, tmp_path, carry=carry)
    assert Runner(tmp_path / "step.onnx").output_names == outputs


def test_a_part_with_the_name_of_an_argument_is_carried(tmp_path: Path) -> None:
    save_onnx({"encode": (encode, [X]), "step": (step, [X, X, X, X])}, tmp_path)
    assert Runner(tmp_path / "encode.onnx").output_names == ["memory.next"]
    assert Runner(tmp_path / "step.onnx").input_names == ["x", "memory", "h", "g"]


def twice(x, cache):
    return x, cache, jax.tree.map(jnp.sin, cache)


@pytest.mark.parametrize(
    ("entries", "options", "says"),
    [
        ({"a": (twice, [X, {"k": X, "v": X}])}, {}, "carry={'cache': '1'}"),
        ({"a": (twice, [X, {"k": X, "v": X}])}, {"carry": {"cash": "1"}}, "did you mean 'cache'"),
        ({"a": (twice, [X, {"k": X, "v": X}])}, {"carry": {"cache": "3"}}, "no result has the part '3'"),
        ({"a": (twice, [X, {"k": X, "v": X}])}, {"carry": {"cache": "0"}}, "'0' of the result of 'a' is array=float32"),
        ({"a/b": (twice, [X])}, {}, "name for a file"),
        ({"a": twice}, {}, "write {'prefill': (fn, inputs)"),
        ({}, {}, "there is no entry"),
        ({"a": (encode, [X]), "A": (encode, [X])}, {}, "upper and lower case"),
        ({"a": (encode, [X], {"opsat": 3})}, {}, "entry 'a': there is no option 'opsat'; did you mean 'opset'"),
        ({"a": (encode, ["float32[B"])}, {}, "entry 'a': inputs"),
        ({"a": (lambda x: x if x > 0 else -x, [X])}, {}, "entry 'a': JAX cannot trace"),
    ],
)
def test_wrong_entries(tmp_path: Path, entries: object, options: dict[str, object], says: str) -> None:
    folder = tmp_path / "new"
    with pytest.raises((InputSpecError, ConversionError), match=re.escape(says)):
        save_onnx(entries, folder, **options)
    assert not folder.exists()


@pytest.mark.parametrize(("path", "says"), [("no/where", "create it first"), ("file", "it is no folder")])
def test_folders_that_cannot_be(tmp_path: Path, path: str, says: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SaveError, match=says):
        save_onnx(ENTRIES, tmp_path / path)
    assert names(tmp_path) == ["file"]


def pair(fill: float) -> dict[str, ir.Model]:
    return {"a": model_of(fill), "b": model_of(fill)}


def fills(folder: Path) -> list[float]:
    found = []
    for name in ("a", "b"):
        (y,) = Runner(folder / f"{name}.onnx").run([np.zeros(1000, np.float32)])
        found.append(float(y[0]))
    return found


@pytest.mark.parametrize("number", range(1, 5))
def test_moves_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As if the process were killed: each model finds its own weights, and the next save leaves no others."""
    with entry_files(tmp_path, pair(1)) as files:
        save_entries(pair(1), files)
    original = Path.replace
    count = 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count >= number:
            raise PermissionError(1, "no")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    for module in (work_folder, saving):
        monkeypatch.setattr(module, "discard", lambda *_: None)  # what a killed process does not do
    with entry_files(tmp_path, pair(2)) as files:
        if number < 4:
            with pytest.raises(SaveError):
                save_entries(pair(2), files)
        else:
            save_entries(pair(2), files)
    monkeypatch.undo()
    assert fills(tmp_path) == [2.0 if number > 2 else 1.0, 2.0 if number > 3 else 1.0]
    with entry_files(tmp_path, pair(3)) as files:
        save_entries(pair(3), files)
    assert fills(tmp_path) == [3, 3]
    assert len(names(tmp_path)) == 3, json.dumps(names(tmp_path))


def test_a_check_runs_the_entries_alone_and_one_after_the_other(tmp_path: Path) -> None:
    save_onnx(ENTRIES, tmp_path)
    report = check(tmp_path, ENTRIES, sizes=[{"B": 2, "T": 3, "S": 4}], kinds=["ordinary"], steps=2)
    assert list(report.entries) == ["prefill", "decode"]
    calls = ("prefill", "decode.0", "decode.1")
    outputs = ("output_0", "cache.k.next", "cache.n.next")
    assert [output.name for output in report.loop.outputs] == [f"{call}.{name}" for call in calls for name in outputs]
    assert "all, one after the other, agrees with JAX" in str(report)
    token = np.zeros((1, 1), np.int32)
    values = [{"prefill.tokens": token, "decode.0.token": token, "decode.1.token": token}]
    check(tmp_path, ENTRIES, sizes=[1], kinds=["ordinary"], steps=2, values=values)
    check({name: tmp_path / f"{name}.onnx" for name in ENTRIES}, ENTRIES, sizes=[1], kinds=["ordinary"], steps=0)


def wrong_prefill(params, tokens):
    logits, cache = prefill(params, tokens)
    return logits, {"k": cache["k"], "n": cache["n"] + 1}


def test_a_check_finds_what_only_the_loop_shows(tmp_path: Path) -> None:
    """Each model alone is right; what they give each other is not that of the program which is compared with."""
    swapped = {"a": lambda x: (x, -x), "b": lambda x, y: x + y}
    save_onnx({"a": (swapped["a"], [X]), "b": (swapped["b"], [X, X])}, tmp_path, carry={"x": "0"})
    entries = {"a": (swapped["a"], [X]), "b": (swapped["b"], [X, X])}
    check(tmp_path, entries, sizes=[1], kinds=["ordinary"], carry={"x": "1"})
    save_onnx({**ENTRIES, "prefill": (functools.partial(wrong_prefill, PARAMS), ["int32[B,T]"])}, tmp_path / "wrong")
    with pytest.raises(CheckError, match="entry 'prefill'"):
        check(tmp_path / "wrong", ENTRIES, sizes=[1], kinds=["ordinary"])


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("nowhere", {}, "there is no file"),
        ({"prefill": 3}, {}, "there is none of the entry 'decode'"),
        (3, {}, "expected the folder of the entries"),
        ("", {"state": "io"}, "entries with state= are not run one after the other"),
        (
            "",
            {"values": [{"decode.0.tokens": 3}]},
            "'decode.0.tokens', which is no input; did you mean 'decode.0.token'",
        ),
    ],
)
def test_wrong_checks_of_entries(tmp_path: Path, model: object, options: dict[str, object], says: str) -> None:
    save_onnx(ENTRIES, tmp_path)
    with pytest.raises(InputSpecError, match=re.escape(says)):
        check(tmp_path / model if isinstance(model, str) else model, ENTRIES, sizes=[1], kinds=["ordinary"], **options)


def test_what_takes_one_callable_says_so_of_entries() -> None:
    with pytest.raises(
        InputSpecError, match=r"\['prefill', 'decode'\] are several entries; save_onnx\(entries, path\)"
    ):
        to_onnx(ENTRIES, ["int32[B,T]"])
    with pytest.raises(InputSpecError, match="diagnose takes one entry"):
        diagnose("folder", ENTRIES, [])
