"""What the arguments of the commands mean: ``MODULE:OBJECT``, and inputs with or without names."""

from __future__ import annotations

import importlib
import inspect
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from jax2onnx.inspect.summary import Tensor

__all__ = ["arrange_inputs", "find_object", "input_as_in_jax"]


def find_object(source: str, *, call: bool) -> Any:
    """Return the object that ``MODULE:OBJECT`` names, or with ``call`` what that object returns."""
    module_name, _, path = source.rpartition(":")
    if not module_name or not path:
        raise click.UsageError(f"{source!r} is not of the form MODULE:OBJECT, e.g. mypackage.models:mlp")
    found: Any = _import_module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{module_name} has no {path!r}")
        found = getattr(found, part)
    if call:
        return found()
    if inspect.isclass(found):
        raise click.UsageError(
            f"{source} is a class; name an instance, or pass --call and name a function that returns one"
        )
    return found


def _import_module(name: str) -> ModuleType:
    """Import a module that can be imported from the working directory, or the Python file of this name."""
    folder = Path.cwd()
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise click.UsageError(f"there is no file {name}")
        folder, name = path.parent, path.stem
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that exists may fail to import another one: that is no wrong call.
        missing = f"{error.name}."
        if f"{name}.".startswith(missing):
            raise click.UsageError(f"there is no module {name!r} (searched from {folder})") from error
        raise


def arrange_inputs(
    fn: Callable[..., Any],
    texts: Sequence[str],
) -> tuple[list[str] | dict[str, str], list[str] | None]:
    """Return what ``to_onnx`` takes as ``inputs`` and ``input_names``.

    Args:
        fn: the callable to export.
        texts: inputs as ``NAME=SPEC`` or ``SPEC``. They go to the parameters with these names if all names are such;
            else they are positional, and the names are those in the model.
    """
    names = []
    specs = []
    for text in texts:
        name, _, spec = text.rpartition("=")
        names.append(name.strip())
        specs.append(spec)
    if not any(names):
        return specs, None
    different = set(filter(None, names))
    if len(different) < len(names):
        raise click.UsageError("--input: give every input a different name, or give no names")
    parameters = _named_parameters(fn)
    if not different <= parameters.keys():
        return specs, names
    given = dict(zip(names, specs, strict=True))
    ordered = {name: given[name] for name in parameters if name in given}
    for name, parameter in itertools.islice(parameters.items(), len(ordered)):
        if name not in ordered or parameter.kind is parameter.KEYWORD_ONLY:
            return ordered, None
    return list(ordered.values()), list(ordered)


def _named_parameters(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that take one argument each; none if the signature is not known."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return {}
    parameters = dict(signature.parameters)
    for name, parameter in signature.parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            del parameters[name]
    return parameters


def input_as_in_jax(tensor: Tensor, images: Sequence[str]) -> str:
    """Return an input of a model as ``NAME=DTYPE[DIMS]``; an image, channels-first in the model, is channels-last."""
    if tensor.name in images and len(tensor.shape) > 2:
        batch, channels, *spatial = tensor.shape
        tensor = replace(tensor, shape=(batch, *spatial, channels))
    return str(tensor).replace("?", "_")
