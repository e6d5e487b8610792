"""Language models from JAX to tokens. Each name loads its module when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx_ortgenai.generating import Generator, generate, stream
    from jax2onnx_ortgenai.helpers import greedy, tokenwise
    from jax2onnx_ortgenai.libraries import from_equinox, from_gemma, from_keras_hub, from_nnx
    from jax2onnx_ortgenai.save import LanguageModel, save_genai

__all__ = [
    "Generator",
    "LanguageModel",
    "from_equinox",
    "from_gemma",
    "from_keras_hub",
    "from_nnx",
    "generate",
    "greedy",
    "save_genai",
    "stream",
    "tokenwise",
]

_MODULES = {
    "Generator": "generating",
    "LanguageModel": "save",
    "from_equinox": "libraries",
    "from_gemma": "libraries",
    "from_keras_hub": "libraries",
    "from_nnx": "libraries",
    "generate": "generating",
    "greedy": "helpers",
    "save_genai": "save",
    "stream": "generating",
    "tokenwise": "helpers",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"jax2onnx_ortgenai.{_MODULES[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
