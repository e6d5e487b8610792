"""``new-plugin``: the project that it writes has tests that pass, and a wrong call writes nothing."""

from __future__ import annotations

import pytest

from jax2onnx.cli import main as cli
from jax2onnx.plugin import loader
from jax2onnx.testing import TemporaryPlugins


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["new-plugin", *arguments])
    return ended.value.code or 0


def test_its_tests_pass(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("Acme.Ops") == 0
    project = tmp_path / "Acme.Ops"
    files = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    assert f"Acme.Ops: {len(files)} files" in capsys.readouterr().out
    assert {"LICENSE", "README.md", "pyproject.toml", ".github/workflows/tests.yml"} <= set(files)
    text = "".join(path.read_text() for path in project.rglob("*") if path.is_file())
    assert "__module__" not in text
    assert "$" not in text.replace("${{ matrix.python }}", "")
    with TemporaryPlugins(tmp_path / "site", beside=["lax"]) as plugins:
        plugins.install(project)
        assert {info.name: info.status for info in loader.load().infos} == {"lax": "ok", "acme-ops": "ok"}
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", "-c", f"{project}/pyproject.toml"]
        assert pytest.main([*options, str(project)]) == 0, capsys.readouterr().out
    found = capsys.readouterr().out
    assert " passed" in found
    assert "skipped" not in found


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "no name of a distribution"),
        ("-a", "no name of a distribution"),
        ("a/b", "no name of a distribution"),
        ("é", "no name of a distribution"),
        ("1a", "no name of a Python module"),
        ("class", "no name of a Python module"),
        ("json", "there is a module 'json' already"),
        ("lax", "there is a plugin 'lax' already"),
        ("JAX2ONNX_lax", "there is a module 'jax2onnx_lax' already"),
    ],
)
def test_a_wrong_name_writes_nothing(tmp_path, monkeypatch, capsys, name, says):
    monkeypatch.chdir(tmp_path)
    assert call("--", name) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_only_a_new_or_an_empty_folder_is_written(tmp_path, capsys):
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "mine").touch()
    file.touch()
    for folder in (full, file):
        assert call("acme", "--folder", str(folder)) == 2
        assert "exists and is no empty folder" in capsys.readouterr().err
    assert call("acme", "--folder", str(tmp_path / "missing" / "inner")) == 1
    assert "name a folder that can be written" in capsys.readouterr().err
    assert [path.name for folder in (full, empty) for path in folder.iterdir()] == ["mine"]
    assert call("acme", "--folder", str(empty)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]
    assert (empty / "src" / "acme" / "plugin.py").is_file()
