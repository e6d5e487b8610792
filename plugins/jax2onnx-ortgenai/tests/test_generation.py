"""Each decoder makes JAX's own tokens: in one row or many, in caches that grow or have room, in both runtimes."""

import functools
import json

import jax.numpy as jnp
import numpy as np
import onnxruntime_genai  # noqa: F401 - the tests compare with it
import pytest
import small_models as models
from click.testing import CliRunner

from jax2onnx.errors import InputSpecError
from jax2onnx.testing import PluginSuite
from jax2onnx_ortgenai import command, generate, greedy, save_genai, tokenwise

COUNT, END = 16, 60
WRITE = functools.partial(save_genai, max_length=40, eos_token_id=END)


class TestPlugin(PluginSuite):
    plugin = "ortgenai"


@functools.cache
def expected(kind):
    step, cache = decoder(kind)
    return greedy(step, cache, models.PROMPTS, counts(kind), eos_token_id=END)


def counts(kind):
    return 3 if kind == "growing" else COUNT  # JAX compiles each step of a cache that grows anew


@functools.cache
def decoder(kind):
    feeds = {
        "dense": models.Mlp,
        "experts": models.Experts,
        "ragged experts": functools.partial(models.Experts, ragged=True),
    }
    if kind in feeds:
        return models.Decoder(feeds[kind]), models.empty
    if kind == "mamba":
        return tokenwise(models.Mamba()), models.Mamba.empty
    model = models.Decoder()

    def growing(tokens, cache, positions, mask, index):
        longer = [tuple(jnp.pad(x, ((0, 0), (0, tokens.shape[1]), (0, 0), (0, 0))) for x in pair) for pair in cache]
        return model(tokens, longer, positions, mask, index)

    return growing, models.empty


@pytest.mark.parametrize("layout", ["growing", "static"])
@pytest.mark.parametrize("kind", ["dense", "experts", "ragged experts", "mamba", "growing"])
def test_tokens_are_those_of_jax(kind, layout, tmp_path):
    step, cache = decoder(kind)
    if kind == "growing" and layout == "static":
        with pytest.raises(InputSpecError, match="longer cache"):
            WRITE(step, tmp_path, cache=cache, layout=layout)
        return
    problems = WRITE(step, tmp_path, cache=cache, layout=layout)
    assert generate(tmp_path, models.PROMPTS, counts(kind)) == expected(kind)
    assert generate(tmp_path, models.PROMPTS[:1], counts(kind)) == expected(kind)[:1]
    if kind == "mamba":
        assert "keys and values" in problems[0]
        return
    assert problems == []
    assert generate(tmp_path, models.PROMPTS, counts(kind), engine="genai") == expected(kind)


@pytest.mark.parametrize("layout", ["growing", "static"])
def test_encoder_and_decoder(layout, tmp_path):
    model = models.Translator()
    options = {"prepare": model.prepare, "prepare_inputs": ["int32[B,source]"], "layout": layout}
    problems = WRITE(model, tmp_path, cache=model.empty, **options)
    assert "prepares" in problems[0]
    prepared = model.prepare(models.SOURCE)
    wanted = greedy(model, model.empty, [[1]], COUNT, eos_token_id=END, prepared=prepared)
    assert generate(tmp_path, [[1]], COUNT, inputs={"source": models.SOURCE}) == wanted


@pytest.mark.parametrize("layout", ["growing", "static"])
def test_image_before_the_text(layout, tmp_path):
    model = models.Captioner()
    WRITE(model, tmp_path, cache=models.empty, prepare=model.prepare, prepare_inputs=[("B", 8, 8, 3)], layout=layout)
    start = {"prepared": model.prepare(models.IMAGE), "filled": model.PATCHES}
    wanted = greedy(model, models.empty, [[1, 5]], COUNT, eos_token_id=END, **start)
    assert generate(tmp_path, [[1, 5]], COUNT, inputs={"image": models.IMAGE}) == wanted


def test_a_step_without_mask_takes_one_text(tmp_path):
    model = models.Decoder()

    def step(tokens, cache, positions):
        mask = jnp.arange(cache[0][0].shape[1]) <= positions[..., None]
        return model(tokens, cache, positions, mask, positions[0, 0])

    WRITE(step, tmp_path, cache=models.empty)
    assert generate(tmp_path, models.PROMPTS[:1], COUNT) == expected("dense")[:1]
    with pytest.raises(InputSpecError, match="one text at a time"):
        generate(tmp_path, models.PROMPTS, COUNT)


def test_texts_end_at_the_end_token(tmp_path):
    step, cache = decoder("dense")
    end = expected("dense")[0][3]
    save_genai(step, tmp_path, cache=cache, max_length=40, eos_token_id=end)
    wanted = greedy(step, cache, models.PROMPTS, COUNT, eos_token_id=end)
    assert len(wanted[0]) <= 4
    assert generate(tmp_path, models.PROMPTS, COUNT) == wanted
    assert generate(tmp_path, models.PROMPTS, COUNT, engine="genai") == wanted


def test_the_command_prints_text(tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    words = {f"w{i}": i for i in range(models.VOCABULARY)}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    step, cache = decoder("dense")
    WRITE(step, tmp_path, cache=cache, tokenizer=tokenizer)
    prompt = " ".join(f"w{i}" for i in models.PROMPTS[0])
    called = CliRunner().invoke(command.generate, [str(tmp_path), "--prompt", prompt, "--max-new-tokens", str(COUNT)])
    assert called.output.split() == [f"w{i}" for i in expected("dense")[0]]
    row = ",".join(map(str, models.PROMPTS[0]))
    called = CliRunner().invoke(command.generate, [str(tmp_path), "--tokens", row, "--ids", "--max-new-tokens", "4"])
    assert [int(token) for token in called.output.split(",")] == expected("dense")[0][:4]


def test_what_cannot_be_made_is_refused(tmp_path):
    step, cache = decoder("dense")
    with pytest.raises(InputSpecError, match="depends on length"):
        WRITE(step, tmp_path, cache=lambda b, n: [(jnp.zeros((b, 2 * n, 2, 8)),) * 2] * 2)
    with pytest.raises(InputSpecError, match="returns logits"):
        WRITE(lambda tokens, cache, positions: tokens, tmp_path, cache=cache)
    with pytest.raises(InputSpecError, match="layout"):
        WRITE(step, tmp_path, cache=cache, layout="rotating")
    folder = tmp_path / "new" / "folder"
    for wrong in ({"prepare": list}, {"prepare": lambda x: x}, {"tokenizer": "no_such_folder"}, {"tokenizer": 3}):
        with pytest.raises(InputSpecError, match=r"prepare|tokenizer"):
            WRITE(step, folder, cache=cache, **wrong)
        assert list(tmp_path.iterdir()) == []
    WRITE(step, tmp_path, cache=cache)
    with pytest.raises(InputSpecError, match="prepare"):
        WRITE(step, tmp_path, cache=cache, prepare=list)
    assert not (tmp_path / "prepare.onnx").exists()
    with pytest.raises(InputSpecError, match="max_length=40"):
        generate(tmp_path, [[1] * 30], COUNT)
    with pytest.raises(InputSpecError, match="at least"):
        generate(tmp_path, [[]], COUNT)
    assert json.loads((tmp_path / "genai_config.json").read_text())["model"]["vocab_size"] == models.VOCABULARY


def test_drawn_tokens_are_those_of_the_seed(tmp_path):
    step, cache = decoder("dense")
    WRITE(step, tmp_path, cache=cache)
    drawn = [generate(tmp_path, models.PROMPTS, 4, temperature=1.0, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.asarray(drawn).max() < models.VOCABULARY
