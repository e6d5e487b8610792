"""Saves that meet faults, or each other: all of a model or nothing is saved."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import pytest
from faulty_saves import model_of
from saved_models import add_model, names, result

from jax2onnx.errors import SaveError
from jax2onnx.output import work_folder
from jax2onnx.output.external_data import locations
from jax2onnx.output.save import preflight, save

SUPPORT = str(Path(__file__).parents[1] / "support")


@pytest.mark.parametrize("missing", [1, 100, 1_900_000])
@pytest.mark.parametrize("threshold", [100, 10**9])
def test_a_full_disk(tmp_path: Path, threshold: int, missing: int) -> None:
    """What is written up to the limit disappears; the earlier model stays."""
    path = tmp_path / "m.onnx"
    save(model_of(2, 500_000), path, external_data_threshold=threshold)
    limit = max(p.stat().st_size for p in tmp_path.iterdir()) - missing
    save(add_model(5000, 1), path, external_data_threshold=threshold)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    code = f"""
        import resource, signal, sys
        sys.path.insert(0, {SUPPORT!r})
        from faulty_saves import SaveError, model_of, save
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
        try:
            save(model_of(2, 500_000), {str(path)!r}, external_data_threshold={threshold})
        except SaveError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert re.search("allows no file of that size|free some space", done.stdout)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def refuse_moves(monkeypatch: pytest.MonkeyPatch, numbers: range) -> None:
    """Make the operating system refuse some of the moves from now on."""
    original = Path.replace
    count = 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count in numbers:
            raise PermissionError(1, "no")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("move", range(1, 5))
def test_both_files_stay_if_one_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move: int) -> None:
    path = tmp_path / "m.onnx"
    save(add_model(5000, 1), path, external_data_threshold=100)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    refuse_moves(monkeypatch, range(move, move + 1))
    with pytest.raises(SaveError, match="no; choose"):
        save(add_model(1000, 2), path, external_data_threshold=100)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_model_that_got_no_further_than_its_work_folder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process were killed after the first of the moves: nothing is moved, or moved back, any more."""
    path = tmp_path / "m.onnx"
    save(add_model(5000, 1), path, external_data_threshold=100)
    refuse_moves(monkeypatch, range(2, 99))
    with pytest.raises(SaveError):
        save(add_model(1000, 2), path, external_data_threshold=100)
    monkeypatch.undo()
    (folder,) = [name for name in names(tmp_path) if name.endswith(".jax2onnx")]
    assert locations(path) == {f"{folder}/m.onnx.data"}
    assert result(path, 1000) == 2
    preflight(path)
    assert result(path, 1000) == 2
    save(add_model(1000, 3), path, external_data_threshold=100)
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    assert result(path, 1000) == 3


OF_ONE_PROCESS = pytest.mark.xdist_group("faulty saves")
"""The saves below take longer than all tests of them."""


@pytest.fixture(scope="module")
def faulty() -> list[dict[str, object]]:
    """What became of saves that met a fault at each of their system calls."""
    program = [sys.executable, "-W", "error", f"{SUPPORT}/faulty_saves.py"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@OF_ONE_PROCESS
@pytest.mark.parametrize("fault", ["kill", "interrupt", "error", "errors"])
def test_a_fault_at_any_system_call(faulty: list[dict[str, object]], fault: str) -> None:
    """The earlier model or the new one stands there, with its own weights (else the program fails): never a mixture."""
    met = [record for record in faulty if record["fault"] == fault]
    steps = Counter((record["earlier"], record["new"]) for record in met)
    assert len(steps) == 6
    assert min(steps.values()) >= 5
    for record in met:
        earlier = None if record["earlier"] == "nothing" else 1
        assert record["found"] in {earlier, 2}, record
        hidden = [name for name in record["others"] if name != "m.onnx.data"]
        if record["end"] == "done":
            assert record["found"] == 2, record
        if record["end"] == "SaveError" and fault == "error":
            assert record["found"] == earlier, record
        if fault == "interrupt" or (fault == "error" and record["end"] == "SaveError"):
            assert hidden == [], record


@OF_ONE_PROCESS
def test_the_next_save_removes_what_a_fault_left(faulty: list[dict[str, object]]) -> None:
    left = [record for record in faulty if any(name.startswith(".") for name in record["others"])]
    assert len(left) > 100
    for record in faulty:
        assert record["found again"] == 3, record
        assert record["others again"] == (["m.onnx.data"] if record["new"] == "data" else []), record


def test_only_leftovers_of_this_file_whose_process_is_gone_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with work_folder.work_folder(path) as running, work_folder.work_folder(tmp_path / "n.onnx") as another:
        shutil.copytree(running, tmp_path / running.name.replace(".jax2onnx", "x.jax2onnx"))
        shutil.copytree(another, tmp_path / another.name.replace(".jax2onnx", "x.jax2onnx"))
        (tmp_path / ".m.onnx.mine").mkdir()
        save(add_model(10), path)
        kept = {running.name, another.name, another.name.replace(".jax2onnx", "x.jax2onnx"), ".m.onnx.mine", "m.onnx"}
        assert set(names(tmp_path)) == kept


def test_saves_of_one_path_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    errors = []

    def work(fill: int) -> None:
        try:
            for _ in range(8):
                save(add_model(1000, fill), path, external_data_threshold=100 if fill < 3 else 10**9)
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(fill,)) for fill in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = result(path, 1000)
    assert names(tmp_path) == (["m.onnx"] if found == 3 else ["m.onnx", "m.onnx.data"])


def test_a_folder_in_use_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_folder, "_PATIENCE", 0.05)
    with work_folder.locked(tmp_path), pytest.raises(SaveError, match="another process is saving"):
        save(add_model(10), tmp_path / "m.onnx")
    save(add_model(10), tmp_path / "m.onnx")
    assert names(tmp_path) == ["m.onnx"]


def test_an_interrupt_just_before_a_lock_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not wait for itself at the next save, and what was left is removed by it."""
    path = tmp_path / "m.onnx"
    save(add_model(1000, 1), path, external_data_threshold=100)
    original = work_folder._unlock
    interrupts = [KeyboardInterrupt()]

    def unlock(lock: int | None) -> None:
        if interrupts:
            raise interrupts.pop()
        original(lock)

    monkeypatch.setattr(work_folder, "_PATIENCE", 0.05)
    monkeypatch.setattr(work_folder, "_unlock", unlock)
    with pytest.raises(KeyboardInterrupt):
        save(add_model(1000, 2), path, external_data_threshold=100)
    save(add_model(1000, 3), path, external_data_threshold=100)
    assert result(path, 1000) == 3
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_a_save_without_file_descriptors_leaves_nothing(tmp_path: Path, free: int) -> None:
    code = f"""
        import contextlib, os, resource, sys
        sys.path.insert(0, {SUPPORT!r})
        from faulty_saves import SaveError, model_of, save
        save(model_of(2, 500_000), "first.onnx")
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        held = []
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for descriptor in held[: {free}]:
            os.close(descriptor)
        with contextlib.suppress(SaveError):
            save(model_of(2, 500_000), "second.onnx")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert "first.onnx" in left
    assert left <= {f"{name}.onnx{suffix}" for name in ("first", "second") for suffix in ("", ".data")}
