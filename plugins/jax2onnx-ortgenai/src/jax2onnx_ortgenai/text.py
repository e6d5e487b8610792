"""Text: the tokenizer of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax2onnx.errors import InputSpecError

__all__ = ["Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A tokenizer of ``tokenizers``."""

    tokenizer: Any

    @classmethod
    def of(cls, folder: Path, *, required: bool) -> Text | None:
        """Return the tokenizer of a folder; None if it has none and none is required."""
        file = folder / "tokenizer.json"
        if not file.exists():
            if required:
                raise InputSpecError(
                    f"--prompt: {folder} has no tokenizer.json; pass tokenizer= to save_genai, or --tokens"
                )
            return None
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            if not required:
                return None
            raise InputSpecError(
                "--prompt needs tokenizers; pip install 'jax2onnx-ortgenai[text]', or use --tokens"
            ) from error
        return cls(Tokenizer.from_file(str(file)))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return list(self.tokenizer.encode(text).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids."""
        return str(self.tokenizer.decode(list(tokens)))
