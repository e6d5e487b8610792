"""Configuration: ``genai_config.json`` and the files of a tokenizer, as onnxruntime-genai reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    from jax2onnx_ortgenai.calling import Form

__all__ = ["Tokens", "genai_config", "obstacle", "write_tokenizer"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is said of tokens: how many a text may have, and which ones are special."""

    max_length: int
    eos_token_id: Sequence[int]
    bos_token_id: int | None
    pad_token_id: int

    def described(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)


def obstacle(form: Form, tokens: Tokens, *, has_prepare: bool) -> list[str]:
    """Return why onnxruntime-genai cannot run a model, in words; empty if it can."""
    decoder = form.decoder
    if has_prepare:
        return ["it knows no model that prepares the cache from inputs of its own"]
    if not decoder.is_attention:
        return ["the cache is not keys and values of layers, in turn, of (batch, positions, heads, depth)"]
    if len({_kv(leaf) for leaf in decoder.leaves}) > 1:
        return ["layers differ in their number of heads or in their depth"]
    if not tokens.eos_token_id:
        return ["it needs an eos_token_id"]
    return []


def _kv(leaf: Any) -> tuple[Any, Any]:
    heads, depth = leaf.heads_and_depth
    return leaf.shape[heads], leaf.shape[depth]


def genai_config(form: Form, tokens: Tokens, *, shared: bool) -> dict[str, Any]:
    """Return the configuration of onnxruntime-genai for a decoder."""
    heads, depth = _kv(form.decoder.leaves[0])
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": depth,
        "hidden_size": heads * depth,
        "num_attention_heads": heads,
        "num_hidden_layers": len(form.decoder.leaves) // 2,
        "num_key_value_heads": heads,
        "inputs": {
            **{name: name for name in form.inputs},
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    ends = list(tokens.eos_token_id)
    return {
        "model": {
            "bos_token_id": 0 if tokens.bos_token_id is None else tokens.bos_token_id,
            "context_length": tokens.max_length,
            "decoder": decoder,
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": tokens.pad_token_id,
            "type": "llama",
            "vocab_size": form.decoder.vocabulary,
        },
        "search": {
            "do_sample": False,
            "early_stopping": True,
            "max_length": tokens.max_length,
            "min_length": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": shared or form.layout == "static",
        },
    }


def require_tokenizer(tokenizer: Any) -> None:
    """Raise InputSpecError for what is neither a file, a folder with one nor an object that can be saved."""
    if isinstance(tokenizer, (str, Path)):
        _files_of(Path(tokenizer))
    elif tokenizer is not None and not hasattr(tokenizer, "save_pretrained") and not hasattr(tokenizer, "save"):
        raise InputSpecError(
            f"tokenizer: expected a file, a folder or a tokenizer that can be saved, got {tokenizer!r}; "
            "write the path of its tokenizer.json"
        )


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the files of a tokenizer into a folder."""
    if tokenizer is None:
        return
    if isinstance(tokenizer, (str, Path)):
        _copy(Path(tokenizer), folder)
    elif hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(str(folder))
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
    config = folder / "tokenizer_config.json"
    if not config.exists():
        config.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}) + "\n")


def _files_of(source: Path) -> list[Path]:
    """Return the files of a tokenizer."""
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
    files = [source / name for name in names if (source / name).exists()] if source.is_dir() else [source]
    if not files or not files[0].exists():
        raise InputSpecError(f"tokenizer: there is no tokenizer.json at {source}; name that file, or its folder")
    return files


def _copy(source: Path, folder: Path) -> None:
    for file in _files_of(source):
        shutil.copyfile(file, folder / (file.name if source.is_dir() else "tokenizer.json"))
