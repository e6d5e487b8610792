"""What the arguments of the commands mean: ``MODULE:OBJECT``, and inputs with or without names."""

from __future__ import annotations

import inspect
import itertools
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jax2onnx._accepted import nearest, shown
from jax2onnx.cli.user_modules import import_named
from jax2onnx.cli.values import nested, read_spec, split_name
from jax2onnx.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from jax2onnx.inspect.summary import Tensor

__all__ = ["arrange_inputs", "find_object", "input_as_in_jax", "require_no_input", "require_no_module"]


def find_object(source: str, *, call: bool) -> Any:
    """Return the object that ``MODULE:OBJECT`` names, or with ``call`` what that object returns."""
    module_name, _, path = source.rpartition(":")
    if not module_name or not path:
        raise click.UsageError(f"{source!r} is not of the form MODULE:OBJECT; write for example models:mlp")
    is_file = module_name.endswith(".py")
    if not is_file and not all(part.isidentifier() for part in module_name.split(".")):
        raise click.UsageError(
            f"{module_name!r} is no name of a module; write for example models:mlp, or models.py:mlp"
        )
    found: Any = _import_module(module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            hint = nearest(part, [name for name in dir(found) if not name.startswith("_")], "it has")
            raise click.UsageError(f"{module_name} has no {path!r}; {hint}") from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _user_error(f"reading {source} fails", error) from error
    if call:
        return _called(found, source)
    if inspect.isclass(found):
        raise click.UsageError(
            f"{source} is a class; name an instance, or pass --call and name a function that returns one"
        )
    return found


def _called(make: Any, source: str) -> Any:
    """Return what a function without arguments makes."""
    if not callable(make):
        raise click.UsageError(f"--call: {source} is not callable; leave out --call")
    required = [p.name for p in _named_parameters(make).values() if p.default is p.empty]
    if required:
        raise click.UsageError(
            f"--call: {source} takes {', '.join(required)}; leave out --call if it is the callable to convert, "
            "or name a function without arguments"
        )
    try:
        return make()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _user_error(f"calling {source} fails", error) from error


def _user_error(what: str, error: BaseException) -> ConversionError:
    """Return the error for an exception of the user's code before there is anything to convert."""
    from jax2onnx.frontend.explain import named_error, user_line

    return ConversionError(
        f"{what}: {named_error(error)}",
        where=user_line(error),
        remedy="make this line run in Python from this folder first; --debug shows the whole traceback",
    )


def _import_module(name: str) -> ModuleType:
    """Import a module that can be imported from the working directory, or the Python file of this name."""
    try:
        return import_named(name)
    except (KeyboardInterrupt, click.UsageError):
        raise
    except BaseException as error:
        # A module that exists may fail to import another one: that is no wrong call.
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(
                f"there is no module {name!r} (searched from {Path.cwd()}); go to the folder that has it, or name its "
                "file (path/to/models.py:mlp)"
            ) from error
        raise _user_error(f"importing {name} fails", error) from error


def arrange_inputs(
    fn: Callable[..., Any],
    texts: Sequence[str],
) -> tuple[list[Any] | dict[str, Any], list[str] | None]:
    """Return what ``to_onnx`` takes as ``inputs`` and ``input_names``.

    Args:
        fn: the callable to export.
        texts: inputs as ``NAME=SPEC`` or ``SPEC``. They go to the parameters with these names if all names are such;
            else they are positional, and the names are those in the model. A name with dots is a part of an input.
    """
    pairs = [split_name(text) for text in texts]
    for text, (_, spec) in zip(texts, pairs, strict=True):
        if not spec or spec.startswith("="):
            raise click.UsageError(
                f"--input: {shown(text)} is not of the form NAME=DTYPE[DIMS]; write for example x=float32[B,30]"
            )
    names = [name for name, _ in pairs]
    specs = [read_spec(spec) for _, spec in pairs]
    parameters = _named_parameters(fn)
    if texts and parameters is not _UNKNOWN and not parameters and not _takes_any(fn):
        name = getattr(fn, "__name__", "it")
        raise click.UsageError(f"{name} takes no arguments; add --call if it makes the callable, or leave out --input")
    if not any(names):
        return specs, None
    different = set(filter(None, names))
    if len(different) < len(names):
        raise click.UsageError("--input: not all names differ; give every input a different name, or give no names")
    given = dict(zip(names, specs, strict=True))
    roots = {name.partition(".")[0] for name in names}
    is_nested = roots != different and (roots <= parameters.keys() or not parameters)
    if is_nested:
        given = nested(given)
    if not given.keys() <= parameters.keys():
        holds_arrays = [name for name, spec in given.items() if not isinstance(spec, str)]
        if not holds_arrays:
            return specs, names
        if parameters:
            name = next(name for name in given if name not in parameters)
            raise click.UsageError(f"--input: there is no parameter {name!r}; {nearest(name, parameters)}")
        return list(given.values()), None
    ordered = {name: given[name] for name in parameters if name in given}
    for name, parameter in itertools.islice(parameters.items(), len(ordered)):
        if name not in ordered or parameter.kind is parameter.KEYWORD_ONLY:
            return ordered, None
    return list(ordered.values()), None


_UNKNOWN: dict[str, inspect.Parameter] = {}
"""The parameters of a callable whose signature is not known."""


def _takes_any(fn: Callable[..., Any]) -> bool:
    """Return whether a callable takes any number of arguments."""
    return any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in inspect.signature(fn).parameters.values())


def _named_parameters(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that take one argument each; none if the signature is not known."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return _UNKNOWN
    parameters = dict(signature.parameters)
    for name, parameter in signature.parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            del parameters[name]
    return parameters


def input_as_in_jax(tensor: Tensor, images: Sequence[str] | bool) -> str:  # noqa: FBT001
    """Return an input of a model as ``NAME=DTYPE[DIMS]``; an image, channels-first in the model, is channels-last."""
    is_image = images is True or (images and tensor.name in images)
    if is_image and tensor.shape is not None and len(tensor.shape) > 2:
        batch, channels, *spatial = tensor.shape
        tensor = replace(tensor, shape=(batch, *spatial, channels))
    return str(tensor).replace("?", "_")


def require_no_input(option: str, output: Path, inputs: Sequence[Path]) -> None:
    """Raise UsageError if an output would overwrite a file that the same command reads."""
    for file in inputs:
        if output.exists() and file.exists() and output.samefile(file):
            raise click.UsageError(f"{option}: {str(output)!r} is a file that this command reads; name another one")


def require_no_module(option: str, output: Path) -> None:
    """Raise UsageError if an output would overwrite a Python module that is loaded."""
    files = map(_file_of, list(sys.modules.values()))
    name = Path(os.path.realpath(output)).name
    same_name = [Path(file) for file in files if isinstance(file, str) and file.endswith(name)]
    require_no_input(option, output, same_name)


def _file_of(module: object) -> object:
    """Return the file of what stands among the modules; one that is executed at its first use is not executed."""
    try:
        names: dict[str, object] = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return None
    return names.get("__file__")
