"""What is released is checked: a file too many, a file too few and other builds are found."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from jax2onnx.cli.main import cli

ROOT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "release.py"))
PROJECT = SCRIPT["Project"](
    name="acme-ops", version="1.2", sources=frozenset({"acme_ops/__init__.py", "acme_ops/py.typed"})
)
METADATA = b"""Metadata-Version: 2.4
Name: acme-ops
Version: 1.2
Summary: Operators.
License-Expression: Apache-2.0
Requires-Python: >=3.11

# acme-ops
"""
INFO = "acme_ops-1.2.dist-info"
CODE = {"acme_ops/__init__.py": b"", "acme_ops/py.typed": b""}
OF_WHEEL = {f"{INFO}/{name}": b"" for name in ("RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
WHEEL = {**CODE, **OF_WHEEL, f"{INFO}/METADATA": METADATA}
TOP = "acme_ops-1.2"
OF_SOURCE = {f"{TOP}/{name}": b"" for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore")}
SOURCE = {**{f"{TOP}/src/{name}": b"" for name in CODE}, **OF_SOURCE, f"{TOP}/PKG-INFO": METADATA}


def without(files, name):
    return {path: content for path, content in files.items() if path != name}


def test_what_is_complete_has_no_faults():
    assert SCRIPT["faults_of_wheel"](WHEEL, PROJECT) == []
    assert SCRIPT["faults_of_source"](SOURCE, PROJECT) == []


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (WHEEL | {"tests/test_a.py": b""}, "tests/test_a.py is outside of acme_ops/"),
        (WHEEL | {"acme_ops/__pycache__/a.pyc": b""}, "acme_ops/__pycache__/a.pyc is not in the repository"),
        (without(WHEEL, "acme_ops/py.typed"), "no acme_ops/py.typed"),
        (without(WHEEL, "acme_ops/__init__.py"), "acme_ops/__init__.py is missing"),
        (without(WHEEL, f"{INFO}/licenses/LICENSE"), "no licenses/LICENSE"),
        (without(WHEEL, f"{INFO}/METADATA"), "no METADATA"),
        (WHEEL | {f"{INFO}/direct_url.json": b""}, "direct_url.json does not belong there"),
        (WHEEL | {f"{INFO}/METADATA": METADATA.replace(b"1.2", b"1.3")}, "Version is '1.3', not '1.2'"),
        (WHEEL | {f"{INFO}/METADATA": METADATA.replace(b"Requires-Python: >=3.11\n", b"")}, "no Requires-Python"),
        (WHEEL | {f"{INFO}/METADATA": METADATA + b"[more](docs/a.md)"}, "the README links to docs/a.md"),
    ],
)
def test_faults_of_wheels(files, fault):
    assert any(fault in found for found in SCRIPT["faults_of_wheel"](files, PROJECT))


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (SOURCE | {f"{TOP}/tests/test_a.py": b""}, "tests/test_a.py does not belong there"),
        (SOURCE | {"b.txt": b""}, "b.txt is outside of acme_ops-1.2/"),
        (SOURCE | {f"{TOP}/src/acme_ops/stray.onnx": b""}, "acme_ops/stray.onnx is not in the repository"),
        (without(SOURCE, f"{TOP}/LICENSE"), "no LICENSE"),
        (without(SOURCE, f"{TOP}/PKG-INFO"), "no PKG-INFO"),
        (without(SOURCE, f"{TOP}/src/acme_ops/py.typed"), "acme_ops/py.typed is missing"),
    ],
)
def test_faults_of_source_distributions(files, fault):
    assert any(fault in found for found in SCRIPT["faults_of_source"](files, PROJECT))


def test_a_folder_without_distributions_and_with_a_stray_file(tmp_path):
    (tmp_path / "notes.txt").touch()
    faults = SCRIPT["check"](tmp_path)
    core = SCRIPT["project"](ROOT / "packages" / "jax2onnx-core").stem
    assert f"{core}-py3-none-any.whl: is missing" in faults
    assert f"{core}.tar.gz: is missing" in faults
    assert faults[-1] == "notes.txt is a stray file"


def test_builds_that_differ_are_told(tmp_path):
    for folder, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.whl").write_text(content)
    assert SCRIPT["same"](tmp_path / "a", tmp_path / "b") == []
    assert SCRIPT["same"](tmp_path / "a", tmp_path / "c") == ["x.whl: the two builds differ"]
    assert SCRIPT["same"](tmp_path / "a", tmp_path) == ["x.whl: the two builds differ"]


def test_all_distributions_have_the_same_metadata_where_it_has_to_be():
    read = [tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in SCRIPT["folders"]()]
    assert len(read) >= 7
    for key in ("urls", "license", "license-files", "requires-python"):
        assert all(one.get(key) == read[0].get(key) for one in read), key


def test_a_list_of_parts_names_no_folder_of_this_machine():
    text = '{"url": "file:///home/me/dist/a-1.whl", "other": "https://host.example/b-1.whl"}'
    assert SCRIPT["without_folders"](text) == '{"url": "a-1.whl", "other": "https://host.example/b-1.whl"}'


def test_addresses_are_written_once():
    text = (ROOT / "packages" / "jax2onnx-core" / "pyproject.toml").read_text()
    first = SCRIPT["with_urls"](text, "https://host.example/one")
    assert SCRIPT["with_urls"](first, "https://host.example/two/") == first.replace("/one", "/two")
    urls = tomllib.loads(first)["project"]["urls"]
    assert urls["Homepage"] == "https://host.example/one"
    assert set(urls) == set(SCRIPT["URLS"])
    assert "[tool." in first


def test_issue_forms_name_commands_that_exist():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert {"bug.yml", "unsupported.yml", "wrong-number.yml"} <= {form.name for form in forms}
    named = {name for form in forms for name in re.findall(r"jax2onnx ([a-z-]+)", form.read_text())}
    assert "list-plugins" in named
    assert named <= set(cli.commands)
