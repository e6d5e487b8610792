"""The command line's ``new-plugin``: write the project of a plugin, with a rule, a fusion, examples and tests."""

from __future__ import annotations

import datetime as dt
import importlib.resources
import importlib.util
import keyword
import re
import string
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click
from packaging.utils import canonicalize_name

from jax2onnx.cli.shared_options import PATH
from jax2onnx.cli.terminal import say
from jax2onnx.errors import SaveError
from jax2onnx.plugin.installed import entry_points, find
from jax2onnx.plugin.loader import GROUP

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["new_plugin", "render"]

_NAME = re.compile(r"[a-z0-9]|[a-z0-9][a-z0-9._-]*[a-z0-9]", re.IGNORECASE)
"""Names of distributions, as PEP 508 has them."""
_SUFFIX = ".tmpl"


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--folder",
    type=PATH,
    help="Where to write it: a new or an empty folder.  [default: NAME]",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def new_plugin(*, name: str, folder: Path | None) -> None:
    """Write the project of a plugin with the distribution name NAME, ready to be installed and tested.

    It has a rule for a primitive of its own, a fusion, examples, tests, a CI file, a README and a licence.
    """
    folder = Path(name) if folder is None else folder
    count = render(name, folder)
    say(f"{folder}: {count} files")
    say(f"next: cd {folder} && pip install -e '.[test]' && pytest")


def render(name: str, folder: Path) -> int:
    """Write the project of a plugin to a new or an empty folder, all of it or nothing; return the number of files.

    Raises:
        UsageError: the name cannot be one of a distribution with a module of this name, or the folder is not empty.
        SaveError: the folder could not be written.
    """
    values = _values(name)
    templates = importlib.resources.files(__package__) / "templates" / "plugin"
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise click.UsageError(f"--folder: {str(folder)!r} exists and is no empty folder; name another one")
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
            made = Path(work) / "project"
            count = 0
            for path, text in _templates(templates, PurePosixPath()):
                target = made / string.Template(str(path).replace("__module__", "$module")).substitute(values)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(string.Template(text).substitute(values), encoding="utf-8")
                count += 1
            folder.mkdir(exist_ok=True)
            for entry in made.iterdir():
                entry.rename(folder / entry.name)
    except OSError as error:
        raise SaveError(f"{folder}: {error.strerror or error}; name a folder that can be written") from error
    return count


def _values(name: str) -> dict[str, str]:
    """Return what the templates' variables stand for."""
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"NAME: {name!r} is no name of a distribution; use ASCII letters, digits, '-', '_' and '.', and begin and "
            "end with a letter or a digit"
        )
    plugin = canonicalize_name(name)
    module = plugin.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise click.UsageError(
            f"NAME: {module!r} is no name of a Python module; begin with a letter, such as my-plugin"
        )
    if module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise click.UsageError(f"NAME: there is a module {module!r} already; use another name")
    if find(plugin) is not None:
        raise click.UsageError(f"NAME: the distribution {plugin!r} is installed already; use another name")
    if plugin in {entry.name for entry, _ in entry_points(GROUP)}:
        raise click.UsageError(f"NAME: there is a plugin {plugin!r} already; use another name")
    core = version("jax2onnx-core").split(".")
    lower, upper = f"{core[0]}.{core[1]}", f"{core[0]}.{int(core[1]) + 1}"
    return {
        "name": name,
        "plugin": plugin,
        "module": module,
        "requirement": f">={lower},<{upper}",
        "year": str(dt.datetime.now(tz=dt.UTC).year),
    }


def _templates(folder: Traversable, below: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the path of each file of the project, with variables in it, and its template."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = re.sub(r"^dot_", ".", entry.name)
        if entry.is_dir():
            yield from _templates(entry, below / name)
        elif name.endswith(_SUFFIX):
            yield below / name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")
