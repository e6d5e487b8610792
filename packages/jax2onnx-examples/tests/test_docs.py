"""Every code block of the README and of docs/ is run."""

import importlib
import re
import runpy
import textwrap
import tomllib
import warnings
from pathlib import Path

import click
import jax
import pytest
from releases import installed

import jax2onnx
import jax2onnx.plugin
import jax2onnx.testing
from jax2onnx.cli import main as cli
from jax2onnx.options import CheckOptions, ExportOptions
from jax2onnx.plugin import hookspecs
from jax2onnx.plugin import loader as plugins

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:py|toml))\n")
"""How a block begins that is a file."""
SET_UP = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s "


def blocks(page):
    return FENCE.findall(page.read_text())


def with_blocks():
    return [page for page in PAGES if blocks(page)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.reset()
    yield tmp_path
    plugins.reset()


def write(folder, name, source):
    """Store a block that says which file it is, and install what a pyproject.toml describes."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    if name == "pyproject.toml":
        project = tomllib.loads(source)["project"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "\n".join(
                ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
                + [f"Requires-Dist: {r}" for r in project["dependencies"]]
            )
        )
        ((group, entries),) = project["entry-points"].items()
        lines = [f"{k} = {v}" for k, v in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
        plugins.reset()


def run_python(source, namespace):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(source, "block", "exec"), namespace)
    # The quick start's module is in training mode, and says so; nothing else warns.
    expected = 1 if "nnx.BatchNorm" in source else 0
    assert len(caught) == expected, [str(w.message) for w in caught]


def run_shell(source, folder, capsys):
    for line in source.splitlines():
        if line.startswith("jax2onnx "):
            with pytest.raises(SystemExit) as ended:
                cli.main([word.strip("'") for word in line.split()[1:]])
            assert not ended.value.code, capsys.readouterr().err
        elif line.startswith("pip install "):
            named = re.findall(r"\./packages/(\S+)|dist/(\w+)-\*\.whl", line)
            assert len(named) == len(line.split()) - 2
            folders = [ROOT / "packages" / (folder or wheel.replace("_", "-")) for folder, wheel in named]
            assert all((folder / "pyproject.toml").exists() for folder in folders)
        else:
            assert line.startswith(SET_UP), f"this test does not know how to run {line!r}"
            session = line.removeprefix(SET_UP)
            assert f"def {session}(" in (ROOT / "noxfile.py").read_text()


def run_suites(module):
    """Run what pytest would run of a test file."""
    suites = [kind for name, kind in vars(module).items() if name.startswith("Test")]
    assert suites
    for suite in suites:
        trials = list(suite().trials())
        assert trials, suite().lacking()
        for trial in trials:
            trial.run()


def javascript_of_examples():
    """Return what the pages of examples/browser have between their script tags, without the margin."""
    pages = sorted(ROOT.glob("examples/browser/*.html"))
    script = re.compile(r'<script type="module">\n(.*?)^ *</script>', re.MULTILINE | re.DOTALL)
    scripts = [script.search(page.read_text(encoding="utf-8")) for page in pages]
    return "\n".join(textwrap.dedent(found[1]) for found in scripts)


def test_pages_are_found():
    assert {page.name for page in with_blocks()} >= {"README.md", "plugins.md"}


@pytest.mark.parametrize("page", with_blocks(), ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks(page, folder, capsys):
    namespace = {"__name__": "block"}
    first = next((source for language, source in blocks(page) if language == "python"), "")
    if page == ROOT / "README.md":
        made = first.replace("save_onnx(MLP(", "mlp = (MLP(")
        made = made.replace(", [('B', 30)], 'jax_callable.onnx')", ")\nmlp.eval()")
        write(folder, "mymodels.py", made)
    files = {named[1]: named.string for _, source in blocks(page) if (named := FILE.match(source))}
    for name, source in files.items():
        write(folder, name, source)
    for language, source in blocks(page):
        if FILE.match(source):
            continue
        if language == "python":
            run_python(source, namespace)
        elif language == "sh":
            run_shell(source, folder, capsys)
        elif language == "py":
            assert page.name in {
                "frameworks.md",
                "language-models.md",  # the tests of jax2onnx-ortgenai run it
                "migrating.md",
                "operators.md",
            }  # need libraries that tests/frameworks has
        elif language == "js":
            # A browser runs it: the page of browser.md, or a part of a page of examples/browser.
            assert page.name == "browser.md" or source in javascript_of_examples()
        else:
            pytest.fail(f"this test does not know how to run {language!r}")
    for name in files:
        if name.startswith("my_plugin/test_"):
            run_suites(importlib.import_module(name.removesuffix(".py").replace("/", ".")))
    if page == ROOT / "README.md":
        assert (folder / "jax_callable.onnx").stat().st_size > 0


def test_the_readme_has_two_set_up_commands_and_ci_calls_the_second():
    lines = [line for _, source in blocks(ROOT / "README.md") for line in source.splitlines()]
    assert [line.removeprefix(SET_UP) for line in lines if line.startswith(SET_UP)] == ["quickstart", "tests"]
    called = (ROOT / ".ci" / "run").read_text()
    assert "python3 -m venv .venv && .venv/bin/pip install --quiet nox && .venv/bin/nox --no-color -s tests" in called


def test_the_map_of_the_code_is_current():
    script = runpy.run_path(str(ROOT / "scripts" / "code_map.py"))
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert script["updated"](page) == page, "run python scripts/code_map.py"


def test_the_table_of_wrong_calls_is_the_current_one():
    script = runpy.run_path(str(ROOT / "scripts" / "error_table.py"))
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert script["page"]() == page, "run python scripts/error_table.py"


@pytest.mark.skipif(installed(jax, "<0.10"), reason="the directory lists primitives that this jax lacks")
def test_the_directory_of_plugins_is_the_current_one():
    script = runpy.run_path(str(ROOT / "scripts" / "plugin_directory.py"))
    entries = script["current"]()
    assert script["directory"](entries) == script["DIRECTORY"].read_text(), "run python scripts/plugin_directory.py"
    assert script["page"](entries) == script["PAGE"].read_text(), "run python scripts/plugin_directory.py"
    first_party = {path.name for path in (ROOT / "packages").glob("jax2onnx-*")} - {"jax2onnx-core"}
    assert first_party <= {entry["distribution"] for entry in entries}


def test_the_reference_is_the_current_one():
    script = runpy.run_path(str(ROOT / "scripts" / "reference_pages.py"))
    for name, text in script["pages"]().items():
        assert (script["FOLDER"] / name).read_text(encoding="utf-8") == text, "run python scripts/reference_pages.py"


def commands(command, words=("jax2onnx",)):
    yield " ".join(words), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def public_names():
    """Everything that a user can name: functions, options, hooks, commands and their options, variables, errors."""
    yield from (f"`{name}`" for module in (jax2onnx, jax2onnx.plugin, jax2onnx.testing) for name in module.__all__)
    yield from (f"`{name}`" for name, value in vars(jax2onnx.errors).items() if isinstance(value, type))
    yield from (f"- `{name}` (" for name in {**ExportOptions.__annotations__, **CheckOptions.__annotations__})
    yield from (f"`{name}(" for name in vars(hookspecs) if name.startswith("jax2onnx_"))
    for path, command in commands(cli.cli):
        yield f"`{path}`"
        yield from (f"`{option}`" for p in command.params if isinstance(p, click.Option) for option in p.opts)
    for source in sorted((ROOT / "packages" / "jax2onnx-core" / "src").rglob("*.py")):
        yield from (f"`{name}" for name in re.findall(r"JAX2ONNX_[A-Z_]+", source.read_text(encoding="utf-8")))


def test_every_public_name_command_option_hook_and_variable_is_documented():
    names = set(public_names())
    assert len(names) > 150
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in names if name not in text} == set()


def test_every_hook_says_which_version_added_it():
    for name, hook in vars(hookspecs).items():
        if name.startswith("jax2onnx_"):
            assert re.search(r"^\s*Added in \d+\.\d+\.$", hook.__doc__, re.MULTILINE), name


def test_the_site_has_every_page_and_every_link_leads_somewhere(tmp_path):
    script = runpy.run_path(str(ROOT / "scripts" / "site.py"))
    script["collect"](tmp_path / "pages")  # raises SystemExit for a link that leads nowhere
    pages = {path.relative_to(tmp_path / "pages").with_suffix("").as_posix() for path in tmp_path.rglob("*.md")}
    assert pages == script["listed"]() - {"adr/0000-template"}, "list each page in NAVIGATION of scripts/site.py"
