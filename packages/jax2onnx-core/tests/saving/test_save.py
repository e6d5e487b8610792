"""Saving: what stands in a folder after it, with large weights beside the model."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from saved_models import add_model, names, result

from jax2onnx.errors import SaveError
from jax2onnx.output.save import save
from jax2onnx.output.text_file import write_text

SUPPORT = str(Path(__file__).parents[1] / "support")


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
