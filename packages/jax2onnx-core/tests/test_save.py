"""Saving: all of a model or nothing, with large weights beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from jax2onnx.checking.runtime import Runner
from jax2onnx.errors import SaveError
from jax2onnx.output.save import preflight, save


def add_model(count: int, fill: float = 1.0) -> ir.Model:
    """``y = x + w`` with ``count`` float32 weights."""
    tensor = ir.tensor(np.full(count, fill, np.float32), name="w")
    float32 = ir.TensorType(ir.DataType.FLOAT)
    w = ir.Value(name="w", type=float32, shape=tensor.shape, const_value=tensor)
    x = ir.Value(name="x", type=float32, shape=ir.Shape([count]))
    y = ir.Value(name="y", type=float32, shape=ir.Shape([count]))
    node = ir.Node("", "Add", [x, w], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 23}, name="g")
    return ir.Model(graph, ir_version=10)


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


@pytest.mark.parametrize("threshold", [100, 10**9])
def test_a_full_disk(tmp_path: Path, threshold: int) -> None:
    """What is written up to the limit disappears; the earlier model stays."""
    path = tmp_path / "m.onnx"
    save(add_model(5000, 1), path, external_data_threshold=threshold)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    code = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_save import SaveError, add_model, save
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            save(add_model(500_000, 2), {str(path)!r}, external_data_threshold={threshold})
        except SaveError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert re.search("allows no file of that size|free some space", done.stdout)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_data_file_comes_back_if_the_model_file_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    save(add_model(5000, 1), path, external_data_threshold=100)
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target == path:
            raise PermissionError(1, "no")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(SaveError):
        save(add_model(1000, 2), path, external_data_threshold=100)
    monkeypatch.undo()
    assert result(path, 5000) == 1
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


def test_weights_are_streamed(tmp_path: Path) -> None:
    """Writing weights beside the model takes no memory of their size."""
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_save import add_model, save
        model = add_model(25_000_000)
        save(add_model(1000), {str(tmp_path / "warm.onnx")!r}, external_data_threshold=1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        save(model, {str(tmp_path / "m.onnx")!r}, external_data_threshold=1)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert (tmp_path / "m.onnx.data").stat().st_size == 100_000_000
    assert int(done.stdout) < 40
