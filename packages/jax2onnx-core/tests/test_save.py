"""Saving: all of a model or nothing, with large weights beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from faulty_saves import model_of

from jax2onnx.checking.runtime import Runner
from jax2onnx.errors import SaveError
from jax2onnx.output import work_folder
from jax2onnx.output.external_data import locations
from jax2onnx.output.save import preflight, save
from jax2onnx.output.text_file import write_text

SUPPORT = str(Path(__file__).parent / "support")


def add_model(count: int, fill: float = 1.0) -> ir.Model:
    """``y = x + w`` with ``count`` float32 weights."""
    return model_of(fill, count)


def result(path: Path, count: int) -> float:
    onnx.checker.check_model(path, full_check=True)
    (y,) = Runner(path).run([np.zeros(count, np.float32)])
    assert (y == y[0]).all()
    return float(y[0])


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("proto", [False, True])
def test_one_file(tmp_path: Path, *, proto: bool) -> None:
    model = add_model(1000)
    save(ir.to_proto(model) if proto else model, tmp_path / "m.onnx")
    assert names(tmp_path) == ["m.onnx"]
    assert result(tmp_path / "m.onnx", 1000) == 1


def test_large_weights_go_beside_the_model(tmp_path: Path) -> None:
    model = add_model(1000)
    save(model, tmp_path / "m.onnx", external_data_threshold=100)
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "m.onnx.data").stat().st_size == 4000
    assert result(tmp_path / "m.onnx", 1000) == 1
    assert model.graph.initializers["w"].const_value.numpy()[0] == 1


@pytest.mark.parametrize("threshold", [100, 10**9])
def test_saving_again_leaves_no_stale_bytes(tmp_path: Path, threshold: int) -> None:
    path = tmp_path / "m.onnx"
    save(add_model(5000, 1), path, external_data_threshold=100)
    save(add_model(1000, 2), path, external_data_threshold=threshold)
    assert result(path, 1000) == 2
    if threshold == 100:
        assert (tmp_path / "m.onnx.data").stat().st_size == 4000
    else:
        assert names(tmp_path) == ["m.onnx"]


def test_a_file_of_that_name_that_is_not_the_models_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(add_model(10), path)
    (tmp_path / "m.onnx.data").write_text("mine")
    save(add_model(10), path)
    assert (tmp_path / "m.onnx.data").read_text() == "mine"


def test_weights_that_a_copy_of_the_earlier_model_reads_stay(tmp_path: Path) -> None:
    save(add_model(1000, 1), tmp_path / "m.onnx", external_data_threshold=100)
    shutil.copy(tmp_path / "m.onnx", tmp_path / "copy.onnx")
    save(add_model(1000, 2), tmp_path / "m.onnx")
    assert names(tmp_path) == ["copy.onnx", "m.onnx", "m.onnx.data"]
    assert [result(tmp_path / name, 1000) for name in ("copy.onnx", "m.onnx")] == [1, 2]


def test_a_model_loaded_from_the_path_can_be_saved_to_it(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(add_model(5000, 3), path, external_data_threshold=100)
    save(ir.load(path), path, external_data_threshold=100)
    assert result(path, 5000) == 3


def test_relative_paths_and_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    Path("link.onnx").symlink_to("real/m.onnx")
    save(add_model(5000, 4), "link.onnx", external_data_threshold=100)
    assert names(tmp_path / "real") == ["m.onnx", "m.onnx.data"]
    assert Path("link.onnx").is_symlink()
    assert result(tmp_path / "real" / "m.onnx", 5000) == 4


@pytest.mark.parametrize("act", [preflight, lambda p: save(add_model(10), p)])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none/m.onnx", "create it first"),
        (".", "add a name"),
        ("m.onnx/", "add a name"),
        ("x" * 300, "shorter name"),
        ("/proc/m.onnx", "choose"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path: Path, act: object, name: str, says: str) -> None:
    with pytest.raises(SaveError, match=says):
        act(os.path.join(tmp_path, name))  # noqa: PTH118 - Path drops the trailing slash
    assert names(tmp_path) == []


def test_preflight_leaves_nothing(tmp_path: Path) -> None:
    preflight(tmp_path / "m.onnx")
    assert names(tmp_path) == []


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


@pytest.fixture(scope="module")
def faulty() -> list[dict[str, object]]:
    """What became of saves that met a fault at each of their system calls."""
    program = [sys.executable, "-W", "error", f"{SUPPORT}/faulty_saves.py"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


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


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make devices")


def make_read_only(path: Path) -> None:
    path.write_text("mine")
    path.chmod(0o444)


def make_link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to("fifo")


def make_circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (make_fifo, "named pipe; name a regular file"),
        (make_socket, "socket; name a regular file"),
        (make_device, "device; name a regular file"),
        (Path.mkdir, "it is a folder; add a name"),
        (make_read_only, r"read-only; make it writable \(chmod u\+w\)"),
        (make_link_to_a_fifo, "named pipe; name a regular file"),
        (make_circle, "choose another name"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_file_to_replace_is_refused(tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "m.onnx"
    make(path)
    before = [(p.name, p.lstat().st_mode) for p in tmp_path.iterdir()]
    for act in (preflight, lambda p: save(add_model(10), p), lambda p: write_text("<svg/>", p, "picture")):
        with pytest.raises(SaveError, match=says):
            act(path)
    assert [(p.name, p.lstat().st_mode) for p in tmp_path.iterdir()] == before


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.mkdir, "'m.onnx.data' beside it, which is a folder"),
        (make_fifo, "which is a named pipe"),
        (lambda path: path.symlink_to("elsewhere"), "which is a symbolic link"),
        (lambda path: path.write_text("mine"), "does not belong to the model at this path"),
    ],
    ids=["folder", "fifo", "link", "file"],
)
@pytest.mark.parametrize("earlier", [False, True])
def test_what_stands_where_weights_go_stays(tmp_path: Path, make: object, says: str, *, earlier: bool) -> None:
    path = tmp_path / "m.onnx"
    if earlier:
        save(add_model(1000, 1), path)
    make(tmp_path / "m.onnx.data")
    with pytest.raises(SaveError, match=says):
        save(add_model(5000, 2), path, external_data_threshold=100)
    assert names(tmp_path) == (["m.onnx", "m.onnx.data"] if earlier else ["m.onnx.data"])
    save(add_model(5000, 2), path)  # weights that stay in the model
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    (tmp_path / "m.onnx.data").rename(tmp_path / "moved")
    save(add_model(5000, 2), path, external_data_threshold=100)
    assert result(path, 5000) == 2


def test_weights_that_are_read_only_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(add_model(5000, 1), path, external_data_threshold=100)
    (tmp_path / "m.onnx.data").chmod(0o444)
    with pytest.raises(SaveError, match="beside it, which is read-only"):
        save(add_model(5000, 2), path, external_data_threshold=100)
    assert result(path, 5000) == 1


@pytest.mark.parametrize("threshold", [100, 10**9])
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664])
def test_modes_stay(tmp_path: Path, threshold: int, mode: int) -> None:
    path, data = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    path.touch()
    path.chmod(mode)
    for fill in (1, 2):
        save(add_model(5000, fill), path, external_data_threshold=threshold)
        assert result(path, 5000) == fill
        for file in (path, data) if threshold == 100 else (path,):
            assert stat.S_IMODE(file.stat().st_mode) == mode


def test_new_files_have_the_mode_of_the_process(tmp_path: Path) -> None:
    save(add_model(5000), tmp_path / "m.onnx", external_data_threshold=100)
    write_text("", tmp_path / "other", "text")
    expected = (tmp_path / "other").stat().st_mode
    assert {p.stat().st_mode for p in tmp_path.iterdir()} == {expected}


def test_weights_that_do_not_change_are_not_written_again(tmp_path: Path) -> None:
    path, data = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    save(add_model(5000), path, external_data_threshold=100)
    before = data.stat().st_ino
    model = add_model(5000)
    model.graph.name = "another"
    save(model, path, external_data_threshold=100)
    assert data.stat().st_ino == before
    assert onnx.load(path).graph.name == "another"


@pytest.mark.parametrize(("name", "says"), [("m\0.onnx", "NUL"), ("m\udcff.onnx", "UTF-8")])
def test_names_that_cannot_be(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(SaveError, match=says):
        save(add_model(5000), tmp_path / name, external_data_threshold=100)
    assert names(tmp_path) == []


def test_a_path_of_bytes(tmp_path: Path) -> None:
    class Named:
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path / "m.onnx")

    save(add_model(10), Named())
    assert names(tmp_path) == ["m.onnx"]


def test_a_file_of_text_is_written_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "m.svg"
    path.write_text("earlier")
    with pytest.raises(UnicodeEncodeError):
        write_text("\udcff", path, "picture")
    assert path.read_text() == "earlier"
    write_text("<svg/>", path, "picture")
    assert path.read_text() == "<svg/>"
    assert names(tmp_path) == ["m.svg"]


def test_weights_are_streamed(tmp_path: Path) -> None:
    """Writing weights beside the model takes no memory of their size."""
    code = f"""
        import resource, sys
        sys.path.insert(0, {SUPPORT!r})
        from faulty_saves import model_of, save
        model = model_of(1, 25_000_000)
        save(model_of(1), {str(tmp_path / "warm.onnx")!r}, external_data_threshold=1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        save(model, {str(tmp_path / "m.onnx")!r}, external_data_threshold=1)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert (tmp_path / "m.onnx.data").stat().st_size == 100_000_000
    assert int(done.stdout) < 40


ARRAYS = {
    "plain": np.arange(600, dtype=np.float32).reshape(20, 30),
    "transposed": np.arange(600, dtype=np.float32).reshape(20, 30).T,
    "bfloat16": np.arange(600).astype(ml_dtypes.bfloat16),
    "int4": np.arange(3001).astype(ml_dtypes.int4),
    "bool": np.arange(2000) % 3 == 0,
    "complex": np.arange(300) * 1j,
    "small": np.float64(3),
    "empty": np.zeros((0, 2000), np.int64),
}


def test_a_file_of_one_piece_is_what_protobuf_would_write(tmp_path: Path) -> None:
    model = add_model(3)
    for name, array in ARRAYS.items():
        value = ir.Value(name=name, const_value=ir.Tensor(array, name=name))
        model.graph.register_initializer(value)
    lazy = ir.LazyTensor(lambda: ir.Tensor(ARRAYS["plain"]), dtype=ir.DataType.FLOAT, shape=ir.Shape((20, 30)))
    model.graph.register_initializer(ir.Value(name="lazy", const_value=lazy))
    model.graph.register_initializer(
        ir.Value(name="text", const_value=ir.StringTensor([b"a" * 2000], shape=ir.Shape((1,))))
    )
    save(model, tmp_path / "m.onnx")
    read = onnx.load(tmp_path / "m.onnx")
    expected = ir.to_proto(model)
    del expected.graph.value_info[:]  # of initializers
    assert read == expected
    save(read, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_a_file_of_one_piece_that_nobody_could_read(tmp_path: Path) -> None:
    model = add_model(1)
    whole = np.broadcast_to(np.float32(1), (2**29,))  # takes no memory
    model.graph.register_initializer(ir.Value(name="large", const_value=ir.Tensor(whole)))
    with pytest.raises(SaveError, match="more than 2 GiB, which protobuf does not read"):
        save(model, tmp_path / "m.onnx", external_data_threshold=2**32)
    assert names(tmp_path) == []
