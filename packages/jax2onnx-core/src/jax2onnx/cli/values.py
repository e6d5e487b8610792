"""Values on the command line: specs and Python values of arguments, sizes, and arrays in files."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click

from jax2onnx._accepted import nearest, shown
from jax2onnx.errors import InputSpecError

__all__ = [
    "images",
    "named_specs",
    "named_texts",
    "nested",
    "read_arrays",
    "read_batch",
    "read_sizes",
    "read_spec",
    "split_name",
    "static_values",
]

_NAMED = re.compile(r"^\s*(?P<name>[A-Za-z_][\w.]*)\s*=(?P<value>.*)$", re.DOTALL)
_LITERAL = ("{", "[", "(")


def split_name(text: str) -> tuple[str, str]:
    """Return the name and the value of ``NAME=VALUE``; the name is empty if there is none."""
    match = _NAMED.match(text)
    if match is None:
        return "", text.strip()
    return match["name"], match["value"].strip()


def read_spec(text: str) -> Any:
    """Return a spec as Python takes it: ``DTYPE[DIMS]``, or a Python or JSON literal of such."""
    if text in {"True", "False"}:
        return text == "True"
    if not text.startswith(_LITERAL):
        return text
    found = _literal(text)
    if found is _NOTHING:
        raise click.UsageError(
            f"{shown(text)} is neither DTYPE[DIMS] nor a literal of Python or JSON; "
            """write for example x='{"tokens": "int32[B,T]", "mask": "bool[B,T]"}'"""
        )
    return found


_NOTHING = object()


def _literal(text: str) -> Any:
    """Return the value of a literal of Python or JSON; ``_NOTHING`` if it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        return json.loads(text)
    except ValueError:
        return _NOTHING


def named_specs(_context: Any, option: click.Parameter, texts: Sequence[str]) -> dict[str, Any] | None:
    """Return the specs of ``NAME=SPEC`` by name; None if there are none."""
    return {name: read_spec(value) for name, value in _all_named(option, texts, "DTYPE[DIMS]")} or None


def named_texts(_context: Any, option: click.Parameter, texts: Sequence[str]) -> dict[str, str] | None:
    """Return the texts of ``KEY=VALUE`` by key; None if there are none."""
    named: dict[str, str] = {}
    for text in texts:
        key, is_named, value = text.partition("=")
        if not is_named or not key:
            raise click.UsageError(
                f"{option.opts[0]}: {text!r} is not of the form KEY=VALUE; write for example license=MIT"
            )
        if key in named:
            raise click.UsageError(f"{option.opts[0]}: {key!r} is given twice; give each key once")
        named[key] = value
    return named or None


def static_values(_context: Any, option: click.Parameter, texts: Sequence[str]) -> dict[str, Any] | None:
    """Return the values of ``NAME=VALUE`` by name: Python or JSON literals, or else strings; None if there are none."""
    values = {}
    for name, text in _all_named(option, texts, "VALUE"):
        value = _literal(text)
        values[name] = text if value is _NOTHING else value
    return values or None


def _all_named(option: click.Parameter, texts: Sequence[str], what: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in texts:
        name, value = split_name(text)
        if not name:
            raise click.UsageError(
                f"{option.opts[0]}: {text!r} is not of the form NAME={what}; put the name of the parameter first"
            )
        if name in dict(found):
            raise click.UsageError(f"{option.opts[0]}: {name!r} is given twice; leave one out")
        found.append((name, value))
    return found


def images(_context: Any, _option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...] | bool:
    """Return the names of images; True for ``*``, which means all."""
    return True if "*" in names else names


def read_sizes(_context: Any, option: click.Parameter, texts: Sequence[str]) -> list[Any] | None:
    """Return sizes of symbolic dims: an int for ``3``, a mapping for ``B=2,T=5``; None if there are none."""
    sizes: list[Any] = []
    for text in texts:
        parts = [part.partition("=") for part in text.split(",")]
        if not all(value.strip().isdecimal() if equals else name.strip().isdecimal() for name, equals, value in parts):
            raise click.UsageError(
                f"{option.opts[0]}: {text!r} is neither a number nor of the form B=2,T=5; write a size"
            )
        numbers = [int(name) for name, equals, _ in parts if not equals]
        named = {name.strip(): int(value) for name, equals, value in parts if equals}
        if "" in named or len(named) < len(parts) - len(numbers):
            raise click.UsageError(f"{option.opts[0]}: {text!r} gives each symbol no one size; write B=2,T=5")
        sizes += [*numbers, *([named] if named else [])]
    return sizes or None


def nested(specs: Mapping[str, Any]) -> dict[str, Any]:
    """Return specs whose names have dots, ``x.a``, as dicts, or lists where the keys are numbers."""
    result: dict[str, Any] = {}
    for name, spec in specs.items():
        *path, last = name.split(".")
        inner = result
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise click.UsageError(f"--input: {name!r} is part of an input that is given too")
        if last in inner:
            raise click.UsageError(f"--input: parts of {name!r} are given too")
        inner[last] = spec
    return {name: _with_lists(spec) for name, spec in result.items()}


def _with_lists(spec: Any) -> Any:
    if not isinstance(spec, dict):
        return spec
    inner = {key: _with_lists(value) for key, value in spec.items()}
    if list(inner) == list(map(str, range(len(inner)))):
        return list(inner.values())
    return inner


def read_arrays(path: Path) -> Any:
    """Return the array or the arrays by name that a file holds.

    Args:
        path: an ``.npz`` or a ``.json`` file with an array for each input, by its name; an ``.npy`` file for one input.
    """
    import numpy as np

    if not path.is_file():
        raise InputSpecError(f"values: {path} is no regular file; name one that numpy.savez wrote")
    try:
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        given = np.load(path, allow_pickle=False)
        return given if isinstance(given, np.ndarray) else dict(given)
    except (OSError, ValueError, EOFError, RecursionError, BadZipFile) as error:
        raise InputSpecError(
            f"values: {path} is no .npz, .npy or .json file of arrays ({type(error).__name__}); "
            "write one by numpy.savez"
        ) from error


def read_batch(path: Path, given: Any, names: Sequence[str]) -> list[Any]:
    """Return the arrays of a file for the inputs of a model, in their order.

    Args:
        path: the file.
        given: what it holds.
        names: the names of the model's inputs, without its state.
    """
    import numpy as np

    if isinstance(given, np.ndarray | list):
        given = {names[0]: given} if len(names) == 1 else {}
    if not hasattr(given, "keys") or set(given.keys()) != set(names):
        listed = ", ".join(given.keys()) if hasattr(given, "keys") else "no names"
        surplus = [name for name in getattr(given, "keys", dict)() if name not in names]
        hint = f" ({nearest(surplus[0], names)})" if surplus else ""
        raise InputSpecError(
            f"values: {path} has {listed}{hint}; write it by numpy.savez with the names {', '.join(names)}"
        )
    try:
        return [np.asarray(given[name]) for name in names]
    except ValueError as error:
        raise InputSpecError(
            f"values: {path} has a list whose parts differ in length; write numbers in equal rows"
        ) from error
