"""Places where no model can be saved: what is there stays."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from saved_models import add_model, names, result

from jax2onnx.errors import SaveError
from jax2onnx.output.save import preflight, save
from jax2onnx.output.text_file import write_text


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
