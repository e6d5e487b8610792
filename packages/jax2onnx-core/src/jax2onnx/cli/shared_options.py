"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click

from jax2onnx.cli.values import images, named_specs, named_texts, read_sizes, static_values

__all__ = [
    "CALL",
    "COMPARISON",
    "DEBUG",
    "DESCRIPTION",
    "EXISTING_FILE",
    "FILE",
    "FOLDER",
    "JSON",
    "KEEP",
    "MODEL",
    "PATH",
    "PRECISION",
    "SHARED",
    "SOURCE",
    "WEIGHTS",
    "Add",
    "repeated",
    "with_options",
]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Named(click.Path):
    """A path that is not empty: an empty one would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value:
            self.fail("it is empty; write the name of a file or a folder", param, ctx)
        return super().convert(value, param, ctx)


FILE = _Named(dir_okay=False, path_type=Path)
FOLDER = _Named(file_okay=False, path_type=Path)
PATH = _Named(path_type=Path)
EXISTING_FILE = _Named(exists=True, dir_okay=False, path_type=Path)

MODEL = click.argument("model", type=EXISTING_FILE)
SOURCE = click.argument("source", metavar="MODULE:OBJECT")
DEBUG = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


Add: TypeAlias = Callable[[_F], _F]
"""A decorator that adds an option to a command."""


def repeated(*names: str, metavar: str, text: str, **settings: Any) -> Add[Any]:
    """Return an option that may be given several times."""
    return click.option(*names, multiple=True, metavar=metavar, help=f"{text}; may repeat.", **settings)


CALL = click.option("--call", is_flag=True, help="OBJECT is a function without arguments that makes the callable.")
SHARED = (
    repeated(
        "--input-param",
        "input_params",
        metavar="NAME=SPEC",
        callback=named_specs,
        text="A keyword argument that is an input of the model",
    ),
    repeated(
        "--static",
        metavar="NAME=VALUE",
        callback=static_values,
        text="An argument that is a Python value and no input, e.g. train=False",
    ),
    repeated(
        "--constraint",
        "--constraints",
        "constraints",
        metavar="EXPR",
        text="A condition on symbolic dims, e.g. 'T >= 4'",
    ),
    click.option(
        "--state",
        type=click.Choice(("drop", "io")),
        default="drop",
        help="Drop the updates of the module's state, or make it inputs and outputs.",
    ),
    click.option("--training", is_flag=True, help="Training behaviour (default: inference)."),
    repeated(
        "--nchw-input",
        "inputs_as_nchw",
        metavar="NAME",
        callback=images,
        text="An input that is channels-last in JAX and channels-first in the model, '*' for all images",
    ),
    repeated(
        "--nchw-output",
        "outputs_as_nchw",
        metavar="NAME",
        callback=images,
        text="An output that is channels-last in JAX and channels-first in the model, '*' for all images",
    ),
)
"""Options that export and check share, as ``to_onnx`` and ``check`` do."""
COMPARISON = (
    repeated(
        "--size",
        "--sizes",
        "sizes",
        metavar="B=2,T=5",
        callback=read_sizes,
        text="Sizes of the symbolic dims to compare at, or one number for all of them",
    ),
    repeated(
        "--values",
        metavar="FILE",
        type=EXISTING_FILE,
        text="Inputs to compare on: .npz or .json with an array for each input by its name, .npy for one input",
    ),
    click.option("--rtol", type=float, help="Relative tolerance instead of the dtype's."),
    click.option("--atol", type=float, help="Absolute tolerance instead of the dtype's."),
    repeated(
        "--kind",
        "kinds",
        metavar="KIND",
        type=click.Choice(("ordinary", "moderate", "large", "special")),
        text="Kind of inputs to draw (default: all)",
    ),
    click.option("--seed", type=int, default=0, help="Seed of the drawn inputs."),
)
"""Options of a comparison with JAX."""


def _weights(_context: Any, _option: click.Parameter, paths: Sequence[str]) -> str | list[str] | None:
    """Return what ``to_onnx`` takes as ``weights``."""
    return (paths[0] if len(paths) == 1 else list(paths)) if paths else None


WEIGHTS = (
    repeated(
        "--weights",
        metavar="PATH",
        callback=_weights,
        text="Where the arrays of abstract parameters are: .safetensors, .npz, a folder of such, an orbax checkpoint",
    ),
    repeated(
        "--weight-name",
        "weight_names",
        metavar="PARAMETER=NAME",
        callback=named_texts,
        text="What --weights calls a parameter",
    ),
)
"""Options of weights that are elsewhere."""

DESCRIPTION = (
    click.option(
        "--provenance",
        type=click.Choice(("none", "relative", "full")),
        default="relative",
        help="What nodes tell of your source: nothing, lines and modules, or lines with absolute paths.",
    ),
    repeated("--metadata", metavar="KEY=VALUE", callback=named_texts, text="A text for the model's metadata"),
    click.option("--doc-string", metavar="TEXT", default="", help="Description of the model."),
    click.option("--model-version", type=int, default=0, help="Version of the model."),
    click.option("--producer", metavar="NAME", help="Who made the model, instead of jax2onnx."),
)
"""What an export writes into the model beside the program."""

KEEP = repeated(
    "--keep", metavar="GLOB", text="What stays float32: a module ('*.norm'), weight, output, function or line (m.py:9)"
)
PRECISION = (
    click.option(
        "--precision",
        type=click.Choice(("float32", "float16", "bfloat16")),
        help="What products of arrays and their weights are in: half instead of float32, or the reverse.",
    ),
    KEEP,
)
"""Half precision of a float32 program."""


def with_options(options: Sequence[Add[Any]]) -> Add[Any]:
    """Return a decorator that adds options to a command, in this order."""

    def add(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return add
