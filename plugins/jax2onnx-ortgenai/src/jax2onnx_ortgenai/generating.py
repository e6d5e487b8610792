"""Generate: make tokens with a folder that ``save_genai`` has written, by onnxruntime alone or by onnxruntime-genai."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    import os

__all__ = ["Generator", "generate", "stream"]

Prompts = Sequence[Sequence[int]]
Choose = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
"""Chooses one token of each row, from logits of (batch, vocabulary)."""


def generate(
    folder: str | os.PathLike[str],
    prompts: Prompts,
    max_new_tokens: int,
    *,
    inputs: Mapping[str, Any] | None = None,
    engine: str = "onnxruntime",
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Return the tokens that follow each prompt; a text ends with its end token or after ``max_new_tokens``.

    Args:
        folder: what ``save_genai`` has written.
        prompts: token ids of each text. They may have different lengths.
        max_new_tokens: how many tokens to make at most.
        inputs: inputs of the model that prepares the cache, by name.
        engine: ``onnxruntime``, or ``genai`` for onnxruntime-genai.
        temperature: 0 takes the likeliest token; else tokens are drawn.
        seed: of what is drawn.
    """
    if engine == "genai":
        from jax2onnx_ortgenai.genai import generate_with_genai

        return generate_with_genai(folder, prompts, max_new_tokens)
    generator = Generator(folder)
    made: list[list[int]] = [[] for _ in prompts]
    for row in generator.steps(prompts, max_new_tokens, inputs=inputs, choose=_choose(temperature, seed)):
        for text, token in zip(made, row, strict=True):
            if token is not None:
                text.append(token)
    return made


def stream(
    folder: str | os.PathLike[str],
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    inputs: Mapping[str, Any] | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield the tokens that follow a prompt as they are made; parameters are those of :func:`generate`."""
    steps = Generator(folder).steps([prompt], max_new_tokens, inputs=inputs, choose=_choose(temperature, seed))
    for (token,) in steps:
        if token is not None:
            yield token


def _choose(temperature: float, seed: int) -> Choose:
    if temperature <= 0:
        return lambda logits: logits.argmax(-1)
    random = np.random.default_rng(seed)

    def drawn(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        noise = random.gumbel(size=logits.shape)
        return np.asarray((logits / temperature + noise).argmax(-1))

    return drawn


class Generator:
    """A decoder that is loaded, with its cache between calls.

    Args:
        folder: what ``save_genai`` has written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        described = self._folder / "generation.json"
        if not described.exists():
            raise InputSpecError(f"{folder} has no generation.json; write it by save_genai")
        self.about: dict[str, Any] = json.loads(described.read_text())
        self._session = _session(self._folder / "model.onnx")
        given = [value.name for value in self._session.get_inputs()]
        self._past = {
            value.name: value for value in self._session.get_inputs() if value.name.startswith("past_key_values.")
        }
        self._takes = [name for name in given if name not in self._past]
        self._outputs = [value.name for value in self._session.get_outputs()]

    @property
    def takes_batches(self) -> bool:
        """Whether there may be several texts at once."""
        return not isinstance(self._session.get_inputs()[0].shape[0], int)

    def steps(
        self,
        prompts: Prompts,
        max_new_tokens: int,
        *,
        inputs: Mapping[str, Any] | None = None,
        choose: Choose | None = None,
    ) -> Iterator[list[int | None]]:
        """Yield the next token of each text, None for one that has ended; stop when all have."""
        choose = choose or _choose(0, 0)
        rows = self._checked(prompts)
        cache, prefix = self._cache(len(rows), inputs)
        tokens, mask = _padded(rows, self.about["pad_token_id"], prefix)
        self._require_room(mask.shape[1] + max_new_tokens)
        positions = np.maximum(mask.cumsum(1) - 1, 0)[:, prefix:].astype(np.int32)
        ends = set(self.about["eos_token_id"])
        ended = np.zeros(len(rows), bool)
        for _ in range(max_new_tokens):
            logits, cache = self._call(tokens, mask, positions, cache)
            chosen = np.where(ended, self.about["pad_token_id"], choose(logits[:, -1]))
            yield [None if over else int(token) for over, token in zip(ended, chosen, strict=True)]
            ended |= np.isin(chosen, list(ends))
            if ended.all():
                return
            tokens = chosen[:, None].astype(np.int32)
            mask = np.concatenate([mask, np.ones((len(rows), 1), np.int32)], 1)
            positions = positions[:, -1:] + 1

    def _checked(self, prompts: Prompts) -> list[list[int]]:
        rows = [[int(token) for token in prompt] for prompt in prompts]
        if not rows or not all(rows):
            raise InputSpecError("prompts: each has to have a token at least; leave empty ones out")
        if len(rows) > 1 and not self.takes_batches:
            raise InputSpecError(
                f"prompts: the model takes one text at a time, not {len(rows)}; "
                "its step has no parameter mask or valid, so it cannot ignore the padding of shorter ones"
            )
        return rows

    def _require_room(self, length: int) -> None:
        if length > self.about["max_length"]:
            raise InputSpecError(
                f"the prompt and the new tokens are {length} positions, more than "
                f"max_length={self.about['max_length']}; ask for fewer, or export with a larger max_length"
            )

    def _cache(self, batch: int, inputs: Mapping[str, Any] | None) -> tuple[dict[str, Any], int]:
        """Return the cache to begin with, and how many of its positions are filled."""
        prepared: dict[str, np.ndarray[Any, Any]] = {}
        if (self._folder / "prepare.onnx").exists():
            prepared = self._prepared(inputs or {})
        elif inputs:
            raise InputSpecError(
                "inputs: the folder has no model that prepares a cache; leave inputs out, or export with prepare="
            )
        dims = {"B": batch, "P": self.about["max_length"] if self.about["shared"] else 0, "S": self.about["max_length"]}
        cache, filled = {}, 0
        for name, value in self._past.items():
            if name in prepared:
                array, positions = self._with_room(prepared[name], value.shape)
                filled = max(filled, positions)
            else:
                array = np.zeros(
                    [dims[dim] if isinstance(dim, str) else dim for dim in value.shape], _dtype(value.type)
                )
            cache[name] = ort.OrtValue.ortvalue_from_numpy(array)
        return cache, filled

    def _prepared(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        session = _session(self._folder / "prepare.onnx")
        wanted = [value.name for value in session.get_inputs()]
        if set(wanted) != set(inputs):
            raise InputSpecError(
                f"inputs: the cache is prepared from {', '.join(wanted)}; given are {', '.join(inputs) or 'none'}"
            )
        names = [value.name for value in session.get_outputs()]
        return dict(
            zip(names, session.run(None, {name: np.asarray(array) for name, array in inputs.items()}), strict=True)
        )

    def _with_room(self, array: np.ndarray[Any, Any], shape: Sequence[int | str]) -> tuple[np.ndarray[Any, Any], int]:
        """Return a prepared array with room for all positions, where the model wants that, and how many it fills."""
        for axis, dim in enumerate(shape):
            if dim == "P" and not self.about["shared"]:
                return array, array.shape[axis]
            if dim in ("P", "S"):
                room = [(0, self.about["max_length"] - n if i == axis else 0) for i, n in enumerate(array.shape)]
                return np.pad(array, room), array.shape[axis]
        return array, 0

    def _call(self, tokens: Any, mask: Any, positions: Any, cache: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions}
        feeds = {name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(given[name])) for name in self._takes}
        if self.about["shared"]:
            return self._call_in_place({**feeds, **cache}), dict(cache)
        logits, *new = self._session.run_with_ort_values(self._outputs, {**feeds, **cache})
        return logits.numpy(), dict(zip(cache, new, strict=True))

    def _call_in_place(self, feeds: Mapping[str, Any]) -> Any:
        """Call the model on a cache that it writes into."""
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, value)
        first, *rest = self._outputs
        binding.bind_output(first)
        for name, given in zip(rest, self._past, strict=True):
            binding.bind_ortvalue_output(name, feeds[given])
        self._session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _dtype(name: str) -> Any:
    known = {"float": "float32", "double": "float64"}
    word = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype(known.get(word, word))


def _padded(rows: Sequence[Sequence[int]], pad: int, prefix: int) -> tuple[Any, Any]:
    """Return the tokens of all rows, padded before them, and which positions are no padding."""
    length = max(map(len, rows))
    tokens = np.full((len(rows), length), pad, np.int32)
    mask = np.zeros((len(rows), length), np.int32)
    for row, prompt in enumerate(rows):
        tokens[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = 1
    return tokens, np.concatenate([np.ones((len(rows), prefix), np.int32), mask], 1)
