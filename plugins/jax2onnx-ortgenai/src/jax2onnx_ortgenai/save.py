"""Save: write a decoder as a folder that onnxruntime-genai, and ``jax2onnx generate``, make tokens with."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
from packaging.version import Version

from jax2onnx import save_onnx
from jax2onnx.errors import InputSpecError
from jax2onnx_ortgenai.calling import Form, Layout
from jax2onnx_ortgenai.config import Tokens, genai_config, obstacle, require_tokenizer, write_tokenizer
from jax2onnx_ortgenai.decoder import Decoder
from jax2onnx_ortgenai.prepare import Prepare
from jax2onnx_ortgenai.rewriting import Rewriting, rewriting

if TYPE_CHECKING:
    import os

_IN_PLACE = "1.32"
"""The first version of onnxruntime whose table has ``TensorScatter``, which writes into a cache in place."""

__all__ = ["LanguageModel", "language_model", "save_genai"]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A step and the cache that it works with.

    Attributes:
        step: ``step(tokens, cache, positions) -> logits, cache``.
        cache: ``cache(batch, length)`` returns an empty cache.
    """

    step: Callable[..., Any]
    cache: Callable[..., Any]


def save_genai(
    step: Callable[..., Any] | LanguageModel,
    folder: str | os.PathLike[str],
    *,
    cache: Callable[..., Any] | None = None,
    max_length: int,
    layout: Layout = "growing",
    tokenizer: Any = None,
    eos_token_id: int | Sequence[int] = (),
    bos_token_id: int | None = None,
    pad_token_id: int = 0,
    batch: bool = True,
    contrib: bool = True,
    prepare: Callable[..., Any] | None = None,
    prepare_inputs: Sequence[Any] = (),
    **options: Any,
) -> list[str]:
    """Write a decoder to a folder; return what onnxruntime-genai cannot do with it, in words, empty if it can run it.

    Args:
        step: ``step(tokens, cache, positions) -> logits, cache``: token ids and positions are int32 of (batch, tokens).
            A step with a parameter ``mask`` gets bools of (batch, tokens, length): what each token sees of the cache.
            With ``valid`` it gets which tokens are no padding, with ``index`` where in the cache the tokens go.
            A model without ``mask`` and ``valid`` takes one row at a time, since it would see the padding of others.
        folder: where to write; it is made if there is none.
        cache: ``cache(batch, length)`` returns an empty cache, a pytree. Further parameters are further sizes of it.
        max_length: how many positions there may be, of the prompt and of what is generated.
        layout: ``growing``: the cache is as long as the text is. ``static``: it has room for ``max_length`` from the
            beginning. A step that writes into the cache it gets can be either, one that lengthens it is growing.
        tokenizer: a ``tokenizer.json``, a folder with one, or a tokenizer of ``tokenizers`` or ``transformers``.
        eos_token_id: tokens at which a text ends; onnxruntime-genai needs one.
        bos_token_id: the token at which a text begins.
        pad_token_id: the token that fills up shorter rows.
        batch: whether there may be several texts at once, of different lengths. A model of one text has no padding: it
            reads the length of its attention mask alone, and is a little faster.
        contrib: whether the model may have onnxruntime's own operators, such as ``GroupQueryAttention``, where they are
            proven to compute the same. Other runtimes do not have them.
        prepare: ``prepare(*inputs) -> cache``: what is computed once before the first token, as by an encoder or from
            an image. If the cache has places for positions, those that it fills are the first of the text.
        prepare_inputs: the specs of its inputs, as ``to_onnx`` takes them; the batch is ``B``.
        **options: further options of ``save_onnx``.

    Raises:
        InputSpecError: the step or the cache has another form.
        ConversionError: as ``to_onnx``.
    """
    model = language_model(step, cache)
    decoder = Decoder.of(model.step, model.cache)
    if layout not in ("growing", "static"):
        raise InputSpecError(f"layout: expected one of two words, got {layout!r}; write 'growing' or 'static'")
    if layout == "static" and decoder.grows:
        raise InputSpecError("layout: the step returns a longer cache than it gets; write 'growing'")
    form = Form(decoder, layout, batch=batch, max_length=max_length)
    ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
    tokens = Tokens(max_length, ends, bos_token_id, pad_token_id)
    require_tokenizer(tokenizer)
    # The operator takes several tokens of several rows only where the cache is empty.
    contrib = contrib and form.grows and (prepare is None or not form.batched)
    wanted = Rewriting(max_length, contrib, form.grows)
    if layout == "static" and not {"opset", "target"} & set(options) and Version(ort.__version__) >= Version(_IN_PLACE):
        options |= {"opset": 24, "target": f"onnxruntime>={_IN_PLACE}"}
    with _nothing_new_on_error(Path(folder)) as target:
        with rewriting(wanted):
            _save_step(form, target / "model.onnx", options)
        if prepare is not None:
            Prepare(form, prepare, prepare_inputs).save(target / "prepare.onnx", options)
        problems = obstacle(form, tokens, has_prepare=prepare is not None)
        if not problems:
            _write(target / "genai_config.json", genai_config(form, tokens, shared=wanted.shared))
        _write(target / "generation.json", {"layout": layout, "shared": wanted.shared, **tokens.described()})
        write_tokenizer(tokenizer, target)
    return problems


@contextlib.contextmanager
def _nothing_new_on_error(folder: Path) -> Iterator[Path]:
    """Make a folder if there is none; on an error, remove from it what was not there before."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    before = set(folder.iterdir()) if not made else set()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        for path in set(folder.iterdir()) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in made:
            path.rmdir()
        raise


def language_model(step: Any, cache: Any) -> LanguageModel:
    """Return a step and its cache as one."""
    if isinstance(step, LanguageModel):
        return step
    if cache is None:
        raise InputSpecError("cache: a step needs its cache; give a function of the batch and the length")
    return LanguageModel(step, cache)


def _save_step(form: Form, path: Path, options: dict[str, Any]) -> None:
    past, present = form.names()
    save_onnx(
        form.function(),
        form.specs(),
        path,
        input_names=[*form.inputs, *past],
        output_names=["logits", *present],
        constraints=form.constraints(),
        **options,
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
