"""Write docs/reference/ from docstrings, signatures and click's commands: `python scripts/reference_pages.py`."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import jax2onnx
from jax2onnx import errors, plugin, testing
from jax2onnx.cli.main import cli
from jax2onnx.legalise.targets import OLDEST
from jax2onnx.legalise.targets.released import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
WRITTEN = "Written by `scripts/reference_pages.py`"
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):\n((?:    .*\n|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^    (?=\S)", re.MULTILINE)
ROLE = re.compile(r":(?:\w+):`~?([\w.]+)`")
PLAIN = (int, float, str, bool, type(None), tuple, frozenset)

API = f"""# The Python interface

{WRITTEN} from the docstrings of `jax2onnx`. What is not on this page or on
[that for plugins](plugin-api.md) may change without notice ([what is public](../explanation/versions.md)). For each
error there is the smallest program that raises it, and its fix: [errors](../errors.md).

"""
FURTHER = (
    ("jax2onnx.fusion.report", "FusionReport"),
    ("jax2onnx.fusion.report", "Finding"),
    ("jax2onnx.fusion.report", "Miss"),
    ("jax2onnx.fusion.report", "Expansion"),
    ("jax2onnx.fusion.report", "Result"),
    ("jax2onnx.checking.compare", "CheckReport"),
    ("jax2onnx.checking.compare", "OutputReport"),
    ("jax2onnx.inspect.summary", "summarise"),
    ("jax2onnx.inspect.summary", "Summary"),
    ("jax2onnx.inspect.picture", "svg"),
)
"""What the functions return, and functions in modules of their own."""
PLUGIN_API = f"""# What plugins and their tests import

{WRITTEN} from the docstrings of `jax2onnx.plugin` and `jax2onnx.testing`.
[Writing a plugin](../plugins.md) tells how the parts belong together; the [hooks](hooks.md) have a page of their own.

"""
RELEASES = f"""# Releases of onnxruntime

{WRITTEN} from what the targets know: what a release computes otherwise than ONNX says, and later ones
do not. A model for a [range of versions](../guides/runtimes.md) avoids what any of them does, and the default one what
the releases since {OLDEST} do. What is wrong in the newest release too is in [numerics](../numerics.md) and
[the optimiser's faults](../coverage/optimiser.md).

| Releases | What they do | What a model does about it, or a user |
|---|---|---|
"""
CLI = f"""# The command line

{WRITTEN} from the commands. `python -m jax2onnx` is the same as `jax2onnx`.

Exit code 0: done. 1: the export or the check failed, or something is missing. 2: the call is wrong.

"""


def markdown(text: str) -> str:
    """Return the text of a docstring as Markdown."""
    text = re.sub(r"::\n", ":\n", ROLE.sub(lambda m: f"`{m[1].rpartition('.')[2]}`", text))
    return text.replace("``", "`")


def one_line(text: str) -> str:
    """Return an entry of a docstring on one line."""
    return " ".join(markdown(text).split())


def described(doc: str, parameters: dict[str, str]) -> Iterator[str]:
    """Yield the paragraphs of a docstring; its sections become lists."""
    doc += "\n"
    sections = {match[1]: match[2] for match in SECTION.finditer(doc)}
    text = markdown(SECTION.sub("", doc)).strip()
    if text:
        yield text
    for title, body in sections.items():
        entries = [one_line(entry) for entry in ENTRY.split(body) if entry.strip()]
        if title in {"Returns", "Yields"}:
            yield f"{title}: {' '.join(entries)}"
            continue
        heading = {"Args": "Parameters", "Raises": "Errors", "Attributes": "Attributes"}[title]
        lines = []
        for entry in entries:
            name, _, rest = entry.partition(": ")
            lines.append(f"- `{name}`{parameters.get(name.lstrip('*'), '')}: {rest}")
        yield f"{heading}:\n\n" + "\n".join(lines)


def annotation(value: Any) -> str:
    """Return an annotation as it is written in the code."""
    if value is inspect.Parameter.empty:
        return ""
    return value if isinstance(value, str) else inspect.formatannotation(value)


def default(value: Any) -> str:
    """Return a default as text; values without a short text are an ellipsis."""
    if isinstance(value, frozenset):
        return "frozenset()" if not value else "…"
    return repr(value) if isinstance(value, PLAIN) else "…"


def parameters_of(function: Any) -> tuple[str, dict[str, str]]:
    """Return the parameters as in a call, and what is said of each: its type and its default."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return "", {}
    names, notes, keywords = [], {}, False
    for parameter in signature.parameters.values():
        if parameter.name == "self" or parameter.name.startswith("_"):
            continue
        shown = str(parameter.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty))
        has_default = parameter.default is not inspect.Parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            if not any(name.startswith("*") for name in names):
                names.append("*")
        keywords |= parameter.kind is parameter.VAR_POSITIONAL
        names.append(f"{shown}={default(parameter.default)}" if has_default else shown)
        written = annotation(parameter.annotation)
        parts = [f"`{written}`"] if written else []
        if has_default:
            parts.append(f"default `{default(parameter.default)}`")
        notes[parameter.name] = f" ({', '.join(parts)})" if parts else ""
    return ", ".join(names), notes


@functools.cache
def sayings(module: str) -> dict[str, str]:
    """Return the docstrings after the assignments of a module."""
    source = inspect.getsource(importlib.import_module(module))
    body = ast.parse(source).body
    found = {}
    for statement, after in itertools.pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if is_text and isinstance(targets[0], ast.Name):
            found[targets[0].id] = str(after.value.value)
    return found


def aliases(module: str, text: str) -> Iterator[str]:
    """Yield a line for each described name of a type that a text has, of those that a module defines."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    said = sayings(module)
    for statement in body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            continue
        name = statement.target.id
        if ast.unparse(statement.annotation) == "TypeAlias" and re.search(rf"\b{name}\b", text) and name in said:
            told = " ".join(markdown(said[name]).split())
            yield f"- `{name}` is `{ast.unparse(statement.value)}`. {told}"


def code(call: str) -> str:
    """Return a call as a block of code."""
    lines = textwrap.wrap(call, 92, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"    {line}" for line in lines)


def members(kind: type, level: str) -> Iterator[str]:
    """Yield the public methods and properties that a class of ours defines, itself or in a private base."""
    owners = [kind, *(base for base in kind.__mro__[1:] if base.__name__.startswith("_"))]
    found: dict[str, Any] = {}
    for owner in owners:
        found = {**vars(owner), **found}
    for name, value in found.items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if name.startswith("_") or not (inspect.isfunction(function) or isinstance(value, property)):
            continue
        yield f"{level}# `{kind.__name__}.{name}`"
        notes = {}
        if not isinstance(value, property):
            call, notes = parameters_of(function)
            yield code(f"{name}({call})")
        yield from described(inspect.getdoc(function) or "", notes)


def entry(name: str, value: Any, modules: tuple[str, ...], level: str = "##") -> Iterator[str]:
    """Yield the paragraphs about one name."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        said = next((sayings(module)[name] for module in modules if name in sayings(module)), "")
        shown = f" It is `{value!r}`." if isinstance(value, int | str) else ""  # others differ between versions
        yield f"{level} `{name}`"
        yield (markdown(said) + shown).strip() or "A type, for annotations."
        return
    if not value.__module__.startswith("jax2onnx"):
        yield f"{level} `{name}`"
        kind = "class" if inspect.isclass(value) else "function"
        yield f"JAX's own {kind} `{value.__name__}`, from wherever the installed version has it."
        return
    call, notes = parameters_of(value)
    bases = [base.__name__ for base in getattr(value, "__bases__", ()) if base is not object]
    is_error = value.__module__ == errors.__name__
    yield f"{level} `{name}`"
    if not is_error:
        yield code(f"{name}({call})")
    elif bases != ["Exception"]:
        yield f"A kind of {' and of '.join(f'`{base}`' for base in bases)}."
    fields = getattr(value, "__dataclass_fields__", {})
    yield from described(inspect.getdoc(value) or "", notes)
    if is_error:
        if value is errors.Jax2OnnxError:
            return
        anchor = f"{value.code}-{value.__name__}".lower()
        yield f"Code: [{value.code}](../errors.md#{anchor})"
        return
    if fields and "Attributes" not in (inspect.getdoc(value) or ""):
        listed = [f"- `{field}`{notes.get(field, '')}" for field in fields if not field.startswith("_")]
        yield "Fields:\n\n" + "\n".join(listed)
    named = list(aliases(value.__module__, " ".join(map(str, notes.values()))))
    if named:
        yield "Types in the signature:\n\n" + "\n".join(named)
    if inspect.isclass(value):
        yield from members(value, level)


def names_page(introduction: str, packages: dict[str, ModuleType]) -> str:
    """Return a page about the public names of packages."""
    parts = [introduction.strip()]
    for title, module in packages.items():
        parts.append(f"## {title}")
        parts.append(markdown(inspect.getdoc(module) or ""))
        modules = tuple(f"jax2onnx.{name}" for name in module._MODULES)  # noqa: SLF001 - where its names are
        for name in module.__all__:
            parts += entry(name, getattr(module, name), modules, "###")
    return "\n\n".join(filter(None, parts)) + "\n"


def api() -> str:
    """Return the page about ``jax2onnx`` itself."""
    parts = [API.strip()]
    for name in jax2onnx.__all__:
        value = getattr(jax2onnx, name)
        if name == "__version__":
            parts += [f"## `{name}`", "The version of `jax2onnx-core`, a string. All distributions share it."]
        elif name == "hookimpl":
            parts += [f"## `{name}`", "The decorator of the functions that implement [hooks](hooks.md) in a plugin."]
        elif inspect.ismodule(value):
            parts += [f"## `{name}`", "The module with [every error](#errors_1) that jax2onnx raises."]
        else:
            parts += entry(name, value, ())
    parts.append("## Reports and pictures")
    for module, name in FURTHER:
        parts.append(f"`from {module} import {name}`:")
        found = list(entry(name, getattr(importlib.import_module(module), name), (), "###"))
        parts[-1:] = [found[0], parts[-1], *found[1:]]
    parts.append("## Errors")
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__:
            parts += entry(value.__name__, value, (), "###")
    return "\n\n".join(filter(None, parts)).replace("[every error](#errors_1)", "every error") + "\n"


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and those below it, with their names."""
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, f"{path} {name}")


def option(parameter: click.Option) -> str:
    """Return the line about an option."""
    written = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    kind = parameter.type
    choices = " or ".join(f"`{choice}`" for choice in kind.choices) if isinstance(kind, click.Choice) else ""
    metavar = f" `{parameter.metavar or kind.name.upper()}`" if not parameter.is_flag and not choices else ""
    value = parameter.default
    plain = not parameter.is_flag and not parameter.multiple and isinstance(value, int | str)
    told = f" Default: `{value}`." if plain else ""
    text = " ".join((parameter.help or "").split())
    return f"- {written}{metavar}{f' {choices}' if choices else ''}: {text.rstrip('.')}.{told}"


def command_line() -> str:
    """Return the page about the command line."""
    parts = [CLI.strip()]
    for path, command in commands(cli, "jax2onnx"):
        parts.append(f"## `{path}`")
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        words = [str(argument.metavar or argument.name.upper()) for argument in arguments if argument.name]
        tail = "COMMAND …" if isinstance(command, click.Group) else ""
        parts.append("    " + " ".join(filter(None, [path, *words, "[OPTIONS]", tail])))
        parts.append(inspect.cleandoc(command.help or ""))
        options = [option(p) for p in command.params if isinstance(p, click.Option) and not p.hidden]
        parts.append("\n".join([*options, "- `-h`, `--help`: Show the help."]))
    return "\n\n".join(filter(None, parts)) + "\n"


def releases() -> str:
    """Return the table of what releases of onnxruntime compute otherwise than ONNX says."""
    rows = [
        f"| {f'before {fault.versions.high}' if fault.versions.high else 'all'} | {fault.fact} | "
        f"{fault.remedy or ('nodes are rewritten' if fault.mend else 'other nodes are emitted')} |"
        for fault in FAULTS
    ]
    return RELEASES + "\n".join(rows) + "\n"


def pages() -> dict[str, str]:
    """Return file name -> text of every page."""
    packages = {"`jax2onnx.plugin`": plugin, "`jax2onnx.testing`": testing}
    names = names_page(PLUGIN_API, packages)
    return {"api.md": api(), "cli.md": command_line(), "plugin-api.md": names, "releases.md": releases()}


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
