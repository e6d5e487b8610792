"""The command ``jax2onnx generate``: tokens from a folder, printed as they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from jax2onnx.errors import InputSpecError
from jax2onnx_ortgenai.text import Text

__all__ = ["generate"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="What the text begins with; may repeat.")
@click.option("--tokens", "rows", multiple=True, metavar="1,2,3", help="The same as token ids; may repeat.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=64, help="How many tokens to make at most.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=FILE.npy", help="An input that the cache is prepared from."
)
@click.option(
    "--engine", type=click.Choice(("onnxruntime", "genai")), default="onnxruntime", help="What runs the model."
)
@click.option("--temperature", type=click.FloatRange(0), default=0.0, help="0 takes the likeliest token.")
@click.option("--seed", type=int, default=0, help="Of the tokens that are drawn.")
@click.option("--ids", is_flag=True, help="Print token ids, not text.")
def generate(
    *,
    folder: Path,
    prompts: tuple[str, ...],
    rows: tuple[str, ...],
    max_new_tokens: int,
    inputs: tuple[str, ...],
    engine: str,
    temperature: float,
    seed: int,
    ids: bool,
) -> None:
    """Make tokens with a decoder that save_genai has written to FOLDER, and print each when it is there."""
    if bool(prompts) == bool(rows):
        raise click.UsageError("give --prompt or --tokens")
    text = None if ids and rows else Text.of(folder, required=bool(prompts))
    given = [text.encode(prompt) for prompt in prompts] if prompts and text is not None else [_ids(row) for row in rows]
    arrays = dict(_array(one) for one in inputs)
    if engine == "genai" or len(given) > 1:
        from jax2onnx_ortgenai.generating import generate as generated

        made = generated(
            folder, given, max_new_tokens, inputs=arrays or None, engine=engine, temperature=temperature, seed=seed
        )
        for row in made:
            click.echo(_shown(text, row, ids=ids))
        return
    from jax2onnx_ortgenai.generating import stream

    _print(
        stream(folder, given[0], max_new_tokens, inputs=arrays or None, temperature=temperature, seed=seed),
        text,
        ids=ids,
    )


def _print(tokens: Any, text: Text | None, *, ids: bool) -> None:
    """Print what each token adds to the text."""
    made: list[int] = []
    shown = ""
    for token in tokens:
        made.append(token)
        whole = _shown(text, made, ids=ids)
        if whole.startswith(shown) and not whole.endswith("\ufffd"):  # else a character lacks bytes
            click.echo(whole[len(shown) :], nl=False)
            shown = whole
    click.echo(_shown(text, made, ids=ids)[len(shown) :])


def _shown(text: Text | None, tokens: list[int], *, ids: bool) -> str:
    if ids or text is None:
        return ",".join(map(str, tokens))
    return text.decode(tokens)


def _ids(row: str) -> list[int]:
    try:
        return [int(token) for token in row.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{row!r} is no list of numbers such as 5,77,9", param_hint="--tokens") from error


def _array(given: str) -> tuple[str, Any]:
    name, _, file = given.partition("=")
    if not file:
        raise click.BadParameter(f"{given!r} is not of the form NAME=FILE.npy", param_hint="--input")
    try:
        return name, np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputSpecError(f"--input {name}: {file} cannot be read: {error}; write it by numpy.save") from error
