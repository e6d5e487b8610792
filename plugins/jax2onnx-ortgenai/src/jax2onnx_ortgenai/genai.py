"""onnxruntime-genai: make tokens with its generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    import os

__all__ = ["generate_with_genai"]


def generate_with_genai(
    folder: str | os.PathLike[str], prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> list[list[int]]:
    """Return the likeliest tokens that follow each prompt, without the end token's padding."""
    if not (Path(folder) / "genai_config.json").exists():
        raise InputSpecError(f"{folder} has no genai_config.json; save_genai tells why, or use engine='onnxruntime'")
    try:
        import onnxruntime_genai as og
    except ImportError as error:
        raise InputSpecError(
            "engine: 'genai' needs onnxruntime-genai; pip install 'jax2onnx-ortgenai[genai]'"
        ) from error
    model = og.Model(str(folder))
    made: list[list[int]] = []
    for prompt in prompts:
        params = og.GeneratorParams(model)
        params.set_search_options(do_sample=False, max_length=len(prompt) + max_new_tokens)
        generator = og.Generator(model, params)
        generator.append_tokens(np.asarray([prompt], np.int32))
        text: list[int] = []
        while not generator.is_done() and len(text) < max_new_tokens:
            generator.generate_next_token()
            text.append(int(generator.get_next_tokens()[0]))
        made.append(text)
    return made
